"""Frames out of a stream of bytes: TCP splits and joins them as it likes, and bytes may be lost.

What is no frame is passed over up to the next whole one, and told as one piece of damage with the
first reason. A frame counts as one when SYNC, FRAMESIZE and CHK hold.
"""

import re
from collections import Counter
from typing import NamedTuple

from bal.c37118.frame import SIZE_MIN, is_whole

_CREDIT_MAX = 1 << 23  # bytes whose sums may be taken in vain; a wrong FRAMESIZE costs up to 65,535
_CREDIT_PER_BYTE = 16
LOST_KEPT_MAX = 4096  # bytes of one stretch that is no frame
_PEEK_MIN = 256  # bytes waiting for a frame's end, before it is asked whether there is one


# SYNC with a kind and a version that there are, or perhaps its first half at the end
_BEGIN = re.compile(rb"\xaa(?:[\x01-\x03\x11-\x13\x21-\x23\x31-\x33\x41-\x43\x51-\x53]|\Z)")


class Piece(NamedTuple):
    """A whole frame, or a stretch that is none."""

    start: int  # bytes from the stream's begin
    end: int
    frame: bytes  # empty where `code` says why it is none
    code: str  # sync-lost, frame-size-wrong, checksum-wrong or frame-incomplete; "" of a frame
    lost: bytes = b""  # the first bytes of what is no frame


class Splitter:
    """Takes what comes and gives what is whole."""

    def __init__(self) -> None:
        self.frames = 0
        self.damage: Counter[str] = Counter()  # pieces of damage, by code
        self.lost_bytes = 0
        self._buffer = bytearray()
        self._begin = 0  # of the buffer, in the stream
        self._lost_at = -1  # where damage began, in the stream
        self._lost_code = ""
        self._lost = bytearray()
        self._credit = _CREDIT_MAX
        self._peek_at = _PEEK_MIN  # buffered bytes at which to look for frames behind this one

    def feed(self, data: bytes) -> list[Piece]:
        """What is complete now, in order. Any cut of a stream gives the same frames.

        But of a frame that has another whole one within it: while its end is awaited, the inner one
        is what follows a wrong FRAMESIZE, for which a live stream would stand still up to 65,535
        bytes. In no real frame are there a SYNC, its FRAMESIZE and the CHK that fits by chance.
        """
        self._buffer += data
        self._credit = min(_CREDIT_MAX, self._credit + _CREDIT_PER_BYTE * len(data))
        return self._take(is_end=False)

    def end(self) -> list[Piece]:
        """What is left when nothing more comes."""
        return self._take(is_end=True)

    def _take(self, *, is_end: bool) -> list[Piece]:
        found: list[Piece] = []
        buffer, at = self._buffer, 0
        while at < len(buffer):
            code, size = self._look(at, is_end)
            if code == "wait":
                break
            if code:
                if self._lost_at < 0:
                    self._lost_at, self._lost_code = self._begin + at, code
                    self._lost.clear()
                kept = min(size, LOST_KEPT_MAX - len(self._lost))
                self._lost += buffer[at : at + kept]
            else:
                self._settle(found, self._begin + at, is_before_frame=True)
                start, frame = self._begin + at, bytes(buffer[at : at + size])
                found.append(Piece(start, start + size, frame, ""))
                self.frames += 1
                self._peek_at = _PEEK_MIN
            at += size
        del buffer[:at]
        self._begin += at
        if is_end:
            self._settle(found, self._begin, is_before_frame=False)
        return found

    def _settle(self, found: list[Piece], at: int, *, is_before_frame: bool) -> None:
        """Tell the damage that ends here."""
        if self._lost_at >= 0:
            if is_before_frame and self._lost_code == "frame-incomplete":
                self._lost_code = "frame-size-wrong"  # it did not end within a frame: one follows
            found.append(Piece(self._lost_at, at, b"", self._lost_code, bytes(self._lost)))
            self.damage[self._lost_code] += 1
            self.lost_bytes += at - self._lost_at
            self._lost_at = -1

    def _look(self, at: int, is_end: bool) -> tuple[str, int]:  # noqa: FBT001 - one caller
        """What begins here: "" and its size of a frame; else a code and how far to go on."""
        buffer = self._buffer
        left = len(buffer) - at
        begin = _BEGIN.search(buffer, at)
        if begin is None or begin.start() > at:
            return "sync-lost", left if begin is None else begin.start() - at
        if left < 4:
            return ("frame-incomplete", 1) if is_end else ("wait", 0)
        size = buffer[at + 2] << 8 | buffer[at + 3]
        if size < SIZE_MIN:
            return "frame-size-wrong", 1
        if left < size:
            if is_end:
                return "frame-incomplete", 1
            return ("frame-size-wrong", 1) if self._is_overtaken(at) else ("wait", 0)
        if self._is_frame(at, size):
            return "", size
        return "checksum-wrong", 1 if self._credit > 0 else size

    def _is_overtaken(self, at: int) -> bool:
        """Whether a whole frame came since: then FRAMESIZE was wrong, and nobody waits for it."""
        buffer = self._buffer
        left = len(buffer) - at
        if left < self._peek_at:
            return False
        self._peek_at = 2 * left
        begin = _BEGIN.search(buffer, at + 1)
        while begin is not None and (here := begin.start()) <= len(buffer) - SIZE_MIN:
            size = buffer[here + 2] << 8 | buffer[here + 3]
            if SIZE_MIN <= size <= len(buffer) - here and self._is_frame(here, size):
                return True
            begin = _BEGIN.search(buffer, here + 1)
        return False

    def _is_frame(self, at: int, size: int) -> bool:
        with memoryview(self._buffer) as view, view[at : at + size] as frame:
            found = self._credit > 0 and is_whole(frame)
        if not found:
            self._credit -= size
        return found


def split(raw: bytes) -> list[Piece]:
    """The pieces of a whole message, in order; they cover it."""
    splitter = Splitter()
    return [*splitter.feed(raw), *splitter.end()]
