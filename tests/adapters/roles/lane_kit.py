"""A small world for workers: topics, vault and archive in memory, a sequencer and a storer.

Sequencer and storer are the protocol's own (bal/certify/order.py, bal/store/merge.py), so what a
worker does wrong shows as another log than `check` makes of the raw messages.
"""

import json
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from bal import jcs
from bal.certify.commitment import pseudonym
from bal.certify.order import CLAIM, Order, Outcome, announcement, decode
from bal.certify.tree import EMPTY_ROOT
from bal.errors import Stop, Unavailable
from bal.harmonise.phasors import rate_of
from bal.model import Digest, Identity, Pseudonym, RawMessage
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worker
from bal.ports import ArchiveItem, Heads, Intake
from bal.registry import KINDS, Registry
from bal.store.merge import Merge, parse
from bal.subjects import identity_of_name
from bal.windows import Windows
from infra.roles import rows_item
from infra.roles.ports import Position
from infra.roles.worker import WorkerRole
from infra.roles.worker_state import WorkerPorts

EPOCH = "e" * 16
S = 1_000_000
BEGIN_US = 1_768_471_200 * S
READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


class Clock:
    """Time that only the test lets pass; `elapsed_s` begins anywhere."""

    def __init__(self) -> None:
        self.us = BEGIN_US

    def now_us(self) -> int:
        return self.us

    def elapsed_s(self) -> float:
        return (self.us - BEGIN_US) / S

    def sleep(self, seconds: float) -> None:
        self.us += int(seconds * S)


class Faults:
    """Which calls fail: by name a number of times, or by chance."""

    def __init__(self) -> None:
        self.next: dict[str, int] = {}
        self.dice: Random | None = None
        self.often = 0.0

    def hit(self, name: str) -> bool:
        if self.next.get(name, 0):
            self.next[name] -= 1
            return True
        return self.dice is not None and self.dice.random() < self.often


