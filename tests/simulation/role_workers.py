"""The workers of `gridseal run worker` in the simulated world, in the place of the model's.

`WorkerRole` is the production code; its ports are the world's topics and stores, at whose calls it
may crash, be stopped, or not be answered.
"""

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from weakref import WeakKeyDictionary

from bal.model import RawMessage
from bal.ports import ArchiveItem, Heads, Intake
from infra.roles import rows_item
from infra.roles.bench import WorkerPorts
from infra.roles.ports import Members, Position
from infra.roles.worker import WorkerRole
from tests.simulation.log_store import LogDisk
from tests.simulation.topics import Topic
from tests.simulation.workers import RULES, Group, Rows, Servers, WorkerProcess
from tests.simulation.world import SECOND_US, SimClock

_SAVED: "WeakKeyDictionary[Group, dict[str, Position]]" = WeakKeyDictionary()


class RoleWorker(WorkerProcess):
    """A worker process; the world's Group is its members, and crashes and pauses are as before."""

    def boot(self) -> None:
        self.group.joined(self)
        servers = self.servers
        ports = WorkerPorts(
            channels=_Channels(self),
            log=_Log(servers.disk),
            vault=servers.vault,
            archive=_Archive(servers),
            stored=_Stored(servers),
            positions=_Positions(_SAVED.setdefault(self.group, {})),
            clock=SimClock(self.world),
            rules=RULES,
            elapsed_s=lambda: self.world.now_us / SECOND_US,
            random_bits=self.dice.getrandbits,
        )
        self.role = WorkerRole(ports, _Members(self))

    def step(self) -> float | None:
        busy = self.role.step()
        status = self.role.status
        self.world.seen["messages fed again"] = max(
            self.world.seen["messages fed again"], status.fed
        )
        return 0.02 if busy else self.dice.uniform(1, 4)


class _Members:
    def __init__(self, process: RoleWorker) -> None:
        self._process = process

    def mine(self) -> Mapping[int, int]:
        return self._process.group.beat(self._process)

    def close(self) -> None: ...


class _Topic:
    """Topic over one partition of the world's."""

    def __init__(self, process: RoleWorker, kind: str, topic: Topic[bytes]) -> None:
        self._process, self._kind, self._topic = process, kind, topic

    def append(self, items: Sequence[bytes]) -> None:
        for item in items:
            self._process.append_point(self._kind)
            self._topic.append(0, item)

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        return self._topic.read(0, position, limit)

    def end(self) -> int:
        return self._topic.end(0)

    def trim(self, position: int) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


class _RowsTopic(_Topic):
    """Rows as the model's storer takes them, out of the bytes of the production's."""

    def __init__(self, process: RoleWorker, servers: Servers) -> None:
        self._process, self._servers = process, servers

    def append(self, items: Sequence[bytes]) -> None:
        for data in items:
            item = rows_item.decode(data)
            worked = rows_item.worked_of([item], self._servers.vault)
            self._process.append_point("rows")
            rows = Rows(item.source, item.offset, item.part, item.digest, worked)
            self._servers.rows.append(0, rows)


class _Raw:
    """RawTopic over the world's."""

    def __init__(self, process: RoleWorker) -> None:
        self._process, self._raw = process, process.servers.raw

    @property
    def epoch(self) -> str:
        return self._raw.epoch

    @property
    def partitions(self) -> int:
        return self._raw.topic.partitions

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        assert partition is not None
        self._process.append_point("flush")
        return [(partition, self._raw.append(partition, one, registry)) for one in messages]

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        return self._raw.read(partition, offset, limit)

    def ends(self) -> list[int]:
        return [self._raw.topic.end(partition) for partition in self._raw.partitions]

    def trim(self, partition: int, offset: int) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


class _Channels:
    def __init__(self, process: RoleWorker) -> None:
        servers = process.servers
        self.raw = _Raw(process)
        self.commitments = _Topic(process, "offer", servers.commitments)
        self.announcements = _Topic(process, "announcement", servers.announcements)
        self._rows = _RowsTopic(process, servers)

    def rows(self, partition: int) -> _Topic:
        return self._rows

    def members(self, role: str, shares: int) -> Members:
        raise NotImplementedError

    def close(self) -> None: ...


class _Log:
    """LogReads."""

    def __init__(self, disk: LogDisk) -> None:
        self._disk = disk
        self.tile, self.bundle, self.checkpoint = disk.tile, disk.bundle, disk.checkpoint

    def heads(self) -> Heads:
        return self._disk.row

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        found: list[tuple[tuple[int, int], bytes]] = []
        for place, header in self._from(max(1, after[0])):
            if len(found) == limit:
                break
            if place > after:
                found.append((place, header))
        return found

    def _from(self, version: int) -> Iterator[tuple[tuple[int, int], bytes]]:
        while version in self._disk.headers:
            for number, header in enumerate(self._disk.headers[version]):
                yield (version, number), header
            version += 1


class _Archive:
    """RawArchive: what retries are answered with."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        kept = self._servers.archive.by_key
        found = {key: kept[key] for key in keys if key in kept}
        self._servers.world.seen["retries found"] += len(found)
        return {key: json.dumps({"batch": one.batch}).encode() for key, one in found.items()}

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        raise NotImplementedError

    def raw(self, epoch: str, partition: int, offset: int) -> RawMessage | None:
        raise NotImplementedError


class _Stored:
    def __init__(self, servers: Servers) -> None:
        self._feed = servers.feed

    def size(self) -> int:
        return self._feed.size

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        records = self._feed.records
        begin = bisect_left(records, first, key=itemgetter(0))
        end = bisect_left(records, size, key=itemgetter(0))
        return dict(records[begin:end])


class _Positions:
    def __init__(self, saved: dict[str, Position]) -> None:
        self._saved = saved

    def get(self, name: str) -> Position:
        return self._saved.get(name, Position(0))

    def save(self, name: str, position: Position) -> None:
        old = self.get(name)
        if (position.offset, position.version) > (old.offset, old.version):
            self._saved[name] = position
