"""What a capture holds of IEEE C37.118.2: streams, their stations, and what is lost or damaged."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from bal.c37118.config import Config, Fragments, read_config
from bal.c37118.data import Data, Layout
from bal.c37118.frame import CFG_2, CFG_3, DATA, head, time_us
from bal.c37118.splitter import Piece, Splitter, split
from bal.errors import Rejected
from field.capture_file import Flow, Flows
from field.pdc import Messages


@dataclass(slots=True)
class Stream:
    """All frames that one address sent under one IDCODE, in the order of the capture."""

    source: str  # address
    idcode: int
    flows: set[Flow] = field(default_factory=set)
    frames: list[bytes] = field(default_factory=list)
    kinds: Counter[int] = field(default_factory=Counter)
    config: Config | None = None  # the first that could be read
    configs: int = 0  # different ones
    begin_us: int = 0  # of the first and of the last data frame
    end_us: int = 0
    lost: int = 0  # data frames that should stand between the first and the last
    again: int = 0  # data frames with a time that another one had
    refused: Counter[str] = field(default_factory=Counter)  # frames that can't be read, by code

    @property
    def is_early(self) -> bool:
        """Whether data come before their configuration."""
        return next(iter(self.frames), b"\0\0")[1] >> 4 == DATA

    def data(self) -> Iterator[tuple[Layout, Data]]:
        """Each data frame that can be read, with how it is read."""
        fragments = Fragments()
        layout = Layout(self.config) if self.config is not None else None
        before: tuple[bytes, ...] = ()
        for frame in self.frames:
            kind = frame[1] >> 4
            try:
                if kind == DATA and layout is not None:
                    yield layout, layout.read(frame)
                elif kind in {CFG_2, CFG_3}:
                    whole = fragments.add(frame) if kind == CFG_3 else (frame,)
                    if whole and whole != before:  # most send theirs each minute
                        layout, before = Layout(read_config(whole)), tuple(whole)
            except Rejected:
                continue  # counted when it was looked at

    def messages(self) -> Iterator[bytes]:
        """The stream as messages of format c37118. Data before the first configuration go by it."""
        made, fragments = Messages(), Fragments()
        first = _first_config(self.frames) if self.is_early else None
        if first is not None:
            yield from made.configure(first)
        for frame in self.frames:
            kind = frame[1] >> 4
            try:
                if kind == DATA:
                    yield from made.add(frame)[1]
                elif kind in {CFG_2, CFG_3}:
                    whole = fragments.add(frame) if kind == CFG_3 else (frame,)
                    if whole:
                        yield from made.configure(whole)
            except Rejected:
                continue  # counted when it was read
        yield from made.flush()


@dataclass(slots=True)
class Capture:
    """What a file holds."""

    packets: int
    passed_over: Counter[str]  # packets that carry no UDP or TCP, by why
    streams: list[Stream]
    damage: dict[Flow, Counter[str]]  # of flows that have frames: what is none, by code
    gaps: dict[Flow, int]  # of the same: stretches of TCP that are missing


def read_capture(file: BinaryIO) -> Capture:
    """All of a capture. Raises Stop("capture-malformed")."""
    flows = Flows()
    splitters: dict[Flow, Splitter] = {}
    damage: dict[Flow, Counter[str]] = {}
    streams: dict[tuple[str, int], Stream] = {}
    frames: Counter[Flow] = Counter()

    def take(flow: Flow, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.code:
                damage.setdefault(flow, Counter())[piece.code] += 1
                continue
            frames[flow] += 1
            found = head(piece.frame)
            key = flow.source, found.idcode
            stream = streams.setdefault(key, Stream(*key))
            stream.flows.add(flow)
            stream.kinds[found.kind] += 1
            stream.frames.append(piece.frame)

    for flow, data in flows.read(file):
        if flow.protocol == "udp":
            take(flow, split(data))  # a frame never goes on in another datagram
        else:
            take(flow, splitters.setdefault(flow, Splitter()).feed(data))
    for flow, splitter in splitters.items():
        take(flow, splitter.end())
    for stream in streams.values():
        _look_at(stream)
    return Capture(
        flows.packets,
        flows.passed_over,
        [streams[key] for key in sorted(streams)],
        {flow: counts for flow, counts in damage.items() if frames[flow]},
        {flow: count for flow, count in flows.gaps.items() if frames[flow]},
    )


def _first_config(frames: list[bytes]) -> tuple[bytes, ...] | None:
    fragments = Fragments()
    for frame in frames:
        kind = frame[1] >> 4
        try:
            whole = fragments.add(frame) if kind == CFG_3 else (frame,) * (kind == CFG_2)
            if whole:
                read_config(whole)
                return whole
        except Rejected:
            continue
    return None


def _look_at(stream: Stream) -> None:
    """Stations, times, and what is missing."""
    fragments, layout, times = Fragments(), None, Counter[int]()
    first = _first_config(stream.frames)
    if first is not None:
        stream.config = read_config(first)
        layout = Layout(stream.config)
    configs = set()
    for frame in stream.frames:
        kind = frame[1] >> 4
        try:
            if kind in {CFG_2, CFG_3}:
                whole = fragments.add(frame) if kind == CFG_3 else (frame,)
                if whole:
                    layout = Layout(read_config(whole))
                    configs.add(whole)
            elif kind == DATA and layout is not None:
                data = layout.read(frame)
                times[time_us(data.soc, data.fraction, layout.config.time_base)] += 1
        except Rejected as error:
            stream.refused[error.code] += 1
    stream.configs = len(configs)
    if not times or stream.config is None:
        return
    stream.begin_us, stream.end_us = min(times), max(times)
    stream.again = times.total() - len(times)
    period_us = stream.config.period_us
    if period_us:
        span = (stream.end_us - stream.begin_us + period_us // 2) // period_us
        stream.lost = max(0, span + 1 - len(times))
