"""A concentrator's side of IEEE C37.118.2: asks a PMU for its stream, and passes it on as messages.

By TCP, or by UDP with commands over UDP, too; a UDP source without a host only listens, for PMUs
that send by themselves. What a message is: docs/spec/c37118.md. Frames go on as received, and so
does what is none: the platform tells its sender and its operator of it. A lost connection is made
again.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from bal.c37118.config import Config, Fragments, read_config
from bal.c37118.data import CONFIG_CHANGE, Data, Layout
from bal.c37118.frame import (
    CFG_2,
    CFG_3,
    DATA,
    SEND_CFG_2,
    SEND_CFG_3,
    TURN_OFF,
    TURN_ON,
    Head,
    head,
)
from bal.c37118.writer import command_frame
from bal.errors import Rejected, Unavailable
from field.pdc_line import Line, Source, open_line

log = logging.getLogger("gridseal.field")

FORMAT = "c37118"
MESSAGE_BYTES_MAX = 64 * 1024
MESSAGE_AGE_S = 1.0
CONFIG_TIMEOUT_S = 5.0
LISTEN_TIMEOUT_S = 150.0  # the same of one that is not asked: most send it once a minute
SILENT_S = 10.0  # without a frame, after which the source is asked anew; more at a slow rate
ASK_AGAIN_S = 10.0  # between two requests for a configuration that is said to change
RETRY_S_MIN, RETRY_S_MAX = 0.2, 30.0

Publish = Callable[[str, bytes], Awaitable[object]]
"""Where messages go: format and bytes; durable when it returns (FieldClient.publish)."""


# --- messages ---------------------------------------------------------------------------------


class Messages:
    """Makes messages of the frames of one stream: a configuration, and the data of one second."""

    def __init__(self, *, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.config: Config | None = None
        self.layout: Layout | None = None
        self._bytes_max = bytes_max
        self._head = b""  # the configuration's frames
        self._frames: list[bytes] = []
        self._size = 0
        self._soc = -1

    def configure(self, frames: tuple[bytes, ...]) -> Iterator[bytes]:
        """Go on with this configuration; what there is of the one before is a message.

        Raises Rejected where it can't be read: then the one before stays.
        """
        whole = b"".join(frames)
        if whole == self._head:
            return
        config = read_config(frames)
        yield from self.flush()
        self.config, self.layout, self._head = config, Layout(config), whole

    def add(self, frame: bytes) -> tuple[Data, list[bytes]]:
        """One data frame, as read; and the message that is complete with it, or before it.

        Raises Rejected where it is none of this configuration.
        """
        if self.layout is None:
            raise Rejected("config-missing", "data before their configuration")
        data = self.layout.read(frame)
        done: list[bytes] = []
        is_full = len(self._head) + self._size + len(frame) > self._bytes_max
        if self._frames and (is_full or data.soc != self._soc):
            done += self.flush()
        self._frames.append(frame)
        self._size += len(frame)
        self._soc = data.soc
        return data, done

    def add_damage(self, lost: bytes) -> list[bytes]:
        """What is no frame of this configuration, to where it came; messages as of `add`.

        Before a configuration there is no message that it could be of.
        """
        if self.layout is None or not lost:
            return []
        is_full = len(self._head) + self._size + len(lost) > self._bytes_max
        done = list(self.flush()) if self._frames and is_full else []
        self._frames.append(lost)
        self._size += len(lost)
        return done

    def flush(self) -> Iterator[bytes]:
        """What is waiting, as a message."""
        if self._frames:
            raw = self._head + b"".join(self._frames)
            self._frames, self._size = [], 0
            yield raw

    @property
    def waiting(self) -> int:
        """Frames of no message yet."""
        return len(self._frames)


# --- the concentrator -------------------------------------------------------------------------


@dataclass(slots=True)
class Counts:
    """What came and went since the start."""

    frames: int = 0  # whole data frames passed on
    messages: int = 0
    sessions: int = 0
    damage: Counter[str] = field(default_factory=Counter)  # by code: what was none
    stations: tuple[str, ...] = ()


class Concentrator:
    """Follows one stream, for as long as `run` runs."""

    def __init__(
        self,
        source: Source,
        idcode: int,
        publish: Publish,
        clock_s: Callable[[], float],
        *,
        config: int = 2,
        silent_s: float = SILENT_S,
        config_timeout_s: float = CONFIG_TIMEOUT_S,
        retry_s_max: float = RETRY_S_MAX,
    ) -> None:
        """idcode: of the stream. clock_s: seconds since 1970, for the commands' SOC.

        config: 3 asks for a configuration 3 first, and for a 2 where none comes.
        """
        self.counts = Counts()
        self._source, self._idcode, self._publish, self._clock_s = source, idcode, publish, clock_s
        self._wants_3 = config == 3
        self._silent_s, self._config_timeout_s = silent_s, config_timeout_s
        self._retry_s_max = retry_s_max
        self._messages = Messages()
        self._fragments = Fragments()
        self._asked_s = -ASK_AGAIN_S
        self._since_s = 0.0  # when the oldest waiting frame came
        self._told = ""

    async def run(self) -> None:
        """Connect, follow, and again, until it is cancelled; what waits then is published."""
        pause_s = RETRY_S_MIN
        try:
            while True:
                before = self.counts.frames
                try:
                    await self._session()
                except (OSError, EOFError, TimeoutError, Unavailable) as error:
                    self._tell(str(error) or type(error).__name__, what="no stream")
                if self.counts.frames > before:
                    pause_s = RETRY_S_MIN
                await self._out(self._messages.flush())
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - parts a herd
                pause_s = min(2 * pause_s, self._retry_s_max)
        finally:
            await self._out(self._messages.flush())

    def _tell(self, why: str, *, what: str = "stream") -> None:
        """Once for each reason: a PMU may be away for days. what: "no stream" where it is."""
        if why != self._told:
            self._told = why
            log.warning("%s %s from %s: %s", what, self._idcode, self._source, why)

    async def _session(self) -> None:
        line = await open_line(self._source)
        self.counts.sessions += 1
        self._messages = Messages()
        self._fragments = Fragments()
        try:
            await self._configure(line)
            self._command(line, TURN_ON)
            while True:
                await self._next(line, self._patience_s())
        finally:
            self.counts.damage.update(line.splitter.damage)
            with suppress(OSError):
                self._command(line, TURN_OFF)
            await line.close()

    def _patience_s(self) -> float:
        config = self._messages.config
        period_s = config.period_us / 1e6 if config is not None else 0.0
        return max(self._silent_s, 3 * period_s)

    async def _configure(self, line: Line) -> None:
        """Ask until a configuration is there. Raises Unavailable where none comes."""
        loop = asyncio.get_running_loop()
        patience_s = self._config_timeout_s if self._source.host else LISTEN_TIMEOUT_S
        asked = (SEND_CFG_3, SEND_CFG_2) if self._wants_3 else (SEND_CFG_2,)
        for attempt, command in enumerate([*asked, SEND_CFG_2, SEND_CFG_2]):
            if attempt == 0:
                self._command(line, TURN_OFF)
            self._command(line, command)
            end_s = loop.time() + patience_s
            while self._messages.config is None and (left_s := end_s - loop.time()) > 0:
                with suppress(TimeoutError):
                    await self._next(line, left_s)
            if self._messages.config is not None:
                return
        raise Unavailable(f"no configuration came of stream {self._idcode}")

    async def _next(self, line: Line, patience_s: float) -> None:
        """Take what comes next; what has waited for a second goes on meanwhile."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        receiving = asyncio.ensure_future(line.receive())
        try:
            while True:
                due_s = self._since_s + MESSAGE_AGE_S if self._messages.waiting else until_s
                await asyncio.wait({receiving}, timeout=max(0.0, min(due_s, until_s) - loop.time()))
                if receiving.done():
                    break
                if loop.time() >= until_s:
                    raise TimeoutError(f"silent for {patience_s:g} s")
                await self._out(self._messages.flush())
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})  # two can't read at once
        for piece in receiving.result():
            if piece.frame:
                await self._frame(line, piece.frame)
            else:
                self._tell(f"bytes that are no frame: {piece.code}")
                await self._damage(piece.lost)

    async def _frame(self, line: Line, frame: bytes) -> None:
        """One whole frame, which may yet be of no use."""
        try:
            found = head(frame)
            if found.idcode != self._idcode:
                raise Rejected("frame-unexpected", "of another stream")
            if found.kind in {CFG_2, CFG_3}:
                await self._config(found, frame)
            elif found.kind == DATA:
                await self._data(line, frame)
        except Rejected as error:
            self.counts.damage[error.code] += 1
            self._tell(error.text)
            if error.code == "data-size-wrong":
                await self._damage(frame)
                self._ask_again(line)

    async def _config(self, found: Head, frame: bytes) -> None:
        frames = self._fragments.add(frame) if found.kind == CFG_3 else (frame,)
        if not frames:
            return
        await self._out(self._messages.configure(frames))
        config = self._messages.config
        stations = tuple(pmu.station for pmu in config.pmus) if config is not None else ()
        if stations != self.counts.stations or self._told:
            self.counts.stations, self._told = stations, ""
            log.info("stream %s: %s", self._idcode, ", ".join(stations))

    async def _damage(self, lost: bytes) -> None:
        if not self._messages.waiting:
            self._since_s = asyncio.get_running_loop().time()
        await self._out(iter(self._messages.add_damage(lost)))

    async def _data(self, line: Line, frame: bytes) -> None:
        if not self._messages.waiting:
            self._since_s = asyncio.get_running_loop().time()
        data, done = self._messages.add(frame)
        if done:
            self._since_s = asyncio.get_running_loop().time()
        self.counts.frames += 1
        await self._out(iter(done))
        layout = self._messages.layout
        if layout is not None and any(
            data.values[span.start] & CONFIG_CHANGE for span in layout.spans
        ):
            self._ask_again(line)

    def _ask_again(self, line: Line) -> None:
        """The configuration, where the source says that it changes, or data show that it has."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._asked_s >= ASK_AGAIN_S:
            self._asked_s = now_s
            self._command(line, SEND_CFG_3 if self._is_3() else SEND_CFG_2)

    def _is_3(self) -> bool:
        config = self._messages.config
        return config is not None and config.kind == CFG_3

    def _command(self, line: Line, command: int) -> None:
        line.send(command_frame(self._idcode, command, int(self._clock_s())))

    async def _out(self, messages: Iterator[bytes]) -> None:
        for raw in messages:
            await self._publish(FORMAT, raw)
            self.counts.messages += 1
