"""Device-days: what closing a day of quarter-hours costs, per device and for 100,000 of them.

A day of `DEVICES` meters in the customer database as a head-end's messages leave it there, closed
with every commitment, the books and the close record; reading the rows is part of it.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from bal.closing import close_day
from bal.derive.local_day import local_day
from bal.harmonise import quantity, record
from bal.harmonise.instant import parse
from bal.harmonise.record import Origin
from bal.model import TYPE_RECORD, DeviceInfo, Identity, Rank, StoredRecord, Subject
from bal.registry import Registry, device_record
from bal.times import rfc3339
from infra.sqlite_book import SqliteBook
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock

DEVICES = 2_000
MESSAGE_METERS = 1_000
SLOT_US = 900_000_000
DAY = date(2026, 1, 15)
ZONE = "Europe/Berlin"
REGISTER = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"


def registered(vault: SqliteVault, count: int) -> Registry:
    """`count` meters of one group, in shards of 256."""
    registry = Registry()
    names = [Identity(f"mrid:{number}") for number in range(count)]
    for device in vault.pseudonyms(names).values():
        shard = registry.next_shard("feeder")
        info = DeviceInfo(device, "feeder", shard, ZONE, "meter", "head-end", "active")
        registry.apply(device_record(info))
    return registry


def rows_at(slot: record.Slot, devices: Sequence[DeviceInfo], index: int) -> list[StoredRecord]:
    """One slot's reading of each device; their log indexes begin with `index`."""
    rows = []
    for number, info in enumerate(devices, index):
        subject = Subject(info.device, bytes(32), info.group, info.shard)
        origin, value = Origin(subject, f"{number:064x}"), str(number * 7919 % 5000)
        draft = record.reading(slot, origin, value, Rank.MEASURED)
        rows.append(
            StoredRecord(
                info.device, draft.end_us, draft.kind, draft.register, draft.begin_us,
                number, draft.rank, TYPE_RECORD, 2026, draft.record, info.shard,
            )
        )  # fmt: skip
    return rows


def stored_day(customer_db: SqliteCustomerDb, registry: Registry) -> int:
    """Store a day of quarter-hours; the log size after it."""
    shape = record.shape("reading", REGISTER, REGISTER, quantity.ACTIVE_ENERGY, '["0.0.0"]')
    devices = registry.devices(None)
    begin_us, end_us = local_day(DAY, ZONE)
    index = 0
    for at_us in range(begin_us, end_us, SLOT_US):
        slot = record.slot(shape, parse(rfc3339(at_us)), parse(rfc3339(at_us + SLOT_US)))
        for first in range(0, len(devices), MESSAGE_METERS):
            rows = rows_at(slot, devices[first : first + MESSAGE_METERS], index)
            index += len(rows)
            customer_db.store(rows, index)
    return index


@contextmanager
def day_of(count: int) -> Iterator[tuple[SqliteCustomerDb, Registry, SqliteVault, SqliteBook, int]]:
    """The stores with a day of `count` meters in them, and the log size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        customer_db = SqliteCustomerDb(folder / "scd")
        vault = SqliteVault(folder / "vault", SystemClock())
        book = SqliteBook(folder / "book")
        try:
            registry = registered(vault, count)
            size = stored_day(customer_db, registry)
            yield customer_db, registry, vault, book, size
        finally:
            for store in (customer_db, vault, book):
                store.close()


def main(count: int = DEVICES) -> float:
    """Seconds that closing a day of `count` devices takes."""
    with day_of(count) as (customer_db, registry, vault, book, size):
        vault.salt_keys([info.device for info in registry.devices(None)], DAY.year)
        started = time.perf_counter()
        closed = close_day(customer_db, registry, vault, book, day=DAY, k=1, prefix=size, time_us=0)
        took_s = time.perf_counter() - started
        assert len(closed.entries) == count
    return took_s


if __name__ == "__main__":
    seconds = main()
    print(f"{seconds:.2f} s for {DEVICES:,}; {seconds * 100_000 / DEVICES:.0f} s for 100,000")
