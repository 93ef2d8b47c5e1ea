"""Adapters of CustomerDb, rows to put into them, and what the port promises, said plainly."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bal.model import Pseudonym, Rank, ReadingsQuery, StoredRecord
from bal.ports import CustomerDb
from infra.sqlite_customer_db import SqliteCustomerDb

DAY_US = 86_400_000_000
MEASUREMENTS = {"reading", "telemetry", "event", "phasors"}


class Adapter(CustomerDb, Protocol):
    """An adapter under test: opened again from the same folder it has what it had."""

    def close(self) -> None: ...


def sqlite(folder: Path) -> Adapter:
    return SqliteCustomerDb(folder / "scd")


def sqlite_merging(folder: Path) -> Adapter:
    """So eager to merge, and with chunks so small, that a few rows pass through all of it."""
    return SqliteCustomerDb(folder / "scd", merge_at=2, small_bytes=400, chunk_bytes=16)


ADAPTERS: list[Callable[[Path], Adapter]] = [sqlite, sqlite_merging]


def a_row(index: int, **changes: object) -> StoredRecord:
    plain = StoredRecord(
        index=index,
        shard="feeder-7/0",
        device=Pseudonym("A"),
        kind="reading",
        register="r1",
        begin_us=0,
        end_us=900,
        rank=Rank.MEASURED,
        type=b"\x01",
        year=2026,
        record=b"record of %d" % index,
    )
    return plain._replace(**changes)


def all_of(groups: Sequence[str] | None = None, **changes: object) -> ReadingsQuery:
    named = None if groups is None else frozenset(groups)
    return replace(ReadingsQuery(named, as_of_size=10**9), **changes)  # type: ignore[arg-type]


def definition(rows: Sequence[StoredRecord], query: ReadingsQuery) -> list[StoredRecord]:
    """What the port promises for a query without cursor and limit, in the plainest words."""
    kinds = MEASUREMENTS if query.kind is None else {query.kind}
    wanted = [
        row
        for row in rows
        if row.index < query.as_of_size
        and row.kind in kinds
        and row.shard.rsplit("/", 1)[0] != "$platform"
        and (query.groups is None or row.shard.rsplit("/", 1)[0] in query.groups)
        and (query.device is None or row.device == query.device)
        and (query.register is None or row.register == query.register)
        and (query.from_us is None or query.from_us <= row.end_us)
        and (query.to_us is None or row.end_us < query.to_us)
    ]
    slots: dict[object, list[StoredRecord]] = {}
    for row in sorted(wanted, key=lambda row: row.index):
        slot = slots.setdefault((row.end_us, row.device, row.kind, row.register, row.begin_us), [])
        if row.record not in [other.record for other in slot]:
            slot.append(row)
    shown = [
        row
        for slot in slots.values()
        for row in (
            [max(slot, key=lambda row: (row.rank, row.index))]
            if query.versions == "latest" and (slot[0].kind, slot[0].register) != ("event", "")
            else slot
        )
    ]
    return sorted(
        (row._replace(record=row.certified) for row in shown),
        key=lambda r: (r.end_us, r.device, r.kind, r.register, r.begin_us, r.index),
    )


def pages(db: CustomerDb, query: ReadingsQuery) -> Iterator[list[StoredRecord]]:
    while True:
        page = db.readings(query)
        assert len(page.rows) <= query.limit
        yield page.rows
        if page.after is None:
            return
        assert len(page.rows) == query.limit
        assert page.after != query.after
        query = replace(query, after=page.after)
