"""What goes between the platform and a process that works through bulk messages for it.

Frames through pipes: a length and a value in the form of `marshal`, which has plain values only, in
columns: to read a `Worked` back takes pickle six times as long. What is large comes back through
memory that both share: a megabyte through a pipe costs the platform twice what it costs to make
objects of it. Both ends are one version of one program on one interpreter.
"""

import marshal
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, repeat
from mmap import mmap
from typing import Any, NamedTuple, overload

from bal.certify.commitment import frame_leaves
from bal.harmonise import MeterNames
from bal.model import (
    Digest,
    Draft,
    Finding,
    Harmonised,
    Part,
    PhasorFrame,
    Pseudonym,
    Rank,
    RawMessage,
    Sealed,
    Subject,
)
from bal.pipeline import Worked

LENGTH = struct.Struct(">I")
FRAME_BYTES_MAX = 256 * 1024 * 1024  # an answer to a message of 4 MiB is a tenth of that
READY = "ready"  # the first frame that a process sends
UNDER_WAY_MAX = 16  # tasks of one process: it has work while the platform commits
PLACE_BYTES = 8 * 1024 * 1024  # of one answer; a larger one comes through the pipe

Row = tuple[str | None, tuple[tuple[str, str, str], ...], str, bytes, str, str]
"""One subject of a table: the names that mean it, then all of it."""

Columns = tuple[Any, ...]
"""A `Worked` without its message, or frames as they were read; numbers in place of subjects."""

Sent = tuple[int, int, str, str, int, bytes, bytes]
"""A message: number of its table, its offset, credential, format, when it was received, its bytes,
and the tag by which the archive knows it; b"" where it is not to be sealed."""


class Task(NamedTuple):
    """Messages to work through, of any senders."""

    number: int
    place: tuple[str, int]  # epoch and partition of all
    forget: bool  # all tables so far
    # Tables of subjects, each with those that come to stand at its end. The first two of a table
    # are the platform's and the sender's own.
    tables: list[tuple[int, list[Row]]]
    messages: list[Sent]


def frame(value: Any) -> bytes:
    """One value as it goes through a pipe. Tuples of a class of their own must be made plain."""
    data = marshal.dumps(value)
    return LENGTH.pack(len(data)) + data


def read_frame(data: bytes | memoryview) -> Any:
    """The value of one frame, without its length."""
    return marshal.loads(data)  # noqa: S302 - from a process of our own


class Places:
    """Memory with a place for each answer that may be under way; both ends count alike."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of a file that exists in memory only, long enough for all places."""
        self._memory = mmap(descriptor, UNDER_WAY_MAX * PLACE_BYTES)
        self._count = 0

    @staticmethod
    def make() -> int:
        """A new file of this kind; what of it was never used takes no memory."""
        descriptor = os.memfd_create("bulk")
        os.ftruncate(descriptor, UNDER_WAY_MAX * PLACE_BYTES)
        return descriptor

    def put(self, answer: Any) -> bytes:
        """Put down the next answer; the frame that says so, or has it where it is too large."""
        data, at = marshal.dumps(answer), self._next()
        if len(data) > PLACE_BYTES:
            return frame((data, 0))
        self._memory[at : at + len(data)] = data
        return frame((b"", len(data)))

    def get(self, told: tuple[bytes, int]) -> Any:
        """The next answer, by what its frame said. Its place may be used again afterwards."""
        (data, size), at = told, self._next()
        if data:
            return read_frame(data)
        with memoryview(self._memory) as all_of_it, all_of_it[at : at + size] as place:
            return read_frame(place)

    def close(self) -> None:
        """Let go of it."""
        self._memory.close()

    def _next(self) -> int:
        self._count += 1
        return self._count % UNDER_WAY_MAX * PLACE_BYTES


def row(names: MeterNames | None, subject: Subject) -> Row:
    """A subject as a table has it; None for the two that no name means."""
    mrid, known = (None, ()) if names is None else names
    return (mrid, known, subject.pseudonym, subject.salt_key, subject.group, subject.shard)


def read_row(row: Row) -> tuple[MeterNames, Subject]:
    """What `row` made; names that mean nobody for the first two."""
    mrid, names, pseudonym, salt_key, group, shard = row
    return MeterNames(mrid, names), Subject(Pseudonym(pseudonym), salt_key, group, shard)


