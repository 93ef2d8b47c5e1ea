"""What the roles need of a Kafka and a Cassandra that are the operator's own: made once.

    python -m infra.deploy.own_servers --config ADMIN.toml --partitions N

ADMIN.toml has the tables [kafka] and [cassandra] of docs/configuration.md, either or both, but with
what an administrator enters with: a certificate that may make topics and give rights, and in the
folder of passwords a file `migrator`. Keyspaces, and Cassandra's roles migrator, writer, reader and
sequencer, are made beforehand (docs/deploy.md). May be repeated, as after an upgrade.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bal.errors import GridsealError, Stop
from infra.cassandra_schema import migrate
from infra.cassandra_session import CassandraAddress
from infra.config import CassandraConfig, Config, KafkaConfig, load
from infra.kafka_feed_topics import ensure_feed
from infra.kafka_topic import RAW, ensure_role_topics
from infra.outside import kafka_access
from infra.servers.connect import Identity, KafkaAt
from infra.servers.kafka_rights import ensure_rights
from infra.servers.place import Place

MIGRATOR = "migrator"


def topics_and_rights(at: KafkaConfig, partitions: int) -> str:
    """Make the topics between the roles and the consumers', and give each role its rights.

    The value of `kafka.topic` for the roles' configuration. Raises Stop, Unavailable.
    """
    access = kafka_access(at)
    epoch = ensure_role_topics(access, partitions)
    ensure_feed(access)
    own = Identity(Path(at.certificate), Path(at.key))
    nowhere = Place(Path(), "kafka")  # of certificates that this one gave out: none
    ensure_rights(KafkaAt(at.bootstrap, Path(at.ca), {"admin": own}, "", nowhere))
    return f"{RAW}.{epoch}"


def tables(at: CassandraConfig) -> None:
    """Make the tables, and give each of Cassandra's roles its rights on them.

    Raises Stop, Unavailable.
    """
    address = CassandraAddress(
        at.hosts.split(","),
        at.port,
        Path(at.ca),
        Path(at.certificate),
        Path(at.key),
        MIGRATOR,
        Path(at.passwords) / MIGRATOR,
        at.keyspace,
        at.datacenter or None,
    )
    migrate(address, "customer")


def make(config: Config, partitions: int) -> str:
    """All that the configuration names; `kafka.topic`, "" without Kafka. Raises Stop."""
    if not config.kafka.bootstrap and not config.cassandra.hosts:
        raise Stop("usage", "neither kafka.bootstrap nor cassandra.hosts is set: nothing to do")
    if config.cassandra.hosts:
        tables(config.cassandra)
    return topics_and_rights(config.kafka, partitions) if config.kafka.bootstrap else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is there; prints the line that the roles' configuration needs."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy.own_servers",
        description="Makes topics, rights and tables on a Kafka and a Cassandra of one's own.",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="see above")
    parser.add_argument("--partitions", type=int, default=4, metavar="N", help="%(default)s")
    given = parser.parse_args(arguments)
    try:
        topic = make(load(given.config), given.partitions)
    except (GridsealError, OSError) as error:
        sys.stderr.write(f"own_servers: {error}\n")
        return 1
    if topic:
        sys.stdout.write(f'kafka.topic = "{topic}"\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
