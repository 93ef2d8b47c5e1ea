"""A customer database that is slow: senders are told to wait, and nothing that was taken is lost.

A whole platform; the real database stands behind a gate. While it is shut, commits queue before it,
then messages before the log, until as many wait as the operator allows.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import mqtt5
import pytest
from intake_support import V5Client

from infra.app import Platform
from infra.certificates import client_context
from infra.config import Config, LimitsConfig
from infra.control import call
from infra.http_gateway import Limits
from tests.bounded import TRUE_S, until
from tests.journey.conftest import cim

ANYWHERE = ("127.0.0.1", 0)
BACKLOG = 20
REFUSALS = 3  # of each sender, then it ends
WHY = "more is waiting than the platform has worked on"
SOCKET_S = 60


class Gate:
    """Before the platform's customer database: `store` waits while it is shut."""

    def __init__(self, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.waited = Event(), Event()
        self.open.set()
        self._store = platform.stores.customer_db.store
        monkeypatch.setattr(platform.stores.customer_db, "store", self._late)

    def _late(self, *arguments: Any) -> None:
        if not self.open.is_set():
            self.waited.set()
            assert self.open.wait(4 * TRUE_S), "nobody opens the gate"
        self._store(*arguments)


class Book:
    """What a sender sent, and what it was told of each."""

    def __init__(self, meter: str, first: int) -> None:
        self._meter, self._number = meter, first
        self.raws: dict[str, bytes] = {}  # by message
        self.taken: set[str] = set()
        self.refused: list[str] = []
        self.certified: set[str] = set()

    def next(self) -> str:
        """Another message."""
        self._number += 1
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_768_435_200 + 900 * self._number))
        raw = cim((self._meter, end, f"{self._number}.125"))
        message = sha256(raw).hexdigest()
        self.raws[message] = raw
        return message

    def press(self, send: Callable[[str], bool]) -> None:
        """Send what is new until REFUSALS were refused."""
        until(lambda: self._pressed(send), lambda: f"{len(self.taken)} taken, {self.refused}")

    def _pressed(self, send: Callable[[str], bool]) -> bool:
        message = self.next()
        if send(message):
            self.taken.add(message)
        else:
            self.refused.append(message)
        return len(self.refused) >= REFUSALS

    def again(self, send: Callable[[str], bool]) -> None:
        """Send again what was refused, until it is taken."""
        for message in self.refused:
            until(lambda: send(message), f"{message} is taken")  # noqa: B023 - asked at once
            self.taken.add(message)

    @property
    def values_wh(self) -> list[str]:
        """Of all that was sent."""
        first = self._number - len(self.raws) + 1
        return [f"{number}125" for number in range(first, self._number + 1)]


class Meter:
    """A sender by MQTT 5, one message at a time."""

    def __init__(self, ready: dict[str, Any], folder: Path, password: str) -> None:
        self.book = Book("meter-1", 0)
        self._folder = folder
        host, port = ready["mqtt"].removeprefix("mqtts://").split(":")
        self._client = V5Client(self, int(port), "meter-1")
        self._client.socket.settimeout(SOCKET_S)
        code = self._client.connect(name="meter-1", password=password.encode()).reason_code
        assert code is mqtt5.ConnAckReasonCode.SUCCESS, host
        assert self._client.subscribe("receipts/meter-1").reason_codes == [1]
        self._packet_id = 0

    def client(self, name: str) -> Any:
        """The certificate, as V5Client asks for it."""
        files = (self._folder / f"{name}.crt", self._folder / f"{name}.key")
        return client_context(self._folder / "ca.crt", *files)

    def send(self, message: str) -> bool:
        """Whether it was taken; else it was refused with "quota exceeded"."""
        self._packet_id = self._packet_id % 65_535 + 1
        self._client.publish("in/meter-1/cim", self.book.raws[message], self._packet_id)
        while not isinstance(packet := self._hear(), mqtt5.PubAckPacket):
            pass
        assert packet.packet_id == self._packet_id
        if packet.reason_code is mqtt5.PubAckReasonCode.SUCCESS:
            return True
        assert packet.reason_code is mqtt5.PubAckReasonCode.QUOTA_EXCEEDED
        assert int(packet.reason_code) == 0x97
        assert packet.reason_str == WHY
        return False

    def all_certified(self) -> None:
        """Hear receipts until every message that was taken has its own."""
        until(self._heard, lambda: f"{self.book.taken - self.book.certified} certified")

    def _heard(self) -> bool:
        if self.book.certified != self.book.taken:
            self._hear()
        return self.book.certified == self.book.taken

    def _hear(self) -> Any:
        packet = self._client.read()
        assert packet is not None, "the platform hung up"
        if isinstance(packet, mqtt5.PublishPacket):
            receipt = json.loads(bytes(packet.payload))
            if receipt["type"] == "certified":
                self.book.certified.add(receipt["message"])
            self._client.send(mqtt5.PubAckPacket(packet.packet_id).write())
        return packet

    def close(self) -> None:
        self._client.close()


