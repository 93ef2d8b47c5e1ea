"""The compose file: of the specification's form, hardened, and every setting known to the code."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from infra import cli
from infra.deploy import init
from infra.servers.place import Place
from tests.adapters.deploy.deploy_tools import DEPLOY, REPOSITORY, ROLES, program, run

FILE = DEPLOY / "docker-compose.yml"
OURS = ("prepare", "settle", "backup", *ROLES)
SERVERS = ("kafka", "cassandra", "mosquitto", "anvil")


def load(file: Path = FILE, **environment: str) -> dict[str, Any]:
    """As Compose's own library reads it: schema, interpolation, consistency."""
    done = run([program("compose"), file], file.parent, **environment)
    if done.returncode:
        raise ValueError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = load(COMPOSE_PROFILES="anvil,backup")["services"]
    return found


def test_it_is_of_the_specifications_form(tmp_path: Path, services: dict[str, Any]) -> None:
    assert set(services) == {*OURS, *SERVERS}
    text = FILE.read_text()
    for old, new in (
        ("read_only: true", "read_onyl: true"),  # a word that is none
        ("networks: [inside]", "networks: [outsied]"),  # a network that is none
        ("source: worker,", "source: wroker,"),  # a volume that is none
        ("service:mosquitto", "service:mosqito"),
    ):
        file = tmp_path / "docker-compose.yml"
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=r"read_onyl|outsied|wroker|mosqito"):
            load(file)


def test_a_chain_of_ones_own_leaves_anvil_out() -> None:
    found = load(
        GRIDSEAL_RPC_URL="https://rpc.example",
        GRIDSEAL_CONTRACT="0x5FbDB2315678afecb367f032d93F642f64180aa3",
        COMPOSE_PROFILES="",
    )
    assert found["services"]["settle"]["environment"]["GRIDSEAL_RPC_URL"] == "https://rpc.example"
    assert "anvil" not in found["services"]


def test_images_may_be_pinned_by_digest() -> None:
    """Every one, without a change to the file."""
    digest = "sha256:" + 64 * "a"
    names = set(re.findall(r"GRIDSEAL_[A-Z]*_?IMAGE", FILE.read_text()))
    given = {name: f"registry.example/{name.lower()}@{digest}" for name in names}
    found = load(**given, COMPOSE_PROFILES="anvil,backup")["services"]
    assert {one["image"] for one in found.values()} | {
        found["prepare"]["build"]["args"]["PYTHON_IMAGE"]
    } == set(given.values())


def test_a_backup_is_made_when_it_is_asked_for(services: dict[str, Any]) -> None:
    assert "backup" not in load()["services"]
    backup = services["backup"]
    given = cli._parser().parse_args(backup["command"])
    assert backup["command"][0] == "backup"
    assert (given.data, given.to, given.keep) == (Path("/data"), Path("/backups"), 7)
    mounts = {one["source"]: one["target"] for one in backup["volumes"]}
    assert mounts == {"data": "/data", "worker": str(init.RUN), "backups": "/backups"}
    assert set(backup["networks"]) == {"inside"}


def test_every_container_is_hardened_and_limited(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["logging"]["options"]["max-size"], name
        image = service["image"]
        assert re.search(r":v?\d+\.\d+\.\d+$", image), f"{image}: say which version"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} is reached from elsewhere by default"
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume", f"{name} sees the host's {mount['source']}"


def test_only_who_talks_to_outside_has_a_way_out(services: dict[str, Any]) -> None:
    out = {name for name, one in services.items() if "outside" in one.get("networks", {})}
    assert out == {"settle", "mosquitto", "collector", "anchorer", "gateway"}
    assert services["prepare"]["network_mode"] == "none"


def test_it_starts_in_order_and_is_asked_how_it_is(services: dict[str, Any]) -> None:
    def waits_for(name: str) -> dict[str, str]:
        return {on: how["condition"] for on, how in services[name].get("depends_on", {}).items()}

    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits_for("prepare") == {}
    for name in SERVERS:
        assert waits_for(name) == {"prepare": done}
        assert services[name]["healthcheck"]["test"]
    assert waits_for("settle") == {"prepare": done, **dict.fromkeys(SERVERS, healthy)}
    for role in ROLES:
        assert waits_for(role)["settle"] == done
        # the image's own check, at the address that the role is given
        assert "healthcheck" not in services[role]
        assert services[role]["environment"] == {"GRIDSEAL_STATUS": "0.0.0.0:9464"}
        assert "--status=0.0.0.0:9464" in services[role]["command"]


