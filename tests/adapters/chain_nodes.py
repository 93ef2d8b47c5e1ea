"""Anvil and Ganache of a test's own: started on a free port with a chain id of their own, broken at
will (killed, held, started again), and stopped behind the test by their process ids.

A `Node` answers `web3()` and `request(...)` as the chain in the process does, so what stands on one
stands on the other.
"""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from web3 import Web3

from bal.errors import GridsealError
from infra.chain_json import RpcError
from infra.rpc_provider import remote_web3
from infra.servers import chains, fetch, process
from infra.servers.connect import ChainAt, chain_at
from infra.servers.place import Entry, Place, kept_ports

CACHE = Path(__file__).resolve().parents[2] / ".cache"
ETHER = 10**18
FUNDS_WEI = 1_000 * ETHER
TIMEOUT_S = 20
# A test that is killed has no time to stop its node: prctl(PR_SET_PDEATHSIG, SIGKILL).
ENDS_WITH_US = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Node:
    """One Ethereum node as a child process."""

    def __init__(self, name: str, folder: Path, *flags: str, history: bool = False) -> None:
        """Start it. name: anvil or ganache; flags: more of its own options; history: keep states.

        Skips the test, aloud, on a machine that can't have it.
        """
        self.name = name
        self._place = Place(folder.resolve(), name)
        self._flags = flags
        self._history = history
        self._session = requests.Session()
        self._child: process.Child | None = None
        try:
            store = CACHE / "servers"
            store.mkdir(parents=True, exist_ok=True)
            self._modules = fetch.node_modules(store, lambda *_: None)
        except GridsealError as error:
            pytest.skip(f"the server {name} can't be had: {error}")
        self._place.folder.mkdir(parents=True, exist_ok=True)
        self._entry: Entry = {}
        chains.prepare(self._place, self._entry)
        self._entry |= kept_ports(self._entry, chains.PORTS, set())
        self.start()

    @property
    def at(self) -> ChainAt:
        """Where it is, and the chain id that no other node has."""
        return chain_at(self._entry)

    def start(self) -> None:
        """Start it, again on the same port and data; returns when it has proved to be ours."""
        command = [*chains.command(self._place, self._entry, self._modules), *self._flags]
        if self._history:  # what a reorg goes back to; written at the end only, it grows
            command.remove("--prune-history")
            at = command.index("--state-interval")
            del command[at : at + 2]
        command = [sys.executable, "-c", ENDS_WITH_US, *command]
        self._child = process.spawn(self._place.folder, self._place.log, command)
        process.wait_ready(
            self._child,
            lambda: chains.prove(self._place, self._entry),
            self._place.log,
            chains.START_TIMEOUT_S,
        )

    def stop(self) -> None:
        """As `gridseal servers down` does."""
        if self._child is not None:
            process.stop(self._child, chains.STOP_GRACE_S)
        self._child = None

    def restart(self) -> None:
        """The same one again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._child is not None
        process.send(self._child, signal.SIGKILL)
        process.stop(self._child, 0)
        self._child = None

    def hold(self) -> None:
        """SIGSTOP: it takes connections and does not answer."""
        assert self._child is not None
        process.send(self._child, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._child is not None
        process.send(self._child, signal.SIGCONT)

    def close(self) -> None:
        """For good."""
        self._session.close()
        self.stop()

    # -- the chain -------------------------------------------------------------------------------

    def web3(self) -> Web3:
        """As the platform reaches a chain of others."""
        return remote_web3(self.at.url)

    def request(self, method: str, params: list[Any]) -> Any:
        """One JSON-RPC method's result. Raises RpcError, or what requests raises."""
        body: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._session.post(self.at.url, json=body, timeout=TIMEOUT_S).json()
        if "error" in answer:
            error: Mapping[str, Any] = answer["error"]
            raise RpcError(error["code"], error["message"], error.get("data"))
        return answer["result"]

    def ask(self, method: str, *params: object) -> Any:
        """The same, for control methods."""
        return self.request(method, list(params))

    def fund(self, addresses: list[str]) -> None:
        """Give them ether, from the node's own accounts: those of tests alone have any."""
        for address in addresses:
            if self.name == "anvil":
                self.ask("anvil_setBalance", address, hex(FUNDS_WEI))
            else:
                self.ask("evm_setAccountBalance", address, hex(FUNDS_WEI))

    def mine(self, blocks: int) -> None:
        """Empty blocks."""
        if blocks == 0:
            return
        if self.name == "anvil":
            self.ask("anvil_mine", hex(blocks))
        else:
            self.ask("evm_mine", {"blocks": blocks})


@contextmanager
def running(name: str, folder: Path, *flags: str, history: bool = False) -> Iterator[Node]:
    """A node for a `with`."""
    node = Node(name, folder, *flags, history=history)
    try:
        yield node
    finally:
        node.close()
