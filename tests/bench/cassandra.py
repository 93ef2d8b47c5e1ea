"""The customer database in Cassandra, held against its twin in SQLite, in one run.

Rows of messages of 1,000 meters stored; one device's day read; a year of quarter-hours read by
pages, of a head-end's messages and of messages of one reading. `python -m tests.bench.cassandra`
starts Cassandra, as `gridseal servers up` does, in a folder that it removes.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from bal.harmonise import quantity, record
from bal.harmonise.instant import parse
from bal.model import (
    DeviceInfo,
    ReadingsQuery,
    StoredRecord,
)
from bal.ports import CustomerDb
from bal.times import rfc3339
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_layout import Layout
from infra.cassandra_schema import DATA, migrate
from infra.cassandra_session import CassandraAddress, CassandraSession
from infra.interpreter import tune_interpreter
from infra.servers import stack
from infra.servers.connect import CassandraAt, read
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.bench.device_days import MESSAGE_METERS, REGISTER, SLOT_US, registered, rows_at

CACHE = Path(__file__).resolve().parents[2] / ".cache"
SLOTS = 96
YEAR_SLOTS = 365 * SLOTS
BEGIN_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SLOTS_A_CALL, SETTLE_AT = 7, 4
SINGLE_DAYS = 30  # in messages of one reading; the year is counted up from them
YEAR_METERS = 16  # share their messages with the one that is read


@contextmanager
def server() -> Iterator[CassandraAt]:
    """A Cassandra of one node with the tables in it."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name).resolve()
        (seen,) = stack.up(data, ["cassandra"], CACHE, lambda *_: None)
        assert seen.is_up, seen.state
        try:
            at = read(data).cassandra
            assert at is not None
            migrate(address(at, "migrator"), "customer")
            yield at
        finally:
            stack.down(data, ["cassandra"], lambda *_: None)


def address(at: CassandraAt, role: str) -> CassandraAddress:
    """How a role enters."""
    return CassandraAddress(
        [at.host], at.port, at.ca, at.client.certificate, at.client.key, role,
        at.roles[role].password_file, DATA,
    )  # fmt: skip


def on_disk(at: CassandraAt) -> float:
    """Bytes of the tables that hold rows and index maps, after everything was flushed."""
    stack.down(at.place.data, ["cassandra"], lambda *_: None)
    (seen,) = stack.up(at.place.data, ["cassandra"], CACHE, lambda *_: None)
    assert seen.is_up, seen.state
    tables = at.place.folder / "data" / "data" / DATA
    files = [path for name in ("segment-*", "place-*") for path in tables.glob(f"{name}/*-Data.db")]
    return sum(path.stat().st_size for path in files)


def messages(
    devices: Sequence[DeviceInfo], begin_us: int, slots: int, meters: int
) -> Iterator[tuple[list[StoredRecord], int]]:
    """The rows of head-ends' messages, a slot after the other, and the log size behind each."""
    shape = record.shape("reading", REGISTER, REGISTER, quantity.ACTIVE_ENERGY, '["0.0.0"]')
    index = 0
    for at_us in range(begin_us, begin_us + slots * SLOT_US, SLOT_US):
        slot = record.slot(shape, parse(rfc3339(at_us)), parse(rfc3339(at_us + SLOT_US)))
        for first in range(0, len(devices), meters):
            rows = [evident(row) for row in rows_at(slot, devices[first : first + meters], index)]
            index += len(rows)
            yield rows, index


def evident(row: StoredRecord) -> StoredRecord:
    """With an evidence that compresses as little as a real one."""
    plain, real = b"%064x" % row.index, sha256(b"%d" % row.index).hexdigest().encode()
    return row._replace(record=row.record.replace(plain, real))


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    gc.collect()
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def stored(db: CustomerDb, work: Sequence[tuple[list[StoredRecord], int]]) -> float:
    """Rows a second."""
    first = work[0][1] - len(work[0][0])

    def store() -> None:
        for rows, size in work:
            db.store(rows, size)
        while db.tidy():  # what is left for an idle moment belongs to the price
            pass
        db.sync()

    took_ms = timed(store)
    return (work[-1][1] - first) / took_ms * 1000


def year(db: CustomerDb, device: str, limit: int) -> int:
    """Read all of a device by pages; rows."""
    query = ReadingsQuery(
        frozenset(["feeder"]), device=device, kind="reading", as_of_size=10**12, limit=limit,
        from_us=BEGIN_US, to_us=BEGIN_US + (YEAR_SLOTS + 1) * SLOT_US,
    )  # fmt: skip
    count = 0
    while True:
        page = db.readings(query)
        count += len(page.rows)
        if page.after is None:
            return count
        query = replace(query, after=page.after)


