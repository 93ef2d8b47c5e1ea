"""The role `worker`: lanes of the partitions that are this process's (docs/decisions/0017).

One thread steps through all lanes and hears the announcements once for all of them.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from threading import Event

from bal import jcs
from bal.certify.order import CLAIM, announcement
from bal.errors import Stop, Unavailable
from bal.store.merge import Announced, parse
from infra.log_reader import batch_headers
from infra.roles.lane import Ended, Lane, LaneState
from infra.roles.ports import Members
from infra.roles.worker_state import WorkerPorts, WorkerState
from infra.troubles import WORKING, tell, tell_over

ROLE = "worker"
ANNOUNCEMENTS_AT_ONCE = 64
IDLE_MIN_S, IDLE_MAX_S = 0.002, 0.05
AWAY_MIN_S, AWAY_MAX_S = 0.5, 15.0  # before a lane is begun anew, the first time and at most
CONTESTED_S = 10.0  # no sooner is a partition taken back that another one claimed meanwhile
STATUS_EVERY_S = 1.0
RANDOM_BITS = 20  # of a generation, so that no two processes have one

logger = logging.getLogger("gridseal.worker")


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as of a moment ago, for probes and metrics."""

    worked: int = 0  # messages since the start
    retries: int = 0  # of them, those that came before
    fed: int = 0  # messages read once more for their phasor frames
    begun: int = 0  # lanes
    lag: int = 0  # messages on the bus and not worked yet, of its partitions
    unstored: int = 0  # entries of the log that are not stored yet
    states: Mapping[int, LaneState] = field(default_factory=dict)  # by partition
    troubles: Mapping[str, str] = field(default_factory=dict)  # what is away, and what it said


@dataclass(slots=True)
class _Share:
    """A partition that is this process's."""

    number: int
    lane: Lane | None = None
    not_before_s: float = float("-inf")
    away_s: float = AWAY_MIN_S


