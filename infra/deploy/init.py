"""What docker-compose.yml runs once: it makes what servers and roles enter each other with.

    python -m infra.deploy.init prepare --data DIR --secrets DIR    before the servers start
    python -m infra.deploy.init settle --data DIR --secrets DIR     when they answer; then the roles

Both may be repeated: what is there is kept. `prepare` writes below DIR/servers what `gridseal
servers up` would, for servers that are hosts of their own. `settle` gives rights, makes tables,
topics, keys and contract, and puts into SECRETS/<role> what that role alone needs: certificates,
passwords and its gridseal.toml, for a container that has the folder at RUN.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from bal.errors import GridsealError, Stop, Unavailable
from infra.config import (
    AnchorConfig,
    CassandraConfig,
    Config,
    HttpConfig,
    LogConfig,
    MosquittoConfig,
    MqttConfig,
)
from infra.files import make_folder, replace_file
from infra.servers import mosquitto
from infra.servers.connect import Identity, Servers, read
from infra.servers.place import Entry, Place, read_state, write_state
from infra.servers.stack import RECIPES
from infra.system_clock import SystemClock

RUN = Path("/run/gridseal")
ROLES = ("collector", "worker", "sequencer", "storer", "anchorer", "gateway")
CHAIN_ID = 20260117  # as docker-compose.yml tells Anvil
# Each server by the name that its container has.
HOSTS: Mapping[str, Entry] = {
    "kafka": {"host": "kafka", "port": 9093, "controller_port": 9094},
    "cassandra": {
        "host": "cassandra", "port": 9042, "storage_port": 7000, "ssl_storage_port": 7001,
    },
    "mosquitto": {"host": "mosquitto", "port": 8883},
    "anvil": {"host": "anvil", "port": 8545, "chain_id": CHAIN_ID},
}  # fmt: skip
# Whose password of Cassandra a role is given.
PASSWORDS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(ROLES, ("reader",)),
    "storer": ("reader", "writer"),
}
# Further ones where the heads row is there. `settle`, who makes the first start, has all of them.
HEADS_PASSWORDS: Mapping[str, Sequence[str]] = {"sequencer": ("sequencer",)}
HEADS_AT = ("", "cassandra")  # of GRIDSEAL_HEADS; "": a file
_LOGINS = "passwords"
ANSWER_WITHIN_S = 300
_LOOK_S = 1.0


def prepare(data: Path, hosts: Mapping[str, Entry] = HOSTS) -> None:
    """Certificates, passwords and configuration of every server, below `data`/servers."""
    make_folder(make_folder(data) / "servers")
    state = read_state(data)
    for name, host in hosts.items():
        place, entry = Place(data, name), {**state.get(name, {}), **host}
        make_folder(place.folder)
        RECIPES[name].prepare(place, entry)
        entry.update(files=place.files)
        if name == "kafka":  # what its data folder is formatted with
            replace_file(place.folder / "cluster_id", f"{entry['cluster_id']}\n".encode())
        state[name] = entry
        write_state(data, state)


def settle(
    data: Path, secrets: Path, config: Config, *, partitions: int, within_s: float = ANSWER_WITHIN_S
) -> None:
    """Rights, keyspaces, tables, topics, keys and contract; then what each role is given.

    Raises Unavailable where a server does not answer in time, and Stop.
    """
    from infra.profile_local import local, role_topics  # noqa: PLC0415 - `prepare` needs less
    from infra.roles.making import Layout, begin  # noqa: PLC0415

    def complete(config: Config, layout: Layout, _first: object) -> Config:
        return local(data, config, topic=layout.topic)

    state = read_state(data)
    for name in ("kafka", "cassandra", "mosquitto"):
        _wait(name, Place(data, name), state[name], within_s)
        RECIPES[name].settle(Place(data, name), state[name])
    made = begin(
        data,
        config,
        SystemClock(),
        partitions=partitions,
        complete=complete,
        draw_epoch=partial(role_topics, data),
    )
    servers = read(data)
    for role in ROLES:
        folder = make_folder(secrets / role)
        _hand_out(servers, role, folder, heads=made.config.cassandra.heads)
        found = settings(made.config, role, RUN, Place(data, mosquitto.NAME))
        replace_file(folder / "gridseal.toml", toml(found).encode())


def _wait(name: str, place: Place, entry: Entry, within_s: float) -> None:
    """Until it proves to be the one that was prepared."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            RECIPES[name].prove(place, entry)
        except (Unavailable, OSError) as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"{name} does not answer: {error}") from error
            time.sleep(_LOOK_S)
        else:
            return


