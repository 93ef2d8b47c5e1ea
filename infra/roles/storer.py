"""The role `storer`: one process stores, the others stand by (infra/roles/storing.py).

Storers that share the partitions are a later step: bal/store/merge.py and the customer database
can, but nobody puts together yet what all of them have stored.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from bal.errors import Stop, Unavailable
from infra.roles.ports import Members
from infra.roles.remaking import Remaking
from infra.roles.storing import Lost, StorerPorts, Storing

ROLE = "storer"
IDLE_MIN_S, IDLE_MAX_S = 0.002, 0.02  # who sent a message waits for what is stored
STANDBY_S = 0.2  # between two looks of who stands by
AWAY_MAX_S = 2.0
STATUS_EVERY_S = 1.0

logger = logging.getLogger("gridseal.storer")


@dataclass(frozen=True, slots=True)
class StorerStatus:
    """A storer as of a moment ago, for probes and metrics."""

    active: bool = False
    version: int = 0  # of the log, that is stored
    size: int = 0
    synced: int = 0  # size that a power cut does not take back
    announced: int = 0  # the newest version that was told of
    held: int = 0  # items of rows that the log has not taken
    dropped: int = 0  # items of rows since the take-over that came twice, or for nothing
    trouble: str = ""  # what is away, and what it said


class StorerRole:
    """For one thread; `status` for any."""

    def __init__(self, ports: StorerPorts, members: Members) -> None:
        """members: of `channels.members(ROLE, 1)`; closed with this."""
        self._ports, self._members = ports, members
        self._storing: Storing | None = None
        self._remaking: Remaking | None = None
        self._number: int | None = None  # of the share, while this is the active one
        self._trouble = ""
        self._wait_s = 0.0
        self._status_s = float("-inf")
        self.status = StorerStatus()

    def run(self, stopping: Event) -> None:
        """Store until told to stop. Raises Stop."""
        idle_s = IDLE_MIN_S
        try:
            while not stopping.is_set():
                if self.step():
                    idle_s = IDLE_MIN_S
                    continue
                stopping.wait(max(self._wait_s, idle_s))
                idle_s = min(2 * idle_s, IDLE_MAX_S)
        finally:
            self.close()

    def step(self) -> bool:
        """Do what can be done now; whether there may be more at once. Raises Stop."""
        self._wait_s, busy = 0.0, False
        try:
            busy = self._work()
        except Unavailable as error:
            self._wait_s = min(float(error.retry_after_s), AWAY_MAX_S)
            if not self._trouble:
                logger.warning("storing waits: %s", error)
            self._trouble = str(error)
        else:
            if self._trouble:
                logger.info("storing goes on")
            self._trouble = ""
        if self._ports.elapsed_s() - self._status_s >= STATUS_EVERY_S:
            self._tell()
        return busy

    def close(self) -> None:
        """Sync what is stored, and let another one go on at once."""
        with suppress(Unavailable):
            if self._storing is not None and self._members.mine().get(0) == self._number:
                self._storing.sync()
        self._storing = None
        self._members.close()

    def _work(self) -> bool:
        self._look_at_share()
        try:
            if self._number is None:
                return False
            if self._remaking is not None:
                return self._remake(self._remaking)
            if self._storing is None:
                self._storing = Storing(self._ports)
                version = self._storing.stored.version
                logger.info("stores, from version %d of the log on", version)
            return self._storing.step()
        except Lost as lost:
            logger.warning("%s; it is made again from raw messages", lost)
            self._storing, self._remaking = None, Remaking(self._ports)
        except Stop as stop:
            if stop.code != "bus-trimmed" or not (self._storing and self._storing.is_overtaken()):
                raise
            logger.warning("another storer went on, this one begins behind it")
            self._storing = None
        return True

    def _remake(self, remaking: Remaking) -> bool:
        self._remaking = None  # where it fails, another one begins
        if remaking.step():
            self._remaking = remaking
        return True

    def _look_at_share(self) -> None:
        """Begin anew from what is synced whenever the share was another's meanwhile."""
        number = self._members.mine().get(0)
        if number != self._number:
            if self._number is not None:
                logger.warning("another storer goes on")
            self._storing, self._remaking, self._number = None, None, number
        if number is None:
            self._wait_s = STANDBY_S

    def _tell(self) -> None:
        self._status_s, storing = self._ports.elapsed_s(), self._storing
        if storing is None:
            projector, active = self._ports.projector, self._number is not None
            self.status = StorerStatus(
                active, size=projector.size(), synced=projector.progress().size,
                trouble=self._trouble,
            )  # fmt: skip
            return
        self.status = StorerStatus(
            active=True,
            version=storing.stored.version,
            size=storing.stored.size,
            synced=storing.synced.size,
            announced=storing.announced,
            held=storing.held,
            dropped=storing.dropped,
            trouble=self._trouble,
        )
