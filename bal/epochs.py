"""Whose a reading is when people move and meters are exchanged (docs/spec/registry.md, epochs).

A meter is resolved to its newest subject epoch; what it says of a time before is of the epoch of
that time, bytes and evidence included, and what it says after it was taken away is nobody's.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from bal.certify.commitment import commitment
from bal.derive.local_day import date_at, local_day
from bal.errors import Rejected
from bal.model import (
    TYPE_PART,
    DeviceInfo,
    Digest,
    Draft,
    Finding,
    Harmonised,
    Part,
    Pseudonym,
    Subject,
)
from bal.ports import Vault
from bal.registry import Registry
from bal.subjects import SLOT_KINDS, UNTIMED
from bal.times import rfc3339, year

_CLAUSE = "Gridseal docs/spec/registry.md, subject epochs"
_EVIDENCE = re.compile(rb'"evidence":"([0-9a-f]{64})"')


class Epochs:
    """Subject epochs of one worker; `registry` and `vault` are shared."""

    def __init__(self, vault: Vault, registry: Registry) -> None:
        self._vault, self._registry = vault, registry

    def stands(self, drafts: Sequence[Draft]) -> bool:
        """Whether all of these are of the subject epoch that they were taken for."""
        if not self._registry.begins:  # as long as nobody moved
            return True
        try:
            return all(self._epoch(one, one.begin_us) == one.subject.pseudonym for one in drafts)
        except Rejected:
            return False

    def settle(self, found: Harmonised, raw: bytes, received_us: int) -> None:
        """Give what devices said of a time before a subject epoch to the epoch of that time.

        A move does not stop late readings: they are his who lived there then. What says no time is
        of when it was received. A part of the message of which all is of a former epoch is kept
        under its key; of one that lies over a border each epoch's readings have an evidence of
        their own, so that nobody is tied to nobody by it.
        """
        if not self._registry.begins:
            return
        kept: list[Draft] = []
        theirs: dict[int, Subject] = {}  # by its place in `kept`, what is a former epoch's
        for one in found.records:
            at_us = received_us if one.end_us == UNTIMED else one.begin_us
            try:
                epoch = self._epoch(one, at_us)
                if epoch != one.subject.pseudonym:
                    theirs[len(kept)] = self._subject(epoch, year(received_us))
                kept.append(one)
            except Rejected as error:  # of one reading: the others are none of its business
                found.refused.append(_refused(one, error))
        found.records[:] = kept
        if theirs:
            _hand_over(found, raw, theirs)

    def _epoch(self, one: Draft, at_us: int) -> Pseudonym:
        """The subject epoch that a draft is of. Raises Rejected("epoch-over")."""
        begins = self._registry.begins
        own = at = one.subject.pseudonym
        if one.kind not in SLOT_KINDS or at_us < 0:
            return own
        while at in begins and at_us < begins[at][0] and begins[at][1]:
            at = Pseudonym(begins[at][1])
        info = self._registry.device(at)
        if info is None:
            return own
        if info.until_us and at_us >= gone_us(info):
            gone = rfc3339(info.until_us)
            text = f"the meter was taken away at {gone}: what it says of after that day is nobody's"
            raise Rejected("epoch-over", text, field="Meter")
        return at

    def _subject(self, epoch: Pseudonym, message_year: int) -> Subject:
        """Raises Rejected("device-revoked") where its keys are destroyed."""
        info = self._registry.device(epoch)
        assert info is not None
        try:
            key = self._vault.salt_keys([epoch], message_year)[epoch]
        except KeyError:
            text = "it is of a subject epoch that was erased: nothing more is kept of it"
            raise Rejected("device-revoked", text, field="Meter") from None
        return Subject(epoch, key, info.group, info.shard)


def gone_us(info: DeviceInfo) -> int:
    """Until when a meter may speak that no other epoch of it follows: the day it was taken away.

    info: of an epoch that is over.
    """
    return local_day(date_at(info.until_us, info.zone), info.zone)[1]


def _refused(one: Draft, error: Rejected) -> Finding:
    """Of what is nobody's: as the meter is named now, so that nobody's epochs are tied together."""
    said = [one.register] if one.register else []
    if one.end_us != UNTIMED:
        said += [rfc3339(at_us) for at_us in dict.fromkeys((one.begin_us, one.end_us))]
    text = f"{error.text} ({', '.join(said)})" if said else error.text
    who = one.subject
    return Finding(
        error.code, "refused", text, error.field,
        clause=_CLAUSE, device=who.pseudonym, group=who.group,
    )  # fmt: skip


def _hand_over(found: Harmonised, raw: bytes, theirs: dict[int, Subject]) -> None:
    """theirs: by place in `found.records` the subject of those that are a former epoch's."""
    numbers = {part.commitment.hex().encode(): at for at, part in enumerate(found.parts)}
    part_of: dict[int, tuple[int, bytes]] = {}
    owners: dict[int, dict[Pseudonym, Subject]] = {}  # of the records of a part
    for place, one in enumerate(found.records):
        named = _EVIDENCE.search(one.record)
        if named is not None and named[1] in numbers:
            number = numbers[named[1]]
            part_of[place] = number, named[1]
            subject = theirs.get(place, one.subject)
            owners.setdefault(number, {})[subject.pseudonym] = subject
    made: dict[tuple[int, Pseudonym], Digest] = {}
    for place, subject in theirs.items():
        one = found.records[place]
        record = one.record.replace(one.subject.pseudonym.encode(), subject.pseudonym.encode())
        if place in part_of:
            number, evidence = part_of[place]
            key = number, subject.pseudonym
            if key not in made:
                made[key] = _commitment(subject, raw, found.parts[number])
            record = record.replace(evidence, made[key].hex().encode())
        found.records[place] = replace(one, subject=subject, record=record)
    parts = list(found.parts)  # another list: what was sealed of the other one is another's
    for (number, pseudonym), digest in made.items():
        if len(owners[number]) == 1:
            owner = owners[number][pseudonym]
            parts[number] = replace(parts[number], subject=owner, commitment=digest)
    found.parts = parts


def _commitment(subject: Subject, raw: bytes, part: Part) -> Digest:
    return commitment(subject.salt_key, TYPE_PART, raw[part.start : part.end])
