"""The role `collector`: takes messages of devices over MQTT, any number of processes.

One of them, whichever holds `broker.lock`, collects from a Mosquitto too; one, whichever holds
`control.lock`, does what the operator commands. Both are taken over within a second.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bal.errors import GridsealError, Stop, Unavailable
from infra.addresses import busy, host_in_url
from infra.certificates import load_ca, server_context
from infra.control import ControlServer
from infra.enrolment import Enrolment
from infra.identities import Identities
from infra.metrics import Metrics
from infra.mosquitto_accounts import Door, MosquittoAccounts, hang_up
from infra.mosquitto_intake import Broker, MosquittoIntake
from infra.mqtt_server import MqttLimits, MqttServer
from infra.operator import Operator
from infra.roles.by_socket import ChainBySocket, DaysBySocket
from infra.roles.front import Front
from infra.roles.gateway import server_files
from infra.roles.making import note_ready
from infra.roles.role import Process
from infra.roles.turn import Turn
from infra.rpc_url import shown

logger = logging.getLogger("gridseal.roles")

ROLE = "collector"
BROKER_ASK_S = 5  # between two tries to enter a broker that was not there


class CollectorRole:
    """Role (infra/roles/role.py)."""

    def __init__(self, process: Process, mqtt: tuple[str, int]) -> None:
        self.process, self._mqtt_at = process, mqtt
        self._front: Front | None = None
        self._mqtt: MqttServer | None = None
        self._url = ""
        self.broker: MosquittoIntake | None = None
        self._control: ControlServer | None = None
        root = process.made.folder.root
        self._broker_turn, self._control_turn = (
            Turn(root / "broker.lock"),
            Turn(root / "control.lock"),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics = Metrics()  # until there are some

    @property
    def metrics(self) -> Metrics:
        """What this process counts and measures."""
        return self._front.metrics if self._front is not None else self._metrics

    async def start(self) -> dict[str, Any]:
        """Listen. Raises Stop, Unavailable."""
        made, loop = self.process.made, asyncio.get_running_loop()
        front = self._front = await asyncio.to_thread(
            Front, ROLE, self.process, loop, self._revoked
        )
        limits = made.config.limits
        self._mqtt = MqttServer(
            front.services,
            limits=MqttLimits(message_bytes_max=limits.message_bytes, sessions_max=limits.sessions),
        )
        await asyncio.to_thread(front.start, self._interested, self._deliver)
        mqtt = self._mqtt
        front.more_gauges = lambda: {"mqtt_sessions": len(mqtt.sessions())}
        self._url = await self._listen(mqtt)
        note_ready(made.folder, mqtt=self._url)
        self._begin(self._collect_from_broker() if made.config.mosquitto.host else None)
        self._begin(self._serve_operator())
        return {"mqtt": self._url}

    async def stop(self) -> None:
        """Answer what was accepted, then end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._control is not None:
            await self._control.stop()
        if self._front is None:
            return
        self._front.refuse("this collector is stopping")
        await asyncio.to_thread(self._front.drain)
        if self.broker is not None:
            await self.broker.stop()
        if self._mqtt is not None:
            await self._mqtt.stop()
        await asyncio.to_thread(self._front.stop)
        self._broker_turn.release()
        self._control_turn.release()

    def ready(self) -> Mapping[str, str]:
        """For each part `ok` or what is wrong."""
        if self._front is None or not self._url:
            return {"mqtt": "it is starting"}
        broker = self.broker.health() if self.broker is not None else "ok"
        return {**self._front.health(), "broker": broker}

    # -- senders ----------------------------------------------------------------------------

    async def _listen(self, mqtt: MqttServer) -> str:
        host, port = self._mqtt_at
        url = self.process.made.config.mqtt.url
        named = urlsplit(url).hostname
        if url and (not url.startswith("mqtts://") or named is None):
            raise Stop("config-invalid", "mqtt.url is a URL like mqtts://gridseal.example:8883")
        certificate, key = server_files(self.process, [host, *([named] if named else [])])
        try:
            ca = self.process.made.folder.keys / "ca.crt"
            bound = await mqtt.start(host, port, server_context(certificate, key, ca))
        except OSError as error:
            raise busy(self._mqtt_at, error) from error
        finally:
            certificate.unlink()
            key.unlink()
        return url or f"mqtts://{host_in_url(host)}:{bound}"

    def _interested(self) -> list[str]:
        """Senders who may read their receipts now, or later at the broker."""
        sessions = self._mqtt.sessions() if self._mqtt is not None else []
        return [*sessions, *(self.broker.sessions() if self.broker is not None else ())]

    def _deliver(self, credential: str, payload: bytes) -> None:
        if self._mqtt is not None:
            self._mqtt.deliver(credential, payload)
        if self.broker is not None:
            self.broker.deliver(credential, payload)

    def _revoked(self, kind: str, name: str) -> None:
        if kind == "sender":
            if self._mqtt is not None:
                self._mqtt.disconnect(name)
            if self.broker is not None:
                self.broker.disconnect(name)

    # -- what one collector does --------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None] | None) -> None:
        if work is not None:
            self._tasks.append(asyncio.create_task(self._guarded(work)))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except GridsealError as error:
            self.process.fail(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self.process.fail(Stop("internal-error", f"{type(error).__name__}: {error}"))

    async def _collect_from_broker(self) -> None:
        """Collect from a Mosquitto as soon as no other collector does."""
        await self._broker_turn.wait()
        assert self._front is not None
        at = self.process.made.config.mosquitto
        ca, certificate, key = Path(at.ca), Path(at.certificate), Path(at.key)
        senders = active_senders(self._front)
        if at.accounts:
            await self._keep_accounts(senders)
        collector, teller = (
            Broker(
                at.host, at.port, ca, certificate, key, user, Path(at.passwords) / user,
                f"gridseal-{user}",
            )
            for user in ("collector", "receipts")
        )  # fmt: skip
        self.broker = MosquittoIntake(self._front.services, collector, teller, senders=senders)
        await self.broker.start()
        logger.info("this collector collects from the broker")

    async def _keep_accounts(self, senders: list[str]) -> None:
        while True:
            try:
                await asyncio.to_thread(self._new_accounts().keep, senders)
            except Unavailable as error:
                logger.warning("the broker's accounts wait: %s", error)
                await asyncio.sleep(BROKER_ASK_S)
            else:
                return

    def _new_accounts(self) -> MosquittoAccounts:
        at = self.process.made.config.mosquitto
        door = Door(at.host, at.port, Path(at.ca), Path(at.certificate), Path(at.key))
        return MosquittoAccounts(Path(at.accounts), partial(hang_up, Path(at.pid_file)), door)

    async def _serve_operator(self) -> None:
        """Do what the operator commands as soon as no other collector does."""
        await self._control_turn.wait()
        assert self._front is not None
        assert self._mqtt is not None
        front, made, clock = self._front, self.process.made, self.process.clock
        folder, config = made.folder, made.config
        at = config.mosquitto
        ready = {
            "mqtt": self._url,
            "http": config.http.issuer,
            "rpc": shown(config.anchor.rpc_url),
            "chain_id": made.facts.chain_id,
            "chain_kind": made.facts.chain_kind,
            "contract": made.facts.contract,
            "origin": made.facts.origin,
            "log_key": made.facts.log_key,
            "intake_key": made.facts.intake_key,
            "ca": str((folder.keys / "ca.crt").resolve()),
            "pid": os.getpid(),
        }
        enrolment = Enrolment(
            load_ca(folder.keys),
            front.stores.vault,
            front.stores.registry,
            clock,
            front.services.command,
        )
        identities = Identities(
            front.stores.vault,
            front.stores.registry,
            front.services,
            front.stores.book,
            clock=clock,
            put=front.services.command,
        )
        operator = Operator(
            ready=ready,
            facts=made.facts,
            ca=folder.keys / "ca.crt",
            depth=config.anchor.depth,
            enrolment=enrolment,
            identities=identities,
            mqtt=self._mqtt,
            broker=_BrokerSide(self) if at.host else None,
            accounts=self._new_accounts() if at.host and at.accounts else None,
            deriver=DaysBySocket(folder.log, front.stores.book),
            anchorer=ChainBySocket(folder.chain),
            end_requests=lambda _: 0,
            visible_size=lambda: front.follower.visible_size,
            settle=lambda: None,
            clock=clock,
            health=front.health,
        )
        self._control = ControlServer(folder.root, operator.handlers())
        await self._control.start()
        logger.info("this collector does what the operator commands")


class _BrokerSide:
    """The broker, whichever collector collects from it."""

    def __init__(self, role: CollectorRole) -> None:
        self._role = role

    @property
    def url(self) -> str:
        """Where devices find it."""
        at = self._role.process.made.config.mosquitto
        return f"mqtts://{at.host}:{at.port}"

    def disconnect(self, credential: str) -> int:
        """Send a revoked credential no more receipts."""
        broker = self._role.broker
        return 0 if broker is None else broker.disconnect(credential)


def active_senders(front: Front) -> list[str]:
    """Names of all that may send."""
    registered = list(front.stores.registry.senders.values())
    return [one.name for one in registered if one.state == "active"]
