"""Looking for a receipt's head, or a close, on a chain (docs/spec/receipt.md, anchor.md).

Part of `bal/certify/verify.py`; the chain and the log's tiles are handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bal.certify.verify_note import SIZE_MAX, Checkpoint, VerifyError
from bal.certify.verify_policy import ChainPolicy, Contract
from bal.certify.verify_proof import TiledTree, TileSource, check_path, leaf_hash

NO_ROOT = bytes(32)  # what rootAt answers where there is no head


class ChainView(Protocol):
    """One chain, as its endpoints show it. Each call may raise VerifyError rpc-unreachable."""

    def source(self) -> str:
        """Who is believed, to end a sentence with: `the RPC endpoint at https://… says so`."""
        ...

    def chain_id(self) -> int:
        """eth_chainId."""
        ...

    def block(self, depth: int | None) -> int | None:
        """Number of the block `depth` under the latest, or of `finalized`; None: not yet."""
        ...

    def code_hash(self, contract: str, block: int) -> bytes | None:
        """keccak256 of the runtime code at a block; None where there is no code."""
        ...

    def log_id(self, origin: str) -> bytes:
        """keccak256(origin as UTF-8): the log's name on chain."""
        ...

    def latest_size(self, contract: str, origin: str, block: int) -> int:
        """Size of the newest head of the log at a block; 0 where there is none."""
        ...

    def root_at(self, contract: str, origin: str, size: int, block: int) -> bytes:
        """rootAt(log, size) at a block, 32 bytes; zeros where there is none."""
        ...


class Anchorable(Protocol):
    """What is proved to be in the log, and whose head is looked for: a receipt, or a day."""

    @property
    def index(self) -> int:
        """Place of the entry."""
        ...

    @property
    def entry(self) -> bytes:
        """The log's entry, whose leaf hash is SHA-256(0x00 ‖ entry)."""
        ...

    @property
    def checkpoint(self) -> Checkpoint:
        """The head that it was proved under."""
        ...

    @property
    def anchor(self) -> Mapping[str, str] | None:
        """A hint, signed by nobody."""
        ...


