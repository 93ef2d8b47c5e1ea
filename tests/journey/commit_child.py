"""A sequencer in a process of its own: `python commit_child.py FOLDER PAUSE COMMITS COUNT TAG`.

Commits COMMITS batches of COUNT entries each and publishes after each one. At the first passing
of the point PAUSE it prints "paused" and waits for a line. It ends with "done" or its Stop's code.
"""

import sqlite3
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal.certify.log import Batch, Sequencer
from bal.certify.note import checkpoint_head
from bal.errors import Stop
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner

ORIGIN = "gridseal.invalid/0123456789abcdef"
EPOCH = "e" * 16
SOURCE = f"{EPOCH}/0"


class Still:
    """A clock that stands still."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000


class NotingSigner(CheckpointSigner):
    """Writes down every head that it signs, before the signature leaves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ORIGIN, b"s" * 32, folder / "signed")
        self._notes = folder / "heads-signed"

    def sign(self, text: bytes) -> bytes:
        line = super().sign(text)
        head = checkpoint_head(text)[1]
        with self._notes.open("a") as notes:
            notes.write(f"{head.size} {head.root.hex()}\n")
        return line


def entries(offset: int, count: int, tag: str) -> list[bytes]:
    """The entries that the process `tag` makes of the message at `offset`."""
    return [sha256(f"{tag}/{offset}/{at}".encode()).digest() for at in range(count)]


def pause() -> None:
    print("paused", flush=True)
    sys.stdin.readline()


def before(owner: object, name: str, *, passing: int = 0) -> None:
    """Pause before the call `owner.name`, at that passing of it, once."""
    whole: Callable[..., object] = getattr(owner, name)
    passed = iter(range(1_000_000))

    def paused(*arguments: object, **more: object) -> object:
        if next(passed) == passing:
            pause()
        return whole(*arguments, **more)

    setattr(owner, name, paused)


class PausingConnection:
    """A connection to a database that waits before it writes rows."""

    def __init__(self, whole: sqlite3.Connection) -> None:
        self._whole = whole

    def executemany(self, *arguments: Any) -> object:
        pause()
        return self._whole.executemany(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def arm(point: str, log: FileLog, signer: NotingSigner) -> None:
    """Points by name; the number behind `tile` counts the files of integrate."""
    name, _, number = point.partition(":")
    if name == "tile":
        before(log, "_write", passing=int(number))
    elif name == "sign":
        before(signer, "sign")
    elif name in {"stage", "swap", "integrate", "publish"}:
        before(log, name)
    elif name == "staged-in-part":
        import infra.file_log as module

        before(module, "encode_commit")  # its folder is open, its file is not made
    elif name == "headers":
        log._headers = PausingConnection(log._headers)  # type: ignore[assignment]
    elif name == "settle":
        before(log, "settle")
    else:
        assert name == "none", point


def main() -> None:
    folder, point, commits, count, tag = Path(sys.argv[1]), *sys.argv[2:]
    log = FileLog(folder / "log", Still())
    signer = NotingSigner(folder)
    try:
        sequencer = Sequencer(log, log, signer, ORIGIN)
        arm(point, log, signer)
        for _ in range(int(commits)):
            last = sequencer.heads.taken.get(SOURCE, -1)
            found = entries(last + 1, int(count), tag)
            sequencer.commit([Batch(EPOCH, 0, last + 1, last, found, {"rules": "r"})])
            sequencer.publish()
            log.settle()
    except Stop as stop:
        print(stop.code, flush=True)
    else:
        print("done", flush=True)
    finally:
        log.close()


if __name__ == "__main__":
    main()
