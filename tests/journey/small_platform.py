"""A platform without gateways and chain, over a data folder: for faults and for fsck."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import Sequencer, genesis, rules
from bal.derive.local_day import local_day
from bal.derive.vee_rules import VeeRules
from bal.errors import GridsealError
from bal.model import Close, Identity
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worker, rules_digest
from bal.ports import Intake
from infra.announcer import CertifiedMessage
from infra.data_folder import DataFolder, Facts
from infra.deriver import Deriver
from infra.engine import Engine
from infra.key_signer import CheckpointSigner
from infra.rules import rules_parts
from infra.stores import Stores

ORIGIN = "gridseal.invalid/0123456789abcdef"
READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
WAIT_S = 60


class Hand:
    """A clock that the test sets."""

    def __init__(self, now_us: int = 1_768_471_200_000_000) -> None:
        self.now = now_us

    def now_us(self) -> int:
        return self.now


def cim(number: int, meters: Sequence[int], value: str = "1.5") -> bytes:
    """One quarter-hour of some meters."""
    end = f"2026-01-{1 + number // 96:02d}T{number // 4 % 24:02d}:{number % 4 * 15:02d}:00Z"
    readings = "".join(
        "<m:MeterReading><m:Meter><m:Names>"
        f"<m:name>{meter:010d}</m:name></m:Names></m:Meter><m:Readings>"
        f"<m:timeStamp>{end}</m:timeStamp><m:value>{value}</m:value>"
        f'<m:ReadingType ref="{READING_TYPE}"/></m:Readings></m:MeterReading>'
        for meter in meters
    )
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return f'<m:MeterReadings xmlns:m="{namespace}">{readings}</m:MeterReadings>'.encode()


class Small:
    """Opened on a folder, it recovers; `start` runs the engine."""

    def __init__(
        self,
        root: Path,
        clock: Hand | None = None,
        rules_of: dict[str, str] | None = None,
        bulk_processes: int = 0,
        back_days: int = 31,
        *,
        vee: VeeRules | None = None,
    ) -> None:
        """rules_of: another version's; what `infra.app` writes when they change is written."""
        self._bulk_processes, self._back_days = bulk_processes, back_days
        self._vee = vee
        self.clock = clock or Hand()
        self.rules_parts = rules_of or rules_parts()
        self.rules = rules_digest(self.rules_parts)
        self.folder = DataFolder(root)
        self.folder.create()
        self.folder.lock()
        self.stores = Stores.open(self.folder, self.clock)
        self.stopped: list[GridsealError] = []
        self.certified: list[CertifiedMessage] = []
        self._changed = threading.Condition()
        try:
            self._recover()
        except BaseException:
            self.release()
            raise

    def _recover(self) -> None:
        seed, memory = self.folder.seed("log"), self.folder.keys / "log.signed"
        signer = CheckpointSigner(ORIGIN, seed, memory)
        log = self.stores.log
        self.sequencer = Sequencer(log, log, signer, ORIGIN)
        self.worker = Worker(self.stores.vault, self.stores.registry)
        heads = self.sequencer.heads
        self.next = self._catch_up()
        facts = self.folder.facts()
        if facts is None or facts.rules != self.rules:
            public = [rules(self.rules, self.rules_parts)]
            if heads.size == 0:
                public.insert(0, genesis(ORIGIN, signer.vkey, "", 1, self.clock.now))
            self.sequencer.commit([], public)
            self.folder.write_facts(Facts(ORIGIN, signer.vkey, "", 1, "own", "", "", 1, self.rules))
            self.next = self._catch_up()
        self.engine = Engine(
            bus=self.stores.bus,
            sequencer=self.sequencer,
            worker=self.worker,
            projector=self.stores.projector,
            archive=self.stores.archive,
            clock=self.clock,
            rules=self.rules,
            next_offset=self.next,
            interval_s=0.01,
            settle=log.settle,
            on_certified=self._on_certified,
            on_tick=lambda _: None,
            on_stop=self._on_stop,
            bulk_processes=self._bulk_processes,
        )

        self.deriver = Deriver(
            replace(self.stores.day_sources(), vee=self._vee),
            zones=lambda: self.stores.registry.zones,
            stored_size=lambda: self.engine.stored_size,
            commit=self.engine.close,
            grace_s=0,
            back_days=self._back_days,
            on_stop=self._on_stop,
        )

    def _catch_up(self) -> int:
        heads, projector = self.sequencer.heads, self.stores.projector
        return projector.catch_up(
            self.stores.log,
            self.worker,
            version=heads.version,
            size=heads.size,
            rules=self.rules,
            derive=self.stores.day_sources().again,
        )

    def _on_certified(self, found: Sequence[CertifiedMessage]) -> None:
        with self._changed:
            self.certified += found
            self._changed.notify_all()

    def _on_stop(self, error: GridsealError) -> None:
        with self._changed:
            self.stopped.append(error)
            self._changed.notify_all()

    # -- what a test does -------------------------------------------------------------------

    def start(self) -> None:
        self.engine.start()
        self.deriver.start()

    def close_day(self, day: str) -> Close:
        """As `gridseal day close`, at an hour when it is over everywhere."""
        over_us = local_day(date.fromisoformat(day), "UTC")[1] + 86_400_000_000
        return self.deriver.close(date.fromisoformat(day), over_us).result(timeout=WAIT_S)

    def put(self, credential: str, *raws: bytes, form: str = "cim") -> None:
        """On the bus, as the intake would."""
        now = self.clock.now_us()
        self.stores.bus.append([Intake(credential, form, now, raw) for raw in raws])
        self.engine.wake()

    def wait(self, count: int) -> None:
        """Until so many messages are certified since this start."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: len(self.certified) >= count or bool(self.stopped), WAIT_S
            )
        assert done
        assert not self.stopped, self.stopped

    def wait_stop(self) -> GridsealError:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.stopped), WAIT_S)
        return self.stopped[0]

    def take(self, credential: str, *raws: bytes, form: str = "cim") -> list[CertifiedMessage]:
        """Put, and wait for the certificates."""
        before, ids = len(self.certified), {message_id(raw) for raw in raws}
        self.put(credential, *raws, form=form)
        while True:  # others may be under way, too
            now = len(self.certified)
            found = [one for one in self.certified[before:now] if one.message in ids]
            if len(found) == len(raws):
                return found
            self.wait(now + 1)

    def command(self, **command: Any) -> None:
        self.take(OPERATOR, jcs.encode(command), form=COMMAND_FORMAT)

    def enrol(
        self, name: str, subjects: str = "any", command: str = "enrol", zone: str = "UTC"
    ) -> None:
        """A head-end, or with `revoke` no longer."""
        identity = Identity(f"name:gridseal/sender/{name}")
        subject = self.stores.vault.pseudonyms([identity])[identity]
        self.command(
            command=command, name=name, certificate="", password="", subject=subject,
            subjects=subjects, allowed=[], group="grid", zone=zone, bulk="true", devices=[],
        )  # fmt: skip

    def close(self) -> None:
        """As `gridseal up` ends."""
        self.engine.stop()
        self.release()

    def kill(self) -> None:
        """End without storing, syncing or noting anything more than is done already."""
        self.stores.projector.sync = self.stores.projector.progress  # type: ignore[method-assign]
        self.engine.stop()
        self.release()

    def release(self) -> None:
        self.stores.close()
        self.folder.unlock()


def message_id(raw: bytes) -> str:
    return sha256(raw).hexdigest()
