"""What a checkpoint key signed last, whichever device holds the key: never two roots at one size.

The memory is a file of two slots that are overwritten in turn: one fdatasync and no new name,
because ten times a second every sender's fsync would wait behind those of a renamed file.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from zlib import crc32

from bal.certify.note import checkpoint_head
from bal.certify.tiles import TileNodes
from bal.certify.tree import root_of
from bal.errors import Stop, Unavailable
from bal.ports import Signer, TileReader
from infra.files import replace_file, why, write_new

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
LOCK_S, LOOK_S = 2.0, 0.001
_SLOT_BYTES = 4096  # a page: what a power cut tears of one slot leaves the other whole
_LINE_BYTES = 95
SEALED = (1 << 63) - 1  # a size that no log reaches


class GuardedSigner:
    """Signer (bal.ports) that signs checkpoints only, and never two roots at one size.

    Nor a size below the last. What was signed last is durable before a signature leaves.
    """

    def __init__(self, signer: Signer, memory: Path) -> None:
        """signer: of the log's key, named as the origin; memory: a file beside it, or none yet."""
        self.memory = memory
        self._signer = signer
        self._name = signer.vkey.split("+", 1)[0]
        self._lock = Lock()

    @property
    def vkey(self) -> str:
        """C2SP verifier key."""
        return self._signer.vkey

    def sign(self, text: bytes) -> bytes:
        """As Signer; Stop("signer-refuses") for anything but the log's own growth."""
        origin, head = checkpoint_head(text)
        with self._lock, self._alone():
            size, root, slot = _last(self.memory)
            if origin != self._name:
                raise Stop("signer-refuses", f"the key of {self._name} does not sign for {origin}")
            if head.size < size or (head.size == size and head.root.hex() != root and size):
                raise Stop(
                    "signer-refuses",
                    f"size {head.size} root {head.root.hex()} after size {size} root {root}:"
                    " the log was rolled back or replaced; a restored store must open a new log",
                )
            if head.size > size or not root:
                self._remember(1 - slot, _line(head.size, head.root.hex()))
            return self._signer.sign(text)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process with this key is between reading the memory and writing it.

        Raises Unavailable where one is for seconds: it was stopped there, and is to be ended; and
        where the disk refuses: nothing is signed that is not remembered.
        """
        name = f"{self.memory.name}.lock"
        try:
            lock = os.open(self.memory.with_name(name), _LOCK_FLAGS, 0o600)
            try:
                _take(lock)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            text = f"{name}: {why(error)}: what is signed can't be remembered"
            raise Unavailable(text, retry_after_s=5) from error

    def _remember(self, slot: int, line: bytes) -> None:
        if not self.memory.exists():
            # Whole or not there: one that is torn would say that it is damaged, for ever.
            replace_file(self.memory, line.ljust(_SLOT_BYTES) + b" " * _SLOT_BYTES)
            return
        descriptor = os.open(self.memory, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, line, slot * _SLOT_BYTES)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def _take(lock: int) -> None:
    until = monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if monotonic() > until:
                text = "another process holds the log's key; if it stands still, kill it"
                raise Unavailable(text) from error
            sleep(LOOK_S)
        else:
            return


def seal(memory: Path) -> None:
    """Make a memory by which nothing is signed ever again: that of a copy of a log.

    Who starts a platform on the copy as it is gets Stop("signer-refuses").
    """
    memory.unlink(missing_ok=True)
    line = _line(SEALED, "0" * 64)
    write_new(memory, line.ljust(_SLOT_BYTES) + b" " * _SLOT_BYTES)


def check_grown(memory: Path, tiles: TileReader, size: int) -> None:
    """Return only if a log of `size` entries is what was signed last, or has grown from it.

    For a start, before anything is committed: a log that was put back could else grow beyond what
    the signer remembers, and be signed. Raises Stop("signer-refuses").
    """
    signed, root, _ = _last(memory)
    if signed == 0:
        return
    try:
        same = signed <= size and root_of(signed, TileNodes(tiles).at(signed)).hex() == root
    except KeyError as error:
        raise Stop("log-damaged", f"tiles of the first {signed} entries: {error}") from error
    if not same:
        raise Stop(
            "signer-refuses",
            f"size {signed} root {root} was signed, and the log of {size} entries is not that one"
            " grown: it was rolled back or replaced; a restored store must open a new log",
        )


def last_signed(memory: Path) -> tuple[int, str]:
    """Size and root (hex) of the checkpoint signed last; (0, "") before the first.

    Raises Stop("signer-refuses") where the file can't tell.
    """
    return _last(memory)[:2]


def _last(memory: Path) -> tuple[int, str, int]:
    """Size, root and slot of what was signed last."""
    if not memory.exists():
        return 0, "", 1
    data = memory.read_bytes()
    slots = [data[at : at + _LINE_BYTES] for at in (0, _SLOT_BYTES)]
    found = [(*line, slot) for slot, text in enumerate(slots) if (line := _parse(text))]
    if not found:
        text = f"{memory.name} is damaged: what was signed last is not known"
        raise Stop("signer-refuses", text)
    return max(found)


def _line(size: int, root: str) -> bytes:
    text = f"{size:20d} {root} "
    return f"{text}{crc32(text.encode()):08x}\n".encode()


def _parse(line: bytes) -> tuple[int, str] | None:
    """Size and root; None where the slot is empty or torn."""
    try:
        size, root, _ = line.decode("ascii").split()
        return (int(size), root) if _line(int(size), root) == line else None
    except ValueError:
        return None
