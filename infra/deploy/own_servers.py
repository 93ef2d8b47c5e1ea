"""What the roles need of a Kafka and a Cassandra that are the operator's own: made once.

    own="python -m infra.deploy.own_servers --config ADMIN.toml"
    $own --partitions N
    $own --reader CLIENT_ID (--all-devices | --from N)
    $own --no-reader CLIENT_ID

ADMIN.toml has the tables [kafka] and [cassandra] of docs/configuration.md, either or both, but with
what an administrator enters with: a certificate that may make topics and give rights, and in the
folder of passwords a file `migrator`. Keyspaces, and Cassandra's roles migrator, writer and reader,
with `cassandra.heads` sequencer, too, are made beforehand (docs/deploy.md). May be repeated, as
after an upgrade. The second and the third are for consumers of Kafka (docs/kafka.md).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bal.errors import GridsealError, Stop
from bal.provide.policy import ClientInfo
from infra.cassandra_schema import migrate
from infra.cassandra_session import CassandraAddress
from infra.config import CassandraConfig, Config, KafkaConfig, load
from infra.consumers_local import principal_of
from infra.kafka_client import KafkaAccess
from infra.kafka_feed_topics import ensure_feed
from infra.kafka_grants import put_reader, remove_reader
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

    With `cassandra.heads` the table of the heads row, too. Raises Stop, Unavailable.
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
    if at.heads:
        migrate(replace(address, keyspace=at.log_keyspace), "log")


def make(config: Config, partitions: int) -> str:
    """All that the configuration names; `kafka.topic`, "" without Kafka. Raises Stop."""
    if not config.kafka.bootstrap and not config.cassandra.hosts:
        raise Stop("usage", "neither kafka.bootstrap nor cassandra.hosts is set: nothing to do")
    if config.cassandra.hosts:
        tables(config.cassandra)
    return topics_and_rights(config.kafka, partitions) if config.kafka.bootstrap else ""


def let_read(at: KafkaConfig, client_id: str, since: int | None) -> dict[str, object]:
    """Let the holder of a certificate whose CN is the `principal` of what returns read `topics`.

    since: the log entry that a topic of the client's own begins with, on which it gets the rows of
    its groups; None: it may read every device. Raises Stop, Unavailable.
    """
    groups = None if since is None else frozenset({client_id})  # which they are the platform knows
    client = ClientInfo(client_id, b"", frozenset({"readings.read"}), groups)
    principal = principal_of(client_id)
    topics = put_reader(_access(at), principal, client, size=since or 0)
    return {"principal": principal, "topics": sorted(topics)}


def let_read_no_more(at: KafkaConfig, client_id: str) -> None:
    """Take a client's rights at Kafka, and its topic with what is on it. Raises as `let_read`."""
    remove_reader(_access(at), principal_of(client_id), client_id)


def _access(at: KafkaConfig) -> KafkaAccess:
    if not at.bootstrap:
        raise Stop("usage", "kafka.bootstrap is not set: there is no Kafka to give rights at")
    return kafka_access(at)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is there; prints what the roles' configuration, or a consumer, needs."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy.own_servers",
        description="Makes topics, rights and tables on a Kafka and a Cassandra of one's own.",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="see above")
    parser.add_argument("--partitions", type=int, default=4, metavar="N", help="%(default)s")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--reader", metavar="CLIENT_ID", help="let a client read from Kafka")
    who.add_argument("--no-reader", metavar="CLIENT_ID", help="take that from it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--all-devices", action="store_true", help="it reads every device")
    text = "it reads its groups: a topic of its own, which begins with this entry of the log"
    what.add_argument("--from", dest="since", type=int, metavar="N", help=text)
    given = parser.parse_args(arguments)
    if (given.reader is not None) != (given.all_devices or given.since is not None):
        parser.error("--reader needs --all-devices or --from, and they need it")
    try:
        config, said = load(given.config), ""
        if given.reader is not None:
            said = json.dumps(let_read(config.kafka, given.reader, given.since))
        elif given.no_reader is not None:
            let_read_no_more(config.kafka, given.no_reader)
        elif topic := make(config, given.partitions):
            said = f'kafka.topic = "{topic}"'
    except (GridsealError, OSError) as error:
        sys.stderr.write(f"own_servers: {error}\n")
        return 1
    if said:
        sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
