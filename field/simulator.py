"""Plays the messages of a day at a pace, over any number of lines to any platform.

Each sender sends its own messages in order and never before their time. Back-pressure comes from
the platform's own word: at most `window` messages are under way without a *certified* receipt.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from bal.errors import Stop
from field.day import Outgoing, Sender
from field.mqtt_client import FieldClient
from field.tally import Tally

WINDOW = 256
CERTIFIED_TIMEOUT_S = 30.0
ATTEMPTS = 3


class Line(Protocol):
    """What a sender asks of its line to the platform; `mqtt_client.FieldClient` is one."""

    async def publish(self, form: str, raw: bytes) -> str:
        """Send one message at least once; returns the hex SHA-256 that receipts name it by."""
        ...

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, Any]:
        """The certified summary of a message, or its refusal; TimeoutError when none comes."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast time goes by: `speed` times as fast as in life; None: as fast as it goes."""

    begin: datetime  # the played instant at which the play starts
    speed: float | None

    def delay_s(self, at: datetime) -> float:
        """How long after the start the message of an instant is due."""
        return 0.0 if self.speed is None else (at - self.begin).total_seconds() / self.speed


async def play(
    messages: Sequence[Outgoing],
    lines: Mapping[str, Line],
    tally: Tally,
    *,
    paces: Mapping[str, Pace],
    window: int = WINDOW,
) -> None:
    """Send every message and wait for its certified receipt; what happens is told to `tally`.

    lines: one a sender. paces: by format; "" is for every other format. A message without a
    certified receipt in time is sent again, twice, and then counted as unanswered.
    """
    room = asyncio.Semaphore(window)
    clock = asyncio.get_running_loop().time
    started_s = clock()
    by_sender: dict[str, list[Outgoing]] = {}
    for message in messages:
        by_sender.setdefault(message.sender, []).append(message)
    async with asyncio.TaskGroup() as group:
        for sender, own in by_sender.items():
            pace = paces.get(own[0].form) or paces[""]
            due = [(started_s + pace.delay_s(message.at), message) for message in own]
            group.create_task(_send_all(due, lines[sender], tally, room))


async def _send_all(
    due: Sequence[tuple[float, Outgoing]], line: Line, tally: Tally, room: asyncio.Semaphore
) -> None:
    """One sender's messages in order, each when its time has come and there is room.

    due: the event loop's time, and the message.
    """
    loop = asyncio.get_running_loop()
    under_way: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        for at_s, message in due:
            if at_s > loop.time():
                await asyncio.sleep(at_s - loop.time())
            name = sha256(message.raw).hexdigest()
            if name in under_way:  # the same bytes again: only once the first are certified
                await asyncio.wait({under_way[name]})
            await room.acquire()
            tally.account(message.sender).sent += 1
            task = group.create_task(_deliver(message, line, tally))
            under_way[name] = task

            def done(ended: asyncio.Task[None], name: str = name) -> None:
                room.release()
                if under_way.get(name) is ended:
                    del under_way[name]

            task.add_done_callback(done)


async def _deliver(message: Outgoing, line: Line, tally: Tally) -> None:
    for _ in range(ATTEMPTS):
        name = await line.publish(message.form, message.raw)
        try:
            receipt = await line.wait_certified(name, CERTIFIED_TIMEOUT_S)
        except TimeoutError:
            continue
        tally.hear(message.sender, receipt)
        return
    tally.account(message.sender).unanswered += 1


# --- lines from the files of an enrolment ---------------------------------------------------------


def folders(files: Path, senders: Iterable[Sender]) -> dict[str, Path]:
    """Where each sender's enrolment is: `files`/<name>/client.json.

    Raises Stop("client-invalid") naming the first that is missing.
    """
    found = {sender.name: files / sender.name for sender in senders}
    for name, folder in found.items():
        if not (folder / "client.json").is_file():
            text = f"{folder / 'client.json'} is missing: enrol {name} with --out {folder}"
            raise Stop("client-invalid", text)
    return found


async def play_over_mqtt(
    messages: Sequence[Outgoing],
    enrolled: Mapping[str, Path],
    tally: Tally,
    *,
    paces: Mapping[str, Pace],
    url: str | None = None,
    window: int = WINDOW,
    connected: Callable[[], None] = lambda: None,
) -> None:
    """The same over MQTT, one connection a sender; `url` overrides what the enrolment says.

    Raises Rejected where the platform refuses a sender, Unavailable where it can't be reached.
    """
    async with AsyncExitStack() as stack:
        lines: dict[str, Line] = {}
        for name in dict.fromkeys(message.sender for message in messages):
            client = FieldClient.from_folder(enrolled[name], window=window, url=url)
            lines[name] = await stack.enter_async_context(client)
        connected()
        await play(messages, lines, tally, paces=paces, window=window)
