"""Kafka: one node, broker and controller at once (KRaft), mutual TLS on both listeners, ACLs.

Configuration: Apache Kafka 4 documentation, "Broker Configs". A principal is the CN of its
certificate; who has no ACL may do nothing.
"""

import asyncio
import base64
import secrets
import subprocess
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from bal.errors import Stop, Unavailable
from infra.servers import process
from infra.servers.connect import KafkaAt, kafka_at
from infra.servers.java import FIRST_COMPILER, LEAST_MEMORY
from infra.servers.place import Entry, Place, host_of, write_text

NAME = "kafka"
VERSION = "4.4.0"
PORTS = ("port", "controller_port")
START_TIMEOUT_S = 120
STOP_GRACE_S = 30
ROLES = (
    "collector", "worker", "sequencer", "storer", "anchorer", "gateway", "platform", "auditor",
)  # fmt: skip
_FORMAT_TIMEOUT_S = 60
_MESSAGE_BYTES = 8 * 1024 * 1024  # a raw message of 4 MiB, its header, and room

LOG4J = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: {pattern: "[%d] %p %m (%c)%n"}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: STDOUT}}
    Logger:
      - {name: kafka.server.KafkaRaftServer, level: INFO}
      - {name: org.apache.kafka.common.config.AbstractConfig, level: ERROR}
"""


def prepare(place: Place, entry: Entry) -> None:
    """Certificates of broker, admin and every role, and the configuration. Completes `entry`."""
    entry.setdefault("cluster_id", _cluster_name())
    place.node("broker", host_of(entry))
    for name in ("admin", *ROLES):
        place.client(name)
    write_text(place.folder / "log4j2.yaml", LOG4J)
    write_text(place.folder / "server.properties", properties(place, entry))


def _cluster_name() -> str:
    """16 random bytes, as Kafka's own are; its tool would take a - in front for an option."""
    while (made := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[:22])[0] == "-":
        pass
    return made


def properties(place: Place, entry: Entry) -> str:
    """server.properties. One broker, so one replica, and every message is synced to disk."""
    certificates = place.certificates
    broker, controller, host = entry["port"], entry["controller_port"], host_of(entry)
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listeners": f"SSL://{host}:{broker},CONTROLLER://{host}:{controller}",
        "advertised.listeners": f"SSL://{host}:{entry.get('advertised_port', broker)}",
        "listener.security.protocol.map": "SSL:SSL,CONTROLLER:SSL",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "SSL",
        "log.dirs": place.folder / "data",
        "log.flush.interval.messages": 1,  # acknowledged is synced: there is no second replica
        "log.retention.ms": -1,  # who trims says so; nothing goes by age
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "message.max.bytes": _MESSAGE_BYTES,
        "replica.fetch.max.bytes": _MESSAGE_BYTES,
        "auto.create.topics.enable": "false",
        "num.partitions": 4,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": 1,
        "offsets.retention.minutes": 10 * 365 * 24 * 60,  # a worker may be away for long
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates / "ca.crt",
        "ssl.client.auth": "required",
        "ssl.enabled.protocols": "TLSv1.3,TLSv1.2",
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:broker;User:admin",
        "allow.everyone.if.no.acl.found": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def command(place: Place, entry: Entry, java: Path, jars: list[Path]) -> list[str]:
    """The broker's command line; formats its folder of data first where there is none."""
    del entry
    log4j = f"-Dlog4j2.configurationFile={place.folder / 'log4j2.yaml'}"
    classpath = ["-cp", ":".join(str(jar) for jar in jars)]
    return [  # Java's second compiler as well, which alone uses the processor's own AES
        # Heap and metaspace: as Cassandra's (infra/servers/cassandra.py).
        str(java), "-Xms128m", "-Xmn64m", "-XX:MetaspaceSize=96m", "-Xmx256m",
        "-XX:MaxDirectMemorySize=64m", *LEAST_MEMORY, log4j,
        *classpath, "kafka.Kafka", str(place.folder / "server.properties"),
    ]  # fmt: skip


def format_data(place: Place, entry: Entry, java: Path, jars: list[Path]) -> None:
    """Give an empty data folder its cluster id. Raises Stop("servers-start")."""
    if (place.folder / "data" / "meta.properties").exists():
        return
    done = subprocess.run(  # noqa: S603 - the command stands here
        [
            str(java), "-Xmx128m", "-XX:+UseSerialGC", FIRST_COMPILER,
            f"-Dlog4j2.configurationFile={place.folder / 'log4j2.yaml'}",
            "-cp", ":".join(str(jar) for jar in jars),
            "kafka.tools.StorageTool", "format",
            "-t", str(entry["cluster_id"]), "-c", str(place.folder / "server.properties"),
        ],
        capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Stop("servers-start", f"Kafka's storage tool failed: {done.stderr.strip()[-300:]}")


def prove(place: Place, entry: Entry) -> None:
    """Return if our cluster's id comes over TLS under our authority. Raises Unavailable."""
    process.knock(host_of(entry), int(entry["port"]))
    found = asyncio.run(_cluster_id(kafka_at(place, entry)))
    if found != entry["cluster_id"]:
        raise Unavailable(f"a Kafka of another cluster ({found}) answers there")


async def _cluster_id(at: KafkaAt) -> str:
    async with admin(at) as client:
        return str((await client.describe_cluster())["cluster_id"])


class admin:  # noqa: N801 - used as a function: `async with admin(at) as client`
    """A client of Kafka's administration as the super user. Raises Unavailable when it can't."""

    def __init__(self, at: KafkaAt) -> None:
        self._at = at

    async def __aenter__(self) -> AIOKafkaAdminClient:
        one = self._at.principals["admin"]
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=self._at.bootstrap,
            security_protocol="SSL",
            ssl_context=create_ssl_context(
                cafile=str(self._at.ca), certfile=str(one.certificate), keyfile=str(one.key)
            ),
            request_timeout_ms=10_000,
        )
        try:
            await self._client.start()
        except KafkaError as error:
            await self._client.close()
            raise Unavailable(f"Kafka does not answer: {error}") from error
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
