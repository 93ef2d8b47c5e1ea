"""Signers by a key in a file."""

import fcntl
from pathlib import Path

import pytest
from signer_suite import NAME, CheckpointSignerSuite, SignerSuite

from bal.certify.note import checkpoint_text
from bal.errors import Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Signer
from infra.key_signer import CheckpointSigner, KeySigner, load_or_make_seed


class TestKeySigner(SignerSuite):
    def make(self, folder: Path, seed: bytes) -> Signer:
        del folder
        return KeySigner(NAME, seed)


class TestCheckpointSigner(CheckpointSignerSuite):
    def make(self, folder: Path, seed: bytes) -> Signer:
        folder.mkdir(exist_ok=True)
        return CheckpointSigner(NAME, seed, folder / "signed")


def test_a_seed_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    assert load_or_make_seed(path, b"a" * 32) == b"a" * 32
    assert load_or_make_seed(path, b"b" * 32) == b"a" * 32
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_stands_still_with_the_key_is_told(tmp_path: Path) -> None:
    signer = CheckpointSigner(NAME, b"s" * 32, tmp_path / "signed")
    head = checkpoint_text(NAME, TreeHead(1, Digest(bytes(32))))
    with (tmp_path / "signed.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another process holds the log's key"):
            signer.sign(head)
    assert signer.sign(head)


def test_a_disk_that_refuses_is_unavailable(tmp_path: Path) -> None:
    """The checkpoint is signed later; nothing was signed that is not remembered."""
    folder = tmp_path / "keys"
    folder.mkdir()
    signer = CheckpointSigner(NAME, b"s" * 32, folder / "signed")
    head = checkpoint_text(NAME, TreeHead(1, Digest(bytes(32))))
    folder.rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="No such file"):
        signer.sign(head)
    (tmp_path / "away").rename(folder)
    assert signer.sign(head)
