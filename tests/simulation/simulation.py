"""One simulated day (or more) of a grid and its platform: who runs, what breaks when, what is sent.

Workers, partitions, the date and the faults come from the seed; only how many meters and days is
asked for.
"""

import gc
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from weakref import finalize

from bal import jcs
from bal.derive.local_day import local_day
from bal.model import Identity, StoredRecord
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import BookEntry
from bal.subjects import identity_of_name
from tests.simulation.follower import FollowerProcess
from tests.simulation.log_store import SimSigner
from tests.simulation.members import Group
from tests.simulation.senders import SLOT_US, HeadEnd, Pmu, Sender, Slots
from tests.simulation.sequencers import SequencerProcess
from tests.simulation.servers import servers_of
from tests.simulation.storers import StorerProcess
from tests.simulation.workers import Collector, WorkerProcess
from tests.simulation.world import HOUR_US, MINUTE_US, SECOND_US, Failed, World

ORIGIN = "gridseal.invalid/simulation"
MEMORY = Path("/dev/shm")  # nobody cuts this host's power
ZONE = "Europe/Berlin"
METERS_A_HEAD_END = 1_000
TOGGLED = 4  # meters that are revoked and restored, again and again
SHARED = 2  # meters that a neighbour reports, too
LEDGER_METERS_MAX = 1_000  # whose every slot is compared at the end
SETTLED_WITHIN_H = 12  # after the last fault
DATES = {  # both changes of the clock, the last leap second, a plain day, a day of 29 February
    "spring": date(2026, 3, 29),
    "autumn": date(2026, 10, 25),
    "leap second": date(2017, 1, 1),  # 2016-12-31T23:59:60Z is 00:59:60 in Berlin
    "plain": date(2026, 6, 10),
    "new year": date(2027, 12, 31),
    "29 February": date(2028, 2, 29),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a seed decides beside the faults."""

    date_name: str
    partitions: int
    workers: int
    pmus: int
    per_head_end: int
    jitter_us: int  # how far apart head-ends report
    storers: int
    interval_s: float  # between checkpoints


def shape_of(seed: int, meters: int) -> Shape:
    """The shape of a world."""
    dice = World(seed, 0).random("shape")
    per = (20, 40, 100) if meters <= 250 else (100, 250)
    return Shape(
        dice.choice(sorted(DATES)),
        dice.randint(1, 6),
        dice.randint(1, 4),
        dice.randint(0, 2),
        dice.choice(per) if meters < 5 * METERS_A_HEAD_END else METERS_A_HEAD_END,
        dice.choice((SECOND_US // 2, 60 * SECOND_US)),
        dice.randint(1, 3),
        dice.choice((0.1, 1.0, 5.0)),
    )


class Simulation:
    """The world with its servers, processes and senders."""

    def __init__(self, seed: int, meters: int, days: int = 1) -> None:
        self.shape = shape = shape_of(seed, meters)
        self.zone = ZONE
        first = DATES[shape.date_name]
        self.days = [first + timedelta(days=n) for n in range(days)]
        self._begin_us = local_day(self.days[0], ZONE)[0]
        self._end_us = local_day(self.days[-1], ZONE)[1]
        self.world = world = World(seed, self._begin_us - 2 * HOUR_US)
        folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        finalize(self, shutil.rmtree, folder)
        epoch = f"{seed % (1 << 64):016x}"
        self.servers = servers_of(world, epoch, shape.partitions, folder)
        self.db, self.book = self.servers.db, self.servers.book
        key = (seed % (1 << 64)).to_bytes(32, "big")
        self.signer = SimSigner(self.servers.disk, ORIGIN, key)
        self.sample: list[StoredRecord] = []
        self.senders: list[Sender] = []
        self._by_name: dict[str, Sender] = {}
        self._ledger: dict[str, Slots] = {}
        self._ledger_by_device: dict[str, Slots] = {}
        self._untold: set[str] = set()  # meters whose readings are refused at times
        self._device_days: dict[int, bytes] = {}
        self._dice = world.random("sample")
        self._closes_every_us = HOUR_US * 4 if meters > LEDGER_METERS_MAX else 0
        self._make_processes()
        self._make_senders(meters)

    # -- who there is -----------------------------------------------------------------------

    def _make_processes(self) -> None:
        servers, world, shape = self.servers, self.world, self.shape
        group = Group(world, shape.partitions)
        self.workers = [WorkerProcess(servers, group, f"worker-{n}") for n in range(shape.workers)]
        group = Group(world, 1)
        self.sequencers = [
            SequencerProcess(
                servers, group, f"sequencer-{n}", origin=ORIGIN, signer=self.signer,
                interval_s=shape.interval_s, closes_every_us=self._closes_every_us,
            )
            for n in range(2)
        ]  # fmt: skip
        group = Group(world, shape.partitions)
        self.storers = [StorerProcess(servers, group, f"storer-{n}") for n in range(shape.storers)]
        self.follower = FollowerProcess(servers, self._by_name, "follower")
        servers.raw.topic.readers(*self.workers)
        servers.commitments.readers(*self.sequencers)
        servers.rows.readers(*self.storers)
        servers.announcements.readers(*self.storers, *self.workers)

    def _make_senders(self, meters: int) -> None:
        per = self.shape.per_head_end
        cuts = [range(at, min(meters, at + per)) for at in range(0, meters, per)]
        names = [[f"meter-{n:07d}" for n in cut] for cut in cuts]
        own = {f"head-end-{n}" for n in range(len(names))}
        self.collector = Collector(self.servers, own)
        self.operator = Sender(self.world, OPERATOR, self.collector)
        self.head_ends = []
        self._joins_us = self._make_joins(names)
        for n, mine in enumerate(names):
            shared = names[(n + 1) % len(names)][:SHARED] if len(names) > 1 else []
            ledger = self._ledger if n * per < LEDGER_METERS_MAX else None
            head_end = HeadEnd(
                self.world,
                f"head-end-{n}",
                self.collector,
                meters=mine + shared,
                zone=ZONE,
                ledger=ledger,
                joins_us=self._joins_us,
                jitter_us=self.shape.jitter_us,
            )
            self.head_ends.append(head_end)
        self.pmus = [Pmu(self.world, f"pmu-{n}", self.collector) for n in range(self.shape.pmus)]
        self.senders = [self.operator, *self.head_ends, *self.pmus]
        self._by_name |= {sender.name: sender for sender in self.senders}

    def _make_joins(self, names: list[list[str]]) -> dict[str, int]:
        """Meters that are new on that day, and from when on; of shared ones more than of others."""
        dice = self.world.random("joins")
        slots = (self._end_us - self._begin_us) // SLOT_US
        found: dict[str, int] = {}
        for mine in names:
            some = [*mine[:SHARED], *dice.sample(mine, min(len(mine) // 10, 20))]
            for meter in some:
                found[meter] = self._begin_us + dice.randint(1, slots) * SLOT_US
        return found

    def _toggle(self, meter: str) -> None:
        """The operator revokes a device, or takes it back into service."""
        identity = identity_of_name(meter)
        found = self.servers.vault.find([identity])
        info = None
        if identity in found:
            registry = self.servers.registry.at(self.servers.stored.size())
            info = registry.device(found[identity])
        if info is not None:
            state = "revoked" if info.state == "active" else "active"
            command = {"command": "device", "device": info.device, "state": state}
            command["at"] = str(self.world.now_us)  # no two commands are one message
            self.world.injected["device revoked or restored"] += 1
            self.operator.send(COMMAND_FORMAT, jcs.encode(command))

    def _enrol(self, sender: Sender, number: int) -> None:
        vault = self.servers.vault
        bulk = isinstance(sender, HeadEnd)
        identity = Identity(f"name:gridseal/sender/{sender.name}")
        if not bulk:
            identity = identity_of_name(sender.name)
        pseudonym = vault.pseudonyms([identity])[identity]
        device = {"device": pseudonym, "group": "pmus", "zone": "UTC", "kind": "pmu"}
        command = {
            "command": "enrol", "name": sender.name, "certificate": "", "password": "",
            "subject": pseudonym, "subjects": "any" if bulk else "self", "allowed": [],
            "group": f"group-{number}", "zone": ZONE, "bulk": "true" if bulk else "false",
            "devices": [] if bulk else [device],
        }  # fmt: skip
        self.operator.send(COMMAND_FORMAT, jcs.encode(command))

    # -- what happens -----------------------------------------------------------------------

    def run(self) -> None:
        """The days, and then as long as it takes until all is certified and closed."""
        world = self.world
        world.faulty = False
        for number, sender in enumerate([*self.head_ends, *self.pmus]):
            self._enrol(sender, number)
        gc.collect()
        world.run(HOUR_US)
        if self.operator.open():
            raise Failed("without a fault, an enrolment is not certified within an hour")
        world.faulty = True
        self._schedule()
        end_us = self._end_us - world.start_us
        world.run(end_us + 6 * HOUR_US)
        world.faulty, world.stepped_us = False, 0
        deadline_us = world.now_us + SETTLED_WITHIN_H * HOUR_US
        world.run(deadline_us, self._is_quiet)
        if any(sender.open() for sender in self.senders):
            left = {sender.name: sender.open() for sender in self.senders if sender.open()}
            raise Failed(f"not certified {SETTLED_WITHIN_H} h after the last fault: {left}")
        world.run(world.now_us + self._closes_every_us + 2 * HOUR_US)  # late data is closed, too
        world.run(world.now_us + MINUTE_US, self._is_visible)
        if not self._is_visible():
            raise Failed("without a fault, what is committed is not visible within a minute")

    def _is_quiet(self) -> bool:
        return not any(sender.open() for sender in self.senders) and self._is_visible()

    def _is_visible(self) -> bool:
        """Whether all that is in the log is published and stored."""
        servers = self.servers
        size, published = servers.disk.row.size, servers.disk.published
        return published is not None and published[0].size == servers.stored.size() == size

    def _schedule(self) -> None:
        world, dice = self.world, self.world.random("schedule")
        until_us = self._end_us - world.start_us
        end_us = self._begin_us
        while end_us < self._end_us:
            end_us += 15 * MINUTE_US
            for head_end in self.head_ends:
                delay_us = end_us - world.start_us - world.now_us
                world.at(delay_us, partial(head_end.quarter, end_us))
        for pmu in self.pmus:
            seconds = dice.randint(30, 200)
            begin_us = self._begin_us + dice.randrange(20 * HOUR_US)
            pmu.stream(begin_us - begin_us % SECOND_US, seconds)
        toggled = dice.sample(self.head_ends[0].meters[SHARED:-SHARED], TOGGLED)
        for meter in toggled:
            self._untold.add(meter)
        for number in range(240):
            at_us = self._begin_us + 8 * HOUR_US + number * MINUTE_US - world.start_us
            delay_us, meter = at_us - world.now_us + dice.randrange(MINUTE_US), dice.choice(toggled)
            world.at(delay_us, partial(self._toggle, meter))
        if self.shape.date_name == "leap second":
            leap_us = self._begin_us + HOUR_US  # midnight UTC
            head_end = self.head_ends[0]
            world.at(leap_us - world.start_us - world.now_us, lambda: head_end.leap_second(leap_us))
            world.at(leap_us - world.start_us - world.now_us, lambda: self._step(-SECOND_US))
        for kind, action, most in (
            ("clock back an hour", lambda: self._step_back(dice.randint(10, 120)), 2),
            ("power cut", self._power_cut, 4),
            ("bus restart", lambda: self._restart_bus(dice.uniform(2, 45)), 6),
            ("worker killed", lambda: dice.choice(self.workers).kill(), 8),
            ("storer killed", lambda: dice.choice(self.storers).kill(), 4),
            ("sequencer killed", lambda: dice.choice(self.sequencers).kill(), 6),
        ):
            for _ in range(dice.randint(0, most) * max(1, len(self.days))):
                at_us = dice.randrange(until_us) - world.now_us
                world.at(at_us, partial(self._inject, kind, action))

    def _inject(self, name: str, action: Callable[[], None]) -> None:
        if self.world.faulty:
            self.world.injected[name] += 1
            action()

    def _step(self, us: int) -> None:
        self.world.injected["clock stepped by a leap second"] += 1
        self.world.stepped_us += us

    def _step_back(self, minutes: int) -> None:
        """An hour back, until somebody puts it right."""
        self.world.stepped_us -= HOUR_US

        def mend() -> None:
            self.world.stepped_us = min(0, self.world.stepped_us + HOUR_US)

        self.world.at(minutes * MINUTE_US, mend)

    def _power_cut(self) -> None:
        """The host of the data folder: all roles end, and what is not fsynced may be gone."""
        for process in (*self.sequencers, *self.storers, *self.workers):
            process.kill()
        self.servers.power_cut()

    def _restart_bus(self, seconds: float) -> None:
        servers = self.servers
        for topic in (servers.raw.topic, servers.rows, servers.commitments, servers.announcements):
            topic.restart(seconds)

    # -- for the checks ---------------------------------------------------------------------

    def ledger_by_device(self) -> dict[str, Slots]:
        """What was sent, by pseudonym."""
        if not self._ledger_by_device:
            for meter, slots in self._ledger.items():
                if meter not in self._untold:
                    identity = identity_of_name(meter)
                    name = self.servers.vault.find([identity])[identity]
                    self._ledger_by_device[name] = slots
        return self._ledger_by_device

    def device_day(self, entry: BookEntry) -> bytes:
        """The bytes of a device-day of the ledger's meters, by its place in the log."""
        return self._device_days[entry.log_index]

    def note(self, rows: Sequence[StoredRecord]) -> None:
        """Keep some rows of one segment, for checks of a few; of all segments, one by one."""
        kept = self.ledger_by_device()
        records: list[StoredRecord] = []
        for row in rows:
            if row.kind != "device-day":
                records.append(row)
            elif row.device in kept:
                self._device_days[row.index] = row.record
        if len(self.sample) < 2_000 or self._dice.random() < 0.01:
            self.sample += self._dice.sample(records, min(2, len(records)))