class Caller:
    """A sender by REST, one message at a time."""

    def __init__(self, ready: dict[str, Any], made: dict[str, Any]) -> None:
        self.book = Book("meter-2", 100_000)
        context = client_context(Path(ready["ca"]))
        self.http = httpx.Client(base_url=ready["http"], verify=context, timeout=SOCKET_S)
        token = self.http.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(made["client_id"], made["client_secret"]),
        )
        self.http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def send(self, message: str) -> bool:
        """Whether it was taken; else it was refused with 503 and Retry-After."""
        answer = self.http.post("/v1/messages?format=cim", content=self.book.raws[message])
        if answer.status_code in {200, 202}:
            return True
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["detail"] == WHY
        return False

    def all_certified(self) -> None:
        """Ask for each message that was taken until it is certified."""
        for message in self.book.taken:
            until(lambda: self._certified(message), message)  # noqa: B023 - asked at once
            self.book.certified.add(message)

    def _certified(self, message: str) -> bool:
        answer = self.http.get(f"/v1/messages/{message}")
        return answer.status_code == 200 and answer.json()["type"] == "certified"

    def values_wh(self) -> list[str]:
        """Of all readings."""
        answer = self.http.get("/v1/readings", params={"versions": "all", "limit": 10_000})
        page = answer.json()
        assert page["next"] is None
        return [item["record"]["value"] for item in page["items"]]


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """One whose REST gateway answers 202 soon, so that its sender goes on."""

    def limits(message_bytes_max: int) -> Limits:
        return Limits(message_bytes_max=message_bytes_max, certified_wait_s=0.05)

    monkeypatch.setattr("infra.app.HttpLimits", limits)
    platform = Platform(tmp_path / "data", Config(limits=LimitsConfig(backlog_messages=BACKLOG)))
    platform.open()
    return platform


async def senders(platform: Platform, ready: dict[str, Any], folder: Path) -> tuple[Meter, Caller]:
    root = platform.folder.root
    enrol = {"subjects": "self", "list": "", "group": "g", "zone": "UTC", "bulk": False}
    made = await asyncio.to_thread(call, root, "enrol", TRUE_S, name="meter-1", **enrol)
    for file, text in (("meter-1.crt", "certificate"), ("meter-1.key", "key"), ("ca.crt", "ca")):
        (folder / file).write_text(made[text])
    meter = await asyncio.to_thread(Meter, ready, folder, made["password"])
    scopes = ["messages.write", "readings.read"]
    client = {"name": "dso", "scopes": scopes, "groups": None}
    made = await asyncio.to_thread(call, root, "client-add", TRUE_S, **client)
    return meter, await asyncio.to_thread(Caller, ready, made)


async def both(*works: Callable[[], None]) -> None:
    await asyncio.gather(*(asyncio.to_thread(work) for work in works))


def test_a_slow_database_slows_the_senders_and_loses_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = Gate(platform, monkeypatch)

    async def scenario() -> None:
        ready = await platform.start(ANYWHERE, ANYWHERE)
        meter, caller = await senders(platform, ready, tmp_path)
        try:
            gate.open.clear()
            await both(lambda: meter.book.press(meter.send), lambda: caller.book.press(caller.send))
            assert gate.waited.is_set()
            waiting = platform.writer.accepted - platform.engine.worked
            assert BACKLOG < waiting <= BACKLOG + 2  # each sender had one under way
            before = await asyncio.to_thread(caller.values_wh)
            assert len(before) < len(meter.book.taken) + len(caller.book.taken)
            gate.open.set()
            await both(lambda: meter.book.again(meter.send), lambda: caller.book.again(caller.send))
            await both(meter.all_certified, caller.all_certified)
            found = await asyncio.to_thread(caller.values_wh)
        finally:
            gate.open.set()
            meter.close()
            caller.http.close()
            await platform.stop()
        for book in (meter.book, caller.book):
            assert len(book.refused) >= REFUSALS
            assert book.certified == book.taken == set(book.raws)
        assert sorted(found) == sorted(meter.book.values_wh + caller.book.values_wh)

    asyncio.run(scenario())
