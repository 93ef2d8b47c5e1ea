"""The drill's last attack: an operator who closes a day and leaves a measured reading out."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date

from bal.certify import device_day
from bal.certify.log import Sequencer
from bal.model import Pseudonym, StoredRecord
from bal.ports import DayRows
from bal.slots import NO_INDEX
from infra.committed import CommittedClose
from infra.copy_projection import open_whole, project, store_close
from infra.data_folder import DataFolder
from infra.deriver import DaySources
from infra.drill_victim import Attempt, NothingToAttack, Victim, said
from infra.key_signer import KeySigner
from infra.replay import replay
from infra.stores import Stores
from infra.system_clock import SystemClock


class _Hiding:
    """DayRows (bal.ports) without one slot of one series."""

    def __init__(self, rows: DayRows, hidden: StoredRecord) -> None:
        self._rows, self._hidden = rows, hidden

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """As DayRows."""
        gone = (self._hidden.register, self._hidden.begin_us, self._hidden.end_us)
        for device, rows in self._rows.of_shard(shard, from_us, to_us, size):
            yield (
                device,
                [
                    row
                    for row in rows
                    if device != self._hidden.device
                    or (row.register, row.begin_us, row.end_us) != gone
                ],
            )


def hide(folder: DataFolder, victim: Victim) -> Attempt:
    """The operator closes a day once more, with a device-day that leaves a measured slot out."""
    del victim
    facts = folder.facts()
    assert facts is not None
    project(folder)
    with closing(open_whole(folder)) as stores:
        signer = KeySigner(facts.origin, bytes(32))  # nothing is published
        sequencer = Sequencer(stores.log, stores.log, signer, facts.origin)
        sources, heads = stores.day_sources(), sequencer.heads
        day, slot, hidden = _measured_slot(stores)
        hiding = DaySources(
            _Hiding(sources.rows, hidden), sources.vault, sources.book, sources.registry_at
        )
        k = len(stores.book.closes()) + 1
        closed = hiding.close(date.fromisoformat(day), k, heads.size, SystemClock().now_us())
        [first] = sequencer.commit(closed.batches({"rules": facts.rules}), [closed.record])[:1]
        store_close(folder, stores, CommittedClose(closed, first), sequencer.heads)
    done = f"{day} closed again, slot {slot} (entry {hidden.index}) left out"
    where = f"entry {first + len(closed.entries)}"
    return Attempt(done, where, said(replay(folder.root)))


def _measured_slot(stores: Stores) -> tuple[str, int, StoredRecord]:
    """Date, slot and row of a measured slot of the newest closed date that has one."""
    for close in reversed(stores.book.closes()):
        for entry in stores.book.entries(close.date, close.k):
            row = stores.customer_db.record(entry.log_index)
            slots = device_day.decode(row.record).slots if row is not None else ()
            for number, slot in enumerate(slots):
                hidden = _row_of(stores, slot.log_index, slot.state)
                if hidden is not None:
                    return close.date, number, hidden
    raise NothingToAttack("no closed day to attack")


def _row_of(stores: Stores, index: int, state: int) -> StoredRecord | None:
    return stores.customer_db.record(index) if state > 1 and index != NO_INDEX else None
