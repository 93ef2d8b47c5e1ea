"""Note keys in files (0600): the signer of the embedded mode."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bal.certify.note import checkpoint_head, signature_line, vkey
from bal.errors import Stop
from infra.files import replace_file, write_new

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


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


class CheckpointSigner(KeySigner):
    """Signs checkpoints only, and never two roots at one size nor a size below the last.

    What it signed last stands in a file beside the key and is durable before a signature leaves.
    """

    def __init__(self, name: str, seed: bytes, memory: Path) -> None:
        super().__init__(name, seed)
        self._memory = memory
        self._lock = Lock()

    def sign(self, text: bytes) -> bytes:
        """As Signer; Stop("signer-refuses") for anything but the log's own growth."""
        origin, head = checkpoint_head(text)
        with self._lock, self._alone():
            size, root = self._last()
            if origin != self._name:
                raise Stop("signer-refuses", f"the key of {self._name} does not sign for {origin}")
            if head.size < size or (head.size == size and head.root.hex() != root and size):
                raise Stop(
                    "signer-refuses",
                    f"size {head.size} root {head.root.hex()} after size {size} root {root}:"
                    " the log was rolled back or replaced; a restored store must open a new log",
                )
            if head.size > size or not root:
                replace_file(self._memory, f"{head.size} {head.root.hex()}\n".encode())
            return super().sign(text)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process with this key is between reading the memory and writing it."""
        lock = os.open(self._memory.with_name(f"{self._memory.name}.lock"), _LOCK_FLAGS, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _last(self) -> tuple[int, str]:
        if not self._memory.exists():
            return 0, ""
        try:
            size, root = self._memory.read_text().split()
            return int(size), root
        except ValueError as error:
            text = f"{self._memory.name} is damaged: what was signed last is not known"
            raise Stop("signer-refuses", text) from error


def load_or_make_seed(path: Path, random: bytes) -> bytes:
    """The 32-byte key in `path`, which becomes `random` where there is none."""
    if not path.exists():
        write_new(path, random.hex().encode() + b"\n")
    return bytes.fromhex(path.read_text().strip())
