"""The composition root: makes one platform out of the adapters, and runs it until told to end.

Embedded mode: collect, worker, sequencer, storer, anchorer and gateway in one process.
"""

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import Sequencer
from bal.closing import ClosedDay
from bal.collect.guard import Limits
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Anchor, Close
from bal.pipeline import FLUSH_FORMAT, OPERATOR, Worker
from bal.provide.dataset import DatasetFacts
from bal.times import rfc3339
from infra.addresses import busy, host_in_url
from infra.anchorer import Anchorer
from infra.announcer import CertifiedMessage
from infra.backlog_watch import BacklogWatch, WatchThread
from infra.bulk_worker import processes_for
from infra.certificates import ensure_ca, issue_server, load_ca, server_context
from infra.chain_setup import OpenChain, log_id, open_chain
from infra.config import Config
from infra.control import ControlServer
from infra.data_folder import DataFolder, Facts
from infra.deriver import Deriver
from infra.disk_watch import DiskWatch, free_bytes
from infra.ending import unclosed
from infra.engine import Engine
from infra.enrolment import Enrolment
from infra.feeder import Feeder
from infra.files import make_private, replace_file
from infra.http_api import create_app
from infra.http_gateway import Gateway
from infra.http_gateway import Limits as HttpLimits
from infra.http_server import HttpServer, listen
from infra.identities import Identities
from infra.intake_writer import IntakeWriter, on_bus
from infra.key_signer import KeySigner
from infra.log_signer import log_signer
from infra.metrics import MeasuredBus, MeasuredLog, Metrics
from infra.metrics_read import Readings
from infra.mosquitto_accounts import Door, MosquittoAccounts, hang_up
from infra.mosquitto_intake import Broker, MosquittoIntake
from infra.mqtt_server import MqttLimits, MqttServer
from infra.notifier import Notifier
from infra.operator import Operator
from infra.outside import choose
from infra.public_records import write_public_records
from infra.rpc_url import shown
from infra.rules import running_rules
from infra.services import PlatformServices, client_of, load_token_keys
from infra.signer_memory import check_grown
from infra.stores import Stores
from infra.system_clock import SystemClock

logger = logging.getLogger("gridseal")

STOP_WITHIN_S = 5
DRAIN_S = 1.0  # at a stop, for a bus to take what waits
GIVE_UP_S = 1.0  # … and to answer to the rest; then it is asked no more