class MemoryTopic:
    """Topic; positions have gaps, as Kafka's may."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.name, self._faults = name, faults
        self.items: list[tuple[int, bytes]] = []
        self._end = self._low = 0
        self.appends = 0

    def append(self, items: Sequence[bytes]) -> None:
        self.appends += 1
        if self._faults.hit(f"{self.name} refused"):
            raise Unavailable("refused")
        lost = self._faults.hit(f"{self.name} lost")
        for item in items[: len(items) // 2] if lost and len(self.items) % 2 else items:
            self.items.append((self._end, item))
            self._end += 1 + len(item) % 3
        if lost:
            raise Unavailable("no answer; some may be there")

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        if self._faults.hit(f"{self.name} away"):
            raise Unavailable("away")
        if position < self._low:
            raise Stop("bus-trimmed", f"{self.name}: {position}")
        return self.after(position)[:limit]

    def after(self, position: int) -> list[tuple[int, bytes]]:
        """For sequencer and storer, whom nothing fails here."""
        return [one for one in self.items if one[0] >= position]

    def put(self, item: bytes) -> None:
        """For the sequencer."""
        self.items.append((self._end, item))
        self._end += 2

    def end(self) -> int:
        return self._end

    def trim(self, position: int) -> None:
        self._low = max(self._low, position)
        self.items = [one for one in self.items if one[0] >= position]

    def close(self) -> None: ...


class MemoryRaw:
    """RawTopic."""

    def __init__(self, partitions: int, faults: Faults) -> None:
        self.epoch, self.partitions, self._faults = EPOCH, partitions, faults
        self.kept: list[list[tuple[RawMessage, int]]] = [[] for _ in range(partitions)]
        self.low = [0] * partitions
        self.flushes = 0

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        if self._faults.hit("raw refused"):
            raise Unavailable("refused")
        return self.put(messages, registry, partition)

    def put(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        """For collectors, whom nothing fails here."""
        places = []
        for one in messages:
            at = sum(one.credential.encode()) % self.partitions if partition is None else partition
            self.flushes += one.format == "flush"
            kept = self.kept[at]
            message = RawMessage(
                EPOCH, at, len(kept), one.credential, one.format, one.received_us, one.raw
            )
            places.append((at, len(kept)))
            kept.append((message, registry))
        return places

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        if self._faults.hit("raw away"):
            raise Unavailable("away")
        if offset < self.low[partition]:
            raise Stop("bus-trimmed", f"raw: {offset}")
        return self.kept[partition][offset : offset + limit]

    def ends(self) -> list[int]:
        return [len(kept) for kept in self.kept]

    def trim(self, partition: int, offset: int) -> None:
        self.low[partition] = max(self.low[partition], offset)

    def close(self) -> None: ...


class MemoryVault:
    """Vault."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._known: dict[Identity, Pseudonym] = {}

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        if self._faults.hit("vault away"):
            raise Unavailable("the vault does not answer")
        return {name: self.name(name) for name in wanted}

    def name(self, identity: Identity) -> Pseudonym:
        """For the operator, whom nothing fails here."""
        return self._known.setdefault(identity, pseudonym(sha256(identity.encode()).digest()))

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        return {name: sha256(f"{name} {year}".encode()).digest() for name in wanted}

    def find(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        return {name: self._known[name] for name in identities if name in self._known}

    def epochs(self, identity: Identity) -> list[Pseudonym]:
        return list(self.find([identity]).values())

    def identity(self, name: Pseudonym) -> Identity | None:
        return next((one for one, found in self._known.items() if found == name), None)


class MemoryLog:
    """LogReads, and the sequencer that writes it."""

    def __init__(self, commitments: MemoryTopic, announcements: MemoryTopic) -> None:
        self._commitments, self._announcements = commitments, announcements
        self.row = Heads(0, 0, EMPTY_ROOT, {})
        self.kept: list[tuple[tuple[int, int], bytes]] = []
        self.asked = 0  # for headers
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self._order = Order({})
        self._position = 0

    def heads(self) -> Heads:
        return self.row

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        self.asked += 1
        return [one for one in self.kept if one[0] > after][:limit]

    def tile(self, level: int, n: int, width: int) -> bytes:
        raise KeyError(level)

    def bundle(self, n: int, width: int) -> bytes:
        raise KeyError(n)

    def checkpoint(self) -> None:
        return None

    def step(self, entries_max: int = 40) -> bool:
        """Read what is offered, take some, announce it."""
        for position, item in self._commitments.after(self._position):
            outcome = self._order.offer(position, decode(item))
            self.outcomes[outcome] += 1
            assert outcome is not Outcome.HALTED, self._order.halted
            self._position = position + 1
        if not self._order.is_ready():
            return False
        old, taken, size = self.row, dict(self.row.taken), self.row.size
        headers = []
        for batch in self._order.take(entries_max):
            assert taken.get(batch.source, -1) == (batch.offset if batch.part else batch.prev)
            headers.append(batch.header(size))
            size += len(batch.entries)
            taken[batch.source] = batch.offset
        self.row = Heads(old.version + 1, size, Digest(bytes(32)), taken)
        self.kept += [((self.row.version, n), header) for n, header in enumerate(headers)]
        told = announcement(self.row.version, size, headers)
        self._announcements.put(told)
        if size % 3 == 0:  # told again
            self._announcements.put(told)
        return True

    def tick(self) -> None:
        """An entry that no message caused."""
        old = self.row
        self.row = Heads(old.version + 1, old.size + 1, old.root, old.taken)
        told = announcement(self.row.version, self.row.size, [])
        self._announcements.put(told)


class MemoryStorer:
    """Stored and RawArchive, and the storer that fills them."""

    def __init__(self, rows: Sequence[MemoryTopic], announcements: MemoryTopic) -> None:
        self._rows, self._announcements = rows, announcements
        self._merge: Merge[rows_item.RowsItem] = Merge(0, {})
        self._rows_at, self._heard = [0] * len(rows), 0
        self._size = 0
        self._records: dict[int, bytes] = {}
        self._summaries: dict[tuple[str, bytes], bytes] = {}
        self.summaries_asked = 0

    def size(self) -> int:
        return self._size

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        return {index: one for index, one in self._records.items() if first <= index < size}

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        self.summaries_asked += len(keys)
        return {key: self._summaries[key] for key in keys if key in self._summaries}

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        raise NotImplementedError

    def sync(self) -> None: ...

    def raw(self, epoch: str, partition: int, offset: int) -> None:
        return None

    def step(self, vault: MemoryVault, versions: int = 1) -> bool:
        for partition, topic in enumerate(self._rows):
            for position, data in topic.after(self._rows_at[partition]):
                item = rows_item.decode(data)
                self._merge.rows(item.source, item.offset, item.part, item.digest, item)
                self._rows_at[partition] = position + 1
        for position, data in self._announcements.after(self._heard):
            self._merge.announce(parse(data))
            self._heard = position + 1
        for count in range(versions):
            found = self._merge.next()
            if found is None:
                return count > 0
            for place, payload in found.parts:
                if payload is not None and place.part == 0:
                    self._store(place.first, f"{place.source}/{place.offset}", payload, vault)
            self._size = found.size
        return True

    def trim(self) -> None:
        """Forget the announcements that were read here."""
        self._announcements.trim(self._heard)

    def _store(self, first: int, batch: str, item: rows_item.RowsItem, vault: MemoryVault) -> None:
        worked = rows_item.worked_of([item], vault)
        message = worked.message
        key = message.credential, sha256(message.raw).digest()
        self._summaries.setdefault(key, json.dumps({"batch": batch}).encode())
        for index, draft in enumerate(worked.drafts, first):
            if draft.kind in KINDS:
                self._records[index] = draft.record


class MemoryPositions:
    """Positions."""

    def __init__(self) -> None:
        self.saved: dict[str, Position] = {}

    def get(self, name: str) -> Position:
        return self.saved.get(name, Position(0))

    def save(self, name: str, position: Position) -> None:
        old = self.get(name)
        if (position.offset, position.version) > (old.offset, old.version):
            self.saved[name] = position


class MemoryMembers:
    """Members whose shares the test gives."""

    def __init__(self) -> None:
        self.shares: dict[int, int] = {}
        self.closed = False

    def mine(self) -> Mapping[int, int]:
        return dict(self.shares)

    def close(self) -> None:
        self.closed = True


@dataclass(slots=True)
class MemoryChannels:
    """Channels."""

    raw: MemoryRaw
    commitments: MemoryTopic
    announcements: MemoryTopic
    by_partition: list[MemoryTopic]

    def rows(self, partition: int) -> MemoryTopic:
        return self.by_partition[partition]

    def members(self, role: str, shares: int) -> MemoryMembers:
        return MemoryMembers()

    def close(self) -> None: ...


@dataclass
class World:
    """One platform without servers. `worker` starts one; `settle` lets all go on to the end."""

    partitions: int = 1
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.raw = MemoryRaw(self.partitions, self.faults)
        rows = [MemoryTopic("rows", self.faults) for _ in range(self.partitions)]
        commitments = MemoryTopic("commitments", self.faults)
        announcements = MemoryTopic("announcements", self.faults)
        self.channels = MemoryChannels(self.raw, commitments, announcements, rows)
        self.vault = MemoryVault(self.faults)
        self.log = MemoryLog(commitments, announcements)
        self.storer = MemoryStorer(rows, announcements)
        self.positions = MemoryPositions()
        self.workers: list[WorkerRole] = []
        self.members: list[MemoryMembers] = []
        self._drawn = Random(7)
        self._given = 0

    def worker(self) -> tuple[WorkerRole, MemoryMembers]:
        members = MemoryMembers()
        ports = WorkerPorts(
            channels=self.channels,
            log=self.log,
            vault=self.vault,
            archive=self.storer,
            stored=self.storer,
            positions=self.positions,
            clock=self.clock,
            rules="rules",
            elapsed_s=self.clock.elapsed_s,
            random_bits=self._drawn.getrandbits,
        )
        role = WorkerRole(ports, members)
        self.workers.append(role)
        self.members.append(members)
        return role, members

    def give(self, members: MemoryMembers, partition: int = 0) -> None:
        """The members' partition, with a number of its own; others lose it elsewhere."""
        self._given += 1
        members.shares[partition] = self._given

    def begun(self) -> WorkerRole:
        """A worker that has all partitions, and one enrolled head-end and PMU."""
        role, members = self.worker()
        for partition in range(self.partitions):
            self.give(members, partition)
        self.enrol("headend", bulk=True)
        self.enrol("pmu-1", bulk=False)
        self.settle()
        return role

    def settle(self, *workers: WorkerRole, rounds: int = 400) -> None:
        """Until nobody has anything to do. workers: those that go on, all if none is named."""
        quiet = 0
        for _ in range(rounds):
            busy = [one.step() for one in workers or self.workers]
            busy += [self.log.step(), self.storer.step(self.vault)]
            quiet = 0 if any(busy) else quiet + 1
            if quiet > 3:
                return
            self.clock.sleep(0.05)

    # -- what is sent -----------------------------------------------------------------------

    def send(self, credential: str, form: str, raw: bytes, registry: int | None = None) -> int:
        """Put it on the bus; the offset."""
        intake = Intake(credential, form, self.clock.us, raw)
        known = self.storer.size() if registry is None else registry
        return self.raw.put([intake], known)[0][1]

    def enrol(self, name: str, *, bulk: bool) -> None:
        identity = Identity(f"name:gridseal/sender/{name}") if bulk else identity_of_name(name)
        own = self.vault.name(identity)
        device = {"device": own, "group": "pmus", "zone": "UTC", "kind": "pmu"}
        command: dict[str, Any] = {
            "command": "enrol", "name": name, "certificate": "", "password": "", "subject": own,
            "subjects": "any" if bulk else "self", "allowed": [], "group": "g", "zone": "UTC",
            "bulk": "true" if bulk else "false", "devices": [] if bulk else [device],
        }  # fmt: skip
        intake = Intake(OPERATOR, COMMAND_FORMAT, self.clock.us, jcs.encode(command))
        self.raw.put([intake], 0, 0)

    # -- what must be true ------------------------------------------------------------------

    def headers(self, partition: int = 0) -> list[dict[str, Any]]:
        """Those of a partition's messages, in log order."""
        found = [jcs.decode(header) for _, header in self.log.kept]
        return [h for h in found if h["epoch"] == EPOCH and h["partition"] == str(partition)]

    def check(self) -> int:
        """The log is what one worker makes of the raw messages; gives how many windows it has."""
        phasors = 0
        for partition in range(self.partitions):
            headers = deque(self.headers(partition))
            windows = Windows(rate_of)
            kept = self.raw.kept[partition]
            taken = self.log.row.taken.get(f"{EPOCH}/{partition}", -1)
            for message, known in kept[: taken + 1]:
                header = headers.popleft()
                assert int(header["offset"]) == message.offset
                if "again" in header:
                    continue
                size = int(header["inputs"]["registry"])
                assert size >= known
                registry = Registry()
                for record in self.storer.registry_records(size).values():
                    registry.apply(record)
                worked = Worker(self.vault, registry, windows).process(message)
                phasors += sum(draft.kind == "phasors" for draft in worked.drafts)
                assert worked.row_digests() == [header["rows"]], f"{partition}/{message.offset}"
            assert not headers
        return phasors

    def claims(self, partition: int = 0) -> list[int]:
        """Generations that the log has."""
        found = [jcs.decode(header) for _, header in self.log.kept]
        name = f"{CLAIM}{EPOCH}"
        return [
            int(h["offset"])
            for h in found
            if h["epoch"] == name and h["partition"] == str(partition)
        ]


def cim(*meters: str, value: int = 1) -> bytes:
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    body = "".join(
        f"<m:MeterReading><m:Meter><m:Names><m:name>{meter}</m:name></m:Names></m:Meter>"
        f"<m:Readings><m:timeStamp>2026-01-15T10:00:00Z</m:timeStamp><m:value>{value}</m:value>"
        f'<m:ReadingType ref="{READING_TYPE}"/></m:Readings></m:MeterReading>'
        for meter in meters
    )
    return f'<m:MeterReadings xmlns:m="{namespace}">{body}</m:MeterReadings>'.encode()


def frames(device: str, second: int, numbers: Iterable[int] = range(10)) -> bytes:
    """Ten frames of a second behind BEGIN_US, or some of them."""
    begin_us = BEGIN_US + second * S
    return _frames(device, [begin_us + number * S // 10 for number in numbers])


def frames_at(device: str, time_us: int, count: int) -> bytes:
    """Frames from a time on, 20 ms apart."""
    begin_us = time_us - time_us % 20_000
    return _frames(device, [begin_us + number * 20_000 for number in range(count)])


def _frames(device: str, times_us: Iterable[int]) -> bytes:
    made = []
    for time_us in times_us:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
        data = 50 + time_us // 1000 % 1000 / 1000
        one = {"component": "B", "measurand": "frequency", "phase": "A", "data": data}
        stamp = at.isoformat(timespec="microseconds")
        made.append({"device": device, "timestamp": stamp, "readings": [one]})
    return json.dumps(made).encode()
