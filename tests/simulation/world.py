"""Virtual time, chance and processes: one seed decides everything that happens.

One thread. A process does a step at a time; a step that is *paused* runs the rest of the world
from within, and goes on when its time has come: what a stopped process looks like to the others.
"""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from bal.errors import Stop

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
PAUSED_MAX = 2  # processes at once


class Crash(BaseException):
    """The process ends here; only the world may catch it."""


class Failed(AssertionError):
    """An invariant does not hold."""


class World:
    """The clock, the dice, and what is due next."""

    def __init__(self, seed: int, start_us: int) -> None:
        self.seed = seed
        self.start_us = start_us
        self.now_us = 0  # since the start; never goes back
        self.stepped_us = 0  # by how much the host's clock is off
        self.faulty = True
        self.injected: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()  # what the protocol did about it
        self.steps = 0
        self.paused = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._rates: dict[str, float] = {}
        self._dice = self.random("faults")
        self._plan = self.random("plan")

    def random(self, name: str) -> Random:
        """Chance of one part's own, so that a change in one leaves the others as they were."""
        return Random(f"{self.seed}/{name}")

    def wall_us(self) -> int:
        """What the host's clock shows; it may have been set."""
        return self.start_us + self.now_us + self.stepped_us

    def at(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do it after a delay."""
        self._number += 1
        heappush(self._due, (self.now_us + max(0, delay_us), self._number, action))

    def run(self, until_us: int, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until then, or until `done`."""
        while self._due and self._due[0][0] <= until_us and not done():
            self.now_us, _, action = heappop(self._due)
            self.steps += 1
            action()
        if not done():
            self.now_us = max(self.now_us, until_us)

    def rate(self, kind: str, *most: float) -> float:
        """How often a fault of this kind happens in this world: none, seldom or often."""
        if kind not in self._rates:
            low, high = most or (0.002, 0.03)
            dice = Random(f"{self.seed}/rate/{kind}")
            self._rates[kind] = dice.choice((0.0, low, high, dice.uniform(low, high)))
        return self._rates[kind]

    def hit(self, kind: str, *most: float) -> bool:
        """Whether a fault of this kind happens now."""
        if not self.faulty or self._dice.random() >= self.rate(kind, *most):
            return False
        self.injected[kind] += 1
        return True

    def pause(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Stop whoever calls for so long, or until `done`, while the others go on."""
        self.paused += 1
        self.run(self.now_us + int(seconds * SECOND_US), done)
        self.paused -= 1


class SimClock:
    """Port Clock over the world's."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self._world.wall_us()


class Process:
    """One process: it boots, steps when woken, and dies of a crash or of an error."""

    restart_s = (1, 15)

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.dice = world.random(name)
        self.up = False
        self._busy = False
        self._woken_us = -1
        self._killed = self._again = False
        self._silent_us = 0  # since when it is busy, or has ended
        world.at(0, self._boot)

    def boot(self) -> None:
        """Begin anew, with what storage has and nothing else."""

    def step(self) -> float | None:
        """Do a little; seconds until the next step, None: when woken."""
        raise NotImplementedError

    def wake(self, delay_s: float = 0.0) -> None:
        """There is something to do."""
        due = self.world.now_us + int(delay_s * SECOND_US)
        if self.up and not (self.world.now_us <= self._woken_us <= due):
            self._woken_us = due
            self.world.at(due - self.world.now_us, lambda: self._step(due))

    def heard_us(self) -> int:
        """When it gave its last sign of life: now, but for one that is stopped or has ended."""
        return self.world.now_us if self.up and not self._busy else self._silent_us

    def kill(self) -> None:
        """End it from outside: at once, or when it is no longer paused."""
        if self._busy:
            self._killed = True
        elif self.up:
            self._die()

    def check_killed(self) -> None:
        """What a paused process finds when it would go on."""
        if self._killed:
            raise Crash

    def crash_here(self, kind: str, *most: float) -> None:
        """Perhaps the process ends at this line."""
        if self.world.hit(f"crash {kind}", *most):
            raise Crash

    def point(self, where: str, *most: float, pauses: bool = True) -> None:
        """Perhaps it ends at this line, or is stopped until others have gone on without it."""
        self.crash_here(where, *(most or (0.001, 0.01)))
        world = self.world
        if pauses and world.paused < PAUSED_MAX and world.hit(f"paused {where}", 0.001, 0.01):
            world.pause(self.dice.uniform(5, 60))
            self.check_killed()

    def _boot(self) -> None:
        self.up, self._woken_us = True, -1
        self._act(self.boot)
        self.wake()

    def _step(self, due_us: int) -> None:
        if due_us != self._woken_us or not self.up:
            return  # woken earlier meanwhile, or ended
        self._woken_us = -1
        if self._busy:
            self._again = True
            return
        delay_s = self._act(self.step)
        if delay_s is not None and self.up:
            self.wake(delay_s)

    def _act(self, act: Callable[[], float | None]) -> float | None:
        self._busy, self._killed, self._silent_us = True, False, self.world.now_us
        try:
            return act()
        except Crash:
            self._die()
        except Stop as error:  # it would wait for an operator, and there is none
            raise Failed(f"{self.name} at {self.world.now_us}: {error}") from error
        finally:
            self._busy = False
            if self._again and self.up:
                self._again = False
                self.wake()
        return None

    def _die(self) -> None:
        self.up, self._silent_us = False, self.world.now_us
        self.world.at(int(self.dice.uniform(*self.restart_s) * SECOND_US), self._boot)
