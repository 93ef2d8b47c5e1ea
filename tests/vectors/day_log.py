"""A small log with closed days, for vectors and tests of completeness (docs/spec/completeness.md).

Real database, book and closing; the vault's keys and the log's tree are made from names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import TracebackType

from vector_log import ORIGIN, REGISTER, VectorLog, seed

from bal.certify.commitment import commitment, pseudonym
from bal.closing import ClosedDay, close_day
from bal.derive.local_day import local_day
from bal.harmonise import quantity, record
from bal.harmonise.instant import parse
from bal.harmonise.quality import quality
from bal.harmonise.reading_type import decode
from bal.harmonise.record import Origin
from bal.model import (
    TYPE_RECORD,
    DeviceInfo,
    Digest,
    Draft,
    Identity,
    Pseudonym,
    StoredRecord,
    Subject,
    TreeHead,
)
from bal.provide.device_days import DayRequest
from bal.registry import Registry, device_record
from bal.times import rfc3339
from infra.day_proofs import DayProofs
from infra.sqlite_book import SqliteBook
from infra.sqlite_customer_db import SqliteCustomerDb

ZONE = "Europe/Berlin"
DAY = date(2026, 1, 15)
HOUR_US = 3_600_000_000


class NamedVault:
    """A vault whose keys are made from names."""

    def __init__(self) -> None:
        self.erased: set[Pseudonym] = set()

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        if self.erased & set(wanted):
            raise KeyError("erased")
        return {name: seed(f"K {name} {year}") for name in wanted}

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        return {identity: device(identity) for identity in wanted}

    def find(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        return self.pseudonyms(identities)

    def identity(self, pseudonym: Pseudonym) -> Identity | None:
        return None

    def epochs(self, identity: Identity) -> list[Pseudonym]:
        return [device(identity)]


def device(name: str) -> Pseudonym:
    return pseudonym(seed(f"P {name}"))


@dataclass(frozen=True)
class _Tiles(VectorLog):
    """VectorLog over entries as they are, and a TileReader."""

    @property
    def entries(self) -> list[bytes]:
        return list(self.records)

    def bundle(self, n: int, width: int) -> bytes:
        found = self.records[256 * n : 256 * n + width]
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in found)

    def newest(self) -> tuple[TreeHead, bytes]:
        size = len(self.records)
        return TreeHead(size, Digest(self.root(size))), self.checkpoint(size).encode()


@dataclass
class DayLog:
    """A log that grows by readings and closes. `with` ends its files."""

    folder: Path
    entries: list[bytes] = field(default_factory=list)
    registry: Registry = field(default_factory=Registry)
    vault: NamedVault = field(default_factory=NamedVault)

    def __post_init__(self) -> None:
        self.customer_db = SqliteCustomerDb(self.folder / "scd")
        self.book = SqliteBook(self.folder / "scd")

    def __enter__(self) -> "DayLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.customer_db.close()
        self.book.close()

    def enrol(self, name: str, zone: str = ZONE, state: str = "active") -> DeviceInfo:
        known = self.registry.device(device(name))
        shard = known.shard if known else self.registry.next_shard("feeder")
        info = DeviceInfo(device(name), "feeder", shard, zone, "meter", "head-end", state)
        self.registry.apply(device_record(info))
        return info

    def read(
        self,
        name: str,
        begin_us: int,
        value: str | None,
        *,
        length_us: int = HOUR_US,
        codes: Sequence[str] = ("1.0.0",),
        register: str = REGISTER,
    ) -> int:
        """One reading, committed and stored; its index."""
        info = self.registry.device(device(name))
        assert info is not None
        key = self.vault.salt_keys([info.device], 2026)[info.device]
        origin = Origin(
            Subject(info.device, key, info.group, info.shard), f"{len(self.entries):064x}"
        )
        span = begin_us, begin_us + length_us
        draft = _draft(origin, register, span, value, tuple(codes))
        index = len(self.entries)
        self.entries.append(commitment(key, TYPE_RECORD, draft.record))
        row = StoredRecord(
            info.device, draft.end_us, draft.kind, draft.register, draft.begin_us, index,
            draft.rank, TYPE_RECORD, 2026, draft.record, info.shard,
        )  # fmt: skip
        self.customer_db.store([row], index + 1)
        return index

    def close(self, day: date = DAY, time_us: int = 1_768_518_600_000_000) -> ClosedDay:
        """Close a day; everything so far is below the prefix."""
        k, prefix = len(self.book.closes()) + 1, len(self.entries)
        closed = close_day(
            self.customer_db, self.registry, self.vault, self.book,
            day=day, k=k, prefix=prefix, time_us=time_us,
        )  # fmt: skip
        self.entries += [*closed.entries, closed.record]
        self.customer_db.store(closed.rows(prefix), len(self.entries))
        self.book.add(*closed.booked(prefix))
        return closed

    def tiles(self) -> _Tiles:
        return _Tiles(tuple(self.entries))

    def document(
        self, name: str, day: date = DAY, register: str | None = REGISTER, k: int | None = None
    ) -> str:
        """The document `gridseal.day/1` at the newest checkpoint."""
        info = self.registry.device(device(name))
        assert info is not None
        tiles = _Reader(self.tiles())
        proofs = DayProofs(self.customer_db, self.book, tiles, self.vault, lambda: None)
        return proofs.document(info, DayRequest(day, register, k)).decode()


class _Reader:
    """TileReader (bal.ports) over one state of the log."""

    def __init__(self, tiles: _Tiles) -> None:
        self._tiles = tiles

    def tile(self, level: int, n: int, width: int) -> bytes:
        return self._tiles.tile(level, n, width)

    def bundle(self, n: int, width: int) -> bytes:
        return self._tiles.bundle(n, width)

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        return self._tiles.newest()

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        return []


def _draft(
    origin: Origin,
    register: str,
    span: tuple[int, int],
    value: str | None,
    codes: tuple[str, ...],
) -> Draft:
    begin, end = (parse(rfc3339(at_us)) for at_us in span)
    found = quality(codes)
    if value is None:
        decoded = decode(register)
        assert decoded is not None
        return record.missing(origin, decoded, quality=found, begin=begin, end=end, findings=())
    kind = "reading" if register[0].isdigit() else "telemetry"
    shape = record.shape(kind, register, register, quantity.ACTIVE_ENERGY, found.json)
    return record.reading(record.slot(shape, begin, end), origin, value, found.rank)


def filled(log: DayLog) -> None:
    """Two meters, hours of 15 January; one of them with everything that a slot can say."""
    log.entries.append(b'{"origin":"' + ORIGIN.encode() + b'","type":"genesis"}')
    log.enrol("whole")
    log.enrol("gaps")
    begin_us, _ = local_day(DAY, ZONE)
    hours = [begin_us + hour * HOUR_US for hour in range(24)]
    for hour, at_us in enumerate(hours):
        log.read("whole", at_us, str(200 + hour))
    special: Mapping[int, tuple[str | None, tuple[str, ...]]] = {
        2: (None, ("1.5.259",)),
        3: ("0.0005", ("1.0.0",)),
        4: ("0.0015", ("1.0.0",)),
        5: ("-12.3456789", ("1.8.0",)),
        6: ("9223372036854775.808", ("1.0.0",)),
        7: ("-9223372036854775.808", ("1.0.0",)),
        8: ("0", ("1.7.0",)),
    }
    for hour, at_us in enumerate(hours):
        if hour not in {0, 1, 23}:
            value, codes = special.get(hour, (f"{hour}.5", ("1.0.0",)))
            log.read("gaps", at_us, value, codes=codes)
    log.read("gaps", hours[9], "77", codes=("1.8.0",))  # outranked by what was measured
    log.close()
    log.read("gaps", hours[0], "100.25")  # late
    log.read("gaps", hours[9], "9.75", codes=("1.7.0",))  # a correction
    log.close()


def filled_log(folder: Path) -> DayLog:
    log = DayLog(folder)
    filled(log)
    return log
