"""The local profile: a platform on the servers that `gridseal servers up` started beside it."""

from dataclasses import replace
from pathlib import Path

from eth_account import Account
from requests import RequestException
from urllib3.exceptions import HTTPError
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from bal.errors import Stop, Unavailable
from infra.chain_errors import BadAnswer
from infra.config import CassandraConfig, Config, KafkaConfig, MosquittoConfig
from infra.data_folder import DataFolder
from infra.rpc_provider import remote_web3
from infra.servers.connect import (
    CassandraAt,
    ChainAt,
    Identity,
    KafkaAt,
    MosquittoAt,
    Servers,
    read,
)

PRINCIPAL, AUDITOR = "platform", "auditor"
_FUNDS_WEI = 10**21
_FUNDING = {"anvil": "anvil_setBalance", "ganache": "evm_setAccountBalance"}


def local(
    data: Path,
    config: Config,
    *,
    topic: str = "",
    principal: str = PRINCIPAL,
    make: bool = True,
) -> Config:
    """The configuration, completed by where the servers are; tables that name one stay.

    topic: of raw messages, where others make it; principal: who enters Kafka (docs/kafka.md);
    make: whether to make what is missing: Kafka's topic, Cassandra's tables, the funds of the
    platform's accounts on the development chain. Raises Stop("servers-state") where none were
    started, and Unavailable where one does not answer.
    """
    servers = read(data)
    missing = [name for name in ("kafka", "cassandra", "mosquitto") if not getattr(servers, name)]
    if missing:
        text = f"{' and '.join(missing)} never started: run `gridseal servers up --data {data}`"
        raise Stop("servers-state", text)
    assert servers.kafka is not None
    assert servers.cassandra is not None
    assert servers.mosquitto is not None
    if not config.kafka.bootstrap:
        config = replace(config, kafka=_kafka(servers.kafka, topic, principal, make=make))
    if not config.cassandra.hosts:
        found = _cassandra(servers.cassandra, config.cassandra, make=make)
        config = replace(config, cassandra=found)
    if not config.mosquitto.host:
        config = replace(config, mosquitto=_mosquitto(servers.mosquitto))
    if not config.anchor.rpc_url and servers.chains:
        url = _chain(servers, DataFolder(data)) if make else _first(servers)[1].url
        config = replace(config, anchor=replace(config.anchor, rpc_url=url, deploy=True))
    return config


def _kafka(at: KafkaAt, topic: str, principal: str, *, make: bool) -> KafkaConfig:
    from infra.consumers_local import admin_access  # noqa: PLC0415 - only here are they needed
    from infra.kafka_bus import ensure_topic  # noqa: PLC0415
    from infra.kafka_feed_topics import ensure_feed  # noqa: PLC0415

    access = admin_access(at)
    topic = topic or ensure_topic(access)
    if make:
        ensure_feed(access)
    own, auditor = _identity(at, principal), _identity(at, AUDITOR)
    return KafkaConfig(
        at.bootstrap,
        str(at.ca),
        str(own.certificate),
        str(own.key),
        topic,
        str(auditor.certificate),
        str(auditor.key),
    )


def _identity(at: KafkaAt, principal: str) -> Identity:
    """Raises Stop("servers-state") where Kafka was last started by a version without it."""
    if principal not in at.principals:
        text = f"Kafka does not know {principal} yet: run `gridseal servers up` again"
        raise Stop("servers-state", text)
    return at.principals[principal]


def as_principal(data: Path, config: Config, principal: str) -> Config:
    """The configuration with another one's certificate for Kafka."""
    at = read(data).kafka
    assert at is not None
    own = _identity(at, principal)
    kafka = replace(config.kafka, certificate=str(own.certificate), key=str(own.key))
    return replace(config, kafka=kafka)


def role_topics(data: Path, partitions: int) -> str:
    """The epoch of the roles' topics at Kafka, which are made where there are none.

    Raises as `local`, and Stop("bus-settings") where they have other numbers of partitions.
    """
    from infra.consumers_local import admin_access  # noqa: PLC0415 - as above
    from infra.kafka_topic import ensure_role_topics  # noqa: PLC0415

    at = read(data).kafka
    if at is None:
        text = f"kafka never started: run `gridseal servers up --data {data}`"
        raise Stop("servers-state", text)
    return ensure_role_topics(admin_access(at), partitions)


def entered(at: CassandraAt, config: CassandraConfig) -> CassandraConfig:
    """A configuration, with where that Cassandra is and what enters it."""
    return replace(
        config,
        hosts=at.host,
        port=at.port,
        ca=str(at.ca),
        certificate=str(at.client.certificate),
        key=str(at.client.key),
        passwords=str(at.roles["writer"].password_file.parent),  # every role's is there
    )


def _cassandra(at: CassandraAt, config: CassandraConfig, *, make: bool) -> CassandraConfig:
    from infra.cassandra_schema import migrate  # noqa: PLC0415 - as above
    from infra.cassandra_session import CassandraAddress  # noqa: PLC0415

    found = entered(at, config)
    migrator = CassandraAddress(
        [at.host],
        at.port,
        at.ca,
        at.client.certificate,
        at.client.key,
        "migrator",
        at.roles["migrator"].password_file,
        found.keyspace,
    )
    if not make:
        return found
    migrate(migrator, "customer")
    if found.heads:
        migrate(replace(migrator, keyspace=found.log_keyspace), "log")
    return found


def _mosquitto(at: MosquittoAt) -> MosquittoConfig:
    return MosquittoConfig(
        at.host,
        at.port,
        str(at.ca),
        str(at.client.certificate),
        str(at.client.key),
        str(at.users["collector"].password_file.parent),
        accounts=str(at.password_file),
        pid_file=str(at.place.folder / "pid"),
    )


def _chain(servers: Servers, folder: DataFolder) -> str:
    """The URL of the development chain, on which our accounts have funds.

    They are our own: the accounts that such a chain comes with are known to everybody.
    """
    name, at = _first(servers)
    folder.create()
    web3 = remote_web3(at.url)
    try:
        for seed in ("admin", "anchorer"):
            address = Account.from_key(folder.seed(seed)).address
            if web3.eth.get_balance(address) < _FUNDS_WEI // 2:
                web3.provider.make_request(RPCEndpoint(_FUNDING[name]), [address, hex(_FUNDS_WEI)])
    except (BadAnswer, RequestException, HTTPError, Web3Exception) as error:
        raise Unavailable(f"{name} does not answer as a chain: {type(error).__name__}") from error
    return at.url


def _first(servers: Servers) -> tuple[str, ChainAt]:
    name = next(name for name in _FUNDING if name in servers.chains)
    return name, servers.chains[name]
