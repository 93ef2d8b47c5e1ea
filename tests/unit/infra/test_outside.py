"""Which stores are servers, as the data folder keeps it."""

from pathlib import Path

from infra.config import Config, KafkaConfig
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
