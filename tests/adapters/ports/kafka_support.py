"""Buses and topics of a test's own on the shared Kafka."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from infra.kafka_bus import SETTINGS, KafkaBus, ensure_topic
from infra.kafka_channels import KafkaChannels
from infra.kafka_client import KafkaAccess, administration, delete_topic
from infra.kafka_topic import ensure_role_topics
from infra.servers.connect import KafkaAt

POLL_S = 0.05


def access(at: KafkaAt, principal: str = "admin", timeout_s: float = 10) -> KafkaAccess:
    one = at.principals[principal]
    return KafkaAccess(at.bootstrap, at.ca, one.certificate, one.key, timeout_s)


def prefix_of(folder: Path) -> str:
    """No two tests share a bus."""
    return f"test-{sha256(str(folder).encode()).hexdigest()[:12]}.raw"


def note(folder: Path, at: KafkaAccess) -> None:
    """For another process: how to open the bus of this folder."""
    parts = [at.bootstrap, str(at.ca), str(at.certificate), str(at.key), at.timeout_s]
    (folder / "kafka.json").write_text(json.dumps(parts))


def noted(folder: Path) -> KafkaAccess:
    bootstrap, ca, certificate, key, timeout_s = json.loads((folder / "kafka.json").read_text())
    return KafkaAccess(bootstrap, Path(ca), Path(certificate), Path(key), timeout_s)


def open_bus(folder: Path, at: KafkaAccess | None = None) -> KafkaBus:
    at = at or noted(folder)
    return KafkaBus(at, ensure_topic(at, prefix=prefix_of(folder)))


def suffix_of(folder: Path) -> str:
    """Role topics of a test's own; rights on `bal.raw…` are rights on them."""
    return f"-test-{sha256(str(folder).encode()).hexdigest()[:12]}"


def open_channels(
    folder: Path,
    at: KafkaAccess | None = None,
    is_bulk: Callable[[str], bool] = lambda credential: False,
) -> KafkaChannels:
    """Those of a folder: `channels.json` says which."""
    epoch, partitions = json.loads((folder / "channels.json").read_text())
    at = at or noted(folder)
    return KafkaChannels(at, epoch, partitions, is_bulk=is_bulk, suffix=suffix_of(folder))


def make_channels(folder: Path, at: KafkaAccess, partitions: int) -> str:
    epoch = ensure_role_topics(at, partitions, suffix=suffix_of(folder))
    (folder / "channels.json").write_text(json.dumps([epoch, partitions]))
    return epoch


def delete_role_topics(folder: Path, at: KafkaAccess) -> None:
    for name in ("raw", "rows", "commitments", "announcements"):
        delete_topics(at, f"bal.{name}{suffix_of(folder)}.")


def administer(
    at: KafkaAccess, work: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, Any]]
) -> Any:
    async def run() -> Any:
        async with administration(at) as client:
            return await work(client)

    return asyncio.run(run())


def delete_topics(at: KafkaAccess, prefix: str) -> None:
    async def work(client: AIOKafkaAdminClient) -> None:
        for name in await client.list_topics():
            if name.startswith(prefix):
                await delete_topic(client, name)

    administer(at, work)


def configure(at: KafkaAccess, topic: str, **changed: str) -> None:
    """Other settings for a bus's topic, and the broker goes by them; none: as it was made."""
    settings = SETTINGS | {"flush.messages": "1"}
    settings |= {key.replace("_", "."): value for key, value in changed.items()}
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, settings)

    async def told(client: AIOKafkaAdminClient) -> bool:
        (answer,) = await client.describe_configs([ConfigResource(asked.resource_type, topic)])
        (found,) = (dict(one[:2] for one in entries) for *_, entries in answer.resources)
        return settings.items() <= found.items()

    async def work(client: AIOKafkaAdminClient) -> None:
        await client.alter_configs([asked])
        while not await told(client):  # the controller has it, the broker not yet
            await asyncio.sleep(POLL_S)
        # A broker tells of a change before it goes by it, and takes changes one after the other:
        # it goes by this one where it tells of a later one.
        later = f"{topic}.later"
        await client.create_topics([NewTopic(later, 1, 1)])
        while later not in await client.list_topics():
            await asyncio.sleep(POLL_S)
        await delete_topic(client, later)

    administer(at, work)
