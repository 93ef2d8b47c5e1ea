"""How long a start behind a fault takes, until it is ready: printed, and bounded."""

import os
import time
from collections.abc import Callable

BOUND_S = 60.0  # six times what is promised; counts where the machine is not far too busy


class Restarts:
    """Times the restarts of one test."""

    def __init__(self, what: str, processes: int = 1) -> None:
        """processes: how many are started at once; they share the machine."""
        self._what, self._bound_s = what, BOUND_S * min(processes, 3)
        self._took_s: list[tuple[float, float]] = []  # and the load behind it

    def time(self, start: Callable[[], object]) -> None:
        """Call `start`, which returns once it is ready."""
        began = time.monotonic()
        start()
        self._took_s.append((time.monotonic() - began, os.getloadavg()[0]))

    def check(self) -> None:
        """Print the longest; where the machine could do its work, none may be above the bound."""
        cores = os.cpu_count() or 1
        longest_s, load = max(self._took_s)
        print(
            f"restart: {self._what}: {len(self._took_s)}, the longest {longest_s:.1f} s"
            f" at a load of {load:.1f} on {cores} processors"
        )
        late = [one for one in self._took_s if one[0] >= self._bound_s and one[1] <= 2 * cores]
        assert not late, self._took_s
