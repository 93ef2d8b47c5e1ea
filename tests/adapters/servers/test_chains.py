"""Anvil and Ganache as they are started here: on loopback, each with a chain id of its own."""

import requests

from infra.servers.connect import ChainAt


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
