"""What a source answered, looked at before it is handed to the platform (docs/rerequest.md).

A source is asked for one meter and one stretch of time. Whatever else it says was not asked for,
and comes in under a client that may speak for many: so it is refused here, by the platform's own
guard and mapper, unless the operator says that a source gives several meters at once.
"""

from collections.abc import Sequence

from bal.certify.tree import EMPTY_ROOT
from bal.collect.guard import guard
from bal.errors import GridsealError, Rejected
from bal.harmonise import MeterNames, harmonise
from bal.model import Digest, Draft, Identity, Pseudonym, Subject
from bal.times import instant_us

_NOBODY = Pseudonym("")
_SOMEBODY = Pseudonym("another")


class NotAsked(Exception):
    """The answer is none to what was asked; with why, which quotes nothing of it."""


def check_answer(
    raw: bytes,
    form: str,
    meter: tuple[Identity, Pseudonym],
    gap: tuple[str, str, str],
    *,
    several: bool,
    now_us: int,
) -> None:
    """Return only if it has something of the gap, and is of that meter alone, or `several` is true.

    meter: as the platform knows it; gap: register, begin and end (RFC 3339). Raises NotAsked.
    """
    identity, device = meter
    others: list[MeterNames] = []

    def whose(names: MeterNames) -> Subject:
        if names.identities()[:1] == (identity,):  # what the platform goes by where it knows it
            return _subject(device)
        others.append(names)
        return _subject(_SOMEBODY)

    try:
        guard(raw, form)
        found = harmonise(
            raw, form, resolve=whose, platform=_subject(_NOBODY), sender=_subject(_NOBODY),
            commit_parts=_no_commitments, received_us=now_us, trust=None,
        )  # fmt: skip
    except Rejected as error:
        raise NotAsked(f"the source's answer is no message of {form}: {error.code}") from error
    except GridsealError:
        raise
    except Exception as error:  # a defect of ours costs no other gap
        raise NotAsked(f"the source's answer can't be read: {type(error).__name__}") from error
    if others and not several:
        raise NotAsked("the source answers for another meter, or names it otherwise than we do")
    if not any(_is_of(one, device, gap) for one in found.records):
        raise NotAsked("the source's answer has nothing of it")


def _is_of(one: Draft, device: Pseudonym, gap: tuple[str, str, str]) -> bool:
    register, begin, end = gap
    return (
        one.subject.pseudonym == device
        and one.register == register
        and one.begin_us < instant_us(end)
        and one.end_us > instant_us(begin)
    )


def _subject(pseudonym: Pseudonym) -> Subject:
    return Subject(pseudonym, bytes(32), "", "")


def _no_commitments(subjects: Sequence[Subject], _: Sequence[bytes]) -> list[Digest]:
    return [EMPTY_ROOT] * len(subjects)
