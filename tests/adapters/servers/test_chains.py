"""Anvil and Ganache as they are started here: on loopback, each with a chain id of its own."""

from pathlib import Path

import pytest
import requests

from bal.errors import Stop
from infra.servers import chains
from infra.servers.connect import ChainAt
from infra.servers.place import Place


def rpc(chain: ChainAt, method: str, *params: object) -> object:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return requests.post(chain.url, json=body, timeout=10).json()["result"]


def test_each_answers_with_its_own_chain_id(anvil: ChainAt, ganache: ChainAt) -> None:
    for chain in (anvil, ganache):
        assert chain.url.startswith("http://127.0.0.1:")
        assert int(str(rpc(chain, "eth_chainId")), 16) == chain.chain_id
        accounts = rpc(chain, "eth_accounts")
        assert isinstance(accounts, list)
        assert len(accounts) == 10
    assert anvil.chain_id != ganache.chain_id


def test_a_state_that_a_kill_cut_off_is_told_with_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path, "anvil")
    chains.prepare(place, {})
    state = place.folder / "data" / chains.STATE
    state.write_text('{"block":{"number":"0x1"}}')
    chains.prepare(place, {})
    state.write_text('{"block":{"numb')
    with pytest.raises(Stop, match=r"remove it, and a new chain begins") as told:
        chains.prepare(place, {})
    assert str(state) in told.value.text
