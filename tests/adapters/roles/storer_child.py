"""A storer that ends by SIGKILL at some call of its stores: `storer_child.py ROOT CLOCK SEED`.

At call number `SEED`, before it or behind it; beyond the last call it stores all and says "done".
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

from folder_kit import Given, ManualClock, Played  # noqa: E402

from infra.roles import storing  # noqa: E402
from infra.roles.storer import StorerRole  # noqa: E402
from infra.roles.storing import storer_ports  # noqa: E402


class Fuse:
    """Counts calls, and ends the process at one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def on(self, owner: Any, *names: str) -> None:
        """Count the calls of these."""
        for name in names:
            setattr(owner, name, self._fused(getattr(owner, name)))

    def _fused(self, call: Any) -> Any:
        def fused(*args: Any, **named: Any) -> Any:
            self._count()
            found = call(*args, **named)
            self._count()
            return found

        return fused

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(root: str, clock_us: str, seed: str) -> None:
    """Store."""
    at = int(seed)
    storing.VERSIONS_AT_ONCE = 1 + at % 4
    storing.READ_ITEMS = 2 + at % 5
    storing.SYNC_EVERY_S = 0.3
    played = Played(Path(root), clock=ManualClock(int(clock_us)))
    stores, fuse = played.stores("storer"), Fuse(at)
    for owner, names in (
        (stores.archive, ("put_many", "sync")), (stores.customer_db, ("store", "sync")),
        (stores.book, ("touch", "add", "sync")),
        (stores.projector.file, ("note_stored", "note_synced")), (played.positions, ("save",)),
    ):  # fmt: skip
        fuse.on(owner, *names)
    for topic in (played.channels.announcements, *map(played.channels.rows, range(3))):
        fuse.on(topic, "trim")
    ports = storer_ports(stores, played.channels, played.positions, played.clock.elapsed_s)
    storer = StorerRole(ports, Given(dict.fromkeys(range(played.partitions), 1)))
    played.settle(storer.step)
    storer.close()
    played.close()
    sys.stdout.write(f"done {fuse.calls}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
