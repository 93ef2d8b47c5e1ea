"""Collectors and workers over partitions that are claimed (bal/certify/order.py).

A *lane* is one partition in the hands of one worker, from its claim on. Rows go out before the
offer of their batch; whatever is appended may be appended twice. A worker that is stopped for
longer than its session loses its partitions, and does not know it when it goes on.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256

from bal import jcs
from bal.certify.log import Batch
from bal.certify.order import CLAIM, claim, encode, offers
from bal.collect.guard import guard
from bal.errors import Unavailable
from bal.model import RawMessage
from bal.pipeline import COMMAND_FORMAT, FLUSH_FORMAT, OPERATOR, WINDOW_FORMATS, Worked, Worker
from bal.ports import Intake
from bal.registry import KINDS, Registry
from bal.times import rfc3339
from tests.simulation.log_store import LogDisk
from tests.simulation.stores import RegistryFeed, SimArchive, SimVault
from tests.simulation.topics import RawTopic, Topic
from tests.simulation.world import SECOND_US, Process, SimClock, World

RULES = "simulation"
SESSION_S = 10
IN_FLIGHT_MAX = 64  # batches of a lane that are offered and not yet sequenced: back-pressure
REST = "rest"  # rows of a further part: the first one's payload has them all


@dataclass(frozen=True, slots=True)
class Rows:
    """One item of `bal.rows.<epoch>`."""

    source: str
    offset: int
    part: int
    digest: str
    payload: object  # Worked, ClosedDay, or REST


@dataclass(slots=True)
class Servers:
    """What is outside of all processes, and outlives them."""

    world: World
    raw: RawTopic
    rows: Topic[Rows]
    commitments: Topic[bytes]
    announcements: Topic[bytes]
    disk: LogDisk
    vault: SimVault
    archive: SimArchive
    feed: RegistryFeed
    commitments_from: int = 0  # the sequencers' saved position
    committed: dict[int, int] = field(default_factory=dict)  # by partition: windows begin here
    promises: list[tuple[str, bytes, str]] = field(default_factory=list)


def registry_at(feed: RegistryFeed, size: int) -> Registry:
    """The registry as of a log size."""
    registry = Registry()
    for index, record in feed.records:
        if index < size:
            registry.apply(record)
    return registry


class Collector:
    """Guard, bus, accepted note. Several would do the same; it keeps nothing."""

    def __init__(self, servers: Servers, bulk: set[str]) -> None:
        self._servers, self._bulk = servers, bulk
        self._clock = SimClock(servers.world)

    def take(self, credential: str, form: str, raw: bytes) -> str:
        """The batch that the accepted note names. Raises Unavailable, Rejected."""
        servers = self._servers
        if credential != OPERATOR:
            guard(raw, form)
        key = credential + (str(raw_key(raw)) if credential in self._bulk else "")
        partition = raw_key(key.encode()) % servers.raw.topic.partitions
        registry = servers.feed.size
        intake = Intake(credential, form, self._clock.now_us(), raw)
        offset = servers.raw.append(partition, intake, registry)
        batch = f"{servers.raw.epoch}/{partition}/{offset}"
        servers.promises.append((credential, sha256(raw).digest(), batch))
        return batch


def raw_key(data: bytes) -> int:
    """hash(raw) mod 64, as a bulk sender's key has it."""
    return int.from_bytes(sha256(data).digest()[:2], "big") % 64


