"""A log that is ahead of what is stored, for tests of storers; and what a folder holds then."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from random import Random

from folder_kit import EPOCH, Played
from lane_kit import cim, frames

from bal.model import RawMessage, StoredRecord
from bal.pipeline import Worker
from bal.registry import Registry
from infra.fsck import fsck
from infra.outside import Outside
from infra.replay import replay
from infra.roles.rows_item import encode
from infra.stores import Stores

DAY_S = 86_400
PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder that nobody runs on, and when."""

    root: Path
    clock_us: int
    size: int  # of the log
    stored: int  # of it


def make_ground(root: Path, outside: Outside = Outside()) -> Ground:  # noqa: B008 - frozen
    """Devices, readings, phasors, retries, a close and a loser's rows; half of it not stored."""
    played = Played(root, PARTITIONS, outside=outside)
    storer, _ = played.storer()
    workers = played.worker(0, 1), played.worker(2)
    sequencing, seen = played.sequencing(), played.stores("gateway")
    others: list[Callable[[], bool]] = [*(one.step for one in workers), sequencing.step]
    played.settle(*others, storer.step)
    played.enrol(seen)
    played.settle(*others, storer.step)
    for partition in range(PARTITIONS):  # who is named first waits for the storer
        names = [f"m-{partition}-{number}" for number in range(5)]
        played.send("cim", cim(*names, *(f"shared-{number}" for number in range(3))), partition)
        played.send("pmu", frames(f"p-{partition}", 0), partition)
    played.settle(*others, storer.step)
    send(played, Random(1))
    played.settle(*others, storer.step)
    storer.close()
    stored = seen.stored.size()
    played.clock.pass_(DAY_S)
    lost_rows(played, seen)
    for seed in range(12):
        send(played, Random(seed))
        for step in 4 * others:
            step()
        played.clock.pass_(1.1)
        if seed == 6:
            played.settle(*others)
            played.close_day(sequencing, seen, date(2026, 1, 15))
    played.settle(*others)
    for worker in workers:
        worker.close()
    sequencing.finish()
    made = Ground(root, played.clock.us, sequencing.heads.size, stored)
    played.close()
    return made


def send(played: Played, dice: Random) -> None:
    """A little of everything, to every partition."""
    second = int(played.clock.us // 1_000_000) % DAY_S
    for partition in range(PARTITIONS):
        meters = [f"m-{partition}-{dice.randrange(5)}", f"shared-{dice.randrange(3)}"]
        raw = cim(*meters, value=dice.randrange(4))  # some come again, as retries do
        played.send("cim", raw, partition)
        if dice.random() < 0.7:
            played.send("pmu", frames(f"p-{partition}", second), partition)
        if dice.random() < 0.2:
            played.send("cim", b"<nonsense", partition)


def lost_rows(played: Played, stores: Stores) -> None:
    """Rows of a worker that lost its partitions: other ones of the offsets that come next."""
    for partition, end in enumerate(played.channels.raw.ends()):
        for offset in range(end, end + 4):
            raw = cim("loser", value=offset)
            message = RawMessage(EPOCH, partition, offset, "nobody", "cim", played.clock.us, raw)
            worked = Worker(stores.vault, Registry()).process(message)
            batch = worked.batches(offset - 1, {})[0]
            played.channels.rows(partition).append([encode(worked, batch)])


def rows_of(root: Path) -> list[StoredRecord]:
    """All rows that are stored."""
    played = Played(root, PARTITIONS)
    stores = played.stores("gateway")
    found = list(stores.customer_db.records(0, stores.customer_db.size()))
    played.close()
    return found


def digest(rows: list[StoredRecord]) -> str:
    """Of them all, in order."""
    found = sha256()
    for row in rows:
        found.update(repr(row).encode())
    return found.hexdigest()


def check(ground: Ground, root: Path) -> list[StoredRecord]:
    """Everything is stored once, and nothing else; gives the rows."""
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}
        assert audit.away == {}
    rows = rows_of(root)
    assert len({row.index for row in rows}) == len(rows)
    assert not any(b"loser" in row.record for row in rows)
    assert max(row.index for row in rows) < ground.size
    return rows
