"""Signers by a key in a file."""

from pathlib import Path

from signer_suite import NAME, CheckpointSignerSuite, SignerSuite

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
