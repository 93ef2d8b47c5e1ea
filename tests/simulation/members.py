"""Which process of a role has which share, and the saved positions of all: what outlives them."""

from collections.abc import Mapping

from infra.roles.ports import Position
from tests.simulation.world import SECOND_US, Process, World

SESSION_S = 10


class Group:
    """The processes of one role: shares by turns, with numbers that only grow.

    It fences nobody: who is stopped for longer than a session loses its shares, and does not know
    it when it goes on.
    """

    def __init__(self, world: World, shares: int) -> None:
        self._world, self._shares = world, shares
        self._processes: dict[str, Process] = {}
        self._owners: dict[int, tuple[str, int]] = {}
        self._next: dict[int, int] = {}

    def joined(self, process: Process) -> None:
        """It begins anew: what it had it gets anew, too, though nobody else had it meanwhile."""
        self._processes[process.name] = process
        had = [share for share, (owner, _) in self._owners.items() if owner == process.name]
        for share in had:
            self._give(share, process.name)
        if not had and self._shares > 1:  # who does all of it goes on
            self._balance()

    def of(self, process: Process) -> dict[int, int]:
        """The shares of a process that asks, each with the number; those of silent ones, too."""
        name = process.name
        for share in range(self._shares):
            owner = self._owners.get(share)
            if owner is None or not self._is_alive(owner[0]):
                self._give(share, name)
        return {share: number for share, (owner, number) in self._owners.items() if owner == name}

    def _is_alive(self, name: str) -> bool:
        silent_us = self._world.now_us - self._processes[name].heard_us()
        return silent_us <= SESSION_S * SECOND_US

    def _balance(self) -> None:
        alive = sorted(name for name in self._processes if self._is_alive(name))
        for share in range(self._shares):
            owner = alive[share % len(alive)]
            if self._owners.get(share, ("", 0))[0] != owner:
                self._give(share, owner)

    def _give(self, share: int, name: str) -> None:
        self._next[share] = self._next.get(share, -1) + 1
        self._owners[share] = name, self._next[share]
        self._world.seen["shares given"] += 1


class Member:
    """Port Members of one process, from its boot on."""

    def __init__(self, group: Group, process: Process) -> None:
        self._group, self._process = group, process
        group.joined(process)

    def mine(self) -> Mapping[int, int]:
        return self._group.of(self._process)

    def close(self) -> None: ...


class Positions:
    """Port Positions of one process over what is saved; it may end before it saves."""

    def __init__(self, saved: dict[str, Position], process: Process) -> None:
        self._saved, self._process = saved, process

    def get(self, name: str) -> Position:
        return self._saved.get(name, Position(0))

    def save(self, name: str, position: Position) -> None:
        old = self.get(name)
        if (position.offset, position.version) > (old.offset, old.version):
            role = self._process.name.partition("-")[0]
            self._process.crash_here(f"{role} before saving a position", 0.0005, 0.005)
            self._saved[name] = position
