"""How long a start behind a fault takes, until it is ready: printed, and bounded."""

import os
import time
from collections.abc import Callable

BOUND_S = 150.0  # fifteen times what is promised: no test depends on how fast a machine is


class Restarts:
    """Times the restarts of one test."""

    def __init__(self, what: str, processes: int = 1) -> None:
        """processes: how many are started at once; they share the machine."""
        self._what, self._bound_s = what, BOUND_S * min(processes, 3)
        self._took_s: list[float] = []

    def time(self, start: Callable[[], object]) -> None:
        """Call `start`, which returns once it is ready."""
        began = time.monotonic()
        start()
        self._took_s.append(time.monotonic() - began)

    def check(self) -> None:
        """Print the largest; none may be longer than the bound."""
        largest_s, load, cores = max(self._took_s), os.getloadavg()[0], os.cpu_count() or 1
        print(
            f"restart: {self._what}: {len(self._took_s)}, the longest {largest_s:.1f} s,"
            f" {load:.1f} to do for {cores} processors at the end"
        )
        assert largest_s < self._bound_s, self._took_s
