"""A role whose work is a loop in a thread: worker, sequencer, storer."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from bal.errors import GridsealError, Stop
from infra.control import ControlServer, Handler
from infra.metrics import Gauges, Metrics
from infra.roles.role import Process

JOIN_S = 4.0
LOOK_S = 0.5  # between two looks at whether this process is the active one
STILL_S = 60.0  # without a step; every call to a server or a file has an end before

logger = logging.getLogger("gridseal.roles")


@dataclass(frozen=True, slots=True)
class Loop:
    """What runs in the thread, and what is asked of it meanwhile."""

    run: Callable[[Event], None]  # until told to end
    health: Callable[[], Mapping[str, str]]
    gauges: Callable[[], Gauges] = dict
    alarms: Callable[[], Iterable[str]] = tuple
    handlers: Mapping[str, Handler] = field(default_factory=dict)  # on `control`, while active
    active: Callable[[], bool] = lambda: True
    close: Callable[[], None] = field(default=lambda: None)


class _Stopping(Event):
    """Whether to end, and when the loop, which asks before each step, asked last."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s = time.monotonic()

    def is_set(self) -> bool:
        self.asked_s = time.monotonic()
        return super().is_set()


class ThreadRole:
    """Role (infra/roles/role.py)."""

    def __init__(
        self, process: Process, make: Callable[[Metrics], Loop], control: Path | None = None
    ) -> None:
        """make: opens what the loop works with; may block, and raise GridsealError.

        control: a folder for the socket on which the active process is asked.
        """
        self._process, self._make, self._control = process, make, control
        self._serving: asyncio.Task[None] | None = None
        self.metrics = Metrics()
        self._loop: Loop | None = None
        self._stopping, self._ended = _Stopping(), Event()

    async def start(self) -> dict[str, Any]:
        """Open all, then begin."""
        self._loop = await asyncio.to_thread(self._make, self.metrics)
        self.metrics.observe(self._loop.gauges, self._loop.alarms)
        Thread(target=self._run, args=(self._loop,), name="role", daemon=True).start()
        if self._control is not None:
            self._serving = asyncio.create_task(self._serve(self._loop, self._control))
        return {}

    async def stop(self) -> None:
        """End after the step at hand; if that takes too long, as a kill would."""
        self._stopping.set()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._loop is not None:
            await asyncio.to_thread(self._ended.wait, JOIN_S)

    def ready(self) -> Mapping[str, str]:
        """For each part `ok` or what is wrong."""
        if self._loop is None:
            return {"role": "it is starting"}
        still_s = time.monotonic() - self._stopping.asked_s
        if still_s > STILL_S:  # what the loop said of itself is as old
            return {"role": f"it has done no step for {still_s:.0f} s", **self._loop.health()}
        return self._loop.health()

    async def _serve(self, loop: Loop, folder: Path) -> None:
        """Answer where the others ask, for as long as this process is the active one."""
        while True:
            while not loop.active():
                await asyncio.sleep(LOOK_S)
            server = ControlServer(folder, loop.handlers)
            try:
                await server.start()
                while loop.active():
                    await asyncio.sleep(LOOK_S)
            except OSError as error:
                logger.warning("nobody can ask this process: %s", error)
                await asyncio.sleep(LOOK_S)
            finally:
                await server.stop()

    def _run(self, loop: Loop) -> None:
        try:
            loop.run(self._stopping)
        except GridsealError as error:
            self._process.fail(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._process.fail(Stop("internal-error", f"{type(error).__name__}: {error}"))
        finally:
            try:
                loop.close()
            except (GridsealError, OSError) as error:
                logger.warning("not everything was closed: %s", error)
            self._ended.set()
