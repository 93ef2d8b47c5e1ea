"""A data folder that roles run on, played step by step in one process, without a chain.

All of it is real, but for the time, for who is whose member, and for the anchorer, which there is
none of.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from random import Random

from bal import jcs
from bal.certify.log import Sequencer
from bal.closing import DERIVED
from bal.derive.vee_rules import VeeRules
from bal.model import Pseudonym
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import Clock, Intake
from bal.subjects import identity_of_name
from infra.data_folder import OUTSIDE, DataFolder, Facts
from infra.key_signer import CheckpointSigner, KeySigner
from infra.outside import Outside
from infra.public_records import write_public_records
from infra.roles.positions import SqlitePositions
from infra.roles.sequencing import Sequencing
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.storer import StorerRole
from infra.roles.stores import open_stores
from infra.roles.storing import storer_ports
from infra.roles.worker import WorkerRole
from infra.roles.worker_state import WorkerPorts
from infra.rules import running_rules
from infra.stores import Stores

EPOCH = "00ffee0123456789"
ORIGIN = "gridseal.invalid/roles"
S = 1_000_000
BEGIN_US = 1_768_471_200 * S  # 2026-01-15T10:00:00Z


class ManualClock:
    """Time that only the test lets pass."""

    def __init__(self, us: int = BEGIN_US) -> None:
        self.us = us

    def now_us(self) -> int:
        return self.us

    def elapsed_s(self) -> float:
        return self.us / S

    def pass_(self, seconds: float) -> None:
        self.us += int(seconds * S)


class Given:
    """Members whose share the test gives; a number that is None stands by."""

    def __init__(self, shares: Mapping[int, int]) -> None:
        self.shares = dict(shares)

    def mine(self) -> Mapping[int, int]:
        return dict(self.shares)

    def take(self, shares: Iterable[int], number: int) -> None:
        """Have these from now on, and no others."""
        self.shares = dict.fromkeys(shares, number)

    def close(self) -> None: ...


def make_folder(root: Path, partitions: int, outside: Outside) -> DataFolder:
    """As infra/roles/making.py makes it, without CA and contract."""
    folder = DataFolder(root)
    folder.create()
    if any(outside.servers):
        (root / OUTSIDE).write_text(json.dumps(asdict(outside)))
    log, intake = (
        KeySigner(name, folder.seed(seed))
        for name, seed in ((ORIGIN, "log"), (f"{ORIGIN}/intake", "intake"))
    )
    folder.write_facts(
        Facts(ORIGIN, log.vkey, intake.vkey, 1, "own", "0x" + 40 * "1", "0x" + 64 * "2", 60,
              running_rules())
    )  # fmt: skip
    layout = {"epoch": EPOCH, "partitions": partitions, "v": "1"}
    (root / "roles.json").write_text(json.dumps(layout))
    SqliteChannels.make(folder.bus, EPOCH, partitions)
    return folder


class Played:
    """The roles of one folder; each with stores of its own, as processes have them."""

    def __init__(
        self,
        root: Path,
        partitions: int = 3,
        clock: ManualClock | None = None,
        outside: Outside = Outside(),  # noqa: B008 - frozen
        origin: str = ORIGIN,
    ) -> None:
        self.root = root
        self.origin = origin
        self.folder = DataFolder(root)
        self.partitions = partitions
        if not (root / "facts.json").exists():
            make_folder(root, partitions, outside)
        self.clock = clock or ManualClock()
        self._opened = ExitStack()
        self.channels = SqliteChannels.open(self.folder.bus, epoch=EPOCH)
        self.positions = SqlitePositions(root)
        self._opened.callback(self.channels.close)
        self._opened.callback(self.positions.close)
        self.number = 1

    def close(self) -> None:
        self._opened.close()

    def stores(self, role: str, clock: Clock | None = None) -> Stores:
        stores = open_stores(self.folder, clock or self.clock, role)
        self._opened.callback(stores.close)
        return stores

    # -- the roles --------------------------------------------------------------------------

    def worker(self, *partitions: int) -> WorkerRole:
        """One that has these partitions; all, where none is named."""
        stores = self.stores("worker")
        ports = WorkerPorts(
            channels=self.channels, log=stores.log, vault=stores.vault, archive=stores.archive,
            stored=stores.stored, positions=self.positions, clock=self.clock,
            rules=running_rules(), elapsed_s=self.clock.elapsed_s,
            random_bits=Random(self.number).getrandbits,
        )  # fmt: skip
        self.number += 1
        shares = dict.fromkeys(partitions or range(self.partitions), self.number)
        return WorkerRole(ports, Given(shares))

    def sequencing(self) -> Sequencing:
        stores = self.stores("sequencer")
        facts = self.folder.facts()
        assert facts is not None

        def begin(sequencer: Sequencer) -> None:
            write_public_records(self.folder, sequencer, facts, self.clock.now_us())

        return Sequencing(
            stores.log,
            stores.log,
            CheckpointSigner(self.origin, self.folder.seed("log"), self.folder.keys / "log.signed"),
            self.origin,
            commitments=self.channels.commitments,
            announcements=self.channels.announcements,
            positions=self.positions,
            clock=self.clock,
            now_s=self.clock.elapsed_s,
            interval_s=0.01,
            begin=begin,
        )

    def storer(self, *partitions: int) -> tuple[StorerRole, Given]:
        """One that has these partitions; all, where none is named."""
        stores = self.stores("storer")
        self.number += 1
        members = Given(dict.fromkeys(partitions or range(self.partitions), self.number))
        ports = storer_ports(stores, self.channels, self.positions, self.clock.elapsed_s)
        return StorerRole(ports, members), members

    def close_day(self, sequencing: Sequencing, stores: Stores, day: date) -> None:
        """As the deriver does it."""
        k = sequencing.last_close() + 1
        assert len(stores.book.closes()) == k - 1
        now_us = self.clock.now_us()
        sources = replace(stores.day_sources(), vee=VeeRules())
        closed = sources.close(day, k, stores.stored.size(), now_us)
        sequencing.commit_close(closed, running_rules())
        assert sequencing.heads.taken[f"{DERIVED}/0"] == k - 1

    def settle(self, *steps: Callable[[], bool], rounds: int = 2000) -> None:
        """Until nobody has anything to do for a while."""
        quiet = 0
        for _ in range(rounds):
            busy = [step() for step in steps]  # each of them, every time
            quiet = 0 if any(busy) else quiet + 1
            if quiet > 12:
                return
            self.clock.pass_(0.05)
        raise AssertionError("it does not come to rest")

    # -- what is sent -----------------------------------------------------------------------

    def send(self, form: str, raw: bytes, partition: int, credential: str = "headend") -> int:
        """The offset."""
        intake = Intake(credential, form, self.clock.now_us(), raw)
        return self.channels.raw.append([intake], 0, partition)[0][1]

    def enrol(self, stores: Stores, name: str = "headend") -> Pseudonym:
        own = identity_of_name(name)
        pseudonym = stores.vault.pseudonyms([own])[own]
        command = {
            "command": "enrol", "name": name, "certificate": "", "password": "",
            "subject": pseudonym, "subjects": "any", "allowed": [], "group": "g",
            "zone": "Europe/Berlin", "bulk": "true", "devices": [],
        }  # fmt: skip
        self.send(COMMAND_FORMAT, jcs.encode(command), 0, OPERATOR)
        return pseudonym
