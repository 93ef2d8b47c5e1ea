"""fsck and replay against one alteration at a time: each is named, with its check and its place."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bal.pipeline
from bal.certify.note import checkpoint_text
from bal.certify.tiles import split_bundle
from bal.errors import Stop
from bal.model import Digest, Pseudonym, StoredRecord, TreeHead
from infra.audit import Audit
from infra.file_log import FileLog
from infra.fsck import fsck
from infra.fsck_days import DaysCheck
from infra.key_signer import CheckpointSigner
from infra.replay import replay
from infra.sqlite_book import SqliteBook
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.squeezed import squeeze, unsqueezed
from tests.journey.small_platform import Small, cim

METERS = range(20)
MANY = range(100, 700)  # new ones: 1,201 entries
VALUE = b'"value":"15'
PART = 64  # entries, in place of 8,192
FILES = [
    "log/heads.db", "log/headers.db", "log/published.db", "scd/customer.db", "scd/progress.db",
    "archive/archive.db", "vault/vault.db", "bus/bus.db",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bal.pipeline, "BATCH_ENTRIES_MAX", PART)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some 1,400 entries, of eleven messages, closed in peace."""
    root = tmp_path_factory.mktemp("built") / "data"
    small = Small(root)
    small.start()
    small.enrol("headend")
    for number in range(6):
        small.take("headend", cim(number, METERS))
    small.take("headend", cim(0, METERS))  # a retry
    small.take("headend", cim(6, MANY))
    small.take("headend", cim(7, METERS, value="no number"))
    small.take("headend", cim(8, METERS))
    small.close()
    return root


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    return Path(shutil.copytree(built, tmp_path / "data"))


def execute(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(sql, values).rowcount == 1


def value(path: Path, sql: str, *values: object) -> object:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql, values).fetchone()[0]


def flipped(data: object, at: int) -> bytes:
    """One bit of one byte is another."""
    assert isinstance(data, bytes)
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def flip(path: Path, at: int) -> None:
    path.write_bytes(flipped(path.read_bytes(), at))


def found(audit: Audit) -> set[tuple[str, str]]:
    return {(one.check, one.where) for one in audit.differences}


def checks(audit: Audit) -> set[str]:
    return {one.check for one in audit.differences}


def last_size(data: Path) -> int:
    size = value(data / "log" / "heads.db", "SELECT size FROM heads")
    assert isinstance(size, int)
    return size


def test_nothing_differs_where_nothing_was_altered(data: Path) -> None:
    for audit in (fsck(data), replay(data)):
        assert audit.differences == []
        assert audit.unchecked == {}
    counts = fsck(data).counts
    assert counts["rows"] == counts["log entries"] - 3  # genesis, rules, a tick
    assert counts["raw messages"] == 10
    assert replay(data).counts["messages made again"] == 10
    small = Small(data)
    small.start()
    small.close()


# -- it only looks ---------------------------------------------------------------------------------


def content(data: Path) -> dict[str, bytes]:
    return {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()}


