"""What compose's servers and roles enter each other with: made once, for them alone."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Stop
from infra.config import Config, HttpConfig, KafkaConfig, LimitsConfig, MosquittoConfig, load
from infra.consumers_local import admit, dismiss
from infra.data_folder import DataFolder
from infra.deploy import init, own_servers
from infra.files import make_folder
from infra.mosquitto_accounts import read_hashes
from infra.outside import choose
from infra.servers.connect import read
from infra.servers.kafka import ROLES as PRINCIPALS
from infra.servers.place import Place


def names_of(certificate: Path) -> list[str]:
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return extension.get_values_for_type(x509.DNSName)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_server_is_prepared_by_its_own_name(tmp_path: Path) -> None:
    init.prepare(tmp_path)
    servers = read(tmp_path)
    assert servers.kafka is not None
    assert servers.cassandra is not None
    assert servers.mosquitto is not None
    assert servers.kafka.bootstrap == "kafka:9093"
    assert (servers.cassandra.host, servers.cassandra.port) == ("cassandra", 9042)
    assert (servers.mosquitto.host, servers.mosquitto.port) == ("mosquitto", 8883)
    assert servers.chains["anvil"].url == "http://anvil:8545"
    assert "kafka" in names_of(servers.kafka.place.certificates / "broker.crt")
    assert "cassandra" in names_of(servers.cassandra.place.certificates / "node.crt")
    assert "mosquitto" in names_of(servers.mosquitto.place.certificates / "server.crt")
    kafka = (servers.kafka.place.folder / "server.properties").read_text()
    assert "listeners=SSL://kafka:9093,CONTROLLER://kafka:9094\n" in kafka
    identifier = (servers.kafka.place.folder / "cluster_id").read_text().strip()
    assert identifier == servers.kafka.cluster_id
    assert not identifier.startswith("-")
    cassandra = (servers.cassandra.place.folder / "cassandra.yaml").read_text()
    assert "\nlisten_address: cassandra\nrpc_address: cassandra\n" in cassandra
    broker = (servers.mosquitto.place.folder / "mosquitto.conf").read_text()
    assert "\nlistener 8883 mosquitto\n" in broker
    assert f"\npid_file {servers.mosquitto.place.folder / 'mosquitto.pid'}\n" in broker


def test_what_was_made_is_kept_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    init.prepare(tmp_path)
    before = everything(tmp_path)
    init.prepare(tmp_path)
    assert everything(tmp_path) == before
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0 or path.name == "ca.crt", path
    servers = read(tmp_path)
    assert servers.cassandra is not None
    assert servers.mosquitto is not None
    logins = [*servers.cassandra.roles.values(), *servers.mosquitto.users.values()]
    passwords = {login.password for login in logins}
    assert len(passwords) == len(logins)
    assert min(len(one) for one in passwords) >= 43  # 256 bits
    assert set(read_hashes(servers.mosquitto.password_file)) == set(servers.mosquitto.users)


def test_every_role_is_one_that_kafka_knows() -> None:
    assert set(init.ROLES) <= set(PRINCIPALS)


@given(
    st.builds(
        Config,
        kafka=st.builds(KafkaConfig, bootstrap=st.text(), topic=st.text()),
        limits=st.builds(LimitsConfig, depth=st.integers(1, 2**40)),
        http=st.builds(HttpConfig, issuer=st.text()),
        mosquitto=st.builds(MosquittoConfig, host=st.text(), accounts=st.text()),
    )
)
def test_a_written_configuration_is_the_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    file = tmp_path_factory.getbasetemp() / "written.toml"
    file.write_text(init.toml(config), encoding="utf-8")
    assert load(file) == config


@pytest.mark.parametrize("role", init.ROLES)
def test_the_files_of_a_role_are_where_its_container_has_them(role: str) -> None:
    at = Config(
        kafka=KafkaConfig(bootstrap="kafka:9093", topic="bal.raw.0123456789abcdef"),
        mosquitto=MosquittoConfig(host="mosquitto", accounts="/data/servers/mosquitto/passwd"),
    )
    at = replace(at, cassandra=replace(at.cassandra, hosts="cassandra", passwords="elsewhere"))
    found = init.settings(at, role, init.RUN, Place(Path("/data"), "mosquitto"))
    assert found.kafka.key == "/run/gridseal/kafka/key.pem"
    assert found.kafka.topic == at.kafka.topic
    assert found.cassandra.passwords == "/run/gridseal/cassandra/passwords"
    if role == "collector":
        assert found.mosquitto.accounts == "/data/servers/mosquitto/passwd"
        assert found.mosquitto.pid_file == "/data/servers/mosquitto/mosquitto.pid"
    else:
        assert found.mosquitto == MosquittoConfig()


def test_the_environment_is_read_strictly() -> None:
    config, partitions = init.wanted({})
    assert (config, partitions) == (Config(), 4)
    chain = {
        "GRIDSEAL_RPC_URL": "https://rpc.example",
        "GRIDSEAL_CONTRACT": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "GRIDSEAL_PARTITIONS": "8",
        "GRIDSEAL_ORIGIN": "example.org/log",
        "GRIDSEAL_ISSUER": "https://gridseal.example",
        "GRIDSEAL_MQTT_URL": "mqtts://meters.example:8883",
    }
    config, partitions = init.wanted(chain)
    assert (config.anchor.rpc_url, config.anchor.deploy, partitions) == (
        "https://rpc.example", False, 8,
    )  # fmt: skip
    assert (config.log.origin, config.http.issuer) == (
        "example.org/log",
        "https://gridseal.example",
    )
    assert config.mqtt.url == "mqtts://meters.example:8883"
    assert not config.cassandra.heads
    assert init.wanted({"GRIDSEAL_HEADS": "cassandra"})[0].cassandra.heads
    for wrong in (
        {"GRIDSEAL_RPC_URL": "https://rpc.example"},
        {"GRIDSEAL_PARTITIONS": "many"},
        {"GRIDSEAL_HEADS": "true"},
    ):
        with pytest.raises(Stop, match="usage"):
            init.wanted(wrong)


def test_who_gives_rights_at_kafka_is_told_where(tmp_path: Path) -> None:
    """Of a container that has no volume of Kafka's, and of a Kafka that is the operator's own."""
    init.prepare(tmp_path / "compose")
    Place(tmp_path / "compose", "kafka").folder.rename(tmp_path / "volume")
    at = make_folder(Place(tmp_path / "compose", "kafka").folder)
    for call in (
        lambda: admit(tmp_path / "compose", "acme", ["readings.read"], None, 0),
        lambda: dismiss(tmp_path / "compose", "acme"),
    ):
        with pytest.raises(Stop, match=r"administrator is not in .*docs/deploy\.md"):
            call()
    assert not list(at.iterdir())  # no authority of its own
    chart = DataFolder(make_folder(tmp_path / "chart"))
    files = dict.fromkeys(("ca", "certificate", "key"), "x.pem")
    own = KafkaConfig("k1.example:9093", topic="bal.raw.0123456789abcdef", **files)
    choose(chart, Config(kafka=own))
    with pytest.raises(Stop, match=r"servers-state: Kafka at k1\.example:9093 .*docs/kafka\.md"):
        admit(chart.root, "acme", ["readings.read"], None, 0)
    with pytest.raises(Stop, match="no servers were started"):
        admit(tmp_path / "neither", "acme", ["readings.read"], None, 0)


def test_commands_say_what_they_lack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "admin.toml"
    file.write_text("[kafka]\n")
    assert own_servers.main(["--config", str(file)]) == 1
    assert "nothing to do" in capsys.readouterr().err
    for who in (["--reader", "you", "--all-devices"], ["--no-reader", "you"]):
        assert own_servers.main(["--config", str(file), *who]) == 1
        assert "kafka.bootstrap is not set" in capsys.readouterr().err
    for wrong in (["--reader", "you"], ["--all-devices"], ["--from", "7"]):
        with pytest.raises(SystemExit, match="2"):
            own_servers.main(["--config", str(file), *wrong])
        assert "--reader needs" in capsys.readouterr().err
    common = ["--data", str(tmp_path / "data"), "--secrets", str(tmp_path)]
    assert init.main(["prepare", *common]) == 0
    (tmp_path / "data" / "servers" / "servers.json").write_text("{")
    assert init.main(["prepare", *common]) == 1
    assert "servers-state" in capsys.readouterr().err
