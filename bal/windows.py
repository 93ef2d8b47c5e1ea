"""One-second windows of phasor frames, as a function of the bus order (docs/spec/pmu.md).

Beside the stages: the pipeline feeds it with what harmonise made, and certifies what closes.
Knows no clock; time is that of frames, of receipts, and of flushes, all of which the bus keeps.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import NamedTuple

from bal.model import Channel, Digest, PhasorFrame, Pseudonym, Subject

SECOND_US = 1_000_000
CLOSE_AFTER_US = 1_500_000  # from a window's begin to the frame that closes it
REOPENED_US = 500_000  # from the newest frame, when a late one opens a window again
LATE_US = 10 * SECOND_US  # behind the newest frame: too late
FUTURE_US = 60 * SECOND_US  # ahead of the receipt: no time of a frame
FRAMES_MAX = 1_000
CHANNELS_MAX = 1_024
COMPONENTS_LENGTH_MAX = 65_536  # characters, of all channels: a receipt must fit its 4 MiB
SILENT_US = 2 * SECOND_US  # after which a flush closes a window
OPEN_US = 10 * SECOND_US  # the same, whatever came since
FORGET_US = 60 * SECOND_US  # after which a flush forgets a stream
BACKWARDS_US = 60 * SECOND_US  # a receipt so far ahead of a flush: the clock was set back
RATES_US = 8 * SECOND_US  # how far back a window looks for the rate of its stream

_NEVER = 1 << 62

RateOf = Callable[[Sequence[int]], int]
"""Frames a second, by the times of a window's frames; 0 where they don't show it."""


class Closed(NamedTuple):
    """A window as it closed; `frames` stand in order of time."""

    subject: Subject
    subject_us: int  # when the message was received that `subject` has the salt key of
    begin_us: int
    times_us: Sequence[int]
    frames: Sequence[bytes]
    channels: tuple[Channel, ...]
    parts: Sequence[Digest]  # commitments to the message parts they came from, in bus order
    rate: int  # frames a second; 0 where nothing shows it
    leaves: Sequence[Digest]  # of the frames, under the key of `subject`; none where any is missing
    quality: tuple[str, ...]  # codes of its frames, sorted


class Fed(NamedTuple):
    """What a message did: windows that closed, and the frames that no window took."""

    closed: Sequence[Closed]
    turned: dict[int, tuple[str, str]]  # number of the frame in the message → code, text
    taken: int  # frames that a window has now, doubled ones too


@dataclass(slots=True)
class _Window:
    subject: Subject
    subject_us: int
    begin_us: int
    close_at_us: int  # by the newest frame
    offset: int  # of the first message that it needs
    opened_us: int  # received
    touched_us: int
    is_open: bool = True
    frames: dict[int, bytes] = field(default_factory=dict)
    leaves: dict[int, Digest] = field(default_factory=dict)  # of the frames that came with one
    parts: dict[Digest, None] = field(default_factory=dict)
    channels: dict[Channel, None] = field(default_factory=dict)
    last: tuple[Channel, ...] = ()  # channels of the last frame, which `channels` has
    quality: frozenset[str] = frozenset()
    rate: int = 0  # by its own frames, once it closed


@dataclass(slots=True)
class _Stream:
    """Of one sender and device: a device with a wrong clock spoils no other's frames."""

    newest_us: int = -1
    heard_us: int = -1  # receipt of its last frame
    next_close_us: int = _NEVER
    windows: dict[int, _Window] = field(default_factory=dict)  # by begin


_TOO_LATE = "frame-too-late", "more than 10 s behind the newest frame of its device"
_FUTURE = "frame-from-future", "more than 60 s ahead of its receipt"
_MOST = f"{FRAMES_MAX} frames, {CHANNELS_MAX} channels or {COMPONENTS_LENGTH_MAX} characters"
_FULL = "window-full", f"the window would have more than {_MOST} of components"
_DUPLICATE = "frame-duplicate", "the window has this frame already"
_CONFLICT = "frame-conflict", "the window has another frame of this time"