class Parts(Sequence[Part]):
    """Parts in columns: most often nobody asks for one of them."""

    def __init__(
        self,
        owners: Sequence[int],
        ends: Sequence[int],
        commitments: Sequence[Digest],
        subjects: Sequence[Subject],
    ) -> None:
        """Raises ValueError or IndexError where the columns don't fit together."""
        if not len(owners) == len(ends) == len(commitments):
            raise ValueError("columns of different lengths")
        if owners and not 0 <= min(owners) <= max(owners) < len(subjects):
            raise IndexError("a subject that is none")
        self._columns = owners, ends, commitments, subjects
        self._made: list[Part] | None = None

    def _parts(self) -> list[Part]:
        if self._made is None:
            owners, ends, commitments, subjects = self._columns
            whose = map(subjects.__getitem__, owners)
            self._made = list(map(Part, [0, *ends], ends, whose, commitments))
        return self._made

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, at: int) -> Part: ...

    @overload
    def __getitem__(self, at: slice) -> list[Part]: ...

    def __getitem__(self, at: int | slice) -> Part | list[Part]:
        return self._parts()[at]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._parts() == list(other)

    __hash__ = None  # type: ignore[assignment]


def columns(worked: Worked, numbers: Mapping[int, int], sealed: Sealed | None = None) -> Columns:
    """A worked message, for `read_columns`. numbers: of each subject, by its `id`.

    Raises ValueError or KeyError where that would lose something of it.
    """
    drafts = worked.drafts
    if worked.again or worked.taken or any(draft.frames for draft in drafts):
        raise ValueError("not the work of one message alone")
    shapes = [(one.kind, one.register, one.begin_us, one.end_us, int(one.rank)) for one in drafts]
    return (
        [numbers[id(draft.subject)] for draft in drafts],
        [(shape, len(list(same))) for shape, same in groupby(shapes)],
        [draft.record for draft in drafts],
        worked.entries,
        *_parts(worked.parts, numbers),
        *_findings(worked),
        _plain(sealed),
    )


def frame_columns(
    found: Harmonised, numbers: Mapping[int, int], sealed: Sealed | None = None
) -> Columns:
    """Phasor frames as read, for `read_frames`. numbers: of each subject, by its `id`.

    Raises ValueError or KeyError where that would lose something of it.
    """
    if found.records or found.taken:
        raise ValueError("not frames alone")
    frames = found.frames
    return (
        [numbers[id(one.subject)] for one in frames],
        [(*one[1:6], one.quality) for one in frames],
        frame_leaves([one.subject.salt_key for one in frames], [one.data for one in frames]),
        *_parts(found.parts, numbers),
        *_findings(found),
        _plain(sealed),
    )


def read_frames(found: Columns, subjects: Sequence[Subject]) -> tuple[Harmonised, Sealed | None]:
    """What was read, equal to what `bal.pipeline.read` would have found, and sealed.

    Raises ValueError, TypeError or IndexError where the columns don't fit together.
    """
    whose, frames, leaves, owners, ends, commitments, findings, refused, sealed = found
    if not len(whose) == len(frames) == len(leaves):
        raise ValueError("columns of different lengths")
    read = Harmonised(
        list(Parts(owners, ends, commitments, subjects)),
        [],
        [Finding(*one) for one in findings],
        [Finding(*one) for one in refused],
        [
            PhasorFrame._make((subjects[number], *one[:-1], leaf, one[-1]))
            for number, one, leaf in zip(whose, frames, leaves, strict=True)
        ],
    )
    return read, _sealed(sealed)


def read_columns(message: RawMessage, found: Columns, subjects: Sequence[Subject]) -> Worked:
    """What was worked, equal to what `Worker.process` would have made of the message.

    Raises ValueError, TypeError or IndexError where the columns don't fit together.
    """
    whose, shapes, records, entries, owners, ends, commitments, findings, refused, sealed = found
    drafts: list[Draft] = []
    subject, record = map(subjects.__getitem__, whose), iter(records)
    for (*shape, rank), many in shapes:  # mostly two: the readings, and the message's own
        same: Iterable[Any] = map(repeat, (*shape, Rank(rank)))
        drafts += map(Draft, islice(subject, many), *same, islice(record, many))
    if not len(drafts) == len(whose) == len(records) == len(entries):
        raise ValueError("columns of different lengths")
    return Worked(
        message,
        drafts,
        entries,
        Parts(owners, ends, commitments, subjects),
        [Finding(*one) for one in findings],
        [Finding(*one) for one in refused],
        sealed=_sealed(sealed),
    )


def _parts(parts: Sequence[Part], numbers: Mapping[int, int]) -> Columns:
    """Whose each part is, where it ends, and the commitment to it."""
    ends = [part.end for part in parts]
    if [part.start for part in parts] != [0, *ends][: len(ends)]:
        raise ValueError("the parts are not consecutive")
    return (
        [numbers[id(part.subject)] for part in parts],
        ends,
        [part.commitment for part in parts],
    )


def _plain(sealed: Sealed | None) -> tuple[bytes, ...]:
    return () if sealed is None else tuple(sealed)


def _sealed(found: tuple[bytes, ...]) -> Sealed | None:
    return Sealed(*found) if found else None


def _findings(found: Worked | Harmonised) -> Columns:
    return list(map(_finding, found.findings)), list(map(_finding, found.refused))


def _finding(one: Finding) -> tuple[object, ...]:
    return (one.code, one.severity, one.text, one.field, one.line, one.clause)