def _hand_out(servers: Servers, role: str, folder: Path, *, heads: bool) -> None:
    """Copy what a role enters the servers with; nothing that another one enters with."""
    kafka, cassandra, broker = servers.kafka, servers.cassandra, servers.mosquitto
    assert kafka is not None
    assert cassandra is not None
    assert broker is not None
    given = [
        ("kafka", kafka.ca, kafka.principals[role]),
        ("cassandra", cassandra.ca, cassandra.client),
        *([("mosquitto", broker.ca, broker.client)] if role == "collector" else []),
    ]
    for name, authority, own in given:
        for kind, path in (("ca", authority), *_files(own)):
            _copy(path, make_folder(folder / name) / f"{kind}.pem")
    users = (*PASSWORDS[role], *(HEADS_PASSWORDS.get(role, ()) if heads else ()))
    logins = {"cassandra": [cassandra.roles[one].password_file for one in users]}
    if role == "collector":
        logins["mosquitto"] = [broker.users[one].password_file for one in ("collector", "receipts")]
    for name, paths in logins.items():
        for path in paths:
            _copy(path, make_folder(folder / name / _LOGINS) / path.name)


def _files(own: Identity) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return ("certificate", own.certificate), ("key", own.key)


def _copy(path: Path, to: Path) -> None:
    replace_file(to, path.read_bytes())


def settings(config: Config, role: str, run: Path, broker: Place) -> Config:
    """The configuration of one role, whose files are in `run`; `broker`: Mosquitto's folder."""

    def at(name: str) -> dict[str, Any]:
        return {
            "ca": str(run / name / "ca.pem"),
            "certificate": str(run / name / "certificate.pem"),
            "key": str(run / name / "key.pem"),
        }

    passwords = str(run / "cassandra" / _LOGINS)
    tables = replace(
        config,
        kafka=replace(config.kafka, **at("kafka"), audit_certificate="", audit_key=""),
        cassandra=replace(config.cassandra, **at("cassandra"), passwords=passwords),
        mosquitto=MosquittoConfig(),
    )
    if role != "collector":
        return tables
    entering = replace(
        config.mosquitto,
        **at("mosquitto"),
        passwords=str(run / "mosquitto" / _LOGINS),
        pid_file=str(broker.folder / mosquitto.PID_FILE),
    )
    return replace(tables, mosquitto=entering)


def toml(config: Config) -> str:
    """A configuration as the file that `infra.config.load` reads it from; defaults are left out."""
    lines: list[str] = []
    for table in fields(config):
        values = asdict(getattr(config, table.name))
        default = asdict(getattr(Config(), table.name))
        changed = {key: value for key, value in values.items() if value != default[key]}
        if changed:
            named = (f"{key} = {_toml_value(value)}" for key, value in changed.items())
            lines += [f"[{table.name}]", *named, ""]
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    """JSON's whole numbers, booleans and strings are TOML's, but for DEL (TOML 1.0, String)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def wanted(environment: Mapping[str, str]) -> tuple[Config, int]:
    """What .env chose: the configuration to begin with, and the number of partitions.

    Raises Stop("usage").
    """
    url, contract = (
        environment.get("GRIDSEAL_RPC_URL", ""),
        environment.get("GRIDSEAL_CONTRACT", ""),
    )
    if bool(url) != bool(contract):
        raise Stop("usage", "GRIDSEAL_RPC_URL and GRIDSEAL_CONTRACT belong together")
    number = environment.get("GRIDSEAL_PARTITIONS", "4")
    if not number.isdecimal():
        raise Stop("usage", f"GRIDSEAL_PARTITIONS is a number, not {number}")
    heads = environment.get("GRIDSEAL_HEADS", "")
    if heads not in HEADS_AT:
        raise Stop("usage", f"GRIDSEAL_HEADS is empty or cassandra, not {heads}")
    config = Config(
        anchor=AnchorConfig(rpc_url=url, contract=contract),
        cassandra=CassandraConfig(heads=bool(heads)),
        log=LogConfig(origin=environment.get("GRIDSEAL_ORIGIN", "")),
        http=HttpConfig(issuer=environment.get("GRIDSEAL_ISSUER", "")),
        mqtt=MqttConfig(url=environment.get("GRIDSEAL_MQTT_URL", "")),
    )
    return config, int(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is done."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy.init", description=__doc__)
    parser.add_argument("what", choices=("prepare", "settle"))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    parser.add_argument("--secrets", type=Path, required=True, metavar="DIR", help="of the roles")
    given = parser.parse_args(arguments)
    try:
        if given.what == "prepare":
            prepare(given.data)
        else:
            config, partitions = wanted(os.environ)
            settle(given.data, given.secrets, config, partitions=partitions)
    except (GridsealError, OSError) as error:
        sys.stderr.write(f"{given.what}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
