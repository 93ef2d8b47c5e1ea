"""What the DSO Data Server tells the platform every quarter-hour, and what became of it.

Values are put into messages and the messages on the outbox in one transaction; each stays there
until its *certified* receipt, over lost connections and restarts. The platform knows a message
that comes again by its bytes.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from bal.errors import Unavailable
from bal.ports import Clock
from field import dso_cim
from field.dso_store import DsoStore, Stored
from field.dso_value import SECOND_US, Value

PERIOD_S = 900
READINGS_PER_MESSAGE = 2_000
LOOKED_AT_MAX = 50_000  # values of one turn's transaction; the next turn follows at once
CERTIFIED_TIMEOUT_S = 60.0
RETRY_S = 30.0  # between two attempts at what has no certified receipt
WINDOW = 64  # messages under way
CORRECTED = "3.7.0"  # ReadingQualityType: meter data management, manually edited, generic
_FILLED_IN = frozenset({"8", "12"})  # categories estimated, projected
_EDITED = "7"

log = logging.getLogger("gridseal.dso")


class Line(Protocol):
    """The line to the platform; `mqtt_client.FieldClient` is one."""

    async def publish(self, form: str, raw: bytes) -> str:
        """Send one message at least once; returns the hex SHA-256 that receipts name it by."""
        ...

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, Any]:
        """The certified summary of a message, or its refusal; TimeoutError when none comes."""
        ...


def next_slot_us(now_us: int, period_s: int = PERIOD_S) -> int:
    """The next full quarter-hour (UTC, and so of every zone with whole quarters) after now."""
    period_us = period_s * SECOND_US
    return (now_us // period_us + 1) * period_us


def as_told(value: Stored, before: Stored | None) -> Value:
    """The value as the platform is told it: marked edited where it corrects a measured one.

    What replaces an estimate is no edit, and an estimate never passes for a correction.
    """
    told = value.value
    if before is None or _categories(before) & _FILLED_IN:
        return told
    if _categories(value) & {*_FILLED_IN, _EDITED}:
        return told
    qualities = tuple(sorted({*told.qualities, CORRECTED}))
    return replace(told, qualities=qualities)


def _categories(one: Stored) -> set[str]:
    return {code.split(".")[1] for code in one.value.qualities}


def fill_outbox(store: DsoStore, now_us: int) -> int:
    """Make messages of all that is new; how many. Durable when it returns."""
    made = 0
    while True:
        mark, pairs = store.newer(LOOKED_AT_MAX)
        if not pairs:
            return made
        values = [as_told(value, before) for value, before in pairs]
        groups = [
            values[at : at + READINGS_PER_MESSAGE]
            for at in range(0, len(values), READINGS_PER_MESSAGE)
        ]
        number = store.next_number()
        messages = [
            dso_cim.write(group, message_id=f"dso-{number + n}", made_us=now_us)
            for n, group in enumerate(groups)
        ]
        store.queue(mark, messages, [len(group) for group in groups], now_us)
        made += len(messages)


async def send_outbox(store: DsoStore, line: Line, timeout_s: float = CERTIFIED_TIMEOUT_S) -> int:
    """Send what waits, in order; how many still wait, as no certified receipt came in time."""
    waiting = await asyncio.to_thread(store.waiting)
    for at in range(0, len(waiting), WINDOW):
        late = await _send_some(store, line, waiting[at : at + WINDOW], timeout_s)
        if late:  # the next ones would wait as long
            return late + len(waiting[at + WINDOW :])
    return 0


async def _send_some(store: DsoStore, line: Line, messages: Sequence[str], timeout_s: float) -> int:
    for message in messages:
        await line.publish("cim", await asyncio.to_thread(store.message, message))
    late, now_s = 0, asyncio.get_running_loop().time
    until_s = now_s() + timeout_s
    for message in messages:
        try:
            receipt = await line.wait_certified(message, max(0.0, until_s - now_s()))
        except TimeoutError:
            late += 1
            continue
        await asyncio.to_thread(store.settle, message, receipt)
        _tell(message, receipt)
    return late


async def publish_for_ever(
    store: DsoStore, line: Line, clock: Clock, *, period_s: int = PERIOD_S
) -> None:
    """What a crash left, at once; then all that is new at each slot."""
    due_us = next_slot_us(clock.now_us(), period_s)
    while True:
        try:
            late = await send_outbox(store, line)
            if clock.now_us() >= due_us:
                made = await asyncio.to_thread(fill_outbox, store, clock.now_us())
                log.info("new values are in %d message%s", made, "" if made == 1 else "s")
                due_us = next_slot_us(clock.now_us(), period_s)
                continue
        except (Unavailable, sqlite3.Error) as error:  # of the database; of the line's spool
            log.warning("not published yet: %s", error)
            late = 1
        if late:
            log.warning("messages wait for their certified receipt")
        wait_s = max(0, (due_us - clock.now_us()) / SECOND_US)
        await asyncio.sleep(min(wait_s, RETRY_S) if late else wait_s)


def _tell(message: str, receipt: Mapping[str, Any]) -> None:
    refused: Sequence[Any] = receipt.get("refused") or ()
    if receipt.get("type") != "certified":
        log.error("the platform refused message %s: %s", message[:16], receipt.get("code"))
    elif refused:
        log.warning("of message %s %d readings were refused", message[:16], len(refused))
