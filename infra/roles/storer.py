"""The role `storer`: any number of processes, each with partitions of its own.

A partition is a process's by `Members`, as a worker's are; it fences nobody. Two that both have one
for a while store the same (infra/roles/storing.py, docs/decisions/0018).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event

from bal.errors import Stop, Unavailable
from infra.roles.ports import Members
from infra.roles.remaking import Remaking
from infra.roles.storer_begin import HeadersAwaited, Lost
from infra.roles.storer_state import StorerState
from infra.roles.storing import StorerPorts, Storing
from infra.troubles import STORING, tell, tell_over

ROLE = "storer"
IDLE_MIN_S, IDLE_MAX_S = 0.002, 0.02  # who sent a message waits for what is stored
STANDBY_S = 0.2  # between two looks of who has no partition
AWAY_MAX_S = 2.0
# A sequencer's headers follow its heads row at once, so it is no trouble that they are not there.
AWAITED_MAX_S, AWAITED_STEP_S = 3.0, 0.05
STATUS_EVERY_S = 1.0
BEHIND_S = 10.0  # without a step on, after which a partition is called behind

logger = logging.getLogger("gridseal.storer")


@dataclass(frozen=True, slots=True)
class StorerStatus:
    """A storer as of a moment ago, for probes and metrics."""

    active: bool = False  # it has a partition
    version: int = 0  # of the log, that all of its partitions have stored
    size: int = 0  # below which all is stored, of every partition
    synced: int = 0  # of that, what a power cut does not take back
    announced: int = 0  # the newest version that was told of
    held: int = 0  # items of rows that the log has not taken
    dropped: int = 0  # items of rows since the start that came twice, or for nothing
    stored: Mapping[int, int] = field(default_factory=dict)  # size by partition, of all there are
    partitions: frozenset[int] = frozenset()  # this one's
    behind: Mapping[int, str] = field(default_factory=dict)  # of all there are, and why
    troubles: Mapping[int, str] = field(default_factory=dict)  # what is away, by partition

    @property
    def trouble(self) -> str:
        """What is away, once; empty where all is there."""
        return "; ".join(dict.fromkeys(self.troubles.values()))


@dataclass(slots=True)
class _Share:
    """A partition that is this process's."""

    number: int
    storing: Storing | None = None
    remaking: Remaking | None = None  # of what a topic lost
    not_before_s: float = float("-inf")
    awaits_since_s: float | None = None  # headers that a sequencer is about to write


