"""The composition root of `gridseal run`: makes one role out of the adapters, and runs it."""

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bal.errors import GridsealError
from infra.announcer import CertifiedMessage
from infra.committed import Committed
from infra.config import Config
from infra.ending import unclosed
from infra.metrics import Gauges, MeasuredLog, Metrics
from infra.roles.making import Layout, Made, begin
from infra.roles.positions import SqlitePositions
from infra.roles.role import Process, Role
from infra.roles.status import StatusServer
from infra.roles.threads import Loop, ThreadRole
from infra.roles.views import Views, open_views
from infra.rules import running_rules
from infra.system_clock import SystemClock
from infra.troubles import ending

if TYPE_CHECKING:
    from infra.roles.feed import Feed

STOP_WITHIN_S = 5
AUDITOR = "auditor"  # may read all topics at Kafka and write none; `outside.json` names it

logger = logging.getLogger("gridseal.roles")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `gridseal run` was asked for."""

    role: str
    data: Path
    config: Config
    local: bool  # the servers of `gridseal servers up`
    partitions: int | None
    http: tuple[str, int]
    mqtt: tuple[str, int]
    status: tuple[str, int] | None
    issuer: str


# -- the roles -------------------------------------------------------------------------------


def _collector(process: Process, wanted: Wanted) -> Role:
    from infra.roles.collector import CollectorRole  # noqa: PLC0415 - each role imports its own

    return CollectorRole(process, wanted.mqtt)


def _gateway(process: Process, wanted: Wanted) -> Role:
    from infra.roles.gateway import GatewayRole  # noqa: PLC0415 - as above

    return GatewayRole(process, wanted.http, wanted.issuer or process.made.config.http.issuer)


def _anchorer(process: Process, _: Wanted) -> Role:
    from infra.roles.anchorer import AnchorerRole  # noqa: PLC0415 - as above

    return AnchorerRole(process)


def _worker(process: Process, _: Wanted) -> Role:
    from infra.roles.worker import ROLE, WorkerRole  # noqa: PLC0415
    from infra.roles.worker_state import WorkerPorts  # noqa: PLC0415 - as above

    def make(_: Metrics) -> Loop:
        with ExitStack() as opened:
            views, positions = _opened(opened, process, ROLE)
            stores = views.stores
            ports = WorkerPorts(
                channels=views.channels,
                log=stores.log,
                vault=stores.vault,
                archive=stores.archive,
                stored=stores.projector,
                positions=positions,
                clock=process.clock,
                rules=running_rules(),
                elapsed_s=time.monotonic,
                random_bits=secrets.randbits,
            )
            members = views.channels.members(ROLE, views.channels.raw.partitions)
            role = WorkerRole(ports, members)
            close = opened.pop_all().close

        def health() -> Mapping[str, str]:
            return {"worker": "ok", **role.status.troubles}

        def gauges() -> Mapping[str, float]:
            status = role.status
            return {
                "worker_messages": status.worked,
                "worker_partitions": len(status.states),
                "bus_lag_messages": status.lag,
            }

        return Loop(role.run, health, gauges, role.alarms, close=close)

    return ThreadRole(process, make)


def _sequencer(process: Process, _: Wanted) -> Role:
    from infra.roles.by_socket import Closing  # noqa: PLC0415 - as above
    from infra.roles.sequencer import ROLE, sequencer_role  # noqa: PLC0415

    made, clock = process.made, process.clock

    def make(metrics: Metrics) -> Loop:
        with ExitStack() as opened:
            views, positions = _opened(opened, process, ROLE)
            stores = views.stores
            role = sequencer_role(
                made.folder,
                made.config,
                made.facts,
                channels=views.channels,
                positions=positions,
                stored=stores.projector,
                rows=stores.customer_db,
                vault=stores.vault,
                book=stores.book,
                clock=clock,
                measured=lambda log: MeasuredLog(log, metrics),
                on_closed=metrics.note_closed,
            )
            close = opened.pop_all().close
        return Loop(
            role.run,
            role.health,
            role.gauges,
            role.alarms,
            handlers={"day-close": Closing(role.close_day)},
            active=lambda: role.active,
            close=close,
        )

    return ThreadRole(process, make, made.folder.log)


def _storer(process: Process, _: Wanted) -> Role:
    """With the feed of Kafka's consumers, where there is a Kafka."""
    from infra.roles.storer import ROLE, StorerRole  # noqa: PLC0415 - as above
    from infra.roles.storing import storer_ports  # noqa: PLC0415

    def make(metrics: Metrics) -> Loop:
        def count(commits: Sequence[Committed]) -> None:
            metrics.note_certified([
                CertifiedMessage(one.worked.message.credential, one.message_id.hex(), one.as_json())
                for one in commits
            ])  # fmt: skip

        with ExitStack() as opened:
            views, positions = _opened(opened, process, ROLE)
            channels = views.channels
            ports = storer_ports(views.stores, channels, positions, time.monotonic, count)
            role = StorerRole(ports, channels.members(ROLE, channels.raw.partitions))
            feed = _feed(process)
            if feed is not None:
                opened.callback(feed.stop)
                feed.start()
            close = opened.pop_all().close

        def gauges() -> Gauges:
            status = role.status
            fed = feed.fed if feed is not None else None
            return {
                **({} if fed is None else {"fed_entries": fed}),
                "unsettled_blocks": views.stores.customer_db.unsettled,
                "storer_active": float(status.active),
                "storer_partitions": len(status.partitions),
                "stored_entries": status.size,
                "synced_entries": status.synced,
                "partitions_behind": len(status.behind),
                "partition_stored_entries": {str(p): size for p, size in status.stored.items()},
            }

        def alarms() -> list[str]:
            return [*role.alarms(), *([feed.alarm] if feed is not None and feed.alarm else [])]

        def health() -> Mapping[str, str]:
            status = role.status
            behind = [why for p, why in status.behind.items() if p in status.partitions]
            return {
                "storer": status.trouble or "ok",
                "partitions": "; ".join(behind) or "ok",
                "feed": feed.health() if feed is not None else "ok",
            }

        return Loop(role.run, health, gauges, alarms, close=close)

    return ThreadRole(process, make)


