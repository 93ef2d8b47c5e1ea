"""Cassandra killed and paused under load: Unavailable, then it goes on; nothing lost, nothing half.

And the tables: made once though several start, and used with no more rights than a role needs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from cassandra_support import address, scd_of
from customer_db_suite import a_row, all_of

from bal.errors import Stop, Unavailable
from bal.model import Pseudonym, StoredRecord
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_layout import Layout
from infra.cassandra_schema import DATA, GRANTS, LOG, STEPS, migrate
from infra.cassandra_session import CassandraSession
from infra.servers import process, stack
from infra.servers.connect import CassandraAt
from infra.servers.place import NAMES
from tests.servers_fixture import start

METERS = 40  # of two shards: enough to land and to be settled
PAUSE_S = 8
TIMEOUT_S = 2
STORED_BETWEEN = 12  # batches from one fault to the next
EAGER = Layout(direct_devices=4, settle_at=4)


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "data"
    data.mkdir()
    yield data
    stack.down(data, NAMES, lambda *_: None)


def batch(number: int) -> list[StoredRecord]:
    """A head-end's message, the same whenever it is made."""
    return [
        a_row(
            number * METERS + meter,
            shard=f"feeder-7/{meter % 2}",
            device=Pseudonym(f"meter-{meter:02}"),
            begin_us=number * 900_000_000,
            end_us=(number + 1) * 900_000_000,
            record=b"%d of %d" % (number, meter) * 9,
        )
        for meter in range(METERS)
    ]


