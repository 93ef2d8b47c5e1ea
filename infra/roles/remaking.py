"""Makes again what a storer lacks the rows of: from raw messages, as the projection of `up` is.

A topic lost rows that the log took, or `progress.db` is older than what was let go of, or gone: the
log says which messages are lacking, and workers of this process make them again, one a partition.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.certify.order import CLAIM
from bal.closing import DERIVED
from bal.errors import Stop
from bal.model import RawMessage
from bal.pipeline import WINDOW_FORMATS
from bal.ports import Heads
from infra.committed import Committed, CommittedClose, Progress
from infra.log_reader import batch_headers
from infra.projector import CATCH_UP_MESSAGES
from infra.roles.storer_begin import checked, headers_until
from infra.roles.storer_state import StorerState
from infra.roles.storing import ENTRIES_AT_ONCE, FIRST, SYNC_EVERY_S, StorerPorts, close_again
from infra.rules import differs, running_rules
from infra.source_workers import SourceWorkers

FED_US = 600_000_000  # no window, and no rate of a stream, goes by frames that came before that
FED_MAX = 100_000  # messages of a partition, of these
HEADERS_A_STEP = 1024  # other partitions of the process go on in between

Header = Mapping[str, Any]


class Remaking:
    """One run of some partitions, in steps: from what is synced to what the log has as it begins.

    It waits, as Storing does, where others have to store something first.
    """

    def __init__(self, ports: StorerPorts, partitions: Sequence[int] | None = None) -> None:
        """partitions: None for all, of a folder on which no other process stores."""
        self._ports, raw = ports, ports.channels.raw
        self._lanes = list(range(raw.partitions) if partitions is None else partitions)
        self._of = {f"{raw.epoch}/{partition}": partition for partition in self._lanes}
        self._workers = SourceWorkers(ports.vault)
        self._state = StorerState(ports.projector, ports.channels.announcements)
        self._noted = 0  # up to where the workers know the registry
        self._rules = running_rules()
        self._commits: dict[int, list[Committed]] = {lane: [] for lane in self._lanes}
        self._closes: list[CommittedClose] = []
        self._before: dict[str, deque[tuple[int, int]]] = {}  # of sources that nothing was fed of
        self._stored = self._version = self._size = 0
        self._kept, self._synced_s = 0, float("-inf")  # the version that is synced, and since when
        self._steps = self._run()
        self.is_done = False

    def step(self) -> bool:
        """Make some messages again and store them; whether there may be more at once.

        Raises Unavailable: begin anew then; Stop("bus-went-backwards") where a message is neither
        in its topic nor archived, "worker-differs" or "rules-differ" where one leads to other
        entries than the log's.
        """
        for busy in self._steps:
            return busy
        self.is_done = True
        return False

    def _run(self) -> Iterator[bool]:
        ports = self._ports
        heads, synced = self._synced()
        self._version = self._kept = min(one.version for one in synced.values())
        self._stored = self._size = min(one.size for one in synced.values())
        self._before = yield from self._taken_before(
            {s: synced[p].version for s, p in self._of.items()}
        )
        expected, made_by, read = list[str](), self._rules, 0
        for place, header in headers_until(ports.log, self._version, heads):
            data = jcs.decode(header)
            self._version, self._size = place[0] - 1, int(data["first"])
            if data["part"] == "0" and expected:  # before anything of it is kept
                raise differs(ports.log, heads.size, made_by, self._rules)
            if data["part"] == "0" and self._is_much():
                self._store()
                yield True
            read += 1
            if read % HEADERS_A_STEP == 0:
                yield True
            lane = self._lane(data)
            if lane is None or place[0] <= synced[lane].version or "again" in data:
                continue
            if data["part"] == "0":
                made_by = data["inputs"].get("rules", "")
                yield from self._until(self._needed(data))
                expected = yield from self._again(data, lane)
                yield True
            if expected[:1] != [data["rows"]]:
                raise differs(ports.log, heads.size, made_by, self._rules)
            expected = expected[1:]
        if expected:
            raise differs(ports.log, heads.size, made_by, self._rules)
        self._version, self._size = heads.version, heads.size
        self._synced_s = float("-inf")
        self._store()

    def _synced(self) -> tuple[Heads, dict[int, Progress]]:
        """The newest heads row, and where each begins. Raises Stop as Projector.check_lane."""
        synced = {lane: self._ports.projector.file.synced(lane) for lane in self._lanes}
        heads = [checked(self._ports.log, self._ports.projector, lane) for lane in self._lanes]
        return max(heads, key=lambda one: one.version), synced

    def _lane(self, data: Header) -> int | None:
        """Whose rows a batch has; None of those that are not of these partitions, or have none."""
        if data["epoch"] == DERIVED:
            return FIRST if FIRST in self._lanes else None
        if data["epoch"] == OWN_SOURCE or data["epoch"].startswith(CLAIM):
            return None
        return self._of.get(f"{data['epoch']}/{data['partition']}")

    def _is_much(self) -> bool:
        many = sum(map(len, self._commits.values())) >= CATCH_UP_MESSAGES
        return many or self._size - self._stored >= ENTRIES_AT_ONCE

    def _store(self) -> None:
        """All that was made, below the batch at hand; the first time and now and then for good.

        Whoever begins anew, since a server went away, goes on there: so it comes to an end.
        """
        at = Progress(self._version, self._size, 0, 0)
        registry = self._state.registry
        for lane, commits in self._commits.items():
            closes = self._closes if lane == FIRST else []
            self._ports.projector.store_lane(lane, commits, at, closes, registry)
            commits.clear()
        self._closes.clear()
        self._stored = self._size
        due = self._ports.elapsed_s() - self._synced_s >= SYNC_EVERY_S
        if due and at.version > self._kept:
            for lane in self._lanes:
                self._ports.projector.sync_lane(lane, at)
            self._kept, self._synced_s = at.version, self._ports.elapsed_s()

    # -- what has to be stored before --------------------------------------------------------

    def _needed(self, data: Header) -> int:
        """Up to where all must be stored before a batch is made again."""
        if data["epoch"] == DERIVED:
            self._store()
            return int(data["inputs"]["prefix"])
        return int(data["inputs"]["registry"])

    def _until(self, size: int) -> Iterator[bool]:
        """Until all partitions are stored up to there, so that the registry is known."""
        if not self._state.knows(size):
            self._store()
            yield True
            while not self._state.knows(size):
                yield False
        if self._noted < size:
            records = self._ports.projector.registry_records(self._state.size, self._noted)
            self._workers.note(records.items())
            self._noted = self._state.size

    # -- making again ------------------------------------------------------------------------

    def _again(self, data: Header, lane: int) -> Generator[bool, None, list[str]]:
        """Make a message or a close again, to be stored; digests of what it led to."""
        first = int(data["first"])
        if data["epoch"] == DERIVED:
            closed = close_again(self._ports.days, data["inputs"])
            self._closes.append(CommittedClose(closed, first))
            return closed.row_digests()
        source = f"{data['epoch']}/{data['partition']}"
        yield from self._feed(source)
        message = self._message(source, int(data["offset"]))
        worked = self._workers.of(source, int(data["inputs"]["registry"])).process(message)
        if any(draft.kind == "device" for draft in worked.drafts):  # as Storing waits
            yield from self._until(first)
        self._commits[lane].append(Committed(worked, first, sha256(message.raw).digest()))
        return worked.row_digests()

    def _taken_before(
        self, versions: Mapping[str, int]
    ) -> Generator[bool, None, dict[str, deque[tuple[int, int]]]]:
        """The last messages that were taken up to a version; by source which.

        Of each its offset, and the size of the log whose registry it was read with.
        """
        found: dict[str, deque[tuple[int, int]]] = {}
        headers = batch_headers(self._ports.log, last=max(versions.values()))
        for read, (place, header) in enumerate(headers, 1):
            if read % HEADERS_A_STEP == 0:
                yield True
            data = jcs.decode(header)
            source = f"{data['epoch']}/{data['partition']}"
            wanted = place[0] <= versions.get(source, -1)
            if wanted and "again" not in data and data["part"] == "0":
                tail = found.setdefault(source, deque(maxlen=FED_MAX))
                tail.append((int(data["offset"]), int(data["inputs"]["registry"])))
        return found

    def _feed(self, source: str) -> Iterator[bool]:
        """Give its worker what windows may still have frames of, where it begins.

        Not before: of a lane that is ahead they go by what is made of the others first.
        """
        found = yield from self._open(source, self._before.pop(source, deque()))
        for offset, size in found:
            yield from self._until(size)
            self._workers.of(source, size).process(self._message(source, offset))
            yield True

    def _open(
        self, source: str, tail: deque[tuple[int, int]]
    ) -> Generator[bool, None, list[tuple[int, int]]]:
        """Those of a source's last messages that windows may still have frames of."""
        newest_us: int | None = None
        found: list[tuple[int, int]] = []
        for offset, size in reversed(tail):
            yield True
            try:
                message = self._message(source, offset)
            except Stop:  # a subject of it was erased: the entries behind it will tell
                break
            newest_us = message.received_us if newest_us is None else newest_us
            if message.received_us < newest_us - FED_US:
                break
            if message.format in WINDOW_FORMATS:
                found.append((offset, size))
        found.reverse()
        return found

    def _message(self, source: str, offset: int) -> RawMessage:
        """From its topic or, where that forgot it, from the archive."""
        raw = self._ports.channels.raw
        epoch, _, partition = source.rpartition("/")
        if epoch == raw.epoch:
            with suppress(Stop):  # trimmed
                for message, _ in raw.read(int(partition), offset, 1):
                    return message
        return self._ports.projector.archived(epoch, int(partition), offset)