def unlocked(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without what SQLite needs to read beside a writer; none of it holds data."""
    return {
        name: data
        for name, data in files.items()
        if not name.endswith("-shm") and not (name.endswith("-wal") and not data)
    }


@pytest.mark.parametrize("audit", [fsck, replay])
def test_nothing_is_written(data: Path, audit: Callable[[Path], Audit]) -> None:
    before = content(data)
    assert audit(data).differences == []
    assert unlocked(content(data)) == before


def test_no_absent_file_is_made(data: Path) -> None:
    for name in FILES:
        (data / name).unlink()
    before = content(data)
    audit = fsck(data)
    replay(data)
    assert unlocked(content(data)) == before
    assert {"log/heads.db", "archive/archive.db", "vault/vault.db"} <= {
        where for check, where in found(audit) if check == "store-missing"
    }


@pytest.mark.parametrize("file", ["vault/vault.db", "archive/archive.db", "log/published.db"])
def test_a_file_that_was_deleted(data: Path, file: str) -> None:
    (data / file).unlink()
    assert ("store-missing", file) in found(fsck(data))


def refuse_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system that is mounted read-only answers."""
    access = os.access

    def refused(path: Path, mode: int) -> bool:
        return not mode & os.W_OK and access(path, mode)

    monkeypatch.setattr(os, "access", refused)


def test_a_copy_on_read_only_media(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_writing(monkeypatch)
    before = content(data)
    for audit in (fsck(data), replay(data)):
        assert audit.differences == []
    assert content(data) == before


def test_a_copy_that_lacks_what_sqlite_needs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_writing(monkeypatch)
    (data / "log" / "heads.db-wal").write_bytes(b"not yet in heads.db")
    ((check, _),) = found(fsck(data))
    assert check == "data-folder"
    (text,) = [one.text for one in fsck(data).differences]
    assert "heads.db-wal" in text
    assert "copy the data folder to where it can be written" in text


def test_what_a_platform_publishes_meanwhile_is_no_difference(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(data)
    small.start()
    checkpoint, left = FileLog.checkpoint, [20]

    def looked_at(log: FileLog) -> object:
        found = checkpoint(log)
        if log is not small.stores.log and left:
            small.take("headend", cim(left.pop(), METERS))
        return found

    monkeypatch.setattr(FileLog, "checkpoint", looked_at)
    audit = fsck(data)
    small.close()
    assert not left
    assert audit.differences == []


def test_what_a_platform_closes_meanwhile_is_no_difference(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(data)
    small.start()
    small.take("headend", cim(30, METERS))
    small.close_day("2026-01-01")
    days, run, count = ["2026-01-04", "2026-01-03"], DaysCheck.run, SqliteBook.count

    def behind_a_close(check: DaysCheck) -> None:
        small.close_day(days.pop())
        run(check)

    def counted(book: SqliteBook) -> int:
        if days:
            small.close_day(days.pop())
        return count(book)

    monkeypatch.setattr(DaysCheck, "run", behind_a_close)
    monkeypatch.setattr(SqliteBook, "count", counted)
    audit = fsck(data)
    small.close()
    assert audit.differences == []
    assert audit.counts["closes"] == 1


def test_beside_a_platform_and_after_its_end(data: Path) -> None:
    small = Small(data)
    small.start()
    small.take("headend", cim(20, METERS))
    assert fsck(data).differences == []
    small.kill()
    assert fsck(data).differences == []
    again = Small(data)
    again.start()
    again.take("headend", cim(21, METERS))
    again.close()
    assert fsck(data).differences == []


# -- the customer database -----------------------------------------------------------------------


def chunk_with(data: Path, what: bytes) -> tuple[int, bytes]:
    """Number and stored bytes of the last chunk of records that has these bytes."""
    with closing(sqlite3.connect(data / "scd" / "customer.db")) as db:
        rows = db.execute("SELECT id, data FROM chunk ORDER BY id DESC").fetchall()
    return next((number, stored) for number, stored in rows if what in unsqueezed(stored))


def test_a_byte_of_a_record(data: Path) -> None:
    number, stored = chunk_with(data, VALUE)
    chunk = unsqueezed(stored)
    altered = squeeze(flipped(chunk, chunk.index(VALUE) + 9))
    sql = "UPDATE chunk SET data = ? WHERE id = ?"
    execute(data / "scd" / "customer.db", sql, altered, number)
    audit = fsck(data)
    assert checks(audit) == {"row-altered"}
    ((_, where),) = found(audit)
    assert where.startswith("entry ")
    assert replay(data).differences == []  # it makes the entries from the messages


@pytest.mark.parametrize("at", [0, 1, 30, -1])
def test_a_byte_as_the_disk_has_it(data: Path, at: int) -> None:
    number, stored = chunk_with(data, VALUE)
    altered = flipped(stored, at % len(stored))
    sql = "UPDATE chunk SET data = ? WHERE id = ?"
    execute(data / "scd" / "customer.db", sql, altered, number)
    assert checks(fsck(data)) == {"store-damaged"}
    assert replay(data).differences == []


def segment(data: Path, smaller_than: int = 1000) -> tuple[object, list[int]]:
    """One of readings, and the indexes of its rows."""
    path = data / "scd" / "customer.db"
    with closing(sqlite3.connect(path)) as db:
        number, first, last, count = db.execute(
            "SELECT segment.id, first, last, count FROM segment JOIN shard ON shard = shard.id"
            " WHERE name LIKE 'grid/%' AND count = 20 ORDER BY segment.id LIMIT 1"
        ).fetchone()
    assert last - first + 1 == count < smaller_than
    return number, list(range(first, last + 1))


def test_a_deleted_segment(data: Path) -> None:
    number, indexes = segment(data)
    execute(data / "scd" / "customer.db", "DELETE FROM segment WHERE id = ?", number)
    assert ("store-damaged", f"entries {indexes[0]} to {indexes[-1]}") in found(fsck(data))


def test_a_deleted_chunk(data: Path) -> None:
    number, indexes = segment(data)
    assert isinstance(number, int)
    execute(data / "scd" / "customer.db", "DELETE FROM chunk WHERE id = ?", number << 20)
    assert ("store-damaged", f"entries {indexes[0]} to {indexes[-1]}") in found(fsck(data))


def test_a_deleted_index_map(data: Path) -> None:
    path = data / "scd" / "customer.db"
    first = value(path, "SELECT max(first) FROM place")
    execute(path, "DELETE FROM place WHERE first = ?", first)
    audit = fsck(data)
    assert any(c == "row-missing" and w.startswith(f"entries {first} to") for c, w in found(audit))


@pytest.mark.parametrize("at", range(0, 2000, 61))
def test_any_byte_of_a_key_table(data: Path, at: int) -> None:
    """Pseudonym, register, times, rank, index: none can be altered unseen."""
    number, indexes = segment(data)
    path = data / "scd" / "customer.db"
    keys = value(path, "SELECT keys FROM segment WHERE id = ?", number)
    assert isinstance(keys, bytes)
    altered = flipped(keys, at % len(keys))
    execute(path, "UPDATE segment SET keys = ? WHERE id = ?", altered, number)
    audit = fsck(data)
    assert audit.differences
    assert str(indexes[0])[:-2] in " ".join(where for _, where in found(audit))


def test_a_customer_database_that_was_deleted(data: Path) -> None:
    for file in (data / "scd").glob("customer.db*"):
        file.unlink()
    assert ("projection-differs", "customer database") in found(fsck(data))
    with pytest.raises(Stop, match="projection-differs") as caught:
        Small(data)
    assert "remove both" in caught.value.text


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_projection_that_was_deleted_is_made_again(data: Path, trimmed: bool) -> None:
    """From the bus or, where that has forgotten, from the raw archive."""
    shutil.rmtree(data / "scd")
    if trimmed:
        with closing(sqlite3.connect(data / "bus" / "bus.db")) as db, db:
            db.execute("DELETE FROM raw")
    audit = fsck(data)
    assert audit.unchecked["entries whose rows the next start makes"] == last_size(data)
    small = Small(data)
    small.start()
    small.close()
    audit = fsck(data)
    assert audit.differences == []
    assert audit.unchecked == {}
    assert audit.counts["rows"] > 1_000


# -- rows and the vault ----------------------------------------------------------------------------


def rewrite(data: Path, change: Callable[[StoredRecord], StoredRecord]) -> list[StoredRecord]:
    """The customer database with other rows, as whoever may write it could make it; what it had."""
    size = last_size(data)
    with closing(SqliteCustomerDb(data / "scd")) as db:
        rows = db.records(0, size)
    for file in (data / "scd").glob("customer.db*"):
        file.unlink()
    with closing(SqliteCustomerDb(data / "scd")) as db:
        db.store([change(row) for row in rows], size)
    return rows


def but(row: StoredRecord, **changes: object) -> StoredRecord:
    members: dict[str, Any] = {name: getattr(row, name) for name in StoredRecord.__annotations__}
    return StoredRecord(**{**members, **changes})


def a_reading(data: Path) -> StoredRecord:
    with closing(SqliteCustomerDb(data / "scd")) as db:
        rows = db.records(0, last_size(data))
    return [row for row in rows if row.kind == "reading"][40]


@pytest.mark.parametrize("year", [1998, 2025, 2027, 2031])
def test_another_year_is_no_erasure(data: Path, year: int) -> None:
    index = a_reading(data).index
    rewrite(data, lambda row: but(row, year=year) if row.index == index else row)
    audit = fsck(data)
    assert found(audit) == {("row-altered", f"entry {index}")}
    assert audit.unchecked == {}


def test_another_year_where_the_years_own_key_was_destroyed(data: Path) -> None:
    """The one it should have opened with is gone too: still no other year is believed."""
    path, subject = salt_key(data)
    reading = "SELECT pseudonym FROM subject WHERE id = ?"
    device = value(path, reading, subject)
    execute(path, "DELETE FROM salt_key WHERE subject = ?", subject)
    rewrite(data, lambda row: but(row, year=1998) if row.device == device else row)
    audit = fsck(data)
    assert checks(audit) == {"row-altered"}
    assert len(audit.differences) == 8


def test_another_device_is_no_erasure(data: Path) -> None:
    index, nobody = a_reading(data).index, Pseudonym("A" * 43)
    rewrite(data, lambda row: but(row, device=nobody) if row.index == index else row)
    audit = fsck(data)
    assert found(audit) == {("row-altered", f"entry {index}")}
    assert audit.unchecked == {}


def test_an_erased_subject_is_no_difference(data: Path) -> None:
    """Neither key nor name is left in the vault, and the rows are still to be removed."""
    path, subject = salt_key(data)
    execute(path, "DELETE FROM salt_key WHERE subject = ?", subject)
    execute(path, "DELETE FROM subject WHERE id = ?", subject)
    audit = fsck(data)
    assert audit.differences == []
    assert audit.unchecked["rows whose key is gone"] == 8


@pytest.mark.parametrize("column", ["pseudonym", "pseudonym_key"])
def test_a_pseudonym_that_is_not_its_keys(data: Path, column: str) -> None:
    path, subject = salt_key(data)
    kept = value(path, f"SELECT {column} FROM subject WHERE id = ?", subject)
    other = "B" * 43 if column == "pseudonym" else flipped(kept, 3)
    execute(path, f"UPDATE subject SET {column} = ? WHERE id = ?", other, subject)
    assert ("pseudonym-differs", "vault/vault.db") in found(fsck(data))


# -- the log ---------------------------------------------------------------------------------------


def test_a_byte_of_a_full_tile(data: Path) -> None:
    flip(data / "log" / "tile" / "0" / "003", 32 * 17 + 5)
    assert found(fsck(data)) == {("tile-differs", "tile 0/3")}


def test_a_byte_of_the_right_edge(data: Path) -> None:
    (partial,) = [p for p in (data / "log" / "tile" / "0").rglob("*") if p.parent.suffix == ".p"]
    flip(partial, 3)
    n = int(partial.parent.name.removesuffix(".p"))
    assert found(fsck(data)) == {("tile-differs", f"tile 0/{n}")}
    with pytest.raises(Stop, match="log-damaged"):
        Small(data)


def test_a_missing_tile(data: Path) -> None:
    (data / "log" / "tile" / "0" / "002").unlink()
    assert found(fsck(data)) == {("tile-missing", "tile 0/2")}


def test_a_byte_of_an_entry(data: Path) -> None:
    path = data / "log" / "tile" / "entries" / "001"
    entries = split_bundle(path.read_bytes())
    assert all(len(entry) == 32 for entry in entries)
    flip(path, 34 * 100 + 2)
    audit = fsck(data)
    assert {("tile-differs", "tile 0/1"), ("row-altered", "entry 356")} <= found(audit)
    assert {"root-differs", "header-differs", "fork"} <= checks(audit)
    assert ("replay-differs", "entry 356") in found(replay(data))
    assert "root-differs" in checks(replay(data))


def test_a_length_within_a_bundle(data: Path) -> None:
    flip(data / "log" / "tile" / "entries" / "001", 34 * 100 + 1)
    assert ("bundle-missing", "entry bundle 1") in found(fsck(data))
    assert any(check == "store-damaged" for check, _ in found(replay(data)))


def test_a_missing_bundle(data: Path) -> None:
    (data / "log" / "tile" / "entries" / "004").unlink()
    assert ("bundle-missing", "entry bundle 4") in found(fsck(data))
    assert replay(data).differences != []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("root = zeroblob(32)", "root-differs"),
        ("size = size + 1", "root-differs"),
        ("size = size - 1", "root-differs"),
        ("version = version + 1", "header-missing"),
        ("version = version - 1", "header-missing"),
        ("taken = '{}'", "taken-differs"),
        ("taken = replace(taken, '}', '0}')", "taken-differs"),
        ("taken = '{'", "store-damaged"),
        ("root = NULL", "store-damaged"),
    ],
)
def test_the_heads_row(data: Path, change: str, check: str) -> None:
    execute(data / "log" / "heads.db", f"UPDATE heads SET {change}")
    audit = fsck(data)
    assert check in checks(audit)
    replay(data)
    if not change.startswith("version = version + 1"):
        with pytest.raises(Stop):
            Small(data).start()


def test_the_checkpoints_signature(data: Path) -> None:
    path = data / "log" / "published.db"
    note = value(path, "SELECT note FROM published")
    assert isinstance(note, bytes)
    altered = note[:-10] + (b"A" if note[-10:-9] != b"A" else b"B") + note[-9:]
    execute(path, "UPDATE published SET note = ?", altered)
    ((check, where),) = found(fsck(data))
    assert check in {"signature-invalid", "signature-missing"}
    assert where == f"checkpoint {last_size(data)}"


@pytest.mark.parametrize("change", ["root = zeroblob(32)", "size = size - 1"])
def test_the_checkpoints_row(data: Path, change: str) -> None:
    execute(data / "log" / "published.db", f"UPDATE published SET {change}")
    audit = fsck(data)
    assert "fork" in checks(audit)
    assert "checkpoint-differs" in checks(audit)
    with pytest.raises(Stop, match="checkpoint-differs"):
        Small(data)


def test_a_checkpoint_ahead_of_the_log(data: Path) -> None:
    execute(data / "log" / "published.db", "UPDATE published SET size = size + 1")
    assert "checkpoint-ahead" in checks(fsck(data))
    with pytest.raises(Stop, match="checkpoint-ahead"):
        Small(data)


def test_the_signers_memory(data: Path) -> None:
    memory = data / "keys" / "log.signed"
    memory.unlink()
    text = checkpoint_text("x.invalid/1", TreeHead(5, Digest(bytes(32))))
    CheckpointSigner("x.invalid/1", b"s" * 32, memory).sign(text)
    assert found(fsck(data)) == {("signer-behind", "keys/log.signed")}
    memory.write_text("no number\n")
    assert checks(fsck(data)) == {"store-damaged"}
    small = Small(data)
    with pytest.raises(Stop, match="signer-refuses"):
        small.start()
    small.release()


# -- batch headers -------------------------------------------------------------------------------


def batches(data: Path) -> list[tuple[int, int, bytes]]:
    with closing(sqlite3.connect(data / "log" / "headers.db")) as db:
        rows = db.execute("SELECT * FROM header ORDER BY version, number").fetchall()
    return [
        row for at, row in enumerate(rows) if at < 8 or at > len(rows) - 4 or b"again" in row[2]
    ]


def test_each_deleted_header(data: Path) -> None:
    for version, number, header in batches(data):
        path = data / "log" / "headers.db"
        execute(path, "DELETE FROM header WHERE version = ? AND number = ?", version, number)
        audit = fsck(data)
        assert {"header-missing", "header-gap"} & checks(audit), header
        replay(data)
        execute(path, "INSERT INTO header VALUES(?, ?, ?)", version, number, header)


MEMBERS = [
    "again", "count", "epoch", "first", "offset", "part", "partition", "prev", "registry", "rows",
    "rules", "v",
]  # fmt: skip


@pytest.mark.parametrize("member", MEMBERS)
def test_each_member_of_a_header(data: Path, member: str) -> None:
    altered = 0
    for version, number, header in batches(data):
        name = b'"%s":"' % member.encode()
        if name not in header:
            continue
        end = header.index(b'"', header.index(name) + len(name))
        digit = header[end - 1 : end]
        changed = header[: end - 1] + (b"7" if digit != b"7" else b"6") + header[end:]
        sql = "UPDATE header SET header = ? WHERE version = ? AND number = ?"
        execute(data / "log" / "headers.db", sql, changed, version, number)
        altered += 1
        assert fsck(data).differences, changed
        replay(data)
        execute(data / "log" / "headers.db", sql, header, version, number)
    assert altered


def test_a_header_that_is_no_json(data: Path) -> None:
    version, number, header = batches(data)[3]
    sql = "UPDATE header SET header = ? WHERE version = ? AND number = ?"
    execute(data / "log" / "headers.db", sql, b"\xff" + header, version, number)
    assert ("header-damaged", f"batch header {version}/{number}") in found(fsck(data))
    assert ("store-damaged", f"batch header {version}/{number}") in found(replay(data))


# -- archive, registry, vault, bus -----------------------------------------------------------------


def archived(data: Path) -> tuple[Path, object, str]:
    path = data / "archive" / "archive.db"
    number = value(path, "SELECT id FROM message WHERE place = 3")
    epoch = value(path, "SELECT epoch FROM message WHERE place = 3")
    return path, number, f"message {epoch}/0/3"


@pytest.mark.parametrize("column", ["sealed", "layout", "tag"])
def test_an_altered_message(data: Path, column: str) -> None:
    path, number, where = archived(data)
    kept = value(path, f"SELECT {column} FROM message WHERE id = ?", number)
    sql = f"UPDATE message SET {column} = ? WHERE id = ?"
    execute(path, sql, flipped(kept, 11), number)
    assert found(fsck(data)) == {("archive-damaged", where)}
    assert found(replay(data)) == {("archive-damaged", where)}


def test_a_deleted_message(data: Path) -> None:
    path, number, where = archived(data)
    execute(path, "DELETE FROM message WHERE id = ?", number)
    assert found(fsck(data)) == {("archive-missing", where)}
    audit = replay(data)
    assert audit.differences == []
    assert audit.unchecked == {"messages whose raw bytes or keys are gone": 1}


def test_a_deleted_summary(data: Path) -> None:
    path = data / "archive" / "archive.db"
    tag = value(path, "SELECT tag FROM message WHERE place = 3")
    execute(path, "UPDATE message SET summary = NULL WHERE tag = ?", tag)
    assert found(fsck(data)) == {("summary-missing", archived(data)[2])}


def test_another_messages_summary(data: Path) -> None:
    path = data / "archive" / "archive.db"
    tags = [value(path, "SELECT tag FROM message WHERE place = ?", at) for at in (3, 4)]
    sealed = value(path, "SELECT summary FROM message WHERE tag = ?", tags[1])
    execute(path, "UPDATE message SET summary = ? WHERE tag = ?", sealed, tags[0])
    ((check, where),) = found(fsck(data))
    assert (check, where) == ("store-damaged", archived(data)[2])


@pytest.mark.parametrize("how", ["altered", "deleted", "no-json"])
def test_the_registry(data: Path, how: str) -> None:
    path = data / "scd" / "progress.db"
    index = value(path, "SELECT max(log_index) FROM registry WHERE log_index < 20")
    if how == "deleted":
        execute(path, "DELETE FROM registry WHERE log_index = ?", index)
    elif how == "altered":
        sql = "UPDATE registry SET record = replace(CAST(record AS TEXT), 'active', 'revoked')"
        execute(path, f"{sql} WHERE log_index = ?", index)
    else:
        execute(path, "UPDATE registry SET record = x'ff' WHERE log_index = ?", index)
    assert found(fsck(data)) == {("registry-differs", f"entry {index}")}
    assert replay(data).differences == []  # it makes its own
    if how == "no-json":
        with pytest.raises(Stop, match="store-damaged"):
            Small(data)


def salt_key(data: Path) -> tuple[Path, object]:
    path = data / "vault" / "vault.db"
    sql = "SELECT id FROM subject WHERE identity LIKE '%0000000007'"
    return path, value(path, sql)


def test_an_altered_salt_key(data: Path) -> None:
    path, subject = salt_key(data)
    key = value(path, "SELECT key FROM salt_key WHERE subject = ?", subject)
    execute(path, "UPDATE salt_key SET key = ? WHERE subject = ?", flipped(key, 0), subject)
    audit = fsck(data)
    assert checks(audit) == {"row-altered", "archive-damaged"}
    assert sum(one.check == "row-altered" for one in audit.differences) == 8  # device, 7 readings
    assert checks(replay(data)) == {"archive-damaged"}


def test_a_salt_key_that_is_gone(data: Path) -> None:
    """As erasing leaves it: no difference, but it is said that it was not checked."""
    path, subject = salt_key(data)
    execute(path, "DELETE FROM salt_key WHERE subject = ?", subject)
    audit = fsck(data)
    assert audit.differences == []
    assert audit.unchecked["rows whose key is gone"] == 8
    assert audit.unchecked["messages of which a key is gone"] == 8
    audit = replay(data)
    assert audit.differences == []
    assert audit.unchecked == {"messages whose raw bytes or keys are gone": 8}


def test_another_bus(data: Path) -> None:
    shutil.rmtree(data / "bus")
    assert found(fsck(data)) == {("bus-went-backwards", "bus")}
    small = Small(data)
    with pytest.raises(Stop, match="bus-went-backwards"):
        small.start()
    small.release()


def test_a_bus_that_was_restored(data: Path) -> None:
    execute(data / "bus" / "bus.db", "UPDATE topic SET next = next - 2")
    assert found(fsck(data)) == {("bus-went-backwards", "bus")}
    small = Small(data)
    with pytest.raises(Stop, match="bus-went-backwards"):
        small.start()
    small.release()


# -- files that are no databases any more ----------------------------------------------------------


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def mangled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [shortened, overwritten, mangled])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file(data: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(data / file)
    audit = fsck(data)
    assert audit.differences
    assert any(Path(file).name in one.where + one.text for one in audit.differences)
    replay(data)
