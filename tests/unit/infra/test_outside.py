"""Which stores are servers, as the data folder keeps it."""

from pathlib import Path

import pytest

from bal.errors import Stop
from infra.config import CassandraConfig, Config, KafkaConfig, LimitsConfig
from infra.data_folder import OUTSIDE, DataFolder
from infra.outside import Outside, choose, read


def test_a_first_start_that_came_no_further_binds_nobody(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    at = KafkaConfig("localhost:9092", "ca.crt", "own.crt", "own.key", "bal.raw.0123456789abcdef")
    chosen = choose(folder, Config(kafka=at))
    assert read(folder) == chosen
    assert (folder.root / OUTSIDE).stat().st_mode & 0o777 == 0o600
    choose(folder, Config())  # nothing begun: the next one may choose otherwise
    assert read(folder) == Outside()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (Config(kafka=KafkaConfig("localhost:9092")), "kafka.topic is missing"),
        (Config(cassandra=CassandraConfig("localhost")), "cassandra.ca is missing"),
        (
            Config(
                kafka=KafkaConfig("localhost:9092", "a", "b", "c", "bal.raw.0123456789abcdef"),
                limits=LimitsConfig(message_bytes=9 * 1024 * 1024),
            ),
            "limits.message_bytes is at most",
        ),
    ],
)
def test_what_cant_work_is_said_before_anything_is_made(
    tmp_path: Path, config: Config, says: str
) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    with pytest.raises(Stop, match=f"config-invalid.*{says}"):
        choose(folder, config)
    assert not (folder.root / OUTSIDE).exists()
