"""Collectors, and the workers of `gridseal run worker` in the simulated world.

`WorkerRole` is the production code; its ports are the world's topics and stores, at whose calls it
may crash, be stopped, or not be answered. One that is stopped for longer than its session loses its
partitions, and does not know it when it goes on.
"""

from hashlib import sha256

from bal.collect.guard import guard
from bal.pipeline import OPERATOR
from bal.ports import Intake
from infra.roles.lane import LaneState
from infra.roles.worker import WorkerRole
from infra.roles.worker_state import WorkerPorts
from tests.simulation.log_store import LogReader
from tests.simulation.members import Group, Member, Positions
from tests.simulation.servers import RULES, Servers
from tests.simulation.world import Process, SimClock


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
        registry = servers.stored.size()
        intake = Intake(credential, form, self._clock.now_us(), raw)
        offset = servers.raw.append(partition, intake, registry)
        batch = f"{servers.raw.epoch}/{partition}/{offset}"
        servers.promises.append((credential, sha256(raw).digest(), batch))
        return batch


def raw_key(data: bytes) -> int:
    """hash(raw) mod 64, as a bulk sender's key has it."""
    return int.from_bytes(sha256(data).digest()[:2], "big") % 64


class WorkerProcess(Process):
    """One worker process."""

    def __init__(self, servers: Servers, group: Group, name: str) -> None:
        self.servers, self.group = servers, group
        self._fed = 0
        super().__init__(servers.world, name)

    def boot(self) -> None:
        servers = self.servers
        ports = WorkerPorts(
            channels=servers.channels(self),
            log=LogReader(servers.disk),
            vault=servers.vault,
            archive=servers.archive,
            stored=servers.stored,
            positions=Positions(servers.positions, self),
            clock=SimClock(self.world),
            rules=RULES,
            elapsed_s=servers.elapsed_s,
            random_bits=self.dice.getrandbits,
        )
        self.role = WorkerRole(ports, Member(self.group, self))
        self._fed = 0

    def step(self) -> float | None:
        busy = self.role.step()
        fed = self.role.status.fed
        self.world.seen["messages fed again"] += max(0, fed - self._fed)
        self._fed = fed
        if busy:
            return 0.02
        waits = any(one is not LaneState.WORKING for one in self.role.status.states.values())
        return self.dice.uniform(1, 3) if waits else self.dice.uniform(10, 40)
