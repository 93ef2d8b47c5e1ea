"""Frames of IEEE C37.118.2 as a PMU or a concentrator sends them (docs/spec/c37118.md).

A message is one configuration and the data frames behind it, as received: the bytes themselves are
the evidence, CHK and all. What one configuration means is kept as a `Stream`, since it comes again
with each message.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from bal import jcs
from bal.c37118.config import FLOAT_PHASORS, Config, Fragments, read_config
from bal.c37118.data import CLAUSE as CLAUSE_DATA
from bal.c37118.data import NOT_USABLE, Data, Layout
from bal.c37118.frame import (
    CFG_2,
    CFG_3,
    CLAUSE,
    CLOCK_FAILED,
    DATA,
    KINDS,
    LEAP_DELETE,
    LEAP_OCCURRED,
    LEAP_PENDING,
    time_us,
)
from bal.c37118.splitter import Piece, split
from bal.errors import Rejected
from bal.harmonise.c37118_channels import QUESTIONABLE, Channels, names_of, qualities
from bal.harmonise.c37118_words import CLOCK_FAILS, doubts
from bal.harmonise.names import CommitParts, Resolve
from bal.harmonise.parts import cut
from bal.harmonise.phasors import readings_form
from bal.harmonise.report import Spot
from bal.model import Channel, Digest, Finding, Harmonised, PhasorFrame, Severity, Subject
from bal.times import rfc3339

TOLD_MAX = 100  # refusals of one code; those beyond are counted in one more
DUPLICATE = "frame-duplicate"  # no refusal: the window has the frame
_DAY_S = 86_400
_LOST = {
    "sync-lost": "bytes that begin with no SYNC",
    "frame-size-wrong": "FRAMESIZE is below 16, or beyond the frames that follow",
    "checksum-wrong": "CHK is not that of the frame",
    "frame-incomplete": "the message ends within the frame",
}


class Stream:
    """What a configuration means."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        """Raises Rejected where it can't be read."""
        self.config: Config = read_config(frames)
        self.layout = Layout(self.config)
        self.pmus = [Channels(self.config, pmu) for pmu in self.config.pmus]


@lru_cache(maxsize=512)
def _stream(*frames: bytes) -> Stream:
    return Stream(frames)


@lru_cache(maxsize=1024)
def _form(channels: tuple[Channel, ...]) -> str:
    return readings_form(channels)


@lru_cache(maxsize=256)
def _codes(codes: tuple[str, ...]) -> str:
    return jcs.encode(list(codes)).decode()