class Group:
    """The consumer group: which worker has which partition, by generations that only grow."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.workers: list[WorkerProcess] = []
        self._owners: dict[int, tuple[str, int]] = {}
        self._next: dict[int, int] = {}
        self._heard: dict[str, int] = {}

    def beat(self, worker: "WorkerProcess") -> dict[int, int]:
        """The worker lives; its partitions, each with the generation."""
        now_us = self._servers.world.now_us
        back = now_us - self._heard.get(worker.name, -1 << 60) > SESSION_S * SECOND_US
        self._heard[worker.name] = now_us
        if back:
            self._balance()
        for partition in self._servers.raw.partitions:
            owner = self._owners.get(partition)
            if owner is None or not self._alive(owner[0]):
                self._give(partition, worker.name)
        return {p: generation for p, (name, generation) in self._owners.items()
                if name == worker.name}  # fmt: skip

    def joined(self, worker: "WorkerProcess") -> None:
        """It begins anew: what it had is claimed anew, too, though nobody else had it meanwhile.

        Its offers of before may still stand in the topic; a new generation is behind them.
        """
        for partition, (name, _) in list(self._owners.items()):
            if name == worker.name:
                self._give(partition, name)

    def renew(self, partition: int, worker: "WorkerProcess") -> None:
        """The same worker begins a partition anew."""
        if self._owners.get(partition, ("", 0))[0] == worker.name:
            self._give(partition, worker.name)

    def _alive(self, name: str) -> bool:
        return self._servers.world.now_us - self._heard[name] <= SESSION_S * SECOND_US

    def _balance(self) -> None:
        alive = sorted(name for name in self._heard if self._alive(name))
        for at, partition in enumerate(self._servers.raw.partitions):
            owner = alive[at % len(alive)]
            if self._owners.get(partition, ("", 0))[0] != owner:
                self._give(partition, owner)

    def _give(self, partition: int, name: str) -> None:
        self._next[partition] = self._next.get(partition, -1) + 1
        self._owners[partition] = name, self._next[partition]
        self._servers.world.seen["partitions given"] += 1


class WorkerProcess(Process):
    """Some lanes."""

    def __init__(self, servers: Servers, group: Group, name: str) -> None:
        self.servers, self.group = servers, group
        self.lanes: dict[int, Lane] = {}
        super().__init__(servers.world, name)

    def boot(self) -> None:
        self.lanes = {}
        self.group.joined(self)

    def step(self) -> float | None:
        mine = self.group.beat(self)
        self.lanes = {p: lane for p, lane in self.lanes.items() if mine.get(p) == lane.generation}
        busy = False
        for partition, generation in mine.items():
            lane = self.lanes.get(partition)
            if lane is None:
                lane = self.lanes[partition] = Lane(self, partition, generation)
            try:
                busy |= lane.step()
            except Unavailable:  # of the vault: windows may have half of a message
                self.world.seen["lanes begun anew"] += 1
                del self.lanes[partition]
                self.group.renew(partition, self)
        return 0.02 if busy else self.dice.uniform(2, 7)

    def append_point(self, kind: str) -> None:
        """Here a worker may end, or be stopped until others have its partitions."""
        world = self.world
        self.crash_here(f"worker before {kind}", 0.001, 0.01)
        if world.paused < 2 and world.hit(f"worker paused before {kind}", 0.001, 0.01):
            world.pause(self.dice.uniform(5, 60))
            self.check_killed()


class Lane:
    """One partition between a claim and the next."""

    def __init__(self, process: WorkerProcess, partition: int, generation: int) -> None:
        self._process, self._servers = process, process.servers
        self.partition, self.generation = partition, generation
        self.source = f"{self._servers.raw.epoch}/{partition}"
        self._outbox: deque[tuple[str, bytes | Rows]] = deque()
        self._outbox.append(
            ("claim", encode(claim(self._servers.raw.epoch, partition, generation)))
        )
        self._begun = False
        self._registry = Registry()
        self._applied = 0  # records of the feed
        self._size = 0  # of the log, up to which the registry is applied
        self._worker = Worker(self._servers.vault, self._registry)
        self._next = 0
        self._recent: dict[tuple[str, bytes], str] = {}
        self._asked: int | None = None  # offset of our own batch that changes the registry
        self._marks: deque[tuple[int, int]] = deque()  # offset, where its windows begin
        self._flush_at_us = 0

    def step(self) -> bool:
        """Whether there may be more to do at once."""
        if not self._send():
            return True
        if not self._begun:
            if not self._is_ours():
                return False
            self._begin()
        self._flush()
        self._commit()
        for _ in range(8):
            if not self._take():
                return False
            if not self._send():
                return True
        return True

    def _send(self) -> bool:
        """Append what is to be appended, in order; False where the bus does not answer now."""
        servers = self._servers
        while self._outbox:
            kind, item = self._outbox[0]
            self._process.append_point(kind)
            try:
                if isinstance(item, Rows):
                    servers.rows.append(0, item)
                else:
                    servers.commitments.append(0, item)
            except Unavailable:
                return False  # once more, though it may be there
            self._outbox.popleft()
        return True

    # -- the beginning --------------------------------------------------------------------

    def _is_ours(self) -> bool:
        """Whether the log has our claim, and all of its headers are to be read."""
        disk = self._servers.disk
        return (
            disk.row.taken.get(f"{CLAIM}{self.source}", -1) == self.generation
            and disk.row.version in disk.headers
            and self._servers.feed.size >= self._last_size()
        )

    def _last_size(self) -> int:
        """The registry of the last batch that was taken: ours must not be an older one."""
        last = self._servers.disk.row.taken.get(self.source, -1)
        header = self._servers.disk.by_batch.get((self.source, last))
        return int(header["inputs"]["registry"]) if header else 0

    def _begin(self) -> None:
        """Make the windows as they stand after the last batch that was taken, and go on there."""
        servers, disk = self._servers, self._servers.disk
        self._next = disk.row.taken.get(self.source, -1) + 1
        first = min(servers.committed.get(self.partition, 0), self._next)
        for offset in range(first, self._next):
            header = disk.by_batch[self.source, offset]
            message = servers.raw.message(self.partition, offset)
            if "again" in header or message.format not in WINDOW_FORMATS:
                continue
            self._apply(int(header["inputs"]["registry"]))
            self._worker.process(message)
            servers.world.seen["messages fed again"] += 1
        self._registry = servers.feed.newest()
        self._worker = self._worker.with_registry(self._registry)
        self._applied, self._size = len(servers.feed.records), servers.feed.size
        self._begun = True

    def _apply(self, size: int) -> None:
        """Bring the registry up to a size of the log."""
        records = self._servers.feed.records
        while self._applied < len(records) and records[self._applied][0] < size:
            self._registry.apply(records[self._applied][1])
            self._applied += 1
        self._size = max(self._size, size)

    # -- a message ------------------------------------------------------------------------

    def _take(self) -> bool:
        """Make the next message's batch; False where there is none, or it has to wait."""
        servers = self._servers
        found = servers.raw.read(self.partition, self._next, 1)
        taken = servers.disk.row.taken.get(self.source, -1)
        if not found or self._next - taken > IN_FLIGHT_MAX or not self._is_settled():
            return False
        message, registry = found[0]
        if registry > servers.feed.size:
            return False
        if registry > self._size or self._process.dice.random() < 0.5:
            self._apply(servers.feed.size)
        key = message.credential, sha256(message.raw).digest()
        first = self._recent.get(key)
        if first is None and key in servers.archive.by_key:
            first = servers.archive.by_key[key].batch
        if first is None:
            worked = self._worker.process(message)
            self._recent[key] = f"{self.source}/{message.offset}"
            if any(draft.kind in KINDS for draft in worked.drafts):
                self._asked = message.offset
        else:
            worked = Worked(message, again=first)
            servers.world.seen["retries found"] += 1
        self._offer(message, worked)
        self._next += 1
        self._marks.append((message.offset, self._worker.windows.needed_from(self._next)))
        return True

    def _offer(self, message: RawMessage, worked: Worked) -> None:
        inputs = {"registry": str(self._size), "rules": RULES}
        batches: list[Batch] = worked.batches(message.offset - 1, inputs)
        if not worked.again:
            for batch in batches:
                payload = worked if batch.part == 0 else REST
                rows = Rows(self.source, message.offset, batch.part, batch.rows, payload)
                self._outbox.append(("rows", rows))
        self._outbox.extend(("offer", encode(one)) for one in offers(batches, self.generation))

    def _is_settled(self) -> bool:
        """Whether the registry knows what our own batches put into it."""
        if self._asked is None:
            return True
        header = self._servers.disk.by_batch.get((self.source, self._asked))
        size = self._servers.feed.size
        if header is None or int(header["first"]) + int(header["count"]) > size:
            return False
        self._apply(size)
        self._asked = None
        return True

    def _commit(self) -> None:
        """Save where the windows of what was *taken* begin, never of what is only offered."""
        taken = self._servers.disk.row.taken.get(self.source, -1)
        while self._marks and self._marks[0][0] <= taken:
            self._servers.committed[self.partition] = self._marks.popleft()[1]
        archive = self._servers.archive.by_key
        for key in [key for key in self._recent if key in archive]:
            del self._recent[key]

    def _flush(self) -> None:
        """Ask for a flush where windows wait for frames that don't come."""
        world = self._servers.world
        if world.now_us < self._flush_at_us:
            return
        self._flush_at_us = world.now_us + SECOND_US // 2
        now_us = world.wall_us()
        if self._worker.windows.flush_due(now_us):
            raw = jcs.encode({"time": rfc3339(now_us)})
            intake = Intake(OPERATOR, FLUSH_FORMAT, now_us, raw)
            try:
                self._servers.raw.append(self.partition, intake, 0)
            except Unavailable:
                world.seen["flush not taken"] += 1


__all__ = ["COMMAND_FORMAT", "Collector", "Group", "Lane", "Rows", "Servers", "WorkerProcess"]
