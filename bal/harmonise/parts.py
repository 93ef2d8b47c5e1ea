"""Which bytes of a raw message belong to whom (ARCHITECTURE §2, evidence)."""

from collections.abc import Sequence
from typing import Protocol

from bal.harmonise.names import CommitParts
from bal.harmonise.record import Origin
from bal.model import Digest, Part, Subject

Span = tuple[int, int, Subject]
"""The bytes [start, end) in which a message speaks of one device: start, end, whose they are."""


class Piece(Protocol):
    """What a message says of one device, in the bytes [start, end)."""

    @property
    def start(self) -> int:
        """Of its first byte."""

    @property
    def end(self) -> int:
        """Of the byte behind its last one."""


def origins(
    raw: bytes,
    pieces: Sequence[Piece],
    subjects: Sequence[Subject | None],
    *,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
) -> tuple[list[Part], list[Origin | None]]:
    """Cut `raw` by its pieces, as `cut` does; and what the records of each have in common.

    subjects: whose each piece is; None for nobody's, which has no records, and is the sender's.
    """
    spans = [
        (piece.start, piece.end, sender if subject is None else subject)
        for piece, subject in zip(pieces, subjects, strict=True)
    ]
    parts, commitments = cut(raw, spans, platform, commit_parts)
    return parts, [
        None if subject is None else Origin(subject, commitment.hex())
        for subject, commitment in zip(subjects, commitments, strict=True)
    ]


def cut(
    raw: bytes, spans: Sequence[Span], platform: Subject, commit_parts: CommitParts
) -> tuple[list[Part], list[Digest]]:
    """Cut `raw` into consecutive parts; and for each span, in order, the part it lies in.

    spans: ascending, apart from each other. Where all are of one subject the whole message is
    one part of that subject; otherwise each span is a part, and the bytes around them are parts
    of the platform's.
    """
    subject = spans[0][2]
    if all(owner.pseudonym == subject.pseudonym for _, _, owner in spans):
        [commitment] = commit_parts([subject], [raw])
        return [Part(0, len(raw), subject, commitment)], [commitment] * len(spans)
    pieces: list[Span] = []
    places: list[int] = []  # of the spans in `pieces`
    at = 0
    for span in spans:
        start, end, _ = span
        if at < start:
            pieces.append((at, start, platform))
        places.append(len(pieces))
        pieces.append(span)
        at = end
    if at < len(raw):
        pieces.append((at, len(raw), platform))
    starts, ends, owners = zip(*pieces, strict=True)
    commitments = commit_parts(owners, [raw[start:end] for start, end, _ in pieces])
    parts = list(map(Part, starts, ends, owners, commitments))
    return parts, [commitments[place] for place in places]
