"""Which stores are servers, as the data folder keeps it."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bal.errors import Stop
from infra.config import CassandraConfig, Config, KafkaConfig, LimitsConfig
from infra.data_folder import OUTSIDE, DataFolder, Facts
from infra.heads_row import FIRST
from infra.outside import Outside, choose, kafka_access, open_heads, open_log, read
from infra.system_clock import SystemClock


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
        (Config(cassandra=CassandraConfig(heads=True)), "cassandra.hosts is missing"),
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


@pytest.mark.parametrize("heads", [False, True])
def test_the_heads_row_stays_where_it_was_at_first(tmp_path: Path, heads: bool) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    at = CassandraConfig("localhost", 9042, "ca.crt", "own.crt", "own.key", "passwords")
    chosen = choose(folder, Config(cassandra=replace(at, heads=heads)))
    assert len(chosen.log) == 16
    folder.write_facts(
        Facts("gridseal.invalid/0", "log", "intake", 1, "own", "0x0", "0x1", 10, "rules")
    )
    assert choose(folder, Config(cassandra=replace(at, heads=heads, port=9043))).log == chosen.log
    with pytest.raises(Stop, match="stores-differ"):
        choose(folder, Config(cassandra=replace(at, heads=not heads)))


def test_an_audit_makes_no_heads_row(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    with closing(open_heads(Outside(), folder, read_only=True)) as row:
        assert row.read() == FIRST
    assert not folder.log.exists()
    with closing(open_log(folder, SystemClock())) as log:
        assert log.heads() == FIRST
    assert (folder.log / "heads.db").exists()


def test_who_only_looks_enters_kafka_as_the_auditor() -> None:
    at = KafkaConfig("k:1", "ca", "own.crt", "own.key", "t")
    assert kafka_access(at, read_only=True).certificate == Path("own.crt")  # there is no other
    audited = replace(at, audit_certificate="audit.crt", audit_key="audit.key")
    assert kafka_access(audited).key == Path("own.key")
    access = kafka_access(audited, read_only=True)
    assert (access.certificate, access.key) == (Path("audit.crt"), Path("audit.key"))
