"""Who may speak for whom: from the names in a message to the subject it belongs to.

A function of the registry and the vault; what a sender with `any` names first becomes a device in
the same batch (docs/spec/intake.md).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from bal.errors import Rejected, Unavailable
from bal.harmonise import MeterNames
from bal.model import DeviceInfo, Draft, Identity, Pseudonym, Rank, RawMessage, Subject
from bal.ports import Vault
from bal.registry import PLATFORM_GROUP, Registry, Sender, device_record
from bal.times import year

PLATFORM_SHARD = f"{PLATFORM_GROUP}/0"
OWN_AUTHORITY = "gridseal"
PLATFORM_IDENTITY = Identity("name:gridseal/platform/platform")
SLOT_KINDS = frozenset({"reading", "telemetry", "event"})  # what a device said
UNTIMED = -1  # no reading is from before 1970
SUBJECTS_CACHED_MAX = 200_000
UNKNOWN_AT_ONCE_MAX = 8  # devices looked up one by one; above, all of a message's at once


_KINDS = {
    "c37118": "pmu",
    "der": "der",
    "pmu": "pmu",
    "sep2": "der",
    "sunspec": "der",
}  # of a device, by the format that names it


class ManyUnknown(Exception):
    """A message names many devices that are not at hand: `prefetch` them, then begin again."""


def identity_of_name(name: str) -> Identity:
    """The identity of a sender that speaks for itself, or of a bare name in a list."""
    return MeterNames(None, (("", "", name),)).identities()[0]


def draft(subject: Subject, kind: str, record: bytes) -> Draft:
    """A record that stands at no time of its own; it gets its message's."""
    return Draft(subject, kind, "", UNTIMED, UNTIMED, Rank.MEASURED, record)


