"""Taking over where members are Kafka's, and where the heads row is Cassandra's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra_support import address, configured
from kafka_support import access, delete_role_topics, make_channels, note
from takeover_kit import Ground, overtaken

from infra.cassandra_schema import LOG, migrate
from infra.config import Config, load
from infra.heads_row import FIRST, SqliteHeads
from infra.roles.making import begin
from infra.servers.connect import CassandraAt, KafkaAt
from infra.system_clock import SystemClock

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kafka")]


@pytest.fixture
def on_kafka(kafka_server: KafkaAt, tmp_path: Path) -> Iterator[Ground]:
    """Topics and members are Kafka's, all else files."""
    at = access(kafka_server)
    note(tmp_path, at)
    begin(
        tmp_path / "data", Config(), SystemClock(), partitions=2,
        draw_epoch=lambda partitions: make_channels(tmp_path, at, partitions),
    ).folder.unlock()  # fmt: skip
    ground = Ground(tmp_path / "data")
    yield ground
    ground.close()
    delete_role_topics(tmp_path, at)


def test_members_of_kafka(on_kafka: Ground) -> None:
    overtaken(on_kafka, "integrate")


@pytest.fixture
def on_cassandra(cassandra_server: CassandraAt, tmp_path: Path) -> Iterator[Ground]:
    """Heads row and rows are Cassandra's, all else files."""
    migrate(address(cassandra_server, "migrator"), "customer")
    migrate(address(cassandra_server, "migrator", LOG), "log")
    config = tmp_path / "gridseal.toml"
    config.write_text(configured(cassandra_server))
    begin(tmp_path / "data", load(config), SystemClock(), partitions=2).folder.unlock()
    ground = Ground(tmp_path / "data", config)
    yield ground
    ground.close()


def test_heads_row_of_cassandra(on_cassandra: Ground) -> None:
    overtaken(on_cassandra, "swap")
    row = SqliteHeads(on_cassandra.data / "log", read_only=True)
    assert row.read() == FIRST
    row.close()
