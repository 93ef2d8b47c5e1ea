"""A copy of the vault alone: sealed, of one moment, and put back where the vault is lost."""

import shutil
from pathlib import Path

import pytest

from bal.errors import Stop
from bal.model import Identity
from infra.data_folder import DataFolder, Facts
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from infra.vault_backup import CHUNK_BYTES, backup, passphrase, restore

SECRET = b"correct horse battery"


def wrong(code: str, file: Path, data: Path, secret: bytes = SECRET) -> None:
    with pytest.raises(Stop) as refused:
        restore(file, data, secret)
    assert refused.value.code == code


@pytest.fixture
def kept(tmp_path: Path, small_folder: Path) -> tuple[Path, Path]:
    """A stopped platform's folder, and a copy of its vault."""
    file = tmp_path / "copy"
    backup(small_folder, file, SECRET)
    return small_folder, file


@pytest.fixture
def small_folder(tmp_path: Path) -> Path:
    """A data folder with facts and a vault of more than one chunk."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    folder.write_facts(Facts("log", "", "", 1, "own", "", "", 10, ""))
    vault = SqliteVault(tmp_path / "data" / "vault", SystemClock())
    vault.pseudonyms([Identity(f"name:a/b/{number:060d}") for number in range(4_000)])
    vault.close()
    return tmp_path / "data"


def test_nothing_that_was_altered_cut_or_put_together_is_restored(
    kept: tuple[Path, Path], tmp_path: Path
) -> None:
    data, file = kept
    shutil.rmtree(data / "vault")
    whole = file.read_bytes()
    head = whole.index(b"\n") + 1
    chunk = CHUNK_BYTES + 16
    assert len(whole) > head + chunk
    other = tmp_path / "other"
    for code, text in {
        "backup-damaged": [
            whole[:-1], whole[: head + chunk], whole[:head], whole[:head] + whole[head + chunk :],
            whole[:-1] + bytes([whole[-1] ^ 1]), whole[:head] + b"\0" + whole[head + 1 :],
            whole.replace(b'"subjects": "4000"', b'"subjects": "4001"'), whole + b"\0",
        ],
        "backup-invalid": [
            b"", b"{}\n", whole[head:], whole.replace(b"vault/1", b"vault/2"),
            whole.replace(b'"n": 131072', b'"n": 131073'), b"[]\n" + whole[head:],
        ],
    }.items():  # fmt: skip
        for each in text:
            other.write_bytes(each)
            wrong(code, other, data)
    wrong("backup-damaged", file, data, b"another passphrase")  # RFC 7914 §6: another key
    assert not (data / "vault" / "vault.db").exists()
    assert restore(file, data, SECRET).subjects == 4_000


@pytest.mark.parametrize("left", ["vault.db-wal", "vault.db-shm"])
def test_what_a_lost_vault_left_is_not_put_together_with_a_copy(
    kept: tuple[Path, Path], left: str
) -> None:
    """SQLite would take a log of changes for the copy's own."""
    data, file = kept
    shutil.rmtree(data / "vault")
    (data / "vault").mkdir()
    (data / "vault" / left).write_bytes(b"of another database")
    wrong("out-exists", file, data)
    assert not (data / "vault" / "vault.db").exists()


def test_a_passphrase_is_a_line_of_some_length(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short\nthe second line does not count")
    with pytest.raises(Stop, match="at least 16"):
        passphrase(tmp_path / "key")