def _opened(opened: ExitStack, process: Process, role: str) -> tuple[Views, SqlitePositions]:
    """What worker, sequencer and storer look at, and where they save; closed with `opened`."""
    views = open_views(process.made, process.clock, role)
    opened.callback(views.close)
    positions = SqlitePositions(process.made.folder.root)
    opened.callback(positions.close)
    return views, positions


def _feed(process: Process) -> "Feed | None":
    if not process.made.config.kafka.bootstrap:
        return None
    from infra.roles.feed import Feed  # noqa: PLC0415 - embedded goes without

    return Feed(process)


_ROLES: Mapping[str, Callable[[Process, Wanted], Role]] = {
    "collector": _collector,
    "worker": _worker,
    "sequencer": _sequencer,
    "storer": _storer,
    "anchorer": _anchorer,
    "gateway": _gateway,
}
NAMES = tuple(_ROLES)


# -- running ---------------------------------------------------------------------------------


async def run(wanted: Wanted) -> GridsealError | None:
    """Run a role until SIGTERM or SIGINT; what made it stop by itself is returned.

    Then all is closed, and threads of clients of servers may be left: end the process.
    """
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    failures: list[GridsealError] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def fail(error: GridsealError) -> None:
        failures.append(ending(error, f"the {wanted.role} can't go on"))
        loop.call_soon_threadsafe(stopped.set)

    starting = asyncio.create_task(_started(wanted, fail))
    told = asyncio.create_task(stopped.wait())
    await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # nothing is begun that a kill would not leave as well
        return failures[0] if failures else None
    made, role, status = await starting
    await told
    began = time.monotonic()
    try:
        await asyncio.wait_for(role.stop(), timeout=STOP_WITHIN_S - 0.5)
    except TimeoutError:
        logger.warning("not everything ended in time; what was answered for is on disk")
        os._exit(1 if failures else 0)
    except Exception as error:  # noqa: BLE001 - told there
        return unclosed(error, failures[0] if failures else None)
    if status is not None:
        status.stop()
    made.folder.unlock()
    logger.info("the %s ended, after %.1f s", wanted.role, time.monotonic() - began)
    return failures[0] if failures else None


async def _started(
    wanted: Wanted, fail: Callable[[GridsealError], None]
) -> tuple[Made, Role, StatusServer | None]:
    """Make what the folder lacks, open what the role needs, begin."""
    clock = SystemClock()
    made = await asyncio.to_thread(
        begin,
        wanted.data,
        wanted.config,
        clock,
        partitions=wanted.partitions,
        complete=lambda config, layout, first: _completed(wanted, config, layout, first=first),
        draw_epoch=lambda partitions: _drawn_epoch(wanted, partitions),
        own=lambda config: _own(wanted, config),
    )
    role = _ROLES[wanted.role](Process(made, clock, fail), wanted)
    status = _status(wanted, role)
    _tell(wanted, made, status, await role.start())
    return made, role, status


def _completed(wanted: Wanted, config: Config, layout: Layout, *, first: bool) -> Config:
    """The configuration with the servers of the local profile; they get what they lack."""
    if not wanted.local:
        return config
    from infra.profile_local import local  # noqa: PLC0415 - embedded goes without

    make = first or wanted.role == "anchorer"  # whose account a chain that began anew must fund
    return local(wanted.data, config, topic=layout.topic, principal=AUDITOR, make=make)


def _own(wanted: Wanted, config: Config) -> Config:
    """With the role's own certificate for Kafka, which says what it may do there."""
    if not wanted.local or wanted.config.kafka.bootstrap:
        return config
    from infra.profile_local import as_principal  # noqa: PLC0415 - as above

    return as_principal(wanted.data, config, wanted.role)


def _drawn_epoch(wanted: Wanted, partitions: int) -> str:
    """That of Kafka's topics, which are made where there are none; else any."""
    if not wanted.local or wanted.config.kafka.bootstrap:
        return secrets.token_hex(8)
    from infra.profile_local import role_topics  # noqa: PLC0415 - as above

    return role_topics(wanted.data, partitions)


def _status(wanted: Wanted, role: Role) -> StatusServer | None:
    """Begins to answer at once: a role that starts lives, and is not ready."""
    if wanted.status is None:
        return None

    def metrics() -> str:  # others once it has started
        return role.metrics.text()

    server = StatusServer(wanted.status, role=wanted.role, ready=role.ready, metrics=metrics)
    server.start()
    return server


def _tell(
    wanted: Wanted, made: Made, status: StatusServer | None, told: Mapping[str, object]
) -> None:
    facts = made.facts
    line = {
        "role": wanted.role,
        **told,
        "status": status.url if status is not None else "",
        "origin": facts.origin,
        "epoch": made.layout.epoch,
        "partitions": made.layout.partitions,
        "ca": str((made.folder.keys / "ca.crt").resolve()),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
