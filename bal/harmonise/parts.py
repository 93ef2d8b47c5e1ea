"""Which bytes of a raw message belong to whom (ARCHITECTURE §2, evidence)."""

from collections.abc import Sequence

from bal.harmonise.names import CommitPart
from bal.model import Digest, Part, Subject

Span = tuple[int, int, Subject]
"""The bytes [start, end) in which a message speaks of one device: start, end, whose they are."""


def cut(
    raw: bytes, spans: Sequence[Span], platform: Subject, commit_part: CommitPart
) -> tuple[list[Part], list[Digest]]:
    """Cut `raw` into consecutive parts; and for each span, in order, the part it lies in.

    spans: ascending, apart from each other. Where all are of one subject the whole message is
    one part of that subject; otherwise each span is a part, and the bytes around them are parts
    of the platform's.
    """
    if len({subject.pseudonym for _, _, subject in spans}) == 1:
        subject = spans[0][2]
        commitment = commit_part(subject, raw)
        return [Part(0, len(raw), subject, commitment)], [commitment] * len(spans)
    parts: list[Part] = []
    commitments: list[Digest] = []
    at = 0
    for start, end, subject in spans:
        if at < start:
            parts.append(Part(at, start, platform, commit_part(platform, raw[at:start])))
        commitment = commit_part(subject, raw[start:end])
        parts.append(Part(start, end, subject, commitment))
        commitments.append(commitment)
        at = end
    if at < len(raw):
        parts.append(Part(at, len(raw), platform, commit_part(platform, raw[at:])))
    return parts, commitments
