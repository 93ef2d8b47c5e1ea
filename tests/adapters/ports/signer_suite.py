"""What every signer must do: by a key in a file, and by one in a PKCS#11 token."""

from pathlib import Path
from threading import Thread

import pytest

from bal.certify.note import checkpoint_text
from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import GridsealError, Stop
from bal.model import Digest, TreeHead
from bal.ports import Signer
from infra.signer_memory import last_signed

NAME = "gridseal.invalid/0123456789abcdef"


def root(number: int) -> Digest:
    return Digest(number.to_bytes(32, "big"))


def text(size: int, number: int, origin: str = NAME) -> bytes:
    return checkpoint_text(origin, TreeHead(size, root(number)))


class SignerSuite:
    """What every Signer must do (bal/ports.py)."""

    def make(self, folder: Path, seed: bytes) -> Signer:
        raise NotImplementedError

    def test_a_signature_verifies_with_the_vkey(self, tmp_path: Path) -> None:
        signer = self.make(tmp_path, b"a" * 32)
        note = text(5, 5) + b"\n" + signer.sign(text(5, 5))
        assert signed_by(parse_note(note.decode()), [parse_vkey(signer.vkey)])

    def test_a_signature_is_one_line_of_the_keys_name(self, tmp_path: Path) -> None:
        line = self.make(tmp_path, b"a" * 32).sign(text(5, 5)).decode()
        assert line.startswith(f"— {NAME} ")
        assert line.endswith("\n")
        assert line.count("\n") == 1

    def test_the_same_seed_is_the_same_key(self, tmp_path: Path) -> None:
        first, again = (self.make(tmp_path, b"a" * 32) for _ in range(2))
        assert first.vkey == again.vkey
        assert first.sign(text(5, 5)) == again.sign(text(5, 5))

    def test_another_key_does_not_verify(self, tmp_path: Path) -> None:
        signer, other = self.make(tmp_path, b"a" * 32), self.make(tmp_path / "b", b"b" * 32)
        note = text(5, 5) + b"\n" + signer.sign(text(5, 5))
        assert signer.vkey != other.vkey
        assert not signed_by(parse_note(note.decode()), [parse_vkey(other.vkey)])

    def test_a_text_without_its_newline_is_a_wrong_call(self, tmp_path: Path) -> None:
        with pytest.raises((AssertionError, GridsealError)):
            self.make(tmp_path, b"a" * 32).sign(text(5, 5)[:-1] + b"x")


class CheckpointSignerSuite(SignerSuite):
    """And one for checkpoints; its memory is `signed` in the folder."""

    def test_it_refuses_what_is_no_growth(self, tmp_path: Path) -> None:
        signer = self.make(tmp_path, b"a" * 32)
        signer.sign(text(5, 5))
        refused = [text(5, 6), text(4, 4), text(0, 0), text(6, 6, "another.invalid/log")]
        for signs in (signer, self.make(tmp_path, b"a" * 32)):
            for one in refused:
                with pytest.raises(Stop, match="signer-refuses"):
                    signs.sign(one)
            signs.sign(text(5, 5))

    def test_it_refuses_where_it_can_not_tell(self, tmp_path: Path) -> None:
        signer = self.make(tmp_path, b"a" * 32)
        for damaged in ("", "5", "five 00\n", "\0\0\0"):
            (tmp_path / "signed").write_text(damaged)
            with pytest.raises(Stop, match="signer-refuses"):
                signer.sign(text(5, 5))

    def test_a_torn_write_leaves_what_was_signed_before(self, tmp_path: Path) -> None:
        """A power cut during the write: no signature over it has left yet."""
        signer = self.make(tmp_path, b"a" * 32)
        for size in (5, 6, 7):
            before = (tmp_path / "signed").read_bytes() if size > 5 else b""
            signer.sign(text(size, size))
            assert last_signed(tmp_path / "signed") == (size, root(size).hex())
        whole = (tmp_path / "signed").read_bytes()
        differing = [at for at in range(len(whole)) if whole[at] != before[at]]
        for torn in range(differing[0] + 1, differing[-1]):
            (tmp_path / "signed").write_bytes(whole[:torn] + before[torn:])
            assert last_signed(tmp_path / "signed") == (6, root(6).hex())
        with pytest.raises(Stop, match="signer-refuses"):
            signer.sign(text(6, 7))
        signer.sign(text(7, 7))
        assert (tmp_path / "signed").stat().st_mode & 0o777 == 0o600

    def test_several_with_one_memory_never_go_back(self, tmp_path: Path) -> None:
        """Each root is true here; what may not happen is that the memory shrinks."""
        signers = [self.make(tmp_path, b"a" * 32) for _ in range(4)]
        lowest: list[int] = []

        def sign(signer: Signer, first: int) -> None:
            for size in range(first, 200, 4):
                try:
                    signer.sign(text(size, size))
                except Stop:
                    continue
                lowest.append(last_signed(tmp_path / "signed")[0] - size)

        threads = [Thread(target=sign, args=(one, at)) for at, one in enumerate(signers, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert min(lowest) >= 0
        assert last_signed(tmp_path / "signed") == (199, root(199).hex())
