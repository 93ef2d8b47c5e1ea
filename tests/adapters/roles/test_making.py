"""The first start of a folder of roles, by several processes at once, and what binds later ones."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bal.errors import Stop
from infra.certificates import create_ca, load_ca
from infra.config import CassandraConfig, Config, KafkaConfig, LogConfig
from infra.data_copy import copy_data
from infra.data_folder import DataFolder
from infra.outside import read
from infra.roles.making import begin, layout_of, note_ready
from infra.roles.sqlite_channels import SqliteChannels
from infra.system_clock import SystemClock

CLOCK = SystemClock()
TOGETHER = 4
REPOSITORY = Path(__file__).resolve().parents[3]


BEGIN = """
import sys
from pathlib import Path
from infra.config import Config
from infra.roles.making import begin
from infra.system_clock import SystemClock
made = begin(Path(sys.argv[1]), Config(), SystemClock(), partitions=3)
print(made.facts.origin, made.layout.epoch, made.layout.partitions)
"""


def test_one_of_several_makes_all_the_others_find_it(tmp_path: Path) -> None:
    root = tmp_path / "data"
    command = [sys.executable, "-c", BEGIN, str(root)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(TOGETHER)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    found = {(origin, epoch, int(count)) for origin, epoch, count in map(str.split, said)}
    assert len(found) == 1
    origin, epoch, partitions = found.pop()
    folder = DataFolder(root)
    facts = folder.facts()
    assert facts is not None
    assert (facts.origin, partitions) == (origin, 3)
    channels = SqliteChannels.open(folder.bus, epoch=epoch)
    assert channels.raw.partitions == 3
    channels.close()
    for name in ("ca.key", "ca.crt", "intake.key", "log.key", "token.jwks"):
        assert (folder.keys / name).exists()


def test_a_first_start_that_was_cut_off_within_the_ca(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    create_ca(folder.keys, CLOCK)
    (folder.keys / "ca.crt").unlink()  # it is written behind its key
    begin(tmp_path, Config(), CLOCK).folder.unlock()
    assert load_ca(folder.keys)


def test_what_a_later_start_may_not_change(tmp_path: Path) -> None:
    root = tmp_path / "data"
    made = begin(root, Config(), CLOCK)
    made.folder.unlock()
    assert made.layout.partitions == 4
    again = begin(root, Config(), CLOCK, partitions=4)
    assert (again.layout, again.facts) == (made.layout, made.facts)
    again.folder.unlock()
    for config, partitions, code in (
        (Config(), 5, "stores-differ"),
        (Config(log=LogConfig("other.example/log")), None, "origin-differs"),
        (Config(kafka=KafkaConfig("k:9093", "ca", "crt", "key")), None, "stores-differ"),
        (replace(Config(), anchor=replace(Config().anchor, contract="0x" + "1" * 40)), None,
         "config-invalid"),
    ):  # fmt: skip
        with pytest.raises(Stop) as caught:
            begin(root, config, CLOCK, partitions=partitions)
        assert caught.value.code == code
    copy_data(root, tmp_path / "copy")  # of a log that is empty yet
    made = begin(tmp_path / "copy", Config(), CLOCK)
    made.folder.unlock()
    assert (made.layout, made.facts) == (again.layout, again.facts)


@pytest.mark.parametrize("partitions", [-1, 257])
def test_so_many_partitions_can_not_be(tmp_path: Path, partitions: int) -> None:
    with pytest.raises(Stop, match="--partitions is 1 to 256"):
        begin(tmp_path / "data", Config(), CLOCK, partitions=partitions)


@pytest.mark.parametrize("text", ["{", "{}", '{"epoch": "0", "partitions": "x", "v": "1"}'])
def test_a_damaged_layout_stops(tmp_path: Path, text: str) -> None:
    (tmp_path / "roles.json").write_text(text)
    with pytest.raises(Stop, match="store-damaged"):
        layout_of(DataFolder(tmp_path))


def test_a_folder_of_up_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    made = begin(root, Config(), CLOCK)
    made.folder.unlock()
    (root / "roles.json").unlink()
    with pytest.raises(Stop, match="stores-differ"):
        begin(root, Config(), CLOCK)


def test_topics_of_kafka_are_named_by_their_epoch(tmp_path: Path) -> None:
    kafka = KafkaConfig("k:9093", "ca", "crt", "key", "readings")
    with pytest.raises(Stop, match=r"kafka\.topic is bal\.raw\.<epoch>"):
        begin(tmp_path / "data", Config(kafka=kafka), CLOCK)


def test_what_each_process_tells_of_itself_is_kept(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    note_ready(folder, http="https://a", depth=0)
    note_ready(folder, mqtt="mqtts://b", rpc="")
    kept = json.loads((tmp_path / "ready.json").read_text())
    assert kept == {"http": "https://a", "depth": 0, "mqtt": "mqtts://b"}


def test_each_process_enters_the_servers_as_its_own_configuration_says(tmp_path: Path) -> None:
    """Not by the files that another role, which began later, left in `outside.json`."""

    def files(role: str) -> CassandraConfig:
        folder = f"/secrets/{role}"
        return CassandraConfig(
            "db", 9042, f"{folder}/ca", f"{folder}/crt", f"{folder}/key", f"{folder}/passwords"
        )

    root = tmp_path / "data"
    made = {
        role: begin(root, replace(Config(), cassandra=files(role)), CLOCK)
        for role in ("storer", "gateway")
    }
    for role, one in made.items():
        assert one.outside.cassandra == files(role)
    assert read(DataFolder(root)).cassandra == files("gateway")
    assert made["storer"].outside.scd == made["gateway"].outside.scd != ""
