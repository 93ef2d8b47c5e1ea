"""A chain of its own for each test module, and RFC 9162 as a yardstick."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain

ADMIN, ANCHORER, STRANGER = (sha256(name).digest() for name in (b"admin", b"anchorer", b"stranger"))


@dataclass(frozen=True)
class Ground:
    """The chain and who may write on it."""

    chain: EmbeddedChain
    admin: bytes = ADMIN
    anchorer: bytes = ANCHORER
    stranger: bytes = STRANGER

    def deploy(self) -> AnchorContract:
        return AnchorContract.deploy(self.chain.web3(), self.admin)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    path: Path = tmp_path_factory.mktemp("chain") / "chain.db"
    chain = EmbeddedChain(path, [address_of(key) for key in (ADMIN, ANCHORER, STRANGER)])
    yield Ground(chain)
    chain.close()


class Reference:
    """RFC 9162 §2.1 as the RFC writes it, recursively; shares nothing with the platform."""

    def entries(self, count: int) -> list[bytes]:
        return [b"entry %d" % number for number in range(count)]

    def mth(self, d: list[bytes]) -> bytes:
        """Merkle Tree Hash, §2.1.1."""
        n = len(d)
        if n == 0:
            return sha256().digest()
        if n == 1:
            return sha256(b"\x00" + d[0]).digest()
        k = self.split(n)
        return sha256(b"\x01" + self.mth(d[:k]) + self.mth(d[k:])).digest()

    def split(self, n: int) -> int:
        """The largest power of two smaller than n."""
        k = 1
        while k * 2 < n:
            k *= 2
        return k

    def path(self, m: int, d: list[bytes]) -> list[bytes]:
        """PATH(m, D[n]), §2.1.3.1."""
        n = len(d)
        if n == 1:
            return []
        k = self.split(n)
        if m < k:
            return [*self.path(m, d[:k]), self.mth(d[k:])]
        return [*self.path(m - k, d[k:]), self.mth(d[:k])]

    def proof(self, m: int, d: list[bytes]) -> list[bytes]:
        """PROOF(m, D[n]), §2.1.4.1."""
        return self._subproof(m, d, b=True)

    def _subproof(self, m: int, d: list[bytes], *, b: bool) -> list[bytes]:
        n = len(d)
        if m == n:
            return [] if b else [self.mth(d)]
        k = self.split(n)
        if m <= k:
            return [*self._subproof(m, d[:k], b=b), self.mth(d[k:])]
        return [*self._subproof(m - k, d[k:], b=False), self.mth(d[:k])]


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()