class Load:
    """One that stores and one that reads, until they are stopped."""

    def __init__(self, at: CassandraAt) -> None:
        self._sessions = [
            CassandraSession(address(at, role), request_timeout_s=TIMEOUT_S)
            for role in ("reader", "writer")
        ]
        self.db = CassandraCustomerDb("load", *self._sessions, layout=EAGER, recent_bytes=0)
        self.told, self.read, self.refused = 0, 0, 0  # batches stored, reads, Unavailable
        self.faults: list[BaseException] = []
        self._stop = Event()
        self._threads = [
            Thread(target=self._watched, args=(work,), daemon=True)
            for work in (self._store, self._read)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "a thread of the load does not end"
        for session in self._sessions:
            session.close()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for it, for three minutes."""
        deadline = time.monotonic() + 180
        while not holds() and not self.faults:
            assert time.monotonic() < deadline, "it did not go on"
            time.sleep(0.05)
        assert self.faults == []

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                try:
                    work()
                except Unavailable:
                    self.refused += 1
                    self._stop.wait(0.2)
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self.faults.append(error)

    def _store(self) -> None:
        self.db.store(batch(self.told), (self.told + 1) * METERS)
        while self.db.tidy() and not self._stop.is_set():
            pass
        self.told += 1

    def _read(self) -> None:
        told, size = self.told, self.db.size()
        assert size >= told * METERS
        assert size % METERS == 0
        if size:
            check(self.db, size)
            self.read += 1


def check(db: CassandraCustomerDb, size: int) -> None:
    """All rows below `size` are there, in each way of asking for them."""
    wanted = [row for number in range(size // METERS) for row in batch(number)]
    last = wanted[-METERS:]
    assert db.records(size - METERS, size) == last
    page = db.readings(all_of(as_of_size=size, limit=len(wanted) + 1))
    assert page.rows == wanted
    of_one = db.readings(all_of(device="meter-07", as_of_size=size, limit=len(wanted)))
    assert of_one.rows == [row for row in wanted if row.device == "meter-07"]


def test_killed_and_paused_under_load_it_goes_on_and_has_everything(own_folder: Path) -> None:
    at = start(own_folder, "cassandra").cassandra
    assert at is not None
    migrate(address(at, "migrator"), "customer")
    with Load(at) as load:
        load.until(lambda: load.told >= STORED_BETWEEN and load.read > 0)
        for fault in ("kill", "pause", "kill"):
            child = process.found(at.place.folder)
            assert child is not None
            before, reads, refused = load.told, load.read, load.refused
            process.send(child, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
            load.until(lambda: load.refused > refused)  # noqa: B023 - called here
            if fault == "kill":
                assert start(own_folder, "cassandra").cassandra == at
            else:
                time.sleep(PAUSE_S)
                process.send(child, signal.SIGCONT)
            load.until(lambda: load.told >= before + STORED_BETWEEN)  # noqa: B023
            load.until(lambda: load.read > reads + 1)  # noqa: B023
        told = load.told
    reader = address(at, "reader")
    with closing(CassandraCustomerDb.connect("load", reader)) as db:
        size = db.size()
        assert size >= told * METERS
        check(db, size)
    stack.down(own_folder, ["cassandra"], lambda *_: None)
    with pytest.raises(Unavailable):
        CassandraCustomerDb.connect("load", reader)


CHILD = """
import sys
from pathlib import Path
from cassandra_support import address
from infra.cassandra_customer_db import CassandraCustomerDb
from test_cassandra_faults import EAGER, METERS, batch
from infra.servers.connect import read
at = read(Path(sys.argv[1])).cassandra
db = CassandraCustomerDb.connect(sys.argv[2], address(at, "reader"), address(at, "writer"))
db._layout = EAGER
number = db.size() // METERS
while True:
    db.store(batch(number), (number + 1) * METERS)
    number += 1
    print(number, flush=True)
"""


def test_a_storer_killed_at_any_moment_leaves_nothing_half_visible(
    cassandra_server: CassandraAt, tmp_path: Path
) -> None:
    at, scd = cassandra_server, scd_of(tmp_path)
    migrate(address(at, "migrator"), "customer")
    here = Path(__file__).resolve()
    paths = os.pathsep.join([str(here.parents[3]), str(here.parent)])
    with closing(CassandraCustomerDb.connect(scd, address(at, "reader"))) as db:
        for lines in (1, 7, 3, 12):
            with subprocess.Popen(
                [sys.executable, "-c", CHILD, str(at.place.data), scd],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": paths},
            ) as storer:
                assert storer.stdout is not None
                for _ in range(lines):
                    told = int(storer.stdout.readline())
                time.sleep(lines / 500)  # into the next call
                storer.kill()
                rest = storer.stdout.read().split()
            told = int(rest[-1]) if rest else told
            size = db.size()
            assert size >= told * METERS
            assert size % METERS == 0
            check(db, size)


# --- tables and rights ----------------------------------------------------------------------------


def test_several_that_start_together_make_the_tables_once(cassandra_server: CassandraAt) -> None:
    migrator = address(cassandra_server, "migrator")
    with ThreadPoolExecutor(3) as pool:
        steps = list(pool.map(lambda _: migrate(migrator, "customer"), range(3)))
    assert steps == [len(STEPS["customer"])] * 3


def test_tables_of_a_newer_program_are_left_alone(cassandra_server: CassandraAt) -> None:
    migrator = address(cassandra_server, "migrator", LOG)
    migrate(migrator, "log")
    session = CassandraSession(migrator)
    newer = len(STEPS["log"]) + 1
    values = ("log", newer)
    try:
        session.rows(
            "INSERT INTO schema_version(name, step, done, claimed_by) VALUES(?, ?, true, '')",
            values,
        )
        with pytest.raises(Stop, match="store-version"):
            migrate(migrator, "log")
        session.rows("DELETE FROM schema_version WHERE name = ? AND step = ?", values)
    finally:
        session.close()
    migrate(migrator, "log")


PARTITIONS = {
    "progress": "scd = '-'",
    "shard": "scd = '-'",
    "owner": "scd = '-' AND shard = '-'",
    "device": "scd = '-' AND device = '-'",
    "home": "scd = '-' AND shard = '-' AND owner = ''",
    "segment": "scd = '-' AND shard = '-' AND owner = '' AND slice = 0",
    "place": "scd = '-' AND lane = 0 AND bucket = 0",
    "heads": "log = '-'",
}


@pytest.mark.parametrize("role", ["reader", "writer", "sequencer", "migrator"])
def test_a_role_may_do_what_it_needs_and_nothing_else(
    cassandra_server: CassandraAt, role: str
) -> None:
    at = cassandra_server
    migrate(address(at, "migrator"), "customer")
    migrate(address(at, "migrator", LOG), "log")
    if role == "migrator":
        expected = {table: {"ALTER"} for table in PARTITIONS}
    else:
        granted = {**GRANTS["customer"].get(role, {}), **GRANTS["log"].get(role, {})}
        expected = {table: set(granted.get(table, ())) for table in PARTITIONS}
    session = CassandraSession(address(at, role, "system"))
    until = time.monotonic() + 30  # what was granted just now takes as long as rights are cached
    try:
        found: dict[str, set[str]] = {}
        while found != expected and time.monotonic() < until:
            with suppress(Unavailable):  # a busy server may not answer in time
                found = rights_of(session)
            time.sleep(0.5)
        assert found == expected
        makes = allowed(session, f"CREATE TABLE {DATA}.mine(id int PRIMARY KEY)")
        if makes:
            session.plain(f"DROP TABLE {DATA}.mine")
    finally:
        session.close()
    assert makes == (role == "migrator")


def rights_of(session: CassandraSession) -> dict[str, set[str]]:
    """By table what this session is let do."""
    found: dict[str, set[str]] = {}
    for table, where in PARTITIONS.items():
        name = f"{LOG if table == 'heads' else DATA}.{table}"
        tried = {
            "SELECT": f"SELECT * FROM {name} WHERE {where}",
            "MODIFY": f"DELETE FROM {name} WHERE {where}",
            "ALTER": f"ALTER TABLE {name} WITH comment = ''",
        }
        found[table] = {right for right, cql in tried.items() if allowed(session, cql)}
    return found


def allowed(session: CassandraSession, statement: str) -> bool:
    try:
        session.plain(statement)
    except Stop as error:
        return error.code != "cassandra-refuses"
    return True


@pytest.mark.parametrize("role", ["reader", "sequencer"])
def test_who_may_not_store_is_refused(cassandra_server: CassandraAt, role: str) -> None:
    at = cassandra_server
    migrate(address(at, "migrator"), "customer")
    session = CassandraSession(address(at, role))
    try:
        with pytest.raises(Stop, match="cassandra-refuses"):
            session.plain("INSERT INTO progress(scd, lane, size) VALUES('x', 0, 1)")
    finally:
        session.close()


def test_a_wrong_password_is_refused(cassandra_server: CassandraAt, tmp_path: Path) -> None:
    (tmp_path / "reader").write_text("not it\n")
    at = address(cassandra_server, "reader")
    with pytest.raises(Stop, match="cassandra-refuses"):
        CassandraSession(replace(at, password_file=tmp_path / "reader"))
