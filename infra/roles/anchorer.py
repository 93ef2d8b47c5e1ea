"""The role `anchorer`: brings checkpoints and closes to the contract; one is active.

The platform's own chain runs in the process of the one that is: gateways and the operator's
commands reach it by a socket in the folder `chain`. The others stand by.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Anchor
from infra.anchorer import Anchorer
from infra.control import ControlServer
from infra.files import make_private
from infra.metrics import Metrics
from infra.roles.anchors_seen import journal_of
from infra.roles.role import Process
from infra.roles.stores import open_stores
from infra.roles.turn import Turn
from infra.stores import Stores

logger = logging.getLogger("gridseal.roles")

_FATAL = {"anchor-ahead", "anchor-fork", "close-differs"}
STOP_S = 2
AWAY_S = 5.0  # before a chain that was away at the beginning is asked again
ALARM_AFTER_S = 60.0  # as infra/chain_watch.py, which watches from the beginning on
ROLE = "anchorer"


class AnchorerRole:
    """Role (infra/roles/role.py)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.metrics = Metrics()
        self.metrics.observe(self._gauges, self._alarms)
        self._turn = Turn(process.made.folder.root / "anchorer.lock")
        self._task: asyncio.Task[None] | None = None
        self._alarm_text = self._waits = ""
        self._anchorer: Anchorer | None = None
        self._stores: Stores | None = None
        self._control: ControlServer | None = None
        self._close_chain: Callable[[], None] = lambda: None
        self._changing, self._stopping = Lock(), False

    async def start(self) -> dict[str, Any]:
        """Anchor as soon as no other process does."""
        self._task = asyncio.create_task(self._work())
        return {"active": self._turn.take()}

    async def stop(self) -> None:
        """End after the turn at hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._control is not None:
            await self._control.stop()
        await asyncio.to_thread(self._stop)

    def ready(self) -> Mapping[str, str]:
        """One that stands by is ready to take over."""
        return {"chain": self._alarm_text or self._waits or "ok"}

    # -- within -----------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            if not self._turn.take():
                logger.info("another anchorer is active; this one stands by")
            await self._turn.wait()
            await self._begun()
            handlers = {"rpc": self._rpc, "anchor": self._anchor_now, "status": self._status}
            self._control = ControlServer(self._process.made.folder.chain, handlers)
            await self._control.start()
            logger.info("this anchorer is active")
        except GridsealError as error:
            self._process.fail(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._process.fail(Stop("internal-error", f"{type(error).__name__}: {error}"))

    async def _begun(self) -> None:
        """Begin; a chain, or another server, that is away is waited for: heads wait, too."""
        since_s = time.monotonic()
        while True:
            try:
                await asyncio.to_thread(self._begin_once)
            except Unavailable as error:
                if not self._waits:
                    logger.warning("anchoring waits: %s", error)
                self._waits = str(error)
                long = time.monotonic() - since_s >= ALARM_AFTER_S
                if long and self._stores is not None and not self._alarm_text:
                    self._alarm("chain-unavailable", self._waits)
                await asyncio.sleep(min(error.retry_after_s, AWAY_S))
            else:
                self._waits = ""
                self._cleared("chain-unavailable")
                return

    def _begin_once(self) -> None:
        with self._changing:  # a stop may come meanwhile
            if not self._stopping:
                self._begin()

    def _begin(self) -> None:
        from infra.chain_setup import log_id, open_chain  # noqa: PLC0415 - not to stand by

        made, clock = self._process.made, self._process.clock
        facts, config = made.facts, made.config.anchor
        if self._stores is None:
            self._stores = open_stores(made.folder, clock, ROLE, made.outside)
        stores = self._stores
        chain = open_chain(config, made.folder, facts.origin, facts.contract)
        self._close_chain, self._chain_rpc = chain.close, chain.rpc
        if chain.contract.chain_id != facts.chain_id:
            text = f"the log's chain is {facts.chain_id}, and [anchor] is {chain.contract.chain_id}"
            raise Stop("anchor-target", text)
        journal = journal_of(made.folder, facts)
        make_private(journal)
        self._anchorer = Anchorer(
            contract=chain.contract,
            log=log_id(facts.origin),
            anchorer_key=chain.anchorer_key,
            journal=journal,
            newest=stores.log.checkpoint,
            consistency=stores.receipts().consistency,
            interval_s=config.interval_s,
            depth=chain.depth,
            own=chain.kind == "own",
            clock=clock,
            on_anchored=self._anchored,
            on_alarm=self._alarm,
            on_clear=self._cleared,
            closes=stores.book.closes,
        )
        self._anchorer.start()

    def _stop(self) -> None:
        self._stopping = True
        if self._changing.acquire(timeout=STOP_S):  # else it asks a chain that does not answer
            try:
                self._end()
            finally:
                self._changing.release()

    def _end(self) -> None:
        if self._anchorer is not None:
            self._anchorer.stop(timeout_s=STOP_S)
        self._close_chain()
        if self._stores is not None:
            self._stores.close()
        self._turn.release()

    # -- who asks ---------------------------------------------------------------------------

    async def _rpc(self, request: dict[str, Any]) -> str:
        answer = await asyncio.to_thread(self._chain_rpc, str(request["body"]).encode("latin1"))
        return answer.decode("latin1")

    async def _anchor_now(self, _: dict[str, Any]) -> dict[str, str] | None:
        assert self._anchorer is not None
        anchor = await asyncio.to_thread(self._anchorer.anchor_now)
        return anchor.as_json() if anchor else None

    async def _status(self, _: dict[str, Any]) -> dict[str, object]:
        assert self._anchorer is not None
        return await asyncio.to_thread(self._anchorer.status)

    def _gauges(self) -> dict[str, float]:
        if self._anchorer is None:
            return {}
        status, closes = self._anchorer.status(), self._anchorer.closer.status()
        pending = status["pending_sizes"]
        found: dict[str, object] = {
            "anchored_entries": self._anchorer.anchored_size(),
            "final_entries": self._anchorer.final_size(),
            "anchor_age_seconds": status["age_s"],
            "anchor_gas_used": status["gas"],
            "anchor_pending_heads": len(pending) if isinstance(pending, list) else 0,
            "closes_anchored": closes["anchored"],
        }
        return {name: value for name, value in found.items() if isinstance(value, int)}

    def _alarms(self) -> list[str]:
        return [self._alarm_text.partition(":")[0]] if self._alarm_text else []

    # -- what happens -----------------------------------------------------------------------

    def _anchored(self, anchor: Anchor, note: bytes) -> None:
        del note
        self._alarm_text = ""
        logger.info("anchored size %d in block %d", anchor.size, anchor.block)

    def _alarm(self, code: str, text: str) -> None:
        logger.error("%s: %s", code, text)
        self._alarm_text = f"{code}: {text}"
        if code in _FATAL:
            self._process.fail(Stop(code, text))

    def _cleared(self, code: str) -> None:
        if self._alarm_text.startswith(f"{code}:"):
            self._alarm_text = ""
            logger.info("%s is over", code)
