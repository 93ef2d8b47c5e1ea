"""Windows of phasor frames: a function of the bus order (docs/spec/pmu.md)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import windows as rules
from bal.harmonise.phasors import rate_of
from bal.model import Digest, PhasorFrame, Pseudonym, Subject
from bal.windows import Closed, Fed, Windows

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "phasors.json").read_text(encoding="utf-8")
)
S = 1_000_000
BEGIN_US = 1_768_471_200 * S
NOW_US = BEGIN_US + 30 * S
CHANNELS = (("BUS1", "voltmagnitude", "A"),)


def subject(name: str) -> Subject:
    return Subject(Pseudonym(name), name.encode().ljust(32), "grid", "grid/0")


def frame(
    at_us: int, device: str = "a", content: str = "", *, number: int = 0, part: bytes = b""
) -> PhasorFrame:
    """A frame `at_us` after BEGIN_US."""
    data = f"{device} {at_us} {content}".encode()
    return PhasorFrame(subject(device), BEGIN_US + at_us, data, CHANNELS, Digest(part), number)


def fed(windows: Windows, *frames: PhasorFrame, offset: int = 0, received_us: int = NOW_US) -> Fed:
    part = Digest(sha256(str(offset).encode()).digest())
    numbered = [one._replace(number=n, evidence=part) for n, one in enumerate(frames)]
    return windows.feed("gateway", offset, received_us, numbered)


def begun() -> Windows:
    return Windows(rate_of)


def seconds(closed: Iterable[Closed]) -> list[int]:
    return [(one.begin_us - BEGIN_US) // S for one in closed]


def codes(found: Fed) -> dict[int, str]:
    return {number: code for number, (code, _) in found.turned.items()}


# --- closing ----------------------------------------------------------------------------------


def test_a_window_closes_at_one_and_a_half_seconds() -> None:
    windows = begun()
    assert not fed(windows, frame(0), frame(1_499_999)).closed
    [closed] = fed(windows, frame(1_500_000), offset=1).closed
    assert (seconds([closed]), len(closed.frames)) == ([0], 1)


def test_leaves_count_where_all_frames_have_one_of_the_windows_subject() -> None:
    leaves = [Digest(bytes([n]) * 32) for n in range(3)]
    frames = [frame(at)._replace(leaf=leaf) for at, leaf in zip((40, 0, 20), leaves, strict=True)]
    foreign = replace(subject("a"), salt_key=b"of another year".ljust(32))
    for last, expected in (
        (frames[2], [leaves[1], leaves[2], leaves[0]]),  # in order of time, as the frames
        (frames[2]._replace(leaf=None), []),
        (frames[2]._replace(subject=foreign), []),
    ):
        [closed] = fed(begun(), *frames[:2], last, frame(2 * S)).closed
        assert (len(closed.frames), list(closed.leaves)) == (3, expected)


def test_leaves_of_a_window_that_another_year_opens_again() -> None:
    windows = begun()
    leaf = Digest(bytes(32))
    fed(windows, frame(0)._replace(leaf=leaf), frame(2 * S))
    foreign = replace(subject("a"), salt_key=b"of another year".ljust(32))
    late = frame(20)._replace(leaf=leaf, subject=foreign)
    [closed] = fed(windows, late, frame(4 * S)).closed[:1]
    assert (closed.subject, len(closed.frames), list(closed.leaves)) == (foreign, 2, [])


def test_a_device_with_a_wrong_clock_spoils_no_others_frames() -> None:
    """A concentrator sends for many: one of them is 59 s ahead, another 20 s behind."""
    windows = begun()
    for n in range(200):
        at_us = n * 20_000
        frames = [
            frame(at_us + off_s * S, device)
            for device, off_s in (("ahead", 59), ("a", 0), ("behind", -20))
        ]
        found = fed(windows, *frames, offset=n, received_us=BEGIN_US + at_us)
        assert found.turned == {}
        for one in found.closed:
            assert (len(one.frames), one.rate) == (50, 50)


def test_what_a_flush_closes_is_in_order_of_begin_and_device() -> None:
    windows = begun()
    fed(windows, frame(S, "b"), frame(0, "b"), frame(0, "a"), frame(S, "a"), received_us=BEGIN_US)
    closed = windows.flush(BEGIN_US + 5 * S)
    told = [(one.begin_us - BEGIN_US, one.subject.pseudonym) for one in closed]
    assert told == [(0, "a"), (0, "b"), (S, "a"), (S, "b")]


def test_one_senders_frames_close_nothing_of_another() -> None:
    windows = begun()
    fed(windows, frame(0))
    assert not windows.feed("another", 1, NOW_US, [frame(9_000_000)]).closed


def test_a_late_frame_makes_a_version_of_all_frames() -> None:
    windows = begun()
    assert seconds(fed(windows, frame(0), frame(20_000), frame(1_500_000)).closed) == [0]
    assert not fed(windows, frame(40_000), frame(1_999_999), offset=1).closed
    [again] = fed(windows, frame(2_000_000), offset=2).closed
    assert list(again.times_us) == [BEGIN_US, BEGIN_US + 20_000, BEGIN_US + 40_000]
    assert len(again.parts) == 2


def test_too_late_is_ten_seconds_behind_the_newest() -> None:
    windows = begun()
    fed(windows, frame(0), frame(11 * S))
    assert codes(fed(windows, frame(S - 1), frame(S))) == {0: "frame-too-late"}


def test_a_frame_from_the_future() -> None:
    found = fed(begun(), frame(61 * S), frame(60 * S), received_us=BEGIN_US)
    assert codes(found) == {0: "frame-from-future"}


def test_doubled_and_contradicting_frames() -> None:
    windows = begun()
    found = fed(windows, frame(0), frame(0), frame(0, content="x"), frame(1_500_000))
    assert codes(found) == {1: "frame-duplicate", 2: "frame-conflict"}
    assert found.taken == 3
    assert len(found.closed[0].frames) == 1
    again = fed(windows, frame(0), frame(0, content="x"), frame(3 * S), offset=1)
    assert codes(again) == {0: "frame-duplicate", 1: "frame-conflict"}
    assert seconds(again.closed) == [1]  # nothing was new in window 0


def test_a_full_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "FRAMES_MAX", 2)
    monkeypatch.setattr(rules, "CHANNELS_MAX", 2)
    found = fed(begun(), frame(0), frame(1), frame(2), frame(0))
    assert codes(found) == {2: "window-full", 3: "frame-duplicate"}
    other = frame(3)._replace(channels=tuple((str(n), "frequency", "A") for n in range(2)))
    assert codes(fed(begun(), frame(0), other)) == {1: "window-full"}


def test_a_window_of_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "COMPONENTS_LENGTH_MAX", 12)
    long, same = (
        frame(at_us)._replace(channels=(("BUS-0002", "frequency", "A"),)) for at_us in (1, 2)
    )
    other = frame(3)._replace(channels=(("B", "frequency", "A"),))
    assert codes(fed(begun(), frame(0), long, same, other)) == {3: "window-full"}


def test_the_rate_is_the_streams_where_a_window_has_few_frames() -> None:
    windows = begun()
    full = [frame(n * 20_000) for n in range(50)]
    sparse = [frame(S), frame(1_900_000)]
    closed = fed(windows, *full, *sparse, frame(2_500_000), frame(4 * S)).closed
    assert [(one.rate, len(one.frames)) for one in closed] == [(50, 50), (50, 2), (50, 1)]


# --- flush ------------------------------------------------------------------------------------


def test_a_flush_closes_what_was_silent_for_two_seconds() -> None:
    windows = begun()
    fed(windows, frame(0), received_us=BEGIN_US + S)
    early, due = BEGIN_US + 2_999_999, BEGIN_US + 3 * S
    assert not windows.flush_due(early)
    assert windows.flush(early) == []
    assert windows.flush_due(due)
    assert seconds(windows.flush(due)) == [0]
    assert not windows.flush_due(due)


def test_a_flush_closes_no_window_before_its_time() -> None:
    windows = begun()
    fed(windows, frame(30 * S), received_us=BEGIN_US)
    assert windows.flush(BEGIN_US + 31_499_999) == []
    assert seconds(windows.flush(BEGIN_US + 31_500_000)) == [30]


def test_a_window_that_is_dripped_into_closes_after_ten_seconds() -> None:
    windows = begun()
    for n in range(11):
        fed(windows, frame(n), received_us=BEGIN_US + n * S)
    assert windows.flush(BEGIN_US + 9 * S) == []
    assert seconds(windows.flush(BEGIN_US + 10 * S)) == [0]


def test_a_clock_that_was_set_back_does_not_hold_windows_open() -> None:
    windows = begun()
    fed(windows, frame(0), received_us=BEGIN_US + 3_600 * S)
    assert seconds(windows.flush(BEGIN_US + 10 * S)) == [0]
    assert windows.needed_from(7) == 7  # the sender was forgotten, too


def test_a_frame_behind_a_flush_makes_a_version() -> None:
    windows = begun()
    fed(windows, frame(0), received_us=BEGIN_US)
    assert len(windows.flush(BEGIN_US + 3 * S)) == 1
    [again] = fed(windows, frame(1), frame(1_500_000), offset=1).closed
    assert len(again.frames) == 2


def test_a_silent_sender_is_forgotten() -> None:
    windows = begun()
    fed(windows, frame(0), received_us=BEGIN_US, offset=4)
    windows.flush(BEGIN_US + 3 * S)
    assert windows.needed_from(9) == 4
    assert windows.flush_due(BEGIN_US + 60 * S)
    assert windows.flush(BEGIN_US + 60 * S) == []
    assert windows.needed_from(9) == 9
    assert not windows.flush_due(BEGIN_US + 61 * S)


# --- laws -------------------------------------------------------------------------------------

Step = tuple[int, str, int]  # milliseconds of a frame, its device, its content

steps = st.lists(
    st.tuples(
        st.integers(0, 16_000) | st.integers(0, 160).map(lambda n: n * 100),
        st.sampled_from("ab"),
        st.integers(0, 1),
    ),
    max_size=60,
)
cuts = st.lists(st.integers(0, 60), max_size=6)


def drifting(found: Sequence[Step]) -> list[Step]:
    """Mostly in order of time, as streams are, with leaps."""
    half = len(found) // 2
    return [*sorted(found[:half]), *found[half:]]


def shown(closed: Iterable[Closed]) -> list[object]:
    """A window but for its evidence, which depends on the messages."""
    return [replace_parts(one) for one in closed]


def replace_parts(one: Closed) -> object:
    return one._replace(parts=())


def run(found: Sequence[Step], at: Sequence[int]) -> tuple[list[Closed], list[str]]:
    """Feed the steps, cut into messages at `at`; what closed, and what was turned away."""
    windows, closed, turned = begun(), list[Closed](), list[str]()
    edges = sorted({0, len(found), *(cut for cut in at if cut < len(found))})
    for offset, (start, end) in enumerate(pairwise(edges)):
        frames = [frame(ms * 1000, dev, str(content)) for ms, dev, content in found[start:end]]
        one = fed(windows, *frames, offset=offset)
        closed += one.closed
        turned += [f"{start + number} {code}" for number, code in codes(one).items()]
    return closed, turned


@settings(max_examples=300, deadline=None)
@given(steps.map(drifting), cuts)
def test_any_cut_into_messages_gives_the_same_windows(found: list[Step], at: list[int]) -> None:
    whole, pieces = run(found, []), run(found, at)
    assert shown(whole[0]) == shown(pieces[0])
    assert whole[1] == pieces[1]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 4_000), min_size=2), st.randoms(use_true_random=False))
def test_order_within_a_window_does_not_matter(times: set[int], chance: Any) -> None:
    ordered = [(ms, "a", 0) for ms in sorted(times)]
    mixed = list(ordered)
    chance.shuffle(mixed)
    mixed.sort(key=lambda step: step[0] // 1000)
    one, other = run(ordered, []), run(mixed, [])
    # the frame that closes a window may come earlier or later, which tells who is the last
    assert shown(one[0])[: len(other[0])] == shown(other[0])[: len(one[0])]


@settings(max_examples=300, deadline=None)
@given(steps.map(drifting), cuts, st.integers(0, 6), st.data())
def test_what_is_still_needed_makes_the_same_windows_again(
    found: list[Step], at: list[int], kept: int, data: st.DataObject
) -> None:
    """Ended after any message and fed again from `needed_from`, all goes on as if nothing was."""
    edges = sorted({0, len(found), *(cut for cut in at if cut < len(found))})
    spans = list(pairwise(edges))
    flushes = data.draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans)))
    going = begun()

    def step(windows: Windows, offset: int) -> list[Closed]:
        start, end = spans[offset]
        received_us = BEGIN_US + 16 * S + offset * S
        frames = [frame(ms * 1000, dev, str(content)) for ms, dev, content in found[start:end]]
        closed = list(fed(windows, *frames, offset=2 * offset, received_us=received_us).closed)
        if flushes[offset]:
            closed += windows.flush(received_us + 2 * S)
        return closed

    ended = min(kept, len(spans))
    for offset in range(ended):
        step(going, offset)
    again = begun()
    for offset in range(ended):
        if 2 * offset >= going.needed_from(2 * ended):
            step(again, offset)
    assert again.needed_from(2 * ended) == going.needed_from(2 * ended)
    for offset in range(ended, len(spans)):
        assert step(again, offset) == step(going, offset)
    assert again.flush(NOW_US + 90 * S) == going.flush(NOW_US + 90 * S)


def test_memory_is_that_of_eleven_seconds() -> None:
    windows = begun()
    for n in range(400):
        fed(windows, *(frame(n * 500_000 + k * 20_000) for k in range(25)), offset=n,
            received_us=BEGIN_US + n * 500_000)  # fmt: skip
    [stream] = windows._streams.values()
    assert len(stream.windows) <= 12
    assert windows.needed_from(400) >= 400 - 24


@pytest.mark.parametrize("case", VECTORS["windows"], ids=lambda case: str(case["name"]))
def test_vectors(case: dict[str, Any]) -> None:
    """The records themselves are compared where they are made: tests/vectors/make.py --check."""
    for message in case["messages"]:
        for record in map(json.loads, message["records"]):
            assert int(record["missing"]) == max(0, int(record["rate"]) - int(record["frames"]))


def test_the_newer_subject_counts() -> None:
    """A group may change with a new enrolment while a window is open."""
    windows = begun()
    moved = frame(1)._replace(subject=replace(subject("a"), group="other"))
    fed(windows, frame(0), frame(1_500_000))
    [closed] = fed(windows, moved, frame(2_500_000), offset=1).closed[:1]
    assert closed.subject.group == "other"
