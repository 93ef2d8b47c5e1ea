"""What a collector and a gateway have in common: they face senders and callers.

Both take messages, sign that these are on the bus, and tell what became of them; they differ in the
protocol that they speak. Neither has any part in what the log holds.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter

from bal.collect.guard import Limits
from bal.errors import Unavailable
from bal.ports import Intake
from infra.backlog_watch import BacklogWatch
from infra.control import call
from infra.disk_watch import DiskWatch, free_bytes
from infra.intake_writer import IntakeWriter
from infra.key_signer import KeySigner
from infra.metrics import Metrics
from infra.notifier import Deliver, Notifier
from infra.roles.follow import Backlog, Follower
from infra.roles.role import Process
from infra.roles.views import Views, open_views
from infra.services import PlatformServices, load_token_keys

logger = logging.getLogger("gridseal.roles")

RPC_WAIT_S = 30
DRAIN_S = 1.0  # at a stop, for the bus to take what waits
NO_CHAIN = "the anchorer, which has the chain, does not answer"


class Front:
    """Opened at its making; `start` on the event loop, `stop` in a thread."""

    def __init__(
        self,
        role: str,
        process: Process,
        loop: asyncio.AbstractEventLoop,
        on_revoked: Callable[[str, str], None],
    ) -> None:
        """on_revoked: of a sender or client, as Follower has it, on the event loop.

        Raises Stop, Unavailable.
        """
        self.made, self._loop = process.made, loop
        made, clock, on_stop = process.made, process.clock, process.fail
        self.metrics = Metrics()
        config, folder = made.config, made.folder
        with ExitStack() as opened:
            self.views: Views = open_views(made, clock, role)
            opened.callback(self.views.close)
            self.stores = stores = self.views.stores
            self.notifier = Notifier(stores.receipts(), stores.log, loop)
            self.follower = Follower(
                stored=stores.projector,
                log=stores.log,
                archive=stores.archive,
                registry=stores.registry,
                clock=clock,
                wanted=self._wanted,
                on_certified=self.notifier.put,
                on_revoked=lambda kind, name: self._call(on_revoked, kind, name),
                on_stop=on_stop,
            )
            self.waiting = BacklogWatch(config.limits.backlog_messages)
            self.backlog = Backlog(
                self.views.channels.raw, stores.log.heads, looked=self.waiting.look
            )
            self.writer = IntakeWriter(
                self._append,
                KeySigner(f"{made.facts.origin}/intake", folder.seed("intake")),
                made.facts.origin,
                clock,
                lambda: None,
                answer=self._call,
                on_stop=on_stop,
            )
            limits = config.limits
            self.disk = DiskWatch(
                warn_bytes=limits.disk_free_bytes,
                stop_bytes=limits.disk_stop_bytes,
                free=lambda: free_bytes(folder.parts),
                hold=self.writer.hold,
            )
            self.services = PlatformServices(
                stores=stores,
                writer=self.writer,
                sight=self.follower,
                backlog=self.backlog,
                notifier=self.notifier,
                limits=Limits(limits.message_bytes, limits.depth),
                backlog_max=limits.backlog_messages,
                keys=load_token_keys(folder.keys / "token.jwks"),
                rpc=self._rpc,
                health=self.health,
                metrics=self.metrics.text,
                on_refused=self.metrics.note_refused,
            )
            self.metrics.observe(self.gauges, self.alarms)
            opened.pop_all()
        self._interested: Callable[[], Iterable[str]] = tuple
        self.more_gauges: Callable[[], Mapping[str, float]] = dict

    def start(self, interested: Callable[[], Iterable[str]], deliver: Deliver) -> None:
        """Know what there is, then begin to take and to tell; see Notifier. May block."""
        self._interested = interested
        self.notifier.start(interested, deliver)
        self.follower.start()
        self.backlog.start()
        self.disk.start()
        self.writer.start()

    def refuse(self, reason: str) -> None:
        """Take nothing more."""
        self.writer.refuse(reason)

    def drain(self) -> None:
        """Answer all that wait for the bus; for a second at most, if it stands still."""
        self.writer.stop(DRAIN_S)

    def stop(self) -> None:
        """Answer what was accepted, then end."""
        self.disk.stop()
        self.writer.stop(DRAIN_S)
        self.backlog.stop()
        self.follower.stop()
        self.notifier.stop()
        self.views.close()

    # -- what is asked ----------------------------------------------------------------------

    def health(self) -> dict[str, str]:
        """For each part `ok` or what is wrong."""
        return {
            "bus": self.backlog.health(),
            "disk": self.disk.health(),
            "log": self.follower.health(),
        }

    def gauges(self) -> dict[str, float]:
        """By their names in `infra.metrics.MEANINGS`."""
        follower, published = self.follower, self.follower.published
        return {
            "published_entries": published.size if published else 0,
            "stored_entries": follower.stored_size,
            "visible_entries": follower.visible_size,
            "bus_lag_messages": self.backlog(),
            "intake_waiting_bytes": self.writer.waiting_bytes,
            "disk_free_bytes": self.disk.free_bytes,
            **self.more_gauges(),
        }

    def alarms(self) -> list[str]:
        """Codes of what stands."""
        disk = [self.disk.alarm] if self.disk.alarm else []
        return [*disk, *self.backlog.alarms(), *self.waiting.alarms()]

    # -- within -----------------------------------------------------------------------------

    def _append(self, messages: Sequence[Intake]) -> list[str]:
        raw, began = self.views.channels.raw, perf_counter()
        places = raw.append(messages, self.follower.stored_size)
        self.metrics.note_appended(messages, perf_counter() - began)
        return [f"{raw.epoch}/{partition}/{offset}" for partition, offset in places]

    def _wanted(self) -> set[str]:
        return self.notifier.awaited().union(self._interested())

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """On the event loop; after its end nobody waits any more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _rpc(self, body: bytes) -> bytes:
        """The platform's own chain is in the anchorer's process."""
        if self.made.config.anchor.rpc_url:
            from infra.chain_setup import NO_FACE  # noqa: PLC0415 - a second, for who asks first

            return NO_FACE
        try:
            answer = call(self.made.folder.chain, "rpc", RPC_WAIT_S, body=body.decode("latin1"))
        except (Unavailable, OSError) as error:
            raise Unavailable(NO_CHAIN, retry_after_s=5) from error
        return str(answer).encode("latin1")