class Platform:
    """One running platform. `open`, then `serve`, then `close`."""

    def __init__(
        self,
        root: Path,
        config: Config,
        complete: Callable[[Config], Config] | None = None,
    ) -> None:
        """complete: the configuration, by what it makes in the folder; called once it is held."""
        self.folder = DataFolder(root)
        self.config, self._complete = config, complete
        self.clock = SystemClock()
        self.stopped: asyncio.Event | None = None
        self.failure: GridsealError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarms: dict[str, str] = {}
        self.metrics = Metrics()
        self.feeder: Feeder | None = None
        self.broker: MosquittoIntake | None = None
        self.accounts: MosquittoAccounts | None = None
        self._made = False
        self._faces: list[Callable[[], Awaitable[None]]] = []  # how to stop what faces senders
        self._control: ControlServer | None = None
        self._begun = ExitStack()  # what is to be let go of, the last one first

    # -- opening ----------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the folder, open stores and chain, recover; blocking. Raises Stop, Unavailable.

        Then nothing is open, as before.
        """
        try:
            self._open()
        except BaseException:
            self._begun.close()
            raise

    def _open(self) -> None:
        self.folder.create()
        self.folder.lock()
        self._begun.callback(self.folder.unlock)
        if self.folder.has_roles:
            text = "roles run on this data folder, one process each: start them by `gridseal run`"
            raise Stop("stores-differ", text)
        if self._complete is not None:
            self.config = self._complete(self.config)
        facts = self.folder.facts()
        origin = facts.origin if facts else self._origin()
        self.signer = log_signer(self.config.signer, self.folder, origin)
        self.intake_signer = KeySigner(f"{origin}/intake", self.folder.seed("intake"))
        choose(self.folder, self.config)
        self.stores = Stores.open(self.folder, self.clock)
        self._begun.callback(self.stores.close)
        known = facts.contract if facts else ""
        self.chain = open_chain(self.config.anchor, self.folder, origin, known)
        self._begun.callback(self.chain.close)
        self.facts = self._facts(facts, origin, self.chain)
        ensure_ca(self.folder.keys, self.clock)
        log = MeasuredLog(self.stores.log, self.metrics)
        self.sequencer = Sequencer(log, self.stores.log, self.signer, origin)
        check_grown(self.signer.memory, self.stores.log, self.sequencer.heads.size)
        self.worker = Worker(self.stores.vault, self.stores.registry)
        heads = self.sequencer.heads
        self._next_offset = self.stores.projector.catch_up(
            self.stores.log,
            self.worker,
            version=heads.version,
            size=heads.size,
            rules=self.facts.rules,
            derive=self.stores.day_sources().again,
        )
        self._write_public_records()

    def _origin(self) -> str:
        return self.config.log.origin or f"gridseal.invalid/{secrets.token_hex(8)}"

    def _facts(self, old: Facts | None, origin: str, chain: OpenChain) -> Facts:
        if old is not None and self.config.log.origin not in {"", old.origin}:
            raise Stop("origin-differs", f"the log of this folder is {old.origin}, for ever")
        if old is not None and old.log_key != self.signer.vkey:
            text = f"the log's key is {old.log_key}; [signer] or keys/ has {self.signer.vkey}"
            raise Stop("log-key-differs", text)
        return Facts(
            origin=origin,
            log_key=self.signer.vkey,
            intake_key=self.intake_signer.vkey,
            chain_id=chain.contract.chain_id,
            chain_kind=chain.kind,
            contract=chain.contract.address,
            code_hash=chain.contract.code_hash(),
            anchor_interval_s=self.config.anchor.interval_s,
            rules=running_rules(),
            predecessors=old.predecessors if old else [],
        )

    def _write_public_records(self) -> None:
        """Entry 0 at the first start; later a `target` or `rules` record where one changed."""

        def committed() -> None:
            heads, projector = self.sequencer.heads, self.stores.projector
            projector.store(
                [], replace(projector.progress(), version=heads.version, size=heads.size)
            )
            projector.sync()

        write_public_records(
            self.folder, self.sequencer, self.facts, self.clock.now_us(), committed
        )

    # -- running ----------------------------------------------------------------------------

    async def start(self, http: tuple[str, int], mqtt: tuple[str, int]) -> dict[str, Any]:
        """Start everything; returns what `gridseal up` prints once it serves.

        Where a part of it fails, what was started is stopped again.
        """
        try:
            return await self._start(http, mqtt)
        except BaseException:
            try:
                await self.stop()
            except Exception as error:  # what it was stopped for is what is told
                logger.critical("unexpected", exc_info=error)
            raise

    async def _start(self, http: tuple[str, int], mqtt: tuple[str, int]) -> dict[str, Any]:
        self._loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self._server_certificate([http[0], mqtt[0]])
        self._make_engine()
        self._made = True
        begun = self._begun.callback
        begun(self.anchorer.stop, timeout_s=2)
        if self.feeder is not None:
            begun(self.feeder.stop)
        gateway, mqtt_url = await self._serve(http, mqtt)
        keys = self.folder.keys
        self.notifier.start(self._interested, self._deliver)
        begun(self.notifier.stop)
        self.deriver.start()
        begun(self.deriver.stop)
        begun(self.engine.stop)
        await asyncio.to_thread(self.engine.start)  # it asks the bus, which may not answer
        self.writer.start()
        begun(self.writer.stop)
        if self.feeder is not None:
            self.feeder.start()
        await self._start_broker()
        self.disk.start()
        begun(self.disk.stop)
        self.backlog.start()
        begun(self.backlog.stop)
        self.anchorer.start()
        self.enrolment = Enrolment(
            load_ca(keys),
            self.stores.vault,
            self.stores.registry,
            self.clock,
            self.services.command,
        )
        self.ready: dict[str, Any] = {
            "http": self.services.issuer,
            "mqtt": mqtt_url,
            "rpc": shown(self.config.anchor.rpc_url) or f"{self.services.issuer}/rpc",
            "chain_id": self.facts.chain_id,
            "chain_kind": self.facts.chain_kind,
            "contract": self.facts.contract,
            "origin": self.facts.origin,
            "log_key": self.facts.log_key,
            "intake_key": self.facts.intake_key,
            "ca": str((keys / "ca.crt").resolve()),
        }
        kept = {**self.ready, "depth": self.config.anchor.depth}
        handlers = self._operator(gateway).handlers()
        self._control = ControlServer(self.folder.root, handlers)
        await self._control.start()
        replace_file(self.folder.root / "ready.json", json.dumps(kept).encode())
        return self.ready

    def _operator(self, gateway: Gateway) -> Operator:
        """What the control socket serves."""
        return Operator(
            ready=self.ready,
            facts=self.facts,
            ca=self.folder.keys / "ca.crt",
            depth=self.config.anchor.depth,
            enrolment=self.enrolment,
            identities=Identities(
                self.stores.vault,
                self.stores.registry,
                self.services,
                self.stores.book,
                clock=self.clock,
                put=self.services.command,
            ),
            mqtt=self.mqtt,
            broker=self.broker,
            accounts=self.accounts,
            deriver=self.deriver,
            anchorer=self.anchorer,
            end_requests=gateway.end,
            visible_size=lambda: self.engine.visible_size,
            settle=self.engine.settler.settle,
            clock=self.clock,
            health=self._health,
        )

    async def _start_broker(self) -> None:
        """Collect from a Mosquitto, too, where the configuration names one."""
        at = self.config.mosquitto
        if not at.host:
            return
        ca, certificate, key = Path(at.ca), Path(at.certificate), Path(at.key)
        registered = self.stores.registry.senders.values()
        senders = [one.name for one in registered if one.state == "active"]
        if at.accounts:
            door = Door(at.host, at.port, ca, certificate, key)
            reload = partial(hang_up, Path(at.pid_file))
            self.accounts = MosquittoAccounts(Path(at.accounts), reload, door)
            await asyncio.to_thread(self.accounts.keep, senders)
        collector, teller = (
            Broker(
                at.host, at.port, ca, certificate, key, user, Path(at.passwords) / user,
                f"gridseal-{user}",
            )
            for user in ("collector", "receipts")
        )  # fmt: skip
        self.broker = MosquittoIntake(self.services, collector, teller, senders=senders)
        self._faces.append(self.broker.stop)
        await self.broker.start()

    def _interested(self) -> list[str]:
        """Senders who may read their receipts now, or later at the broker."""
        return [*self.mqtt.sessions(), *(self.broker.sessions() if self.broker else ())]

    def _deliver(self, credential: str, payload: bytes) -> None:
        self.mqtt.deliver(credential, payload)
        if self.broker is not None:
            self.broker.deliver(credential, payload)

    async def _serve(self, http: tuple[str, int], mqtt: tuple[str, int]) -> tuple[Gateway, str]:
        """Begin to listen; returns the gateway and the URL of the intake."""
        keys = self.folder.keys
        context = server_context(keys / "server.crt", keys / "server.key", keys / "ca.crt")
        self._faces.append(self.mqtt.stop)
        try:
            port = await self.mqtt.start(mqtt[0], mqtt[1], context)
        except OSError as error:
            raise busy(mqtt, error) from error
        listener = listen(http)
        http_port = listener.getsockname()[1]
        self.services.issuer = f"https://{host_in_url(http[0])}:{http_port}"
        told = self.config.dataset
        app = create_app(
            self.services,
            limits=HttpLimits(message_bytes_max=self.config.limits.message_bytes),
            dataset=DatasetFacts(told.title, told.licence, told.publisher),
        )
        self._http = HttpServer(app, keys / "server.crt", keys / "server.key")
        try:
            await self._http.start(listener)
        except BaseException:
            listener.close()
            raise
        self._faces.append(self._http.stop)
        gateway: Gateway = app.state.gateway
        return gateway, f"mqtts://{host_in_url(mqtt[0])}:{port}"

    def _make_engine(self) -> None:
        assert self._loop is not None
        self.receipts = self.stores.receipts()
        self.anchorer = self._make_anchorer()
        self.stores.anchored = self.anchorer
        self.notifier = Notifier(self.receipts, self.stores.log, self._loop)
        self._bus = bus = MeasuredBus(self.stores.bus, self.metrics)
        self.engine = Engine(
            bus=bus,
            sequencer=self.sequencer,
            worker=self.worker,
            projector=self.stores.projector,
            archive=self.stores.archive,
            clock=self.clock,
            rules=self.facts.rules,
            next_offset=self._next_offset,
            interval_s=self.config.checkpoint.interval_ms / 1000,
            settle=self.stores.log.settle,
            on_certified=self._certified,
            on_tick=lambda now_us: self.deriver.tick(now_us),  # noqa: PLW0108 - made below
            on_stop=self._fail,
            on_flush=self._flush,
            bulk_processes=processes_for(self.config.limits.bulk_processes),
        )
        self.deriver = Deriver(
            replace(self.stores.day_sources(), vee=self.config.vee.rules()),
            zones=lambda: self.stores.registry.zones,
            stored_size=lambda: self.engine.stored_size,
            commit=self._close_book,
            grace_s=self.config.day.grace_h * 3600,
            back_days=self.config.day.back_days,
            on_stop=self._fail,
        )
        self.writer = IntakeWriter(
            on_bus(bus),
            self.intake_signer,
            self.facts.origin,
            self.clock,
            self.engine.wake,
            answer=self._in_loop,
            on_stop=self._fail,
        )
        self._make_services()

    def _make_services(self) -> None:
        """What senders and callers are served by, and what watches over them."""
        limits = self.config.limits
        self.waiting = BacklogWatch(limits.backlog_messages)
        self.backlog = WatchThread(self.waiting, lambda: (self._bus.known_end, self._taken()))
        self.disk = DiskWatch(
            warn_bytes=limits.disk_free_bytes,
            stop_bytes=limits.disk_stop_bytes,
            free=lambda: free_bytes(self.folder.parts),
            hold=self.writer.hold,
        )
        self.services = PlatformServices(
            stores=self.stores,
            writer=self.writer,
            sight=self.engine,
            backlog=lambda: self.writer.accepted - self.engine.worked,
            notifier=self.notifier,
            limits=Limits(limits.message_bytes, limits.depth),
            backlog_max=limits.backlog_messages,
            keys=load_token_keys(self.folder.keys / "token.jwks"),
            rpc=self.chain.rpc,
            health=self._health,
            metrics=self.metrics.text,
            on_refused=self.metrics.note_refused,
        )
        self.mqtt = MqttServer(self.services, limits=self._mqtt_limits())
        if self.config.kafka.bootstrap:
            self.feeder = self._make_feeder()
        readings = Readings(
            self.sequencer, self._bus, self.engine, self.anchorer, self.writer, self.mqtt,
            self.disk, self.feeder, self.stores.customer_db,
        )  # fmt: skip
        self.metrics.observe(readings, self._standing_alarms)

    def _make_anchorer(self) -> Anchorer:
        journal = self.folder.chain / f"anchors-{self.facts.contract[2:10]}.db"
        make_private(journal)
        return Anchorer(
            contract=self.chain.contract,
            log=log_id(self.facts.origin),
            anchorer_key=self.chain.anchorer_key,
            journal=journal,
            newest=self.stores.log.checkpoint,
            consistency=self.receipts.consistency,
            interval_s=self.config.anchor.interval_s,
            depth=self.chain.depth,
            own=self.chain.kind == "own",
            clock=self.clock,
            on_anchored=self._anchored,
            on_alarm=self._alarm,
            on_clear=self._cleared,
            closes=self.stores.book.closes,
        )

    def _make_feeder(self) -> Feeder:
        # Embedded starts without these.
        from infra.cassandra_customer_db import CassandraCustomerDb  # noqa: PLC0415
        from infra.feed_process import FeedProcess  # noqa: PLC0415

        rows, registry = self.stores.customer_db, self.stores.registry
        readings = FeedProcess(
            self.folder.root,
            self.config.kafka,
            recent=rows.recent if isinstance(rows, CassandraCustomerDb) else lambda _: (),
            clients=lambda: [
                client
                for client_id in list(registry.clients)
                if (client := client_of(registry, client_id)) is not None
            ],
        )
        return Feeder(
            readings,
            visible=lambda: self.engine.visible_size,
            checkpoint=self.stores.log.checkpoint,
            on_stop=self._fail,
        )

    def _mqtt_limits(self) -> MqttLimits:
        limits = self.config.limits
        return MqttLimits(message_bytes_max=limits.message_bytes, sessions_max=limits.sessions)

    def _server_certificate(self, hosts: list[str]) -> None:
        keys = self.folder.keys
        certificate, key = issue_server(load_ca(keys), hosts, self.clock)
        replace_file(keys / "server.key", key)
        replace_file(keys / "server.crt", certificate)

    async def stop(self) -> None:
        """Answer what was accepted, commit and store it, then end.

        A bus that stands still is not waited for: what it has is in the log after the next start.
        """
        if self._control is not None:
            await self._control.stop()
        if self._made and not await asyncio.to_thread(self.writer.stop, DRAIN_S):
            self._give_up()
        await asyncio.gather(*(stop() for stop in self._faces))
        waiting = asyncio.get_running_loop().call_later(GIVE_UP_S, self._give_up)
        await asyncio.to_thread(self._begun.close)
        waiting.cancel()

    def _give_up(self) -> None:
        self.stores.bus.give_up()
        if self.feeder is not None:
            self.feeder.give_up()

    # -- what happens -----------------------------------------------------------------------

    def _in_loop(self, call: Callable[[], None]) -> None:
        """Where the sessions of the senders are; after its end nobody waits any more."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _flush(self, now_us: int) -> None:
        """Put on the bus that it is this late (docs/spec/pmu.md); asked again if it can't be."""
        with suppress(Unavailable):
            self.writer.submit(OPERATOR, FLUSH_FORMAT, jcs.encode({"time": rfc3339(now_us)}))

    def _fail(self, error: GridsealError) -> None:
        """Going on could make two truths: accept nothing more and end.

        What fails after the first is told where it fails, and may be a consequence.
        """
        self.failure = self.failure or error
        self.writer.refuse("the platform stopped itself; its operator was told why")
        assert self._loop is not None
        assert self.stopped is not None
        self._loop.call_soon_threadsafe(self.stopped.set)

    def _anchored(self, anchor: Anchor, note: bytes) -> None:
        del note
        self._alarms.pop("chain", None)
        logger.info("anchored size %d in block %d", anchor.size, anchor.block)

    def _alarm(self, code: str, text: str) -> None:
        logger.error("%s: %s", code, text)
        if code in {"anchor-ahead", "anchor-fork", "close-differs"}:
            self._fail(Stop(code, text))
        else:
            self._alarms["chain"] = f"{code}: {text}"

    def _cleared(self, code: str) -> None:
        """What was wrong with the chain is over."""
        if self._alarms.get("chain", "").startswith(f"{code}:"):
            self._alarms.pop("chain", None)
            logger.info("%s is over", code)

    def _certified(self, messages: Sequence[CertifiedMessage]) -> None:
        self.metrics.note_certified(messages)
        self.notifier.put(messages)
        if self.feeder is not None:
            self.feeder.wake()

    def _taken(self) -> int:
        """How many messages of the bus are in the log."""
        return self.sequencer.heads.taken.get(f"{self.stores.bus.epoch}/0", -1) + 1

    def _close_book(self, closed: ClosedDay) -> "Future[Close]":
        self.metrics.note_closed(closed)
        return self.engine.close(closed)

    def _health(self) -> dict[str, str]:
        chain = self._alarms.get("chain", "ok")
        days = self.deriver.health()
        health = {**self.engine.troubles.health(), "chain": chain, "days": days}
        health["disk"] = self.disk.health()
        if self.broker is not None:
            health["broker"] = self.broker.health()
        if self.feeder is not None:
            health["feed"] = self.feeder.alarm or "ok"
        return health

    def _standing_alarms(self) -> list[str]:
        chain = self._alarms.get("chain", "").split(":")[0]
        outside = [each.alarm for each in (self.broker, self.feeder) if each is not None]
        outside += [*self.engine.troubles.alarms(), *self.waiting.alarms()]
        return [code for code in (chain, self.deriver.alarm, self.disk.alarm, *outside) if code]


async def run(
    root: Path,
    http: tuple[str, int],
    mqtt: tuple[str, int],
    config: Config,
    complete: Callable[[Config], Config] | None = None,
) -> GridsealError | None:
    """Run a platform until SIGTERM or SIGINT; what made it stop by itself is returned.

    complete: as Platform.
    """
    platform = Platform(root, config, complete)
    await asyncio.to_thread(platform.open)
    ready = await platform.start(http, mqtt)
    assert platform.stopped is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, platform.stopped.set)
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await platform.stopped.wait()
    try:
        await asyncio.wait_for(platform.stop(), timeout=STOP_WITHIN_S - 0.5)
    except TimeoutError:
        logger.warning("not everything ended in time; what was accepted is on disk")
        if platform.failure is not None:
            logger.critical("it stopped itself: %s", platform.failure)
        os._exit(0 if platform.failure is None else 1)
    except Exception as error:  # noqa: BLE001 - told there
        return unclosed(error, platform.failure)
    return platform.failure