def test_every_command_is_one_of_ours(services: dict[str, Any]) -> None:
    parser = cli._parser()
    for role in ROLES:
        given = parser.parse_args(services[role]["command"])
        assert (given.role, given.data) == (role, Path("/data"))
        assert given.config == init.RUN / "gridseal.toml"
    for name in ("prepare", "settle"):
        assert services[name]["entrypoint"][-2:] == ["-m", "infra.deploy.init"]
        assert services[name]["command"][0] == name
    with pytest.raises(SystemExit):
        parser.parse_args([*services["worker"]["command"], "--statsu=1"])


def test_every_variable_is_read_by_something(services: dict[str, Any]) -> None:
    file, listed = FILE.read_text(), (DEPLOY / ".env").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", file))
    assert used | {"COMPOSE_PROFILES"} == set(re.findall(r"^([A-Z_]+)=", listed, re.MULTILINE))
    code = "".join(path.read_text() for path in DEPLOY.glob("*.py"))
    for name in OURS:
        for variable in services[name].get("environment", {}):
            assert f'"{variable}"' in code, f"{name}: {variable} is read by nobody"


def test_a_role_sees_its_own_secrets_and_no_others(services: dict[str, Any]) -> None:
    for role in ROLES:
        mounts = {one["source"]: one for one in services[role]["volumes"]}
        own = mounts.pop(role)
        assert (own["target"], own["read_only"]) == (str(init.RUN), True)
        assert mounts.pop("data")["target"] == "/data"
        more = {"collector": {"mosquitto"}, "gateway": {"clients"}}.get(role, set())
        assert set(mounts) == more
    for name in SERVERS:
        (mount,) = services[name]["volumes"]
        assert mount["source"] == name
        assert Path(mount["target"]) == Place(Path("/data"), name).folder


def test_consumers_are_let_in_where_kafkas_administrator_is(services: dict[str, Any]) -> None:
    """As docs/deploy.md says it: `settle` has the certificate, and sees Kafka and the data."""
    page = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
    given = re.findall(r"--entrypoint gridseal settle (client .*)", page)
    assert [line.split()[:2] for line in given] == [["client", "add"], ["client", "revoke"]]
    for line in given:
        assert cli._parser().parse_args(shlex.split(line)).data == Path("/data")
    mounts = {one["source"]: Path(one["target"]) for one in services["settle"]["volumes"]}
    place = Place(Path("/data"), "kafka")
    assert (mounts["data"], mounts["kafka"]) == (place.data, place.folder)
    assert "inside" in services["settle"]["networks"]
    folders = re.findall(r"grid cp kafka:(\S+)/\$file", page)
    assert folders == [str(place.certificates)]


def test_one_container_gives_a_volume_its_owner(services: dict[str, Any]) -> None:
    """Whose image has the folder with that owner; what others have there is not copied."""
    for name, service in services.items():
        for mount in service.get("volumes", []):
            copies = not mount.get("volume", {}).get("nocopy", False)
            assert copies == (name in {"prepare", "settle"}), (name, mount["source"])
    made = (DEPLOY / "Dockerfile").read_text().split("install --directory", 1)[1].split("COPY")[0]
    for mount in services["prepare"]["volumes"]:
        assert f" {mount['target']}" in made


def test_servers_are_where_they_are_looked_for(services: dict[str, Any]) -> None:
    for name, entry in init.HOSTS.items():
        assert services[name]["hostname"] == entry["host"] == name
        ports = {str(port["target"]) for port in services[name].get("ports", [])}
        assert str(entry["port"]) in ports | set(services[name].get("expose", []))
    assert f"--chain-id={init.CHAIN_ID}" in services["anvil"]["command"]
    state = Place(Path("/data"), "anvil").folder / "data" / "state.json"
    assert f"--state={state}" in services["anvil"]["command"]
    folder = Place(Path("/data"), "cassandra").folder
    options = services["cassandra"]["environment"]["JVM_EXTRA_OPTS"]
    assert f"-Dcassandra.config={(folder / 'cassandra.yaml').as_uri()}" in options
    folder = Place(Path("/data"), "mosquitto").folder
    assert services["mosquitto"]["entrypoint"][-1] == str(folder / "mosquitto.conf")
    assert services["collector"]["pid"] == "service:mosquitto"
