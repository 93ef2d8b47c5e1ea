"""One simulated day (or more) of a grid and its platform: who runs, what breaks when, what is sent.

Workers, partitions, the date and the faults come from the seed; only how many meters and days is
asked for.
"""

import gc
from dataclasses import dataclass
from datetime import date, timedelta

from bal import jcs
from bal.derive.local_day import local_day
from bal.model import Identity, StoredRecord
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import BookEntry
from bal.registry import Registry
from bal.subjects import identity_of_name
from tests.simulation.log_store import LogDisk, SimSigner
from tests.simulation.senders import SLOT_US, HeadEnd, Pmu, Sender, Slots
from tests.simulation.sequencers import Closer, SequencerProcess
from tests.simulation.storer import Saved, StorerProcess
from tests.simulation.stores import RegistryFeed, SimArchive, SimBook, SimDb, SimVault, Summary
from tests.simulation.topics import RawTopic, Topic
from tests.simulation.workers import Collector, Group, Servers, WorkerProcess, registry_at
from tests.simulation.world import HOUR_US, MINUTE_US, SECOND_US, Failed, Lease, World

ORIGIN = "gridseal.invalid/simulation"
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
        disk = LogDisk(world)
        self.servers = Servers(
            world, RawTopic(world, f"{seed % (1 << 64):016x}", shape.partitions),
            Topic(world, "rows"), Topic(world, "commitments"), Topic(world, "announcements"),
            disk, SimVault(world), SimArchive(), RegistryFeed(),
        )  # fmt: skip
        self.db, self.book = SimDb(world), SimBook()
        self.signer = SimSigner(disk, ORIGIN, (seed % (1 << 64)).to_bytes(32, "big"))
        self.sample: list[StoredRecord] = []
        self.senders: list[Sender] = []
        self._by_name: dict[str, Sender] = {}
        self._ledger: dict[str, Slots] = {}
        self._ledger_by_device: dict[str, Slots] = {}
        self._untold: set[str] = set()  # meters whose readings are refused at times
        self._device_days: dict[int, bytes] = {}
        self._registries: tuple[int, Registry, int] = (0, Registry(), 0)
        self._make_processes()
        self._make_senders(meters)

    # -- who there is -----------------------------------------------------------------------

    def _make_processes(self) -> None:
        servers, world = self.servers, self.world
        self.group = Group(servers)
        self.workers = [
            WorkerProcess(servers, self.group, f"worker-{n}") for n in range(self.shape.workers)
        ]
        self.group.workers = self.workers
        self.closer = Closer(servers, self.db, self.book, self._registry_at)
        lease = Lease(world)
        self.sequencers = [
            SequencerProcess(
                servers,
                f"sequencer-{n}",
                origin=ORIGIN,
                signer=self.signer,
                lease=lease,
                closer=self.closer.due,
            )
            for n in range(2)
        ]
        saved, storing = Saved(), Lease(world)
        self.storers = [
            StorerProcess(
                servers, self.db, self.book, saved,
                name=f"storer-{n}", lease=storing, tell=self._tell,
            )
            for n in range(2)
        ]  # fmt: skip
        servers.raw.topic.readers(*self.workers)
        servers.commitments.readers(*self.sequencers)
        servers.rows.readers(*self.storers)
        servers.announcements.readers(*self.storers)

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
        self._by_name = {sender.name: sender for sender in self.senders}

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
            info = self._registry_at(self.servers.feed.size).device(found[identity])
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

    def _tell(self, summary: Summary) -> None:
        sender = self._by_name.get(summary.credential)
        if sender is not None:
            self.world.at(SECOND_US // 10, lambda: sender.told(summary))

    def _registry_at(self, size: int) -> Registry:
        """The registry as of a size that only grows; an older one is made anew."""
        known, registry, applied = self._registries
        if size < known:
            return registry_at(self.servers.feed, size)
        records = self.servers.feed.records
        while applied < len(records) and records[applied][0] < size:
            registry.apply(records[applied][1])
            applied += 1
        self._registries = size, registry, applied
        return registry

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
        world.run(world.now_us + 5 * HOUR_US)  # late data is closed, too
        self._take_sample()

    def _is_quiet(self) -> bool:
        return (
            not any(sender.open() for sender in self.senders)
            and self.db.version == self.servers.disk.row.version
        )

    def _schedule(self) -> None:
        world, dice = self.world, self.world.random("schedule")
        until_us = self._end_us - world.start_us
        end_us = self._begin_us
        while end_us < self._end_us:
            end_us += 15 * MINUTE_US
            for head_end in self.head_ends:
                delay_us = end_us - world.start_us - world.now_us
                world.at(delay_us, lambda one=head_end, at=end_us: one.quarter(at))
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
            world.at(delay_us, lambda one=meter: self._toggle(one))
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
                world.at(at_us, lambda act=action, name=kind: self._inject(name, act))

    def _inject(self, name: str, action: object) -> None:
        if self.world.faulty:
            self.world.injected[name] += 1
            action()  # type: ignore[operator]

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
        """The log's host: both sequencers end, and what is not fsynced may be gone."""
        for process in self.sequencers:
            process.kill()
        self.servers.disk.power_cut(self.world.random(f"cut {self.world.now_us}"))

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
        """The bytes of a device-day, by its place in the log."""
        if not self._device_days:
            for rows in self.db.all_rows():
                kept = self.ledger_by_device()
                self._device_days |= {
                    row.index: row.record
                    for row in rows
                    if row.kind == "device-day" and row.device in kept
                }
        return self._device_days[entry.log_index]

    def _take_sample(self) -> None:
        dice = self.world.random("sample")
        for rows in self.db.all_rows():
            if len(self.sample) < 2_000 or dice.random() < 0.01:
                records = [row for row in rows if row.kind != "device-day"]
                self.sample += dice.sample(records, min(2, len(records)))
