"""Note keys in files (0600): the signer of the embedded mode."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bal.certify.note import signature_line, vkey
from infra.files import write_new
from infra.signer_memory import SEALED, GuardedSigner, check_grown, last_signed, seal

__all__ = [
    "SEALED",
    "CheckpointSigner",
    "KeySigner",
    "check_grown",
    "last_signed",
    "load_or_make_seed",
    "seal",
]


class KeySigner:
    """Signer (bal.ports) for any note text: the intake key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key()
        self._public = public.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def vkey(self) -> str:
        """C2SP verifier key."""
        return vkey(self._name, self._public)

    def sign(self, text: bytes) -> bytes:
        """One signature line over a text that ends in newline."""
        assert text.endswith(b"\n")
        return signature_line(self._name, self._public, self._key.sign(text))


class CheckpointSigner(GuardedSigner):
    """A key in a file that signs checkpoints only, see `GuardedSigner`."""

    def __init__(self, name: str, seed: bytes, memory: Path) -> None:
        super().__init__(KeySigner(name, seed), memory)


def load_or_make_seed(path: Path, random: bytes) -> bytes:
    """The 32-byte key in `path`, which becomes `random` where there is none."""
    if not path.exists():
        write_new(path, random.hex().encode() + b"\n")
    return bytes.fromhex(path.read_text().strip())
