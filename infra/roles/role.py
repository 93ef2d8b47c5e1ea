"""What a process that runs one role is given, and what it is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bal.errors import GridsealError
from bal.ports import Clock
from infra.metrics import Metrics
from infra.roles.making import Made


@dataclass(frozen=True, slots=True)
class Process:
    """What a role is made of."""

    made: Made
    clock: Clock
    fail: Callable[[GridsealError], None]  # ends the process with that; from any thread


class Role(Protocol):
    """One role in one process; made and used on the event loop."""

    @property
    def metrics(self) -> Metrics:
        """What this process counts and measures."""
        ...

    async def start(self) -> dict[str, Any]:
        """Begin; what `gridseal run` prints of it. Raises GridsealError."""
        ...

    async def stop(self) -> None:
        """End within five seconds; what was answered for is durable."""
        ...

    def ready(self) -> Mapping[str, str]:
        """For each part `ok` or what is wrong."""
        ...
