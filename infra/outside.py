"""Which of a platform's stores are servers, and how they are entered.

What was chosen at the first start stands in `outside.json` of the data folder: addresses and paths
of files, no secret. So an audit finds the rows where they are, and no start goes on elsewhere.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bal.errors import Stop
from bal.model import StoredRecord
from bal.ports import Bus, Clock, CustomerDb, DayRows
from infra.config import CassandraConfig, Config, KafkaConfig
from infra.data_folder import OUTSIDE, DataFolder
from infra.file_log import FileLog
from infra.files import make_folder, replace_file
from infra.heads_row import HeadsRow, SqliteHeads
from infra.sqlite_bus import SqliteBus
from infra.sqlite_customer_db import SqliteCustomerDb

if TYPE_CHECKING:
    from infra.cassandra_recent import WaitingRows
    from infra.cassandra_session import CassandraAddress
    from infra.kafka_client import KafkaAccess

KAFKA_MESSAGE_BYTES_MAX = 8 * 1024 * 1024  # a group of the intake must fit into one record batch


class OpenBus(Bus, Protocol):
    """A bus that someone opened."""

    def give_up(self) -> None:
        """Have each call raise Unavailable that would wait for a server, also one under way."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class OpenCustomerDb(CustomerDb, DayRows, Protocol):
    """A customer database that someone opened.

    Lanes: of several storers each has the rows of entries of its own (docs/decisions/0018), and
    what is visible is what all have stored. `gridseal up` has one, 0.
    """

    @property
    def unsettled(self) -> int:
        """Blocks that `tidy` has still to settle."""
        ...

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        """As CustomerDb, of the entries of one lane."""
        ...

    def stored(self, lane: int) -> int:
        """Log size up to which a lane's rows are stored."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """An address that is empty stands for a file in the data folder."""

    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    cassandra: CassandraConfig = field(default_factory=CassandraConfig)
    scd: str = ""  # names the database among those that share tables
    log: str = ""  # names the heads row among those that share a table

    @property
    def servers(self) -> tuple[bool, bool, bool]:
        """Whether the bus, the customer database and the heads row are servers'."""
        return bool(self.kafka.bootstrap), bool(self.cassandra.hosts), self.cassandra.heads


