"""A bus that stands still: nothing that is read waits for it, and who must wait is told so."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import httpx
import pytest

from bal.errors import Stop, Unavailable
from infra.app import Platform
from infra.certificates import client_context, fingerprint
from infra.config import Config
from infra.control import ASK, call

ANYWHERE = ("127.0.0.1", 0)
AT_ONCE_S = 10.0  # a fifth of what the bus takes
HANGS_S = 50.0

T = TypeVar("T")


class Kafka:
    """In front of the platform's bus: answers, or stands still as a server that was stopped."""

    def __init__(self, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers, self.given_up = Event(), Event()
        self.answers.set()
        bus = platform.stores.bus
        monkeypatch.setattr(bus, "give_up", self.give_up)
        for name in ("append", "read", "end", "trim"):
            monkeypatch.setattr(bus, name, self._behind(getattr(bus, name)))

    def give_up(self) -> None:
        self.given_up.set()
        self.answers.set()

    def _behind(self, call: Callable[..., T]) -> Callable[..., T]:
        def waits(*arguments: Any) -> T:
            if not self.answers.wait(HANGS_S) or self.given_up.is_set():
                raise Unavailable("Kafka does not answer in time", retry_after_s=5)
            return call(*arguments)

        return waits


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = Platform(tmp_path / "data", Config())
    platform.open()
    return platform


@asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    ready = await platform.start(ANYWHERE, ANYWHERE)
    context = client_context(Path(ready["ca"]))
    async with httpx.AsyncClient(base_url=ready["http"], verify=context, timeout=60) as client:
        yield client


async def at_once(answer: Awaitable[T]) -> T:
    return await asyncio.wait_for(answer, AT_ONCE_S)


async def commanded(platform: Platform, command: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(call, platform.folder.root, command, 60, **arguments)


def test_reads_do_not_wait_for_the_bus(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(platform, monkeypatch)

    async def scenario() -> None:
        async with running(platform) as client:
            scopes = ["readings.read", "devices.read", "messages.write"]
            made = await commanded(platform, "client-add", name="dso", scopes=scopes, groups=None)
            token = await client.post(
                "/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=(made["client_id"], made["client_secret"]),
            )
            headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
            kafka.answers.clear()
            try:
                measured = [client.get("/metrics") for _ in range(16)]
                for answer in await at_once(asyncio.gather(*measured)):
                    assert "gridseal_bus_lag_messages 0.0" in answer.text
                for path in ("/healthz", "/log/checkpoint", "/v1/devices", "/v1/readings"):
                    answer = await at_once(client.get(path, headers=headers))
                    assert answer.status_code == 200, answer.text
                await at_once(commanded(platform, "settle"))
                posts = [
                    client.post("/v1/messages?format=cim", headers=headers, content=raw)
                    for raw in (b"<a/>", b"<b/>")
                ]
                for answer in await at_once(asyncio.gather(*posts)):
                    assert answer.status_code == 503, answer.text
                    assert int(answer.headers["retry-after"]) > 0
                    assert json.loads(answer.text)["type"].endswith(":unavailable")
            finally:
                kafka.answers.set()
        await platform.stop()

    asyncio.run(scenario())


def test_a_start_behind_a_bus_that_stands_still_answers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = Kafka(platform, monkeypatch)

    async def scenario() -> None:
        kafka.answers.clear()
        starting = asyncio.create_task(platform.start(ANYWHERE, ANYWHERE))
        try:
            while not hasattr(platform, "_http"):
                await asyncio.sleep(0.01)
            reached = platform.services
            while not reached.issuer:
                await asyncio.sleep(0.01)
            url, ca = reached.issuer, platform.folder.keys / "ca.crt"
            async with httpx.AsyncClient(base_url=url, verify=client_context(ca)) as client:
                answer = await at_once(client.get("/healthz"))
                assert "bus" in answer.json()
        finally:
            kafka.answers.set()
        await starting
        await platform.stop()

    asyncio.run(scenario())


def test_a_command_of_which_nobody_knows_is_the_same_when_it_is_given_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator is told what to ask; the second time he gets what the first one made."""
    monkeypatch.setattr("infra.services.COMMAND_S", 1)
    kafka = Kafka(platform, monkeypatch)
    enrol = {"subjects": "self", "list": "", "group": "g", "zone": "UTC", "bulk": False}

    async def unknown(command: str, **arguments: Any) -> None:
        with pytest.raises(Stop, match=f"gridseal {ASK[command]}") as caught:
            await commanded(platform, command, **arguments)
        assert caught.value.code == "command-under-way"

    async def scenario() -> None:
        async with running(platform):
            registry = platform.stores.registry
            kafka.answers.clear()
            try:
                await unknown("enrol", name="meter-1", **enrol)
                client = {"name": "dso", "scopes": ["readings.read"], "groups": None}
                await unknown("client-add", **client)
            finally:
                kafka.answers.set()
            while not (registry.senders and registry.clients):
                await asyncio.sleep(0.01)
            monkeypatch.setattr("infra.services.COMMAND_S", 30)
            made = await commanded(platform, "enrol", name="meter-1", **enrol)
            sender = registry.senders["meter-1"]
            assert sender.certificate_sha256 == fingerprint(made["certificate"].encode())
            assert sender.password_sha256 == sha256(made["password"].encode()).hexdigest()
            assert (await commanded(platform, "client-add", **client))["client_id"] in (
                registry.clients
            )
            assert (len(registry.senders), len(registry.clients)) == (1, 1)
            with pytest.raises(Stop, match="revoke it first"):  # a new command, not the same one
                await commanded(platform, "enrol", name="meter-1", **enrol)
            assert (await commanded(platform, "revoke", name="meter-1"))["sender"] == "meter-1"
            again = await commanded(platform, "enrol", name="meter-1", **enrol)
            assert again["password"] != made["password"]
        await platform.stop()

    asyncio.run(scenario())


def test_an_end_does_not_wait_for_the_bus(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has a receipt is kept, what waits is told that it has none, and nothing is left."""
    kafka = Kafka(platform, monkeypatch)
    root = platform.folder.root

    async def scenario() -> None:
        async with running(platform):
            made = await commanded(
                platform, "client-add", name="m", scopes=["messages.write"], groups=["g"]
            )
            accepted = await platform.services.submit(made["client_id"], "cim", b"<no/>")
            assert '"accepted"' in accepted.accepted
            kafka.answers.clear()
            waiting = platform.writer.submit(made["client_id"], "cim", b"<never/>")
            await asyncio.wait_for(platform.stop(), 4.5)  # as `run` gives it
            with pytest.raises(Unavailable):
                waiting.result(0)
        assert not [one.name for one in platform.engine._threads if one.is_alive()]

    asyncio.run(scenario())
    again = Platform(root, Config())
    again.open()
    try:
        raws = [message.raw for message in again.stores.bus.read(0, 9)]
        assert raws[-1] == b"<no/>"
    finally:
        again.chain.close()
        again.stores.close()
        again.folder.unlock()