def harmonise(
    raw: bytes,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """Frames, parts and findings of one message; see `bal.harmonise.harmonise`.

    A message of one PMU is that PMU's. One of several can't be cut, since a frame's CHK is over
    them all: it is one part, the sender's.
    """
    pieces = split(raw)
    used, behind = _configuration(pieces)
    stream = _stream(*used)
    told = _Told()
    subjects = [_subject(stream, n, resolve, told) for n in range(len(stream.pmus))]
    alone = subjects[0] if len(subjects) == 1 else None
    parts, [commitment] = cut(raw, [(0, len(raw), alone or sender)], platform, commit_parts)
    reading = _Reading(stream, subjects, commitment, told)
    for place, piece in enumerate(pieces[behind:], behind):
        if not reading.piece(place, piece, used):
            break
    reading.tell()
    if not reading.frames and not told.refused and not told.findings:
        raise Rejected("no-reading", "there is no data frame behind the configuration")
    if spots is not None:
        for frame in reading.frames:
            spot = _field(*divmod(frame.number, len(stream.pmus)))
            spots += [spot] * len(frame.channels)
    return Harmonised(parts, [], told.findings, told.all_refused(), reading.frames)


def turned_away(raw: bytes, why: Mapping[int, tuple[str, str]]) -> Iterator[Finding]:
    """What windows had against frames of a message. why: number of the frame → code, text."""
    if not why:
        return
    used, _ = _configuration(split(raw))
    pmus = len(_stream(*used).pmus)
    for number, (code, text) in why.items():
        place, pmu = divmod(number, pmus)
        severity: Severity = "info" if code == DUPLICATE else "refused"
        yield Finding(code, severity, text, _field(place, pmu), None, CLAUSE_DATA)


def _configuration(pieces: Sequence[Piece]) -> tuple[list[bytes], int]:
    """The frames of the configuration that a message begins with; the place of what follows."""
    fragments = Fragments()
    for place, piece in enumerate(pieces):
        if piece.code:
            raise Rejected(piece.code, _LOST[piece.code], field=_field(place), clause=CLAUSE)
        kind = _kind(piece.frame)
        if kind == CFG_2 and place == 0:
            return [piece.frame], 1
        if kind != CFG_3:
            break
        found = fragments.add(piece.frame)
        if found:
            return list(found), place + 1
    text = "the message does not begin with a whole configuration 2 or 3"
    raise Rejected("config-missing", text, clause=CLAUSE)


def _kind(frame: bytes) -> int:
    return frame[1] >> 4 & 7


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _field(place: int, pmu: int | None = None) -> str:
    """Where in a message: its frames, and what is none, from 0, and the PMUs of each."""
    return f"/frames/{place}" if pmu is None else f"/frames/{place}/pmus/{pmu}"


def _subject(stream: Stream, number: int, resolve: Resolve, told: "_Told") -> Subject | None:
    """Whose a PMU is; None, and one refusal for all its frames, where nobody's."""
    try:
        return resolve(names_of(stream.config.pmus[number]))
    except Rejected as error:
        told.refuse(error.code, error.text, f"/pmus/{number}", error.clause or CLAUSE)
        return None


@dataclass(slots=True)
class _Told:
    """Findings and refusals; thousands of one kind are a few and a number."""

    findings: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def refuse(self, code: str, text: str, where: str, clause: str) -> None:
        self._counts[code] += 1
        if self._counts[code] <= TOLD_MAX:
            self.refused.append(Finding(code, "refused", text, where, None, clause))

    def doubt(self, code: str, text: str, where: str, clause: str = CLAUSE_DATA) -> None:
        self.findings.append(Finding(code, "warning", text, where, None, clause))

    def all_refused(self) -> list[Finding]:
        more = [
            Finding(code, "refused", f"{count - TOLD_MAX} more of these", "/frames", None, CLAUSE)
            for code, count in self._counts.items()
            if count > TOLD_MAX
        ]
        return self.refused + more


class _Reading:
    """Reads a message frame by frame, and counts what is to be told of each PMU."""

    def __init__(
        self,
        stream: Stream,
        subjects: Sequence[Subject | None],
        commitment: Digest,
        told: _Told,
    ) -> None:
        self.frames: list[PhasorFrame] = []
        self._stream, self._commitment, self._told = stream, commitment, told
        self._pmus = [
            (number, subject, channels, span)
            for number, (subject, channels, span) in enumerate(
                zip(subjects, stream.pmus, stream.layout.spans, strict=True)
            )
            if subject is not None
        ]
        self._not_usable: Counter[int] = Counter()  # frames, by PMU
        self._absent: Counter[int] = Counter()  # values, by PMU
        self._doubts: dict[int, Counter[str]] = {}  # frames by PMU, and what makes them doubtful
        self._clock_failed = 0  # frames
        self._others: Counter[int] = Counter()  # frames of no use here, by kind
        self._again: set[bytes] = set()

    def piece(self, place: int, piece: Piece, configuration: Sequence[bytes]) -> bool:
        """Take one; False where nothing behind it can be read."""
        if piece.code:
            self._told.refuse(piece.code, _LOST[piece.code], _field(place), CLAUSE)
            return True
        kind = _kind(piece.frame)
        if kind in {CFG_2, CFG_3}:
            if piece.frame in configuration:
                return True
            text = "another configuration: it and what follows belong into a message of their own"
            self._told.refuse("frame-unexpected", text, _field(place), CLAUSE)
            return False
        if kind != DATA:
            self._others[kind] += 1
            return True
        try:
            data = self._stream.layout.read(piece.frame)
            at_us = self._time_us(data)
        except Rejected as error:
            self._told.refuse(error.code, error.text, _field(place), error.clause or CLAUSE)
            return True
        self._data(place, data, at_us)
        return True

    def _time_us(self, data: Data) -> int:
        base = self._stream.config.time_base
        if data.fraction >= base:
            raise Rejected("time-malformed", "FRACSEC is not below TIME_BASE", clause=CLAUSE)
        flags = data.time_quality & (LEAP_PENDING | LEAP_OCCURRED | LEAP_DELETE)
        if flags == LEAP_PENDING and data.soc % _DAY_S == 0:
            # SOC shows the next day's first second already, and the leap second is still to come
            text = "within a leap second, which has no place on the time scale used here"
            raise Rejected("time-leap-second", text, clause=f"{CLAUSE}.2")
        return time_us(data.soc, data.fraction, base)

    def _data(self, place: int, data: Data, at_us: int) -> None:
        """One data frame's PMUs."""
        time_quality, pmus = data.time_quality, len(self._stream.pmus)
        if time_quality & 0xF == CLOCK_FAILED:
            self._clock_failed += 1
        time = rfc3339(at_us)
        for number, subject, of, span in self._pmus:
            values = data.values[span]
            stat = values[0]
            if stat & NOT_USABLE:
                self._not_usable[number] += 1
                continue
            texts, channels, form = of.texts(values), of.channels, of.form
            if None in texts:
                self._absent[number] += texts.count(None)
                there = [n for n, text in enumerate(texts) if text is not None]
                channels = tuple(channels[n] for n in there)
                form, texts = _form(channels), [texts[n] for n in there]
                if not texts:
                    continue
            codes = qualities(stat, time_quality)
            if QUESTIONABLE in codes:
                self._doubts.setdefault(number, Counter()).update(doubts(stat, time_quality))
            raw = (
                f'{{"quality":{_codes(codes)},"readings":{form % tuple(texts)},"stat":"{stat:04x}"'
                f',"time":"{time}","timeQuality":"{time_quality:02x}"}}'
            ).encode()
            frame = (subject, at_us, raw, channels, self._commitment)
            self.frames.append(PhasorFrame(*frame, place * pmus + number, quality=codes))

    def tell(self) -> None:
        """What was counted, once a message and PMU."""
        told = self._told
        for number, count in self._not_usable.items():
            text = (
                f"{_frames(count)} whose STAT says that their values are not to be used: left out"
            )
            told.doubt("data-not-usable", text, f"/pmus/{number}")
        for number, reasons in self._doubts.items():
            reasons.pop(CLOCK_FAILS, None)  # told below, once a message
            for reason, count in reasons.items():
                text = f"{_frames(count)} questionable by STAT or time quality: {reason}"
                told.doubt("frame-questionable", text, f"/pmus/{number}")
        for number, count in self._absent.items():
            are = "1 value is" if count == 1 else f"{count} values are"
            text = f"{are} absent (NaN, infinite, or 8000 hex): left out"
            told.doubt("value-absent", text, f"/pmus/{number}")
        if self._clock_failed:
            text = f"{_frames(self._clock_failed)} whose time quality says that the clock failed"
            told.doubt("clock-failed", text, "/frames", CLAUSE)
        for kind, count in self._others.items():
            text = f"{_frames(count)} of kind {KINDS[kind]}: kept as evidence only"
            told.doubt("frame-not-mapped", text, "/frames", CLAUSE)
        if self._stream.config.kind == CFG_3 and self.frames:
            self._tell_scales()

    def _tell_scales(self) -> None:
        """A scale that nobody applies, since floats are sent in V or A."""
        for number, pmu in enumerate(self._stream.config.pmus):
            if pmu.format & FLOAT_PHASORS and any(
                one.scale not in {0.0, 1.0} or one.angle_rad != 0 for one in pmu.phasors
            ):
                text = "a scale or an angle of floating phasors: they are taken as sent"
                self._told.doubt("scale-not-applied", text, f"/pmus/{number}")