def read(folder: DataFolder) -> Outside:
    """What the last start chose; nothing outside where there was none. Raises Stop."""
    path = folder.root / OUTSIDE
    if not path.exists():
        return Outside()
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        kafka, cassandra = KafkaConfig(**kept["kafka"]), CassandraConfig(**kept["cassandra"])
        return Outside(kafka, cassandra, str(kept["scd"]), str(kept.get("log", "")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop("store-damaged", f"{OUTSIDE} is damaged: {error}") from error


def choose(folder: DataFolder, config: Config, *, anew: bool = False) -> Outside:
    """Go by the configuration from now on, and keep that.

    anew: of a folder of files whose stores are about to be moved there. Raises
    Stop("stores-differ") where an earlier start kept messages or rows elsewhere; addresses and
    files may change.
    """
    kept, begun = read(folder), folder.facts() is not None and not anew
    scd, log = (name or secrets.token_hex(8) for name in (kept.scd, kept.log))
    chosen = Outside(config.kafka, config.cassandra, scd, log)
    if begun and kept.servers != chosen.servers:
        text = (
            "this platform keeps bus, rows or heads row elsewhere: start it as before"
            " (`--profile local`, or"
            f" the tables [kafka] and [cassandra] of its configuration; {OUTSIDE} has the last one)"
        )
        raise Stop("stores-differ", text)
    if begun and kept.kafka.topic and not chosen.kafka.topic:
        chosen = replace(chosen, kafka=replace(chosen.kafka, topic=kept.kafka.topic))
    _check(chosen, config)
    if any(chosen.servers):
        replace_file(folder.root / OUTSIDE, json.dumps(asdict(chosen)).encode())
    else:  # what a first start left that came no further
        (folder.root / OUTSIDE).unlink(missing_ok=True)
    return chosen


def _check(chosen: Outside, config: Config) -> None:
    """What can't work is said before anything is made. Raises Stop("config-invalid")."""
    kafka, cassandra = chosen.kafka, chosen.cassandra
    if kafka.bootstrap:
        _given("kafka", {key: getattr(kafka, key) for key in ("topic", "ca", "certificate", "key")})
        if config.limits.message_bytes > KAFKA_MESSAGE_BYTES_MAX:
            text = (
                f"limits.message_bytes is at most {KAFKA_MESSAGE_BYTES_MAX} where the bus is Kafka"
            )
            raise Stop("config-invalid", text)
    if cassandra.hosts:
        keys = ("ca", "certificate", "key", "passwords")
        _given("cassandra", {key: getattr(cassandra, key) for key in keys})
    elif cassandra.heads:
        _given("cassandra", {"hosts": ""})


def _given(table: str, values: dict[str, str]) -> None:
    for key, value in values.items():
        if not value:
            raise Stop("config-invalid", f"{table}.{key} is missing: docs/configuration.md")


def open_bus(outside: Outside, folder: DataFolder, *, read_only: bool = False) -> OpenBus:
    """The bus. read_only: for an audit. Raises Stop, Unavailable."""
    if not outside.kafka.bootstrap:
        return SqliteBus(folder.bus, read_only=read_only)
    from infra.kafka_bus import KafkaBus  # noqa: PLC0415 - embedded, nobody waits for its import

    access = kafka_access(outside.kafka, read_only=read_only)
    return KafkaBus(access, outside.kafka.topic, read_only=read_only)


def kafka_access(at: KafkaConfig, *, read_only: bool = False) -> "KafkaAccess":
    """How Kafka is entered. read_only: by the auditor's certificate, where there is one."""
    from infra.kafka_client import KafkaAccess  # noqa: PLC0415 - as above

    certificate, key = at.certificate, at.key
    if read_only and at.audit_certificate:
        certificate, key = at.audit_certificate, at.audit_key
    return KafkaAccess(at.bootstrap, Path(at.ca), Path(certificate), Path(key))


def open_customer_db(
    outside: Outside,
    folder: DataFolder,
    *,
    read_only: bool = False,
    waiting: "WaitingRows | None" = None,
) -> OpenCustomerDb:
    """The customer database. Raises Stop, Unavailable.

    read_only: for an audit; waiting: rows that need not be read from Cassandra.
    """
    at, lanes = outside.cassandra, max(1, folder.partitions)
    if not at.hosts:
        return SqliteCustomerDb(folder.customer_db, read_only=read_only, lanes=lanes)
    from infra.cassandra_customer_db import CassandraCustomerDb  # noqa: PLC0415 - as above

    reader = _cassandra_as("reader", at)
    own = None if read_only else _cassandra_as("writer", at)
    return CassandraCustomerDb.connect(outside.scd, reader, own, lanes=lanes, waiting=waiting)


def open_heads(outside: Outside, folder: DataFolder, *, read_only: bool = False) -> HeadsRow:
    """The log's heads row. read_only: for whoever never commits. Raises Stop, Unavailable."""
    at = outside.cassandra
    if not at.heads:
        return SqliteHeads(
            folder.log if read_only else make_folder(folder.log), read_only=read_only
        )
    from infra.cassandra_heads import CassandraHeads  # noqa: PLC0415 - as above

    address = _cassandra_as("reader" if read_only else "sequencer", at)
    address = replace(address, keyspace=at.log_keyspace)
    return CassandraHeads.connect(outside.log, address, serial=not read_only)


def open_log(
    folder: DataFolder,
    clock: Clock,
    *,
    cassandra: CassandraConfig | None = None,
    read_only: bool = False,
) -> FileLog:
    """The log of a data folder, with its heads row where that is kept.

    cassandra: how this process enters it; None: as the last one that started. Raises Stop,
    Unavailable.
    """
    outside = read(folder)
    if cassandra is not None:
        outside = replace(outside, cassandra=cassandra)
    heads = open_heads(outside, folder, read_only=read_only)
    try:
        return FileLog(folder.log, clock, heads=heads, read_only=read_only)
    except BaseException:
        heads.close()
        raise


def _cassandra_as(role: str, at: CassandraConfig) -> "CassandraAddress":
    from infra.cassandra_session import CassandraAddress  # noqa: PLC0415 - as above

    return CassandraAddress(
        at.hosts.split(","),
        at.port,
        Path(at.ca),
        Path(at.certificate),
        Path(at.key),
        role,
        Path(at.passwords) / role,
        at.keyspace,
        at.datacenter or None,
    )
