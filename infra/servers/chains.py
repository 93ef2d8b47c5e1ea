"""Anvil and Ganache: Ethereum nodes from npm, on loopback, for trying things and for tests.

They have no authentication: whoever is on this machine may use them and their funded accounts.
"""

import json
import platform
import secrets
import shutil
from pathlib import Path

import requests

from bal.errors import Stop, Unavailable
from infra.files import make_folder
from infra.servers.connect import chain_at
from infra.servers.place import LOOPBACK, Entry, Place

NAMES = ("anvil", "ganache")
VERSIONS = {"anvil": "1.7.1", "ganache": "7.9.2"}
PORTS = ("port",)
STATE = "state.json"  # of Anvil
START_TIMEOUT_S = 30
STOP_GRACE_S = 20
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_ANSWER_TIMEOUT_S = 5


def prepare(place: Place, entry: Entry) -> None:
    """A folder, and a chain id of its own: no other node on this machine answers with it.

    Raises Stop("servers-start") where Anvil can't begin with what it left.
    """
    _check_state(make_folder(place.folder / "data") / STATE)
    entry.setdefault("chain_id", 1_000_000_000 + secrets.randbelow(1_000_000_000))


def _check_state(state: Path) -> None:
    """Anvil writes its state in place, so that a kill may leave a part of it."""
    try:
        json.loads(state.read_bytes())
    except FileNotFoundError:
        return
    except ValueError as error:
        text = f"a kill cut {state} off while Anvil wrote it: remove it, and a new chain begins"
        raise Stop("servers-start", f"{text}, without what was anchored on this one") from error


def command(place: Place, entry: Entry, modules: Path) -> list[str]:
    """The command line of either. Raises Stop("servers-missing")."""
    if place.name == "anvil":
        return _anvil(place, entry, modules)
    return _ganache(place, entry, modules)


def _anvil(place: Place, entry: Entry, modules: Path) -> list[str]:
    machine = _MACHINES.get(platform.machine(), platform.machine())
    binary = modules / f"@foundry-rs/anvil-linux-{machine}" / "bin" / "anvil"
    own = shutil.which("anvil")
    if not binary.exists() and own is None:
        text = f"npm has no Anvil for this machine (linux-{machine})"
        raise Stop("servers-missing", f"{text}: install Foundry, or leave it out with --only")
    data = place.folder / "data"
    return [
        str(binary) if binary.exists() else str(own),
        "--host", LOOPBACK, "--port", str(entry["port"]), "--silent",
        "--chain-id", str(entry["chain_id"]),
        "--state", str(data / STATE), "--state-interval", "1", "--prune-history",
        "--cache-path", str(data / "cache"),
    ]  # fmt: skip


def _ganache(place: Place, entry: Entry, modules: Path) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise Stop("servers-missing", "Ganache needs Node.js 18 or newer: install it")
    return [
        node, str(modules / "ganache" / "dist" / "node" / "cli.js"),
        "--server.host", LOOPBACK, "--server.port", str(entry["port"]),
        "--chain.chainId", str(entry["chain_id"]), "--chain.networkId", str(entry["chain_id"]),
        "--wallet.deterministic", "--logging.quiet",
        "--database.dbPath", str(place.folder / "data"),
    ]  # fmt: skip


def prove(place: Place, entry: Entry) -> None:
    """Return if it answers with our chain's id. Raises Unavailable."""
    del place
    at = chain_at(entry)
    try:
        answer = requests.post(
            at.url,
            json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
            timeout=_ANSWER_TIMEOUT_S,
        )
        found = int(answer.json()["result"], 16)
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"it gives no chain id: {error}") from error
    if found != at.chain_id:
        raise Unavailable(f"another chain ({found}) answers there")
