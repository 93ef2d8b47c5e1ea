"""A chain as several JSON-RPC endpoints show it: what they do not all say is not believed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bal.certify.verify import VerifyError
from infra.verify_rpc import RpcChain

_T = TypeVar("_T")


def chain_at(urls: Sequence[str], ca: Path | None) -> "RpcChain | AgreeingChain":
    """The chain behind one endpoint or more; `ca` vouches for each."""
    chains = [RpcChain(url, ca) for url in dict.fromkeys(urls)]
    return chains[0] if len(chains) == 1 else AgreeingChain(chains)


class AgreeingChain:
    """ChainView and CloseView over several endpoints.

    Each call raises VerifyError rpc-endpoints-differ where they do not say the same, and
    rpc-unreachable where one does not answer.
    """

    def __init__(self, chains: Sequence[RpcChain]) -> None:
        self._chains = chains
        self._agreed: set[int] = set()  # blocks of which all have the same

    def source(self) -> str:
        """Who they are."""
        names = [chain.name for chain in self._chains]
        return f"the RPC endpoints at {', '.join(names[:-1])} and {names[-1]} say so"

    def chain_id(self) -> int:
        """eth_chainId."""
        return self._same("the chain id", lambda chain: chain.chain_id())

    def block(self, depth: int | None) -> int | None:
        """The lowest that they give; of that number all have the same block."""
        numbers = [chain.block(depth) for chain in self._chains]
        found = [number for number in numbers if number is not None]
        if len(found) < len(numbers):
            return None
        block = min(found)
        if block not in self._agreed:
            self._same(f"the hash of block {block}", lambda chain: chain.block_hash(block))
            self._agreed.add(block)
        return block

    def code_hash(self, contract: str, block: int) -> bytes | None:
        """keccak256 of the code; None where there is none."""
        return self._same(f"the code at {contract}", lambda chain: chain.code_hash(contract, block))

    def log_id(self, origin: str) -> bytes:
        """keccak256(origin); nobody is asked."""
        return self._chains[0].log_id(origin)

    def latest_size(self, contract: str, origin: str, block: int) -> int:
        """The first word of latest(log)."""
        return self._same(
            "the newest head", lambda chain: chain.latest_size(contract, origin, block)
        )

    def root_at(self, contract: str, origin: str, size: int, block: int) -> bytes:
        """rootAt(log, size)."""
        return self._same(
            f"the root at size {size}", lambda chain: chain.root_at(contract, origin, size, block)
        )

    def closes(self, contract: str, origin: str, block: int) -> int:
        """closes(log)."""
        return self._same("the newest close", lambda chain: chain.closes(contract, origin, block))

    def close_at(self, contract: str, origin: str, k: int, block: int) -> tuple[int, bytes]:
        """closeAt(log, k)."""
        return self._same(
            f"close {k} of the book", lambda chain: chain.close_at(contract, origin, k, block)
        )

    def _same(self, what: str, ask: Callable[[RpcChain], _T]) -> _T:
        first, *others = self._chains
        said = ask(first)
        for other in others:
            also = ask(other)
            if also != said:
                raise VerifyError(
                    "rpc-endpoints-differ",
                    f"the RPC endpoints differ on {what}: {first.name} says {_shown(said)}, "
                    f"{other.name} says {_shown(also)}; one of them lies or lags",
                )
        return said


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex() if any(value) else "none"
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return "none" if value is None else str(value)
