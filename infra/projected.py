"""What is stored of committed messages and closes, in every store."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from bal import jcs
from bal.derive.fold import KINDS as KINDS_OF_SLOTS
from bal.derive.touched import touched_dates
from bal.found import VeeFindings
from bal.found_by_vee import found_by_vee
from bal.model import StoredRecord
from bal.ports import ArchiveItem, Book, RawArchive
from bal.registry import KINDS, Registry
from bal.store.merge import housed
from infra.committed import Committed, CommittedClose, Device

_kind_and_period, _index = itemgetter(2, 4, 1), itemgetter(5)  # of a StoredRecord


@dataclass(frozen=True, slots=True)
class Projected:
    """All that is stored of some messages and closes, in log order."""

    rows: Sequence[StoredRecord]
    items: Sequence[ArchiveItem]
    by_vee: Sequence[VeeFindings]  # of each close that found something
    registry: Sequence[tuple[int, bytes]]  # records by index
    dates: dict[str, int]  # touched
    closes: Sequence[CommittedClose]

    def keep(
        self, archive: RawArchive, store: Callable[[Sequence[StoredRecord]], None], book: Book
    ) -> None:
        """Store it all, but for the registry's records; may be repeated. store: takes the rows."""
        if self.items:
            archive.put_many(self.items)
        for found in self.by_vee:
            archive.put_vee(found)
        store(self.rows)
        if self.dates:
            book.touch(self.dates)
        for close in self.closes:
            book.add(*close.closed.booked(close.first))


def project(
    commits: Sequence[Committed],
    closes: Sequence[CommittedClose],
    known: Registry,
    device: Device | None = None,
) -> Projected:
    """What is stored of these. known: has the zones of the devices before them, by log index.

    device: of a registry as of before them, which says where rows belong that several workers may
    have put elsewhere (`housed`); None where one worker alone made them.
    """
    rows: list[StoredRecord] = []
    items: list[ArchiveItem] = []
    registry: list[tuple[int, bytes]] = []
    zones = set(known.zones)
    for commit in commits:
        worked = commit.worked
        if worked.again:
            continue
        items.append(commit.archived(known.senders, device))
        rows += commit.worked.rows(commit.first)
        if not KINDS.isdisjoint(draft.kind for draft in worked.drafts):
            registry += [
                (commit.first + i, draft.record)
                for i, draft in enumerate(worked.drafts)
                if draft.kind in KINDS
            ]
    if device is not None:
        rows = housed(rows, device)
        zones |= _zones(record for _, record in registry)
    newest = dict(zip(map(_kind_and_period, rows), map(_index, rows), strict=True))  # ascending
    slots = (
        (begin_us, end_us, index)
        for (kind, begin_us, end_us), index in newest.items()
        if kind in KINDS_OF_SLOTS
    )
    derived, by_vee = _derived(closes)
    estimates = [  # which the next close of their date puts into its device-days
        (row.begin_us, row.end_us, row.index) for row in derived if row.kind in KINDS_OF_SLOTS
    ]
    dates = touched_dates(chain(slots, estimates), zones)
    rows += derived
    return Projected(rows, items, by_vee, registry, dates, closes)


def _derived(closes: Sequence[CommittedClose]) -> tuple[list[StoredRecord], list[VeeFindings]]:
    """The rows of closes, and what each of them found."""
    derived: list[StoredRecord] = []
    by_vee: list[VeeFindings] = []
    for close in closes:
        rows, closed = close.closed.rows(close.first), close.closed
        by_vee.append(found_by_vee(rows, k=closed.k, closed_us=closed.time_us))
        derived += rows
    return derived, list(filter(None, by_vee))


def _zones(records: Iterable[bytes]) -> set[str]:
    """Of the devices that these records name."""
    decoded = map(jcs.decode, records)
    return {record["zone"] for record in decoded if record["kind"] == "device"}