class StorerRole:
    """For one thread; `status` for any."""

    def __init__(self, ports: StorerPorts, members: Members) -> None:
        """members: of `channels.members(ROLE, raw.partitions)`; closed with this."""
        self._ports, self._members = ports, members
        self._state = StorerState(ports.projector, ports.channels.announcements)
        self._shares: dict[int, _Share] = {}
        self._troubles: dict[int | None, str] = {}  # None: of the members
        self._dropped = 0  # by those that are no more
        self._moved: dict[int, tuple[int, float]] = {}  # size of a partition, and since when
        self._stopping = Event()
        self._status_s = float("-inf")
        self.status = StorerStatus()

    def run(self, stopping: Event) -> None:
        """Store until told to stop. Raises Stop."""
        idle_s, self._stopping = IDLE_MIN_S, stopping
        try:
            while not stopping.is_set():
                if self.step() or self._ports.projector.tidy():
                    idle_s = IDLE_MIN_S
                    continue
                stopping.wait(idle_s if self._shares else STANDBY_S)
                idle_s = min(2 * idle_s, IDLE_MAX_S)
        finally:
            self.close()

    def step(self) -> bool:
        """Do what can be done now; whether there may be more at once. Raises Stop."""
        with self._trouble(None):
            self._look_at_shares()
        busy = False
        for partition, share in self._shares.items():
            if not self._stopping.is_set():
                busy |= self._step(partition, share)
        if self._ports.elapsed_s() - self._status_s >= STATUS_EVERY_S:
            with suppress(Unavailable):
                self._tell()
        return busy

    def alarms(self) -> list[str]:
        """Codes of the alarms that stand."""
        return [STORING] if self._troubles else []

    def close(self) -> None:
        """Sync what is stored, and let others go on at once."""
        try:
            with suppress(Unavailable):
                mine = self._members.mine()
                for partition, share in self._shares.items():
                    if share.storing is not None and mine.get(partition) == share.number:
                        share.storing.sync()
        finally:
            self._shares.clear()
            with suppress(Unavailable):
                self._members.close()

    # -- partitions -------------------------------------------------------------------------

    def _look_at_shares(self) -> None:
        """Begin anew from what is synced where a partition was another's meanwhile."""
        mine = self._members.mine()
        for partition in [p for p, one in self._shares.items() if mine.get(p) != one.number]:
            share = self._shares.pop(partition)
            self._over(partition)
            if partition not in mine:
                self._let_go(partition, share)
            self._drop(share)
        for partition in sorted(mine.keys() - self._shares.keys()):
            self._shares[partition] = _Share(mine[partition])

    def _let_go(self, partition: int, share: _Share) -> None:
        """Whoever has it now begins with what is synced: the more, the less is stored twice."""
        logger.info("partition %d is no longer this storer's", partition)
        with suppress(Unavailable):
            if share.storing is not None:
                share.storing.sync()

    def _step(self, partition: int, share: _Share) -> bool:
        if self._ports.elapsed_s() < share.not_before_s:
            return False
        busy = False
        with self._trouble(partition):
            try:
                busy = self._work(partition, share)
            except Lost as lost:
                text = "partition %d: %s; it is made again from raw messages"
                logger.warning(text, partition, lost)
                self._drop(share)
                share.remaking = Remaking(self._ports, [partition])
                busy = True
            except Stop as stop:
                storing = share.storing
                if stop.code != "bus-trimmed" or not (storing and storing.is_overtaken()):
                    raise
                logger.warning("partition %d: another storer went on, begun anew", partition)
                self._drop(share)
                busy = True
            except Unavailable as error:
                if self._is_awaited(share, error):
                    return False
                wait_s = min(float(error.retry_after_s), AWAY_MAX_S)
                share.not_before_s = self._ports.elapsed_s() + wait_s
                raise
            share.awaits_since_s = None
        return busy

    def _is_awaited(self, share: _Share, error: Unavailable) -> bool:
        """Whether it is headers that may come at once."""
        if not isinstance(error, HeadersAwaited):
            return False
        now_s = self._ports.elapsed_s()
        if share.awaits_since_s is None:
            share.awaits_since_s = now_s
        share.not_before_s = now_s + AWAITED_STEP_S
        return now_s - share.awaits_since_s < AWAITED_MAX_S

    def _work(self, partition: int, share: _Share) -> bool:
        remaking, share.remaking = share.remaking, None  # where it fails, another one begins
        if remaking is not None:
            busy = remaking.step()
            if not remaking.is_done:
                share.remaking = remaking
            return busy or remaking.is_done
        if share.storing is None:
            share.storing = Storing(self._ports, self._state, partition)
            version = share.storing.stored.version
            logger.info("stores partition %d, from version %d of the log on", partition, version)
        return share.storing.step()

    def _drop(self, share: _Share) -> None:
        if share.storing is not None:
            self._dropped += share.storing.dropped
            share.storing = None

    # -- what the operator sees -------------------------------------------------------------

    @contextmanager
    def _trouble(self, partition: int | None) -> Iterator[None]:
        """Say once that something is away, and once that it is back; go on meanwhile."""
        try:
            yield
        except Unavailable as error:
            if not self._troubles:
                tell(STORING, "rows can't be stored", error)
            self._troubles[partition] = str(error)
        else:
            self._over(partition)

    def _over(self, partition: int | None) -> None:
        """It is back, or another storer's."""
        if self._troubles.pop(partition, None) is not None and not self._troubles:
            tell_over(STORING)

    def _tell(self) -> None:
        """Of every partition, whoever has it: one that stands still can't tell itself."""
        self._status_s = now_s = self._ports.elapsed_s()
        projector = self._ports.projector
        sizes = dict(enumerate(projector.file.sizes()))
        storing = {p: one.storing for p, one in self._shares.items() if one.storing is not None}
        every = list(storing.values())
        end = max((one.announced_size for one in every), default=0)
        behind = {}
        for partition, size in sizes.items():
            moved, since_s = self._moved.get(partition, (-1, now_s))
            if size > moved or size >= end:
                self._moved[partition] = size, now_s
            elif now_s - since_s >= BEHIND_S:
                behind[partition] = _why(partition, size, end, storing.get(partition))
        for partition in behind.keys() - self.status.behind.keys():
            logger.warning("%s", behind[partition])
        self.status = StorerStatus(
            active=bool(self._shares),
            version=min((one.stored.version for one in every), default=0),
            size=min(sizes.values()),
            synced=projector.progress().size,
            announced=max((one.announced for one in every), default=0),
            held=sum(one.held for one in every),
            dropped=self._dropped + sum(one.dropped for one in every),
            stored=sizes,
            partitions=frozenset(self._shares),
            behind=behind,
            troubles={-1 if p is None else p: why for p, why in self._troubles.items()},
        )


def _why(partition: int, size: int, end: int, storing: Storing | None) -> str:
    text = f"partition {partition} is behind: stored up to {size} of {end}"
    if storing is None:
        return f"{text}, by another storer or by none"
    if storing.waits_for is not None:
        return f"{text}, waits until all partitions are up to {storing.waits_for}"
    return text