class Subjects:
    """Subjects of one worker; `registry` and `vault` are shared."""

    def __init__(self, vault: Vault, registry: Registry) -> None:
        self._vault = vault
        self._registry = registry
        self._cache: dict[tuple[str, int], dict[MeterNames, Subject]] = {}
        self._cached = 0
        self._own: dict[tuple[Pseudonym, int], Subject] = {}
        self._platform: dict[int, Subject] = {}
        self._cache_version = -1
        self._prefetched: RawMessage | None = None  # its devices are in the vault

    def platform(self, message_year: int) -> Subject:
        """The platform's own subject."""
        found = self._platform.get(message_year)
        if found is None:
            pseudonym = self._vault.pseudonyms([PLATFORM_IDENTITY])[PLATFORM_IDENTITY]
            found = self._platform[message_year] = self.keyed(pseudonym, message_year)
        return found

    def own(self, sender: Sender, message_year: int) -> Subject:
        """The sender's own subject; with `self` it is its device's."""
        self._forget_old()
        found = self._own.get((sender.subject, message_year))
        if found is None:
            found = self.keyed(sender.subject, message_year)
            info = self._registry.device(sender.subject)
            if info is not None:
                found = Subject(sender.subject, found.salt_key, info.group, info.shard)
            self._own[sender.subject, message_year] = found
        return found

    def keyed(self, pseudonym: Pseudonym, message_year: int) -> Subject:
        """A subject whose row stands among the platform's."""
        (subject,) = self.all_keyed([pseudonym], message_year)
        return subject

    def all_keyed(self, pseudonyms: Sequence[Pseudonym], message_year: int) -> list[Subject]:
        """Subjects whose rows stand among the platform's. Raises KeyError where one is erased."""
        keys = self._vault.salt_keys(pseudonyms, message_year)
        return [Subject(one, keys[one], PLATFORM_GROUP, PLATFORM_SHARD) for one in pseudonyms]

    def of_year(self, subject: Subject, message_year: int) -> Subject:
        """The subject with the salt key of another calendar year."""
        key = self._vault.salt_keys([subject.pseudonym], message_year)[subject.pseudonym]
        return Subject(subject.pseudonym, key, subject.group, subject.shard)

    def prefetch(self, sender: Sender, message: RawMessage, named: Sequence[MeterNames]) -> None:
        """Have the vault ready for every device that a message names: two transactions in all.

        Only a convenience: what the vault refuses here is asked for again, one by one.
        """
        self._prefetched = message
        with suppress(Unavailable):
            self._prefetch(sender, message, named)

    def _prefetch(self, sender: Sender, message: RawMessage, named: Sequence[MeterNames]) -> None:
        known = self._vault.find([i for names in named for i in self._candidates(sender, names)])
        if sender.subjects == "any":
            firsts = [names.identities()[0] for names in named if names.identities()]
            known |= self._vault.pseudonyms([i for i in firsts if i not in known])
        self._vault.salt_keys(list(dict.fromkeys(known.values())), year(message.received_us))

    def known(self, sender: Sender, message_year: int) -> Mapping[MeterNames, Subject]:
        """The subjects that the sender spoke for so far, as long as the registry stays as it is.

        It is only ever added to; another one takes its place once something changed.
        """
        return self._known(sender, message_year)

    def _known(self, sender: Sender, message_year: int) -> dict[MeterNames, Subject]:
        self._forget_old()
        return self._cache.setdefault((sender.name, message_year), {})

    def _forget_old(self) -> None:
        """Let go of what was found before the registry changed."""
        if self._cache_version != self._registry.version or self._cached > SUBJECTS_CACHED_MAX:
            self._cache.clear()
            self._own.clear()
            self._cache_version, self._cached = self._registry.version, 0

    def resolver(
        self, sender: Sender, message: RawMessage, new_devices: list[Draft]
    ) -> Callable[[MeterNames], Subject]:
        """What harmonise asks for each device of a message; new devices are put in the list.

        It raises Rejected where the sender may not speak for a device, ManyUnknown once.
        """
        cache = self._known(sender, year(message.received_us))
        fresh: dict[Pseudonym, DeviceInfo] = {}
        unknown = [0]

        def resolve(names: MeterNames) -> Subject:
            found = cache.get(names)
            if found is None:
                unknown[0] += 1
                if unknown[0] > UNKNOWN_AT_ONCE_MAX and self._prefetched is not message:
                    raise ManyUnknown
                found = self._subject(sender, names, message, fresh, new_devices)
                if not fresh:
                    cache[names] = found
                    self._cached += 1
            return found

        return resolve

    def _subject(
        self,
        sender: Sender,
        names: MeterNames,
        message: RawMessage,
        fresh: dict[Pseudonym, DeviceInfo],
        new_devices: list[Draft],
    ) -> Subject:
        """The subject that `names` means for this sender; Rejected when it may not speak for it."""
        if any(authority == OWN_AUTHORITY for authority, _, _ in names.names):
            raise _not_allowed()  # the platform and its senders are nobody's devices
        pseudonym = self._allowed(sender, names)
        info = None
        if pseudonym is not None:
            info = self._registry.device(pseudonym) or fresh.get(pseudonym)
        if info is None:
            if sender.subjects != "any" or not names.identities():
                raise _not_allowed()
            pseudonym = self._first(names.identities()[0])
            info = fresh.get(pseudonym)
        assert pseudonym is not None
        message_year = year(message.received_us)
        key = self._vault.salt_keys([pseudonym], message_year)[pseudonym]
        if info is None:
            kind = _KINDS.get(message.format, "meter")
            shard = self.next_shard(sender.group, fresh)
            info = DeviceInfo(
                pseudonym, sender.group, shard, sender.zone, kind, sender.name, "active"
            )
            fresh[pseudonym] = info
            subject = Subject(pseudonym, key, info.group, info.shard)
            new_devices.append(draft(subject, "device", device_record(info)))
        if sender.groups is not None and info.group not in sender.groups:
            raise _not_allowed()
        if info.state != "active":
            raise Rejected(
                "device-revoked",
                "the device is revoked: nobody speaks for it until it is enrolled again",
                field="Meter",
                clause="Gridseal docs/spec/registry.md, who may speak for whom",
            )
        return Subject(pseudonym, key, info.group, info.shard)

    def _first(self, identity: Identity) -> Pseudonym:
        """Of what the registry does not know: its first epoch, whatever the vault had since.

        Else a replay, whose vault knows of later moves, would name it otherwise.
        """
        epochs = self._vault.epochs(identity)
        return epochs[-1] if epochs else self._vault.pseudonyms([identity])[identity]

    def next_shard(self, group: str, fresh: dict[Pseudonym, DeviceInfo]) -> str:
        """The shard of one more device, `fresh` being those of the same batch."""
        more = sum(1 for info in fresh.values() if info.group == group)
        return self._registry.next_shard(group, more)

    def _allowed(self, sender: Sender, names: MeterNames) -> Pseudonym | None:
        """The pseudonym of a device that the sender may speak for and the registry knows."""
        plain = _plain_names(names)
        if sender.subjects == "self":  # a message that names no device is about its sender
            own = {sender.name, _lfdi(sender)}
            return sender.subject if not plain or own & plain else None
        candidates = self._candidates(sender, names)
        known = self._vault.find(candidates)
        for identity in (one for one in candidates if one in known):
            newest = known[identity]  # as far as the vault remembers
            if self._speaks_for(sender, newest) and not self._is_over(newest):
                return newest
            # It may begin behind this message, or not be in force; or a later one has begun.
            for pseudonym in self._vault.epochs(identity):
                if self._speaks_for(sender, pseudonym):
                    return pseudonym
        return None

    def _is_over(self, pseudonym: Pseudonym) -> bool:
        info = self._registry.device(pseudonym)
        return info is not None and info.until_us > 0

    def _speaks_for(self, sender: Sender, pseudonym: Pseudonym) -> bool:
        if sender.subjects == "list":
            return pseudonym in sender.allowed
        return sender.subjects == "any" and self._registry.device(pseudonym) is not None

    def _candidates(self, sender: Sender, names: MeterNames) -> list[Identity]:
        candidates = list(names.identities())
        if sender.subjects == "list":
            candidates += [identity_of_name(name) for name in sorted(_plain_names(names))]
        return candidates


def _plain_names(names: MeterNames) -> set[str]:
    plain = {name for _, _, name in names.names}
    return plain if names.mrid is None else plain | {names.mrid}


def _lfdi(sender: Sender) -> str:
    """IEEE 2030.5 deviceLFDI, by a sender's certificate: 160 bits of its SHA-256."""
    return sender.certificate_sha256[:40].upper() or sender.name


def _not_allowed() -> Rejected:
    return Rejected(
        "subject-not-allowed",
        "the sender is not enrolled to speak for this device",
        field="Meter",
        clause="Gridseal docs/spec/registry.md, who may speak for whom",
    )
