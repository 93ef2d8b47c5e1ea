"""What the stores do when the disk is full, the file is damaged, or others look at it."""

import os
import resource
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Protocol

import pytest
import store_child as child

from bal.errors import GridsealError, Stop, Unavailable
from bal.model import ReadingsQuery
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault


class Store(Protocol):
    """One of the three, with a way to write call `n` and to read all that calls below it wrote."""

    def write(self, call: int) -> None: ...

    def read(self, calls: int) -> object: ...

    def close(self) -> None: ...


class Customer:
    def __init__(self, folder: Path) -> None:
        self.db = child.customer_db(folder)

    def write(self, call: int) -> None:
        rows = [child.row(index) for index in range(40 * call, 40 * call + 40)]
        self.db.store(rows, 40 * call + 40)

    def read(self, calls: int) -> object:
        size = self.db.size()
        assert size == 40 * calls
        page = self.db.readings(ReadingsQuery(None, as_of_size=size, limit=10**6))
        assert self.db.records(0, size) == page.rows
        return page.rows

    def close(self) -> None:
        self.db.close()


class Archive:
    def __init__(self, folder: Path) -> None:
        self.archive = SqliteArchive(folder, b"a" * 32, child.archive_key)

    def write(self, call: int) -> None:
        self.archive.put_many([child.item(10 * call + at) for at in range(10)])

    def read(self, calls: int) -> object:
        items = [child.item(offset) for offset in range(10 * calls)]
        for item in items:
            assert self.archive.summary("head-end", item.message_id) == item.summary
        found = [self.archive.raw(child.EPOCH, 0, item.message.offset) for item in items]
        assert self.archive.raw(child.EPOCH, 0, len(items)) is None
        assert found == [item.message for item in items]
        return found

    def close(self) -> None:
        self.archive.close()


class Vault:
    def __init__(self, folder: Path) -> None:
        source = Random(7)
        self.vault = SqliteVault(folder, child.FixedClock(), source.randbytes)

    def write(self, call: int) -> None:
        names = self.vault.pseudonyms(child.meters(2 * call))
        self.vault.salt_keys(list(names.values()), 2026)

    def read(self, calls: int) -> object:
        names = self.vault.find(
            [meter for call in range(calls) for meter in child.meters(2 * call)]
        )
        assert len(names) == calls * child.METERS_ASKED
        keys = [self.vault.salt_key(name, 2026) for name in names.values()]
        assert None not in keys
        assert [self.vault.identity(name) for name in names.values()] == list(names)
        return names, keys

    def close(self) -> None:
        self.vault.close()


STORES: list[type[Customer] | type[Archive] | type[Vault]] = [Customer, Archive, Vault]
each_store = pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)


def database(folder: Path) -> Path:
    (path,) = folder.glob("*.db")
    return path


# --- who may look ---------------------------------------------------------------------------------


@each_store
def test_only_its_owner_may_look(store: Callable[[Path], Store], tmp_path: Path) -> None:
    folder = tmp_path / "of its own"
    before = os.umask(0)
    try:
        with closing(store(folder)) as opened:
            opened.write(0)
            opened.read(1)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {name.rsplit("-", 1)[-1] for name in modes} >= {"wal", "shm"}
    assert set(modes.values()) == {0o600}


@each_store
def test_a_folder_that_was_open_to_others_is_closed(
    store: Callable[[Path], Store], tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o755)
    store(tmp_path / "s").close()
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


@each_store
def test_nothing_half_made_is_left_over(store: Callable[[Path], Store], tmp_path: Path) -> None:
    store(tmp_path / "s").close()
    assert [path.name for path in (tmp_path / "s").iterdir()] == [database(tmp_path / "s").name]


def test_what_the_vault_deletes_is_overwritten(tmp_path: Path) -> None:
    with (
        closing(SqliteVault(tmp_path / "vault", child.FixedClock())) as vault,
        vault._file.writing() as db,
    ):
        assert db.execute("PRAGMA secure_delete").fetchone() == (1,)