class WorkerRole:
    """For one thread; `status` for any."""

    def __init__(self, ports: WorkerPorts, members: Members) -> None:
        """members: of `channels.members(ROLE, raw.partitions)`; closed with this."""
        self._ports, self._members = ports, members
        self._shared = WorkerState(ports.vault, ports.stored)
        self._stopping = Event()
        self._shares: dict[int, _Share] = {}
        self._heard: int | None = None  # up to where the announcements are heard
        self._version = 0  # of the log, the newest that was heard of
        self._begun = 0
        self._gone: Counter[str] = Counter()  # what lanes counted that are no more
        self._troubles: dict[str, str] = {}
        self._status_s = float("-inf")
        self.status = WorkerStatus()

    def run(self, stopping: Event) -> None:
        """Work until told to stop. Raises Stop."""
        idle_s, self._stopping = IDLE_MIN_S, stopping
        try:
            while not stopping.is_set():
                if self.step():
                    idle_s = IDLE_MIN_S
                else:
                    stopping.wait(idle_s)
                    idle_s = min(2 * idle_s, IDLE_MAX_S)
        finally:
            self.close()

    def step(self) -> bool:
        """Do what can be done now; whether there may be more at once. Raises Stop."""
        with self._trouble("membership"):
            self._look_at_shares()
        busy = False
        with self._trouble("announcements"):
            busy = self._hear()
        with self._trouble("storer"):
            self._shared.refresh()
        if self._heard is not None:
            for partition, share in self._shares.items():
                if not self._stopping.is_set():
                    busy |= self._step(partition, share)
        if self._ports.elapsed_s() - self._status_s >= STATUS_EVERY_S:
            self._tell()
        return busy

    def close(self) -> None:
        """Let the partitions go, for others to have at once."""
        for share in self._shares.values():
            with suppress(Unavailable):
                if share.lane is not None:
                    share.lane.save()
        self._shares.clear()
        with suppress(Unavailable):
            self._members.close()

    # -- partitions -------------------------------------------------------------------------

    def _look_at_shares(self) -> None:
        mine = self._members.mine()
        for partition in [p for p, one in self._shares.items() if mine.get(p) != one.number]:
            self._drop(self._shares.pop(partition))
            self._over(f"partition {partition}")
            if partition not in mine:
                logger.info("partition %d is no longer this worker's", partition)
        for partition in sorted(mine.keys() - self._shares.keys()):
            self._shares[partition] = _Share(mine[partition])
            logger.info("partition %d is this worker's", partition)

    def _step(self, partition: int, share: _Share) -> bool:
        if self._ports.elapsed_s() < share.not_before_s:
            return False
        busy, worked = False, share.lane.worked if share.lane else 0
        with self._trouble(f"partition {partition}"):
            try:
                if share.lane is None:
                    generation = self._generation(partition)
                    share.lane = Lane(self._ports, self._shared, partition, generation)
                    self._begun += 1
                busy = share.lane.step()
            except Unavailable as error:
                self._wait(share, min(float(error.retry_after_s), AWAY_MIN_S))
                raise
            finally:
                self._see(partition, share)
        if share.lane is not None and share.lane.worked > worked:
            share.away_s = AWAY_MIN_S
        return busy

    def _see(self, partition: int, share: _Share) -> None:
        """Throw away a lane that is of no use any more; another one begins later."""
        ended = share.lane.ended if share.lane is not None else None
        if ended is None:
            return
        self._drop(share)
        if ended is Ended.SUPERSEDED:
            logger.warning("partition %d: %s", partition, ended.value)
            self._wait(share, CONTESTED_S)
        else:
            if ended is Ended.STUCK:
                logger.error("partition %d: %s; it is claimed anew", partition, ended.value)
            self._wait(share, share.away_s)
            share.away_s = min(2 * share.away_s, AWAY_MAX_S)

    def _wait(self, share: _Share, seconds: float) -> None:
        share.not_before_s = max(share.not_before_s, self._ports.elapsed_s() + seconds)

    def _drop(self, share: _Share) -> None:
        if share.lane is not None:
            self._gone.update(_counts(share.lane))
            share.lane = None

    def _generation(self, partition: int) -> int:
        """Higher than all before it in the log, and no other process's."""
        source = f"{CLAIM}{self._ports.channels.raw.epoch}/{partition}"
        last = self._ports.log.heads().taken.get(source, 0)
        first = max(self._ports.clock.now_us(), (last >> RANDOM_BITS) + 1)
        return first << RANDOM_BITS | self._ports.random_bits(RANDOM_BITS)

    # -- what the sequencer tells -----------------------------------------------------------

    def _hear(self) -> bool:
        """Pass on what was announced; whether there may be more."""
        topic = self._ports.channels.announcements
        if self._heard is None:  # before any lane claims: what takes the claim stands behind it
            self._version = self._ports.log.heads().version
            self._heard = topic.end()
        try:
            found = topic.read(self._heard, ANNOUNCEMENTS_AT_ONCE)
        except Stop as error:
            if error.code != "bus-trimmed":
                raise
            self._read_headers()
            return True
        for position, item in found:
            try:
                self._pass_on(parse(item))
            except ValueError as error:
                text = f"announcement {position} can't be read: {error}"
                raise Stop("store-damaged", text) from error
            self._heard = position + 1
        return bool(found)

    def _read_headers(self) -> None:
        """Pass on what the log's headers say: it was announced, and trimmed before it was heard.

        The storer trims what it has stored, and this thread may have been at a message meanwhile.
        """
        end = self._ports.channels.announcements.end()
        if any(share.lane is not None for share in self._shares.values()):
            found = batch_headers(self._ports.log, after=self._version)
            for version, some in groupby(found, key=lambda one: one[0][0]):
                headers = [header for _, header in some]
                last = jcs.decode(headers[-1])
                size = int(last["first"]) + int(last["count"])
                self._pass_on(parse(announcement(version, size, headers)))
        else:
            self._version = self._ports.log.heads().version
        self._heard = end

    def _pass_on(self, announced: Announced) -> None:
        self._version = max(self._version, announced.version)
        self._shared.log_size = max(self._shared.log_size, announced.size)
        for share in self._shares.values():
            if share.lane is not None:
                share.lane.announced(announced)

    # -- what the operator sees -------------------------------------------------------------

    @contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        """Say once that it is away, and once that it is back; go on meanwhile."""
        try:
            yield
        except Unavailable as error:
            if not self._troubles:
                tell(WORKING, f"messages can't be worked on ({what})", error)
            self._troubles[what] = str(error)
        else:
            self._over(what)

    def _over(self, what: str) -> None:
        """It is back, or another worker's."""
        if self._troubles.pop(what, None) is not None and not self._troubles:
            tell_over(WORKING)

    def alarms(self) -> list[str]:
        """Codes of the alarms that stand."""
        return [WORKING] if self._troubles else []

    def _tell(self) -> None:
        self._status_s = self._ports.elapsed_s()
        counts, states = Counter(self._gone), dict[int, LaneState]()
        for partition, share in self._shares.items():
            states[partition] = LaneState.CLAIMING
            if share.lane is not None:
                counts.update(_counts(share.lane))
                states[partition] = share.lane.state
        lag = self.status.lag
        with self._trouble("raw messages"):
            lag = self._lag()
        self.status = WorkerStatus(
            counts["worked"],
            counts["retries"],
            counts["fed"],
            self._begun,
            lag,
            max(0, self._shared.log_size - self._shared.size),
            states,
            dict(self._troubles),
        )

    def _lag(self) -> int:
        """Messages that wait; also while no sequencer takes the claims, which is when it counts."""
        raw = self._ports.channels.raw
        ends, taken = raw.ends(), self._ports.log.heads().taken
        lag = 0
        for partition, share in self._shares.items():
            at = taken.get(f"{raw.epoch}/{partition}", -1) + 1
            if share.lane is not None and share.lane.is_begun:
                at = share.lane.next
            lag += max(0, ends[partition] - at)
        return lag


def _counts(lane: Lane) -> dict[str, int]:
    return {"worked": lane.worked, "retries": lane.retries, "fed": lane.fed}
