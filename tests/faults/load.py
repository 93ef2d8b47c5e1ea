"""A sender that writes down every receipt, and what must hold of them after a fault."""

import json
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED
from bal.errors import Stop
from infra.data_folder import DataFolder
from infra.fsck import fsck
from infra.fsck_topics import open_topics
from infra.log_reader import batch_headers
from infra.roles.ports import Channels
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.journey.test_kill import Meter

Receipt = dict[str, Any]
FINISH_S = 420


class Sender(Meter):
    """Sends numbered readings, sends again what has no receipt, and forgets no receipt."""

    def __init__(self, files: Path, name: str, address: str, pace_s: float = 0.01) -> None:
        self.pace_s = pace_s
        self.receipts: list[Receipt] = []
        self._told = threading.Condition()
        super().__init__(files, name, address)

    def _receipt(self, client: Any, data: Any, message: Any) -> None:
        super()._receipt(client, data, message)
        with self._told:
            self.receipts.append(json.loads(message.payload))
            self._told.notify_all()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def more(self, type_: str, count: int, timeout_s: float = 120) -> None:
        """Wait until so many further receipts of a type came."""
        with self._told:
            before = self._count(type_)
            done = self._told.wait_for(lambda: self._count(type_) >= before + count, timeout_s)
            came = self._count(type_) - before
        assert done, f"{self.name}: {came} of {count} {type_} receipts within {timeout_s:g} s"

    def _count(self, type_: str) -> int:
        return sum(receipt["type"] == type_ for receipt in self.receipts)

    def finish(self) -> None:
        """Send no more that is new, and wait until all that was sent is certified."""
        self.stop()
        self.resend(timeout_s=FINISH_S)
        missing = len(set(self.sent) - set(self.certified))
        assert not missing, f"{self.name}: {missing} of {len(self.sent)} not certified in the end"


def check_receipts(data: Path, receipts: Iterable[Receipt]) -> int:
    """Each message is at the place that its receipt named, in the log or on its way there.

    Returns how many receipts there were. A platform may be at work on the folder.
    """
    told = list(receipts)
    folder = DataFolder(data)
    with ExitStack() as opened:
        stores = Stores.open(folder, SystemClock(), read_only=True)
        opened.callback(stores.close)
        channels = opened.enter_context(open_topics(folder)) if folder.has_roles else None
        headers = batches(stores)
        for receipt in told:
            named = receipt.get("batch") or batch_of(receipt["note"])
            raw = raw_at(stores, channels, first_of(named, headers))
            if raw is None:  # a retry that the log has taken since, and its topic let go of
                headers = batches(stores)
                raw = raw_at(stores, channels, first_of(named, headers))
            assert raw is not None, f"{named} is neither in the archive nor on the bus: {receipt}"
            assert sha256(raw).hexdigest() == receipt["message"], receipt
            if receipt["type"] == "certified":
                place = first_of(named, headers)
                assert place in headers, receipt
                assert receipt["first_index"] == int(headers[place]["first"]), receipt
    return len(told)


def batches(stores: Stores) -> dict[str, dict[str, Any]]:
    """The first header of each message that the log took, by its place on the bus."""
    found: dict[str, dict[str, Any]] = {}
    for _, header in batch_headers(stores.log):
        one = jcs.decode(header)
        if one["epoch"] not in {OWN_SOURCE, DERIVED}:
            found.setdefault(f"{one['epoch']}/{one['partition']}/{one['offset']}", one)
    return found


def first_of(place: str, headers: dict[str, dict[str, Any]]) -> str:
    """Where the message of a place stood first: of a retry no more is kept."""
    return str(headers.get(place, {}).get("again", place))


def raw_at(stores: Stores, channels: Channels | None, place: str) -> bytes | None:
    """The message that has this place, from the archive or, where that has it not yet, the bus.

    channels: the topics between the roles, where there are any.
    """
    epoch, partition, offset = place.split("/")
    for _ in range(10):  # it may go from one to the other between the two looks
        if (kept := stores.archive.raw(epoch, int(partition), int(offset))) is not None:
            return kept.raw
        try:
            if channels is None:
                found = stores.bus.read(int(offset), 1)
            else:
                found = [one for one, _ in channels.raw.read(int(partition), int(offset), 1)]
            for message in found:
                return message.raw
        except Stop as stop:
            if stop.code != "bus-trimmed":  # the bus lost what it had
                raise
    return None


def batch_of(note: str) -> str:
    """The place that an accepted receipt names."""
    (line,) = [line for line in note.splitlines() if line.startswith("batch ")]
    return line.removeprefix("batch ")


def check_stores(data: Path) -> None:
    """As `gridseal fsck`."""
    differences = [str(one) for one in fsck(data).differences]
    if differences:
        raise AssertionError(differences)