# --- the disk -------------------------------------------------------------------------------------


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """A write behind `size` bytes of any file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def calls_until_unavailable(opened: Store) -> int:
    for call in range(1, 2000):
        try:
            opened.write(call)
        except Unavailable:
            return call
    pytest.fail("the disk was never full")


@each_store
@pytest.mark.parametrize("limit_kib", [0, 40, 100, 333])
def test_on_a_full_disk_a_call_does_all_or_nothing_and_later_goes_on(
    store: Callable[[Path], Store], tmp_path: Path, limit_kib: int
) -> None:
    with closing(store(tmp_path / "s")) as opened:
        opened.write(0)
        with files_limited_to(limit_kib * 1024):
            done = calls_until_unavailable(opened)
        opened.read(done)
        opened.write(done)
        opened.read(done + 1)
    with closing(store(tmp_path / "s")) as opened:
        opened.read(done + 1)


@each_store
def test_a_disk_that_is_full_from_the_start_is_no_fault_of_the_file(
    store: Callable[[Path], Store], tmp_path: Path
) -> None:
    with files_limited_to(100), pytest.raises(Unavailable):
        store(tmp_path / "s")
    with closing(store(tmp_path / "s")) as opened:
        opened.write(0)
        opened.read(1)


@each_store
def test_while_another_process_holds_the_file_it_is_unavailable(
    store: Callable[[Path], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.sqlite_file.BUSY_TIMEOUT_S", 0.01)
    with closing(store(tmp_path / "s")) as opened:
        opened.write(0)
        other = sqlite3.connect(database(tmp_path / "s"), isolation_level=None)
        with closing(other):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="another process holds it"):
                opened.write(1)
            opened.read(1)
            other.execute("ROLLBACK")
        opened.write(1)
        opened.read(2)


@each_store
def test_a_folder_that_cannot_be_made_is_unavailable(
    store: Callable[[Path], Store], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        store(tmp_path / "file" / "s")


@each_store
def test_after_closing_it_is_unavailable(store: Callable[[Path], Store], tmp_path: Path) -> None:
    opened = store(tmp_path / "s")
    opened.write(0)
    opened.close()
    with pytest.raises(Unavailable, match="closed"):
        opened.write(1)
    with pytest.raises(Unavailable, match="closed"):
        opened.read(1)


# --- the file -------------------------------------------------------------------------------------


def made(store: Callable[[Path], Store], folder: Path, calls: int) -> Path:
    with closing(store(folder)) as opened:
        for call in range(calls):
            opened.write(call)
    return database(folder)


@each_store
@pytest.mark.parametrize("share", [0, 1, 30, 50, 80])
def test_a_cut_file_stops(store: Callable[[Path], Store], tmp_path: Path, share: int) -> None:
    path = made(store, tmp_path / "s", 4)
    os.truncate(path, path.stat().st_size * share // 100)
    with pytest.raises(Stop) as caught:
        store(tmp_path / "s")
    assert caught.value.code == "store-damaged"
    assert caught.value.text.startswith(path.name)
    assert "\n" not in caught.value.text


@each_store
def test_a_file_that_is_no_database_stops(store: Callable[[Path], Store], tmp_path: Path) -> None:
    made(store, tmp_path / "s", 1).write_bytes(b"not a database" * 1000)
    with pytest.raises(Stop, match="store-damaged"):
        store(tmp_path / "s")


@each_store
def test_a_file_of_another_version_stops(store: Callable[[Path], Store], tmp_path: Path) -> None:
    with closing(sqlite3.connect(made(store, tmp_path / "s", 1))) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Stop, match="store-version") as caught:
        store(tmp_path / "s")
    assert "99" in caught.value.text


@each_store
@pytest.mark.parametrize("seed", range(4))
def test_bytes_altered_anywhere_never_bring_down_more_than_the_call(
    store: Callable[[Path], Store], tmp_path: Path, seed: int
) -> None:
    """Right, or an error of ours, or a record whose commitment no longer fits: nothing else."""
    chance = Random(seed)
    path = made(store, tmp_path / "s", 3)
    whole = path.read_bytes()
    for at in chance.sample(range(len(whole)), 40):
        data = bytearray(whole)
        data[at : at + 4] = chance.randbytes(4)
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / path.name).write_bytes(data)
        try:
            with closing(store(tmp_path / "t")) as opened:
                opened.read(3)
        except (GridsealError, AssertionError):
            continue


def segments_of(folder: Path) -> list[tuple[int, int]]:
    """(rows, level) of every segment; each has all its chunks, and no chunk is left over."""
    with closing(sqlite3.connect(database(folder))) as db:
        found = db.execute("SELECT id, count, level FROM segment").fetchall()
        owners = {number >> 20 for (number,) in db.execute("SELECT id FROM chunk")}
    assert owners == {number for number, _, _ in found}
    return [(rows, level) for _, rows, level in found]


def test_single_rows_end_up_in_few_segments(tmp_path: Path) -> None:
    """One reading a message, two shards, a thousand messages on one day."""
    with closing(SqliteCustomerDb(tmp_path / "s", merge_at=4)) as db:
        for index in range(1000):
            row = child.row(index)._replace(end_us=43_200_000_000, register=f"r{index}")
            db.store([row], index + 1)
        assert len(db.records(0, 1000)) == 1000
    found = segments_of(tmp_path / "s")
    assert sum(rows for rows, _ in found) == 1000
    assert len(found) <= 2 * 3 * 5  # shards x (merge_at - 1) x levels


def test_large_segments_are_not_written_twice(tmp_path: Path) -> None:
    with closing(SqliteCustomerDb(tmp_path / "s", merge_at=2, small_bytes=100)) as db:
        for call in range(6):
            rows = [child.row(index) for index in range(40 * call, 40 * call + 40)]
            db.store(rows, 40 * call + 40)
    assert {level for _, level in segments_of(tmp_path / "s")} == {255}