def median_ms(work: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """p50 and p99 of as many calls."""
    times = sorted(timed(partial(work, number)) for number in range(rounds))
    return statistics.median(times), times[len(times) * 99 // 100]


def day_of(device: str, day: int) -> ReadingsQuery:
    """All of one device's readings of a UTC day."""
    begin = BEGIN_US + day * SLOTS * SLOT_US
    return ReadingsQuery(
        frozenset(["feeder"]), device=device, kind="reading", as_of_size=10**12,
        from_us=begin + 1, to_us=begin + SLOTS * SLOT_US + 1,
    )  # fmt: skip


def day_read(db: CustomerDb, devices: Sequence[DeviceInfo], day: int, number: int) -> None:
    """Read a day of one device, each time of another."""
    assert len(db.readings(day_of(devices[number * 7].device, day)).rows) == SLOTS


def compared(at: CassandraAt, devices: Sequence[DeviceInfo], found: dict[str, float]) -> None:
    """A day of messages of 1,000 meters into both, in turn; then days read."""
    with tempfile.TemporaryDirectory() as name:
        sqlite = SqliteCustomerDb(Path(name) / "scd")
        cassandra = CassandraCustomerDb.connect("day", address(at, "reader"), address(at, "writer"))
        work = list(messages(devices, BEGIN_US, 2 * SLOTS, MESSAGE_METERS))
        stored(sqlite, work[:SLOTS])
        stored(cassandra, work[:SLOTS])  # warms the server up
        rates = []
        for first in range(SLOTS, 2 * SLOTS, SLOTS // 4):
            part = work[first : first + SLOTS // 4]
            rates.append((stored(sqlite, part), stored(cassandra, part)))
        found["sqlite_rate"] = statistics.median(rate for rate, _ in rates)
        found["cassandra_rate"] = statistics.median(rate for _, rate in rates)
        found["ratio"] = statistics.median(b / a for a, b in rates)
        cassandra.close()  # it remembers what it stored last
        cassandra = CassandraCustomerDb.connect("day", address(at, "reader"))
        for key, day in (("day", 0), ("unsettled_day", 1)):
            p50, p99 = median_ms(partial(day_read, cassandra, devices, day), 100)
            found |= {f"{key}_p50_ms": p50, f"{key}_p99_ms": p99}
        found["sqlite_day_p50_ms"] = median_ms(partial(day_read, sqlite, devices, 0), 100)[0]
        found["record_p50_ms"] = median_ms(lambda n: cassandra.record(n * 977), 100)[0]
        pages = [db.readings(day_of(devices[3].device, 1)) for db in (sqlite, cassandra)]
        assert pages[0] == pages[1]
        assert len(pages[0].rows) == SLOTS
        sqlite.close()
        cassandra.close()


def year_read(at: CassandraAt, devices: Sequence[DeviceInfo], found: dict[str, float]) -> None:
    """A year of quarter-hours of one device that shares its head-end's messages with others.

    Several slots a call, or storing would take an hour; settled thrice a day, as 96 calls are.
    """
    sessions = [CassandraSession(address(at, role)) for role in ("reader", "writer")]
    db = CassandraCustomerDb("year", *sessions, layout=Layout(settle_at=SETTLE_AT))
    batch: list[StoredRecord] = []
    meters = [one for one in devices if one.shard == devices[0].shard][:YEAR_METERS]
    for rows, size in messages(meters, BEGIN_US, YEAR_SLOTS, MESSAGE_METERS):
        batch += rows
        if len(batch) == SLOTS_A_CALL * YEAR_METERS or size == YEAR_SLOTS * YEAR_METERS:
            db.store(batch, size)
            while db.tidy():
                pass
            batch = []
    for limit in (1_000, 10_000):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            assert year(db, devices[0].device, limit) == YEAR_SLOTS
            times.append((time.perf_counter() - started) * 1000)
        found[f"year_by_{limit}_ms"] = statistics.median(times)
    single = CassandraCustomerDb("single", *sessions)
    for rows, size in messages(devices[:1], BEGIN_US, SINGLE_DAYS * SLOTS, 1):
        single.store(rows, size)
    took_ms = timed(partial(year, single, devices[0].device, 10_000))
    found["year_of_single_readings_ms"] = took_ms * 365 / SINGLE_DAYS
    for session in sessions:
        session.close()


def main(*, with_year: bool = True) -> dict[str, float]:
    """Medians by name; rates in rows a second, times in milliseconds."""
    tune_interpreter()
    found: dict[str, float] = {}
    with server() as at, tempfile.TemporaryDirectory() as name:
        vault = SqliteVault(Path(name) / "vault", SystemClock())
        devices = registered(vault, MESSAGE_METERS).devices(None)
        vault.close()
        compared(at, devices, found)
        found["bytes_a_reading"] = on_disk(at) / (2 * SLOTS * MESSAGE_METERS)
        if with_year:
            year_read(at, devices, found)
    return found


if __name__ == "__main__":
    for what, figure in main(with_year="--no-year" not in sys.argv).items():
        print(f"{what:<24} {figure:>12,.1f}")
