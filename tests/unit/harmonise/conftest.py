"""Trivial subjects and commitments, so that the tests see harmonise alone."""

import base64
import hashlib
from collections.abc import Callable, Sequence

import pytest

from bal.errors import Rejected
from bal.harmonise import MeterNames, harmonise
from bal.model import Digest, Harmonised, Pseudonym, Subject

Take = Callable[..., Harmonised]


def subject_of(text: str) -> Subject:
    digest = hashlib.sha256(text.encode()).digest()
    pseudonym = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return Subject(Pseudonym(pseudonym), digest, "feeder-1", "feeder-1/0")


PLATFORM, SENDER = subject_of("platform"), subject_of("sender")


def resolve(names: MeterNames) -> Subject:
    identities = names.identities()
    if not identities:
        return SENDER
    if "forbidden" in identities[0]:
        raise Rejected("subject-not-allowed", "the sender may not speak for this meter")
    return subject_of(identities[0])


def commit_part(subject: Subject, part: bytes) -> Digest:
    return Digest(hashlib.sha256(subject.salt_key + part).digest())


def commit_parts(subjects: Sequence[Subject], parts: Sequence[bytes]) -> list[Digest]:
    return list(map(commit_part, subjects, parts))


def take_message(raw: bytes, form: str = "cim", received_us: int | None = None) -> Harmonised:
    found = harmonise(
        raw,
        form,
        resolve=resolve,
        platform=PLATFORM,
        sender=SENDER,
        commit_parts=commit_parts,
        received_us=received_us,
    )
    check_parts(raw, found)
    return found


def check_parts(raw: bytes, found: Harmonised) -> None:
    """Consecutive, not empty, covering all; each record's evidence is one of them, its own."""
    at = 0
    for part in found.parts:
        assert part.start == at < part.end
        assert part.commitment == commit_part(part.subject, raw[part.start : part.end])
        at = part.end
    assert at == len(raw)
    owners = {part.commitment.hex(): part.subject for part in found.parts}
    for draft in found.records:
        evidence = draft.record.split(b'"evidence":"', 1)[1][:64].decode()
        assert owners[evidence] == draft.subject


@pytest.fixture(scope="session")
def take() -> Take:
    return take_message


@pytest.fixture(scope="session")
def subject() -> Callable[[str], Subject]:
    return subject_of


@pytest.fixture(scope="session")
def owners() -> tuple[Subject, Subject]:
    """The platform's and the sender's."""
    return PLATFORM, SENDER
