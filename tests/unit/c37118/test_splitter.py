"""Frames out of streams that are cut anywhere, and damaged."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.c37118.data import Layout
from bal.c37118.frame import HEADER, VERSION_2005, seal
from bal.c37118.splitter import Piece, Splitter, split
from bal.c37118.writer import config_frames, header_frame
from tests.c37118_streams import config, frame, pmu

LAYOUT = Layout(config(pmu(1, 0), pmu(2)))
FRAMES = [*config_frames(LAYOUT.config), *(frame(LAYOUT, n) for n in range(8))]
STREAM = b"".join(FRAMES)


def fed(stream: bytes, cuts: Sequence[int]) -> tuple[Splitter, list[Piece]]:
    splitter, found = Splitter(), []
    places = [0, *sorted(cuts), len(stream)]
    for first, last in pairwise(places):
        found += splitter.feed(stream[first:last])
    return splitter, found + splitter.end()


def check(stream: bytes, pieces: list[Piece]) -> None:
    """They cover the stream, in order."""
    at = 0
    for piece in pieces:
        assert piece.start == at < piece.end
        assert bool(piece.frame) != bool(piece.code)
        whole = stream[piece.start : piece.end]
        assert (piece.frame, piece.lost) == ((b"", whole[:4096]) if piece.code else (whole, b""))
        at = piece.end
    assert at == len(stream)


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cut_of_a_stream_gives_the_same_frames(cuts: list[int]) -> None:
    splitter, pieces = fed(STREAM, cuts)
    check(STREAM, pieces)
    assert [piece.frame for piece in pieces] == FRAMES
    assert splitter.frames == len(FRAMES)
    assert not splitter.damage


def test_a_frame_within_a_frame_depends_on_the_cut() -> None:
    """Either is told; whoever makes such a frame decides no more than whoever sends none."""
    inner = header_frame(60, 0, "x" * 300)
    outer = seal(HEADER, 60, 0, 0, inner, version=VERSION_2005)
    assert [piece.frame for piece in split(outer)] == [outer]
    _, pieces = fed(outer, [len(outer) - 2])
    assert [piece.code for piece in pieces] == ["frame-size-wrong", "", "sync-lost"]
    assert pieces[1].frame == inner
    check(outer, pieces)


def test_byte_by_byte() -> None:
    _, pieces = fed(STREAM, range(1, len(STREAM)))
    assert [piece.frame for piece in pieces] == FRAMES


@settings(max_examples=300)
@given(
    st.integers(0, len(FRAMES) - 1),
    st.sampled_from([0, 15, 65_535, 60, None]),
    st.binary(max_size=60),
    st.lists(st.integers(0, len(STREAM)), max_size=8),
)
def test_damage_costs_the_damaged_frame_only(
    at: int, size: int | None, rubbish: bytes, cuts: list[int]
) -> None:
    """A wrong FRAMESIZE, or a wrong byte in the end; and rubbish between two frames."""
    broken = bytearray(FRAMES[at])
    if size is None:
        broken[-1] ^= 0x55
    else:
        broken[2:4] = size.to_bytes(2, "big")
    rest = FRAMES[at + 1 :]
    stream = b"".join([*FRAMES[:at], bytes(broken), rubbish, *rest])
    splitter, pieces = fed(stream, cuts)
    check(stream, pieces)
    assert [piece.frame for piece in pieces if piece.frame] == [*FRAMES[:at], *rest]
    codes = [piece.code for piece in pieces if piece.code]
    assert len(codes) == 1, "one error for one frame"
    assert splitter.damage.total() == 1
    assert splitter.lost_bytes == len(broken) + len(rubbish)
    if size in {0, 15}:
        assert codes == ["frame-size-wrong"]
    if size is None:
        assert codes == ["checksum-wrong"]


def test_a_wrong_size_does_not_hold_up_the_stream() -> None:
    """FRAMESIZE 65,535 in a stream of small frames: the next ones come at once, not a minute on."""
    broken = bytearray(FRAMES[1])
    broken[2:4] = b"\xff\xff"
    splitter = Splitter()
    splitter.feed(bytes(broken))
    found: list[Piece] = []
    for number in range(8):
        found += splitter.feed(frame(LAYOUT, number))
        if found:
            break
    assert number < 6
    assert found[0].code == "frame-size-wrong"
    assert [piece.frame for piece in found[1:]] == [frame(LAYOUT, n) for n in range(number + 1)]


@pytest.mark.parametrize("behind", [1, 2, 5, 7])
def test_a_size_beyond_frames_that_follow_is_wrong_however_few_they_are(behind: int) -> None:
    broken = FRAMES[1][:2] + b"\xff\xff" + FRAMES[1][4:]
    found = split(broken + b"".join(FRAMES[2 : 2 + behind]))
    assert [piece.code for piece in found] == ["frame-size-wrong", *[""] * behind]
    assert [piece.code for piece in split(broken)] == ["frame-incomplete"]
    assert [piece.code for piece in split(FRAMES[1] + FRAMES[2][:-1])] == ["", "frame-incomplete"]


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    check(raw, split(raw))


@given(st.lists(st.sampled_from([b"\xaa\x01", b"\xaa", b"\x00\x10", b"\xaa\x31\xff\xff", b"\xff"])))
def test_any_heads(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    check(raw, split(raw))


def test_what_looks_like_frames_at_every_place_is_passed_over_in_time() -> None:
    """Sums in vain are bounded, whatever a stream of megabytes looks like."""
    raw = b"\xaa\x01\xff\xf0" * (1 << 18)
    counted = []

    class Counting(Splitter):
        def _is_frame(self, at: int, size: int) -> bool:
            if self._credit > 0:
                counted.append(size)
            return super()._is_frame(at, size)

    splitter = Counting()
    for at in range(0, len(raw), 65_536):
        splitter.feed(raw[at : at + 65_536])
    splitter.end()
    assert sum(counted) < 18 * len(raw) + (1 << 24)
    good = header_frame(1, 2, "here")
    assert [piece.frame for piece in split(raw[: 1 << 16] + good) if piece.frame][-1:] in (
        [good], [],
    )  # fmt: skip


def test_two_frames_in_one_read() -> None:
    pieces = split(FRAMES[1] + FRAMES[2])
    assert [piece.frame for piece in pieces] == FRAMES[1:3]


def test_random_damage_loses_no_other_frame() -> None:
    rng = random.Random(1)
    for _ in range(200):
        at = rng.randrange(len(FRAMES))
        broken = bytearray(FRAMES[at])
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        stream = b"".join([*FRAMES[:at], bytes(broken), *FRAMES[at + 1 :]])
        found = [piece.frame for piece in split(stream) if piece.frame]
        assert found == [*FRAMES[:at], *FRAMES[at + 1 :]]