class Windows:
    """All windows that are open, or may be opened again."""

    def __init__(self, rate_of: RateOf) -> None:
        self._rate_of = rate_of
        self._streams: dict[tuple[str, Pseudonym], _Stream] = {}

    def feed(
        self, credential: str, offset: int, received_us: int, frames: Iterable[PhasorFrame]
    ) -> Fed:
        """Take the frames of one message, in its order; `offset`: of the message on the bus."""
        streams: dict[Pseudonym, _Stream] = {}
        closed: list[Closed] = []
        turned: dict[int, tuple[str, str]] = {}
        taken = 0
        latest_us = received_us + FUTURE_US
        for frame in frames:
            time_us = frame.time_us
            if time_us > latest_us:
                turned[frame.number] = _FUTURE
                continue
            device = frame.subject.pseudonym
            stream = streams.get(device)
            if stream is None:
                stream = streams[device] = self._streams.get((credential, device)) or _Stream()
            if time_us < stream.newest_us - LATE_US:
                turned[frame.number] = _TOO_LATE
                continue
            why = self._put(stream, frame, offset, received_us)
            if why is not None:
                turned[frame.number] = why
            if why is None or why is _DUPLICATE:
                taken += 1
            if time_us > stream.newest_us:
                before_us, stream.newest_us = stream.newest_us, time_us
                if time_us >= stream.next_close_us:
                    due = [w for w in stream.windows.values() if w.close_at_us <= time_us]
                    closed += self._close(stream, due, before_us)
        for device, stream in streams.items():
            stream.heard_us = received_us
            self._streams[credential, device] = stream
            _forget(stream)
        return Fed(closed, turned, taken)

    def flush(self, time_us: int) -> list[Closed]:
        """Close what is due at a flush of this time, and forget streams that fell silent."""
        closed: list[tuple[str, int, Pseudonym, Closed]] = []
        for (credential, device), stream in sorted(self._streams.items(), key=itemgetter(0)):
            due = [window for window in stream.windows.values() if _is_due(window, time_us)]
            closed += [
                (credential, one.begin_us, device, one)
                for one in self._close(stream, due, stream.newest_us)
            ]
            if _is_forgotten(stream, time_us):
                del self._streams[credential, device]
        return [one for *_, one in sorted(closed, key=itemgetter(0, 1, 2))]

    def flush_due(self, time_us: int) -> bool:
        """Whether a flush of this time would close a window or forget a stream."""
        return any(
            _is_forgotten(stream, time_us)
            or (
                stream.next_close_us != _NEVER
                and any(_is_due(window, time_us) for window in stream.windows.values())
            )
            for stream in self._streams.values()
        )

    def needed_from(self, end: int) -> int:
        """The lowest bus offset that these windows can't be made again without; else `end`."""
        offsets = (w.offset for one in self._streams.values() for w in one.windows.values())
        return min(offsets, default=end)

    def _put(
        self, stream: _Stream, frame: PhasorFrame, offset: int, received_us: int
    ) -> tuple[str, str] | None:
        """Put a frame into its window; why not, where it is not new there."""
        subject, time_us, data, channels, evidence, _, leaf, quality = frame
        begin_us = time_us - time_us % SECOND_US
        window = stream.windows.get(begin_us)
        if window is None:
            close_at_us = _close_at(begin_us, stream.newest_us)
            window = _Window(
                subject, received_us, begin_us, close_at_us, offset, received_us, received_us
            )
            stream.windows[begin_us] = window
            stream.next_close_us = min(stream.next_close_us, close_at_us)
        known = window.frames.get(time_us)
        if known is not None:
            return _DUPLICATE if known == data else _CONFLICT
        if len(window.frames) >= FRAMES_MAX:
            return _FULL
        if channels is not window.last:
            together = window.channels | dict.fromkeys(channels)
            if len(together) > CHANNELS_MAX or _length(together) > COMPONENTS_LENGTH_MAX:
                return _FULL
            window.channels, window.last = together, channels
        if not window.quality.issuperset(quality):
            window.quality |= set(quality)
        window.frames[time_us] = data
        window.parts[evidence] = None
        window.touched_us = received_us
        if not window.is_open:
            window.is_open = True
            window.opened_us = received_us
            if subject.salt_key != window.subject.salt_key:
                window.leaves.clear()
            window.subject, window.subject_us = subject, received_us
            window.close_at_us = _close_at(begin_us, stream.newest_us)
            stream.next_close_us = min(stream.next_close_us, window.close_at_us)
        if leaf is not None and subject.salt_key == window.subject.salt_key:
            window.leaves[time_us] = leaf
        return None

    def _close(self, stream: _Stream, due: Iterable[_Window], before_us: int) -> list[Closed]:
        """Close windows in order of begin. before_us: the newest frame until now."""
        closed = []
        for window in sorted(due, key=attrgetter("begin_us")):
            times_us = sorted(window.frames)
            window.rate = self._rate_of(times_us)
            window.is_open = False
            window.close_at_us = _NEVER
            closed.append(
                Closed(
                    window.subject,
                    window.subject_us,
                    window.begin_us,
                    times_us,
                    [window.frames[time_us] for time_us in times_us],
                    tuple(window.channels),
                    list(window.parts),
                    _rate(stream, window, before_us),
                    list(map(window.leaves.__getitem__, times_us))
                    if len(window.leaves) == len(times_us)
                    else (),
                    tuple(sorted(window.quality)),
                )
            )
        closes = (one.close_at_us for one in stream.windows.values())
        stream.next_close_us = min(closes, default=_NEVER)
        return closed


def _length(channels: Iterable[Channel]) -> int:
    return sum(len(component) for component, _, _ in channels)


def _close_at(begin_us: int, newest_us: int) -> int:
    due_us = begin_us + CLOSE_AFTER_US
    return due_us if due_us > newest_us else newest_us + REOPENED_US


def _is_due(window: _Window, time_us: int) -> bool:
    if not window.is_open or window.begin_us + CLOSE_AFTER_US > time_us:
        return False
    silent = window.touched_us <= time_us - SILENT_US
    return silent or window.opened_us <= time_us - OPEN_US or _is_back(window.touched_us, time_us)


def _is_forgotten(stream: _Stream, time_us: int) -> bool:
    if stream.next_close_us != _NEVER:
        return False  # a window is open, perhaps one that lies ahead
    return stream.heard_us <= time_us - FORGET_US or _is_back(stream.heard_us, time_us)


def _is_back(received_us: int, time_us: int) -> bool:
    """The clock was set back: else nothing would be due until it has caught up."""
    return received_us > time_us + BACKWARDS_US


def _rate(stream: _Stream, window: _Window, newest_us: int) -> int:
    """The highest of its own rate and of those that its stream had shortly before.

    Only what no frame can be too late for is asked: the rest may be forgotten already.
    """
    found = window.rate
    for back_us in range(SECOND_US, RATES_US + 1, SECOND_US):
        begin_us = window.begin_us - back_us
        other = stream.windows.get(begin_us)
        if other is not None and begin_us + SECOND_US > newest_us - LATE_US:
            found = max(found, other.rate)
    return found


def _forget(stream: _Stream) -> None:
    """Let go of windows that no frame can come for any more."""
    too_late_us = stream.newest_us - LATE_US
    gone = [
        begin_us
        for begin_us, window in stream.windows.items()
        if begin_us + SECOND_US <= too_late_us and not window.is_open
    ]
    for begin_us in gone:
        del stream.windows[begin_us]
