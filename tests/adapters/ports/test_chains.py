"""The chain port on the chain in the process, on Anvil and on Ganache."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_suite import ADDRESSES, Chain, ChainSuite
from web3 import Web3

from infra.chain_embedded import EmbeddedChain
from tests.adapters.chain_nodes import running


class Embedded:
    """The chain in the process, opened anew at will."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.open = EmbeddedChain(path, ADDRESSES)

    def web3(self) -> Web3:
        return self.open.web3()

    def request(self, method: str, params: list[Any]) -> Any:
        return self.open.request(method, params)

    def restart(self) -> None:
        self.open.close()
        self.open = EmbeddedChain(self._path, ADDRESSES)


class TestEmbedded(ChainSuite):
    finality = True  # nothing is ever taken back

    @pytest.fixture(scope="class")
    @classmethod
    def chain(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
        found = Embedded(tmp_path_factory.mktemp("chain") / "chain.db")
        yield found
        found.open.close()


@pytest.mark.xdist_group("chain-nodes")
class TestAnvil(ChainSuite):
    finality = False  # 64 blocks behind the head, as on a public chain
    old_state = False  # it is started with --prune-history (docs/servers.md)

    @pytest.fixture(scope="class")
    @classmethod
    def chain(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
        with running("anvil", tmp_path_factory.mktemp("anvil")) as node:
            node.fund(ADDRESSES)
            yield node


@pytest.mark.xdist_group("chain-nodes")
class TestGanache(ChainSuite):
    finality = True  # it calls its newest block final

    @pytest.fixture(scope="class")
    @classmethod
    def chain(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
        with running("ganache", tmp_path_factory.mktemp("ganache")) as node:
            node.fund(ADDRESSES)
            yield node