class CloseView(ChainView, Protocol):
    """A chain that also shows the closes of the book."""

    def closes(self, contract: str, origin: str, block: int) -> int:
        """closes(log) at a block: the newest k; 0 where there is none."""
        ...

    def close_at(self, contract: str, origin: str, k: int, block: int) -> tuple[int, bytes]:
        """closeAt(log, k) at a block: prefix and root; zeros where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class CloseClaim:
    """What an authentic close record of the log says."""

    origin: str
    k: int  # 1 … 2^64-1, and so the prefix
    prefix: int  # entries of the log that the book was made from
    book: bytes  # root of the book of days, 32 bytes


_OWN_CHAIN = {
    "own": "The chain is the platform's own: this shows the mechanism, it proves nothing against "
    "the operator",
    "unstated": "No policy says whose chain this is, so it counts as the platform's own: this "
    "shows the mechanism, it proves nothing against the operator",
}


def check_anchored(
    receipt: Anchorable,
    policy: ChainPolicy,
    chain: ChainView,
    tiles: TileSource | None = None,
    age_s: int | None = None,
) -> str:
    """Return only if the entry of an authentic `receipt` is anchored: where, as one sentence.

    age_s: for how long the receipt is known to exist, in seconds, where that is known.
    Raises VerifyError chain-id-differs, contract-code-differs, anchor-root-differs (with
    evidence), tiles-mismatch, anchor-overdue, not-anchored-yet, log-needed, what `chain` and
    `tiles` raise; and own-chain where all holds, but on a chain that the operator could rewrite.
    """
    search = _Search(receipt, policy, chain, tiles)
    return _unless_own(policy, search.find(age_s))


def check_closed(claim: CloseClaim, policy: ChainPolicy, chain: CloseView) -> str:
    """Return only if the chain holds the close that `claim` says: where, as one sentence.

    The sentence says so where a newer close exists. Raises VerifyError chain-id-differs,
    contract-code-differs, close-differs (with evidence: a fork of the book), close-not-on-chain,
    what `chain` raises; and own-chain where all holds, but on a chain that the operator could
    rewrite. Source: docs/spec/anchor.md.
    """
    found_id, block = _block_that_counts(policy, chain, "close-not-on-chain")
    newest = 0
    for contract in policy.contracts:
        if not _has_code(contract, chain, block):
            continue
        closes = chain.closes(contract.address, claim.origin, block)
        newest = max(newest, closes)
        prefix, root = chain.close_at(contract.address, claim.origin, claim.k, block)
        if root == NO_ROOT or closes < claim.k:
            continue  # not yet, or in a parent, which is further down the policy
        if (prefix, root) != (claim.prefix, claim.book):
            where = {"chain_id": str(found_id), "contract": contract.address, "block": str(block)}
            log = "0x" + chain.log_id(claim.origin).hex()
            raise _other_book(claim, prefix, root, where | {"log": log})
        later = f"; close {newest} is newer" if newest > claim.k else ""
        return _unless_own(
            policy,
            f"Close {claim.k} of the book stands in {contract.address} on chain "
            f"{found_id}, seen at block {block}, {_depth(policy)}{later}.",
        )
    raise VerifyError(
        "close-not-on-chain",
        f"Close {claim.k} of the book is in no contract of the policy; the newest there, "
        f"{_depth(policy)}, is {newest}.",
    )


def _other_book(claim: CloseClaim, prefix: int, root: bytes, where: dict[str, str]) -> VerifyError:
    return VerifyError(
        "close-differs",
        f"A fork: the log's close {claim.k} of the book has root {claim.book.hex()} from "
        f"{claim.prefix} entries, the chain's {root.hex()} from {prefix}.",
        {**where, "k": str(claim.k), "prefix": str(prefix), "root": root.hex()},
    )


def _unless_own(policy: ChainPolicy, text: str) -> str:
    if policy.kind in _OWN_CHAIN:
        raise VerifyError("own-chain", f"{_OWN_CHAIN[policy.kind]}. {text}")
    return text


def _block_that_counts(policy: ChainPolicy, chain: ChainView, not_yet: str) -> tuple[int, int]:
    """The chain's id, which is the policy's, and the block."""
    found_id = chain.chain_id()
    if policy.chain_id not in (None, found_id):
        raise VerifyError(
            "chain-id-differs",
            f"The endpoint is of chain {found_id}, not {policy.chain_id}.",
        )
    block = chain.block(policy.depth)
    if block is None:
        raise VerifyError(not_yet, f"No block is {_depth(policy)} yet.")
    return found_id, block


def _has_code(contract: Contract, chain: ChainView, block: int) -> bool:
    code_hash = chain.code_hash(contract.address, block)
    if code_hash is None:
        latest = chain.block(0) or 0
        if chain.code_hash(contract.address, latest) is not None:
            return False  # deployed after the block that counts
        raise VerifyError("contract-code-differs", f"There is no contract at {contract.address}.")
    if contract.code_hash not in (None, code_hash):
        raise VerifyError(
            "contract-code-differs",
            f"The code at {contract.address} has hash 0x{code_hash.hex()}, not the policy's.",
        )
    return True


def _depth(policy: ChainPolicy) -> str:
    depth = policy.depth
    return "finalized" if depth is None else f"{depth} under the latest"


@dataclass(slots=True)
class _Search:
    """Looking for one receipt's head on one chain."""

    receipt: Anchorable
    policy: ChainPolicy
    chain: ChainView
    tiles: TileSource | None
    block: int = 0  # the block that counts

    def find(self, age_s: int | None) -> str:
        try:
            found_id, self.block = _block_that_counts(self.policy, self.chain, "not-anchored-yet")
        except VerifyError as error:
            if error.code == "not-anchored-yet":
                raise self._not_yet(0, age_s) from None
            raise
        size, contract = self._anchored_size(age_s)
        return (
            f"The root at size {size} stands in {contract.address} on chain {found_id}, seen at "
            f"block {self.block}, {_depth(self.policy)}{self._hint(found_id, size)}."
        )

    def _anchored_size(self, age_s: int | None) -> tuple[int, Contract]:
        head = self.receipt.checkpoint
        usable = [
            contract
            for contract in self.policy.contracts
            if _has_code(contract, self.chain, self.block)
        ]
        for contract in usable:
            root = self._root_at(contract, head.size)
            if root == head.root:
                return head.size, contract
            if root != NO_ROOT:
                raise self._fork(contract, head.size, root, [])
        newest = 0
        for contract in usable:
            size = self.chain.latest_size(contract.address, head.origin, self.block)
            if head.size < size <= SIZE_MAX and self._root_at(contract, size) != NO_ROOT:
                self._bring_up(size, contract)
                return size, contract
            newest = max(size, newest)
        raise self._not_yet(newest, age_s)

    def _root_at(self, contract: Contract, size: int) -> bytes:
        origin = self.receipt.checkpoint.origin
        return self.chain.root_at(contract.address, origin, size, self.block)

    def _bring_up(self, size: int, contract: Contract) -> None:
        """Show that the entry, and the receipt's own head, are in the anchored tree of `size`."""
        head, index = self.receipt.checkpoint, self.receipt.index
        if self.tiles is None:
            raise VerifyError(
                "log-needed",
                f"Size {head.size} is not on chain, {size} is: to bring the receipt up to it the "
                "log's tiles are needed.",
            )
        anchored = self._root_at(contract, size)
        tree = TiledTree(self.tiles, head.origin, size)
        # the old head first: where it is no prefix of the anchored tree, that is a proven fork
        prefix, whole, used = tree.prefix(head.size)
        if whole == anchored and prefix != head.root:
            raise self._fork(contract, size, anchored, used)
        try:
            check_path(leaf_hash(self.receipt.entry), index, tree.path(index), size, anchored)
        except VerifyError as error:
            raise VerifyError(
                "tiles-mismatch", f"The log's tiles do not lead to the anchored root. {error.text}"
            ) from None
        if whole != anchored:
            raise VerifyError(
                "tiles-mismatch", "The log's tiles do not show its older head in the anchored tree."
            )

    def _fork(
        self, contract: Contract, size: int, root: bytes, used: list[dict[str, object]]
    ) -> VerifyError:
        head = self.receipt.checkpoint
        return VerifyError(
            "anchor-root-differs",
            f"A fork: the log signed {head.root.hex()} at size {head.size}, which contradicts "
            f"the root {root.hex()} at size {size} on chain; the evidence shows both.",
            {
                "checkpoint": head.note.whole,
                "chain_id": str(self.chain.chain_id()),
                "contract": contract.address,
                "log": "0x" + self.chain.log_id(head.origin).hex(),
                "size": str(size),
                "root": root.hex(),
                "block": str(self.block),
                "ranges": used,
            },
        )

    def _not_yet(self, newest: int, age_s: int | None) -> VerifyError:
        head, within_s = self.receipt.checkpoint, self.policy.anchor_within_s
        text = (
            f"Size {head.size} is not on chain; the newest head {_depth(self.policy)} is {newest}"
        )
        if within_s is not None and age_s is not None and age_s > within_s:
            return VerifyError(
                "anchor-overdue",
                f"{text}. It is known for {age_s} s, and the promise was {within_s} s.",
            )
        latest = self.chain.block(0) or 0
        for contract in self.policy.contracts:
            root = self.chain.root_at(contract.address, head.origin, head.size, latest)
            if root == head.root:
                text += f"; block {latest} has it, but is not deep enough"
                break
        return VerifyError("not-anchored-yet", f"{text}.")

    def _hint(self, chain_id: int, size: int) -> str:
        """What the receipt's own hint gets wrong; it is no root of trust and decides nothing."""
        hint = self.receipt.anchor
        if hint is None:
            return ""
        trusted = {
            "chain_id": {str(chain_id)},
            "contract": {contract.address.lower() for contract in self.policy.contracts},
            "log": {"0x" + self.chain.log_id(self.receipt.checkpoint.origin).hex()},
            "size": {str(size)},
        }
        wrong = [name for name, good in trusted.items() if hint[name].lower() not in good]
        if not wrong:
            return ""
        return f"; the receipt's own anchor hint was ignored: {', '.join(wrong)} differs"
