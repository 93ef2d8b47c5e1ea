"""CheckpointAnchor.sol as Python calls: one contract on one chain, whatever web3.py reaches it by.

All transactions are signed here with keys handed in; no node ever holds one. What web3.py raises in
a dozen ways comes out in three: Reverted (the contract refused, with Solidity's name for it),
Unavailable (the chain did not answer), Stop (there is no such contract).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from eth_account import Account
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import TxParams

from bal.errors import Stop, Unavailable
from contracts import load
from infra import chain_reads
from infra.chain_errors import Contradiction, Reverted, translated
from infra.chain_fees import fees
from infra.chain_reads import Mined

RECEIPT_TIMEOUT_S = 120
EVENT_BLOCKS = 1_000  # one eth_getLogs; public endpoints take 500 to 10,000
EVENT_WINDOWS_MAX = 20
NO_ADDRESS = "0x" + "00" * 20
# What nodes say to a transaction that they have: Geth and Besu, Anvil, Nethermind, Ganache.
_HAS_IT = ("already known", "known transaction", "already imported", "alreadyknown", "same nonce")


@dataclass(frozen=True, slots=True)
class OnChain:
    """`latest(log)`: the newest head as the contract packs it."""

    size: int
    time_s: int  # Unix time of its block
    count: int  # heads anchored in this contract


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """`closeAt(log, k)`: a close of the book as the contract has it."""

    prefix: int  # entries of the log that the book was made from
    time_s: int  # Unix time of its block
    root: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction ready to be sent, as often as need be: its nonce makes it happen once."""

    raw: bytes
    tx: str  # 0x…, its hash
    nonce: int


def address_of(key: bytes) -> str:
    """The checksummed address of a 32-byte private key."""
    return str(Account.from_key(key).address)


class AnchorContract:
    """One deployed CheckpointAnchor. Thread-safe as far as its web3 is."""

    def __init__(
        self,
        web3: Web3,
        address: str,
        abi: list[dict[str, Any]] | None = None,
        *,
        fee_max_wei: int | None = None,
    ) -> None:
        """`abi` is the committed artifact's unless given. Asks the chain for nothing yet.

        fee_max_wei: the most that is ever offered for a unit of gas, tip included; None: no limit.
        """
        self._web3 = web3
        self._fee_max_wei = fee_max_wei
        self.address: str = web3.to_checksum_address(address)
        self._abi = abi if abi is not None else load("CheckpointAnchor").abi
        self._contract: Any = web3.eth.contract(address=cast("Any", self.address), abi=self._abi)
        self._errors = {
            function_abi_to_4byte_selector(cast("Any", one)): one
            for one in self._abi
            if one["type"] == "error"
        }

    @classmethod
    def deploy(cls, web3: Web3, admin_key: bytes) -> "AnchorContract":
        """Put the committed bytecode on chain, with the key's address as admin, and wait for it.

        Raises Unavailable when the chain does not answer or does not mine it in two minutes.
        """
        artifact = load("CheckpointAnchor")
        unplaced = cls(web3, NO_ADDRESS, artifact.abi)
        factory: Any = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        creation = factory.constructor(address_of(admin_key)).data_in_transaction
        with unplaced._translated():
            signed = unplaced._signed(admin_key, creation, to=None)
            web3.eth.send_raw_transaction(HexBytes(signed.raw))
            receipt = web3.eth.wait_for_transaction_receipt(
                HexBytes(signed.tx), timeout=RECEIPT_TIMEOUT_S
            )
        place = receipt["contractAddress"]
        if receipt["status"] != 1 or place is None:
            raise Unavailable(f"deployment {signed.tx} failed")
        return cls(web3, place, artifact.abi)

    # -- reading ---------------------------------------------------------------------------------

    @cached_property
    def chain_id(self) -> int:
        """EIP-155 chain id; asked once. Raises Unavailable."""
        with self._translated():
            return self._web3.eth.chain_id

    def forget_chain(self) -> None:
        """Ask for the chain id anew, the next time."""
        self.__dict__.pop("chain_id", None)

    def check_chain(self) -> None:
        """Return if the endpoint still answers for the chain that it answered for first.

        Raises Contradiction: what it says of any contract is about another chain's.
        """
        first = self.chain_id
        with self._translated():
            now = self._web3.eth.chain_id
            if now != first:
                raise Contradiction(f"the endpoint answers for chain {now}, before it was {first}")

    def code_hash(self) -> str:
        """0x…, keccak256 of the deployed code, as a policy pins it; Stop where there is none."""
        with self._translated():
            code = self._web3.eth.get_code(cast("Any", self.address))
        if not code:
            raise Stop("contract-missing", f"there is no contract at {self.address}")
        return "0x" + keccak(bytes(code)).hex()

    def latest(self, log: bytes) -> OnChain:
        """The newest head of `log` (32 bytes); all zeros where there is none."""
        return OnChain(*self._read("latest", log))

    def root_at(self, log: bytes, size: int) -> bytes | None:
        """The root anchored at exactly `size`, 32 bytes; None where there is none."""
        root = bytes(self._read("rootAt", log, size))
        return root if any(root) else None

    def closes(self, log: bytes, block: int | None = None) -> int:
        """How often the book was closed, parents' closes included; at `block`, else the newest.

        Raises Stop("contract-missing") where another contract stands at the address.
        """
        try:
            return int(self._read("closes", log, block=block))
        except Reverted as error:  # the view itself never does
            text = f"the contract at {self.address} knows no closes: it is another one"
            raise Stop("contract-missing", text) from error

    def close_at(self, log: bytes, k: int) -> ClosedBook | None:
        """The k-th close; None where it isn't in this contract, but in a parent, or nowhere."""
        found = ClosedBook(*self._read("closeAt", log, k))
        return found if any(found.root) else None

    def is_retired(self, log: bytes) -> bool:
        """Whether the log has ended in this contract."""
        return bool(self._read("isRetired", log))

    def anchorer_of(self, log: bytes) -> str | None:
        """Who may anchor `log`; None where it is not open."""
        found = str(self._read("anchorerOf", log))
        return None if found == NO_ADDRESS else found

    def verify_inclusion(
        self, log: bytes, size: int, index: int, entry: bytes, proof: Sequence[bytes]
    ) -> bool:
        """The contract's own verdict: is `entry` at `index` of the log as anchored at `size`?"""
        return bool(self._read("verifyInclusion", log, size, index, entry, list(proof)))

    def head_number(self) -> int:
        """As `chain_reads.head_number`. Raises Unavailable."""
        with self._translated():
            return chain_reads.head_number(self._web3)

    def finalized_number(self) -> int | None:
        """As `chain_reads.finalized_number`. Raises Unavailable."""
        with self._translated():
            return chain_reads.finalized_number(self._web3)

    def next_nonce(self, address: str, *, queued: bool = True) -> int:
        """The nonce of the address's next transaction; `queued` counts those not yet mined."""
        with self._translated():
            return self._web3.eth.get_transaction_count(
                cast("Any", address), "pending" if queued else "latest"
            )

    def mined(self, tx: str) -> Mined | None:
        """As `chain_reads.mined`. Raises Unavailable."""
        with self._translated():
            return chain_reads.mined(self._web3, tx)

    def find_anchored(self, log: bytes, size: int) -> Mined | None:
        """The transaction that anchored `size`, looked for in the newest 20,000 blocks."""
        for event in self._newest_events("Anchored", {"log": log}):
            if event["args"]["size"] == size:
                return self.mined(Web3.to_hex(event["transactionHash"]))
        return None

    def find_closed(self, log: bytes, k: int) -> int | None:
        """The block of the k-th close, looked for in the newest 20,000."""
        found = next(self._newest_events("Closed", {"log": log, "k": k}), None)
        return None if found is None else int(found["blockNumber"])

    def _newest_events(self, name: str, wanted: dict[str, object]) -> Iterator[Any]:
        last = self.head_number()
        for _ in range(EVENT_WINDOWS_MAX):
            first = max(0, last - EVENT_BLOCKS + 1)
            with self._translated():
                yield from self._contract.events[name].get_logs(
                    argument_filters=wanted, from_block=first, to_block=last
                )
            if first == 0:
                return
            last = first - 1

    # -- writing ---------------------------------------------------------------------------------

    def open(
        self,
        log: bytes,
        anchorer: str,
        admin_key: bytes,
        *,
        parent: str = NO_ADDRESS,
        parent_size: int = 0,
    ) -> Mined:
        """Open `log` for `anchorer`, after `parent` if there is one; waits. Raises Reverted."""
        return self._execute(admin_key, "open", log, anchorer, parent, parent_size)

    def replace_anchorer(self, log: bytes, anchorer: str, admin_key: bytes) -> Mined:
        """Give `log` another anchorer; waits. Raises Reverted."""
        return self._execute(admin_key, "replaceAnchorer", log, anchorer)

    def retire(self, log: bytes, size: int, admin_key: bytes) -> Mined:
        """End `log` at its latest size; waits. Raises Reverted."""
        return self._execute(admin_key, "retire", log, size)

    def send_anchor(
        self, log: bytes, size: int, root: bytes, proof: Sequence[bytes], key: bytes
    ) -> Mined:
        """Anchor one head and wait. The anchorer journals in between and uses the parts itself."""
        return self._execute(key, "anchor", log, size, root, list(proof))

    def send_close(self, log: bytes, k: int, prefix: int, root: bytes, key: bytes) -> Mined:
        """Put the k-th close on chain and wait. The closer journals in between."""
        return self._execute(key, "close", log, k, prefix, root)

    def sign_anchor(
        self,
        log: bytes,
        size: int,
        root: bytes,
        proof: Sequence[bytes],
        key: bytes,
        *,
        nonce: int | None = None,
        replaces: bytes | None = None,
        gas: int | None = None,
    ) -> Signed:
        """Sign, but don't send, the anchoring of one head.

        nonce: the next one unless given; replaces: the transaction that had it before, whose fee
        is exceeded by a quarter; gas: the most it may take, else it is tried to find out. Then
        raises Reverted where it could not succeed now.
        """
        arguments = [log, size, root, list(proof)]
        return self._sign(key, "anchor", arguments, nonce=nonce, replaces=replaces, gas=gas)

    def sign_close(
        self,
        log: bytes,
        k: int,
        prefix: int,
        root: bytes,
        key: bytes,
        *,
        nonce: int | None = None,
        replaces: bytes | None = None,
    ) -> Signed:
        """Sign, but don't send, the k-th close; `nonce`, `replaces` and errors as of a head."""
        return self._sign(key, "close", [log, k, prefix, root], nonce=nonce, replaces=replaces)

    def send(self, signed: Signed) -> None:
        """Hand the transaction to the chain; again and again is harmless.

        Returns also where the node has it already. Raises Unavailable where it was not taken: the
        node may have it all the same.
        """
        with self._translated():
            try:
                self._web3.eth.send_raw_transaction(HexBytes(signed.raw))
            except Web3RPCError as error:
                if not any(words in str(error).lower() for words in _HAS_IT):
                    raise

    def _sign(
        self,
        key: bytes,
        function: str,
        arguments: Sequence[object],
        *,
        nonce: int | None,
        replaces: bytes | None,
        gas: int | None = None,
    ) -> Signed:
        with self._translated():
            call = self._contract.encode_abi(function, args=list(arguments))
            return self._signed(key, call, to=self.address, nonce=nonce, replaces=replaces, gas=gas)

    def _execute(self, key: bytes, function: str, *arguments: object) -> Mined:
        with self._translated():
            call = self._contract.encode_abi(function, args=list(arguments))
            signed = self._signed(key, call, to=self.address)
            self._web3.eth.send_raw_transaction(HexBytes(signed.raw))
            self._web3.eth.wait_for_transaction_receipt(
                HexBytes(signed.tx), timeout=RECEIPT_TIMEOUT_S
            )
        mined = self.mined(signed.tx)
        if mined is None or not mined.succeeded:
            raise Reverted("Unknown")  # it would have succeeded when it was signed
        return mined

    def _read(self, function: str, *arguments: object, block: int | None = None) -> Any:
        at = "latest" if block is None else block
        with self._translated():
            return self._contract.functions[function](*arguments).call(block_identifier=at)

    def _signed(
        self,
        key: bytes,
        call: Any,
        *,
        to: str | None,
        nonce: int | None = None,
        replaces: bytes | None = None,
        gas: int | None = None,
    ) -> Signed:
        eth = self._web3.eth
        account = Account.from_key(key)
        if nonce is None:
            nonce = eth.get_transaction_count(account.address, "pending")
        found: dict[str, Any] = {"from": account.address, "data": call, "value": 0}
        if to is not None:
            found["to"] = to
        if gas is None:  # the state may move on
            gas = eth.estimate_gas(cast("TxParams", found)) * 5 // 4
        found["gas"] = gas
        del found["from"]
        found |= {"nonce": nonce, "chainId": self.chain_id}
        found |= fees(self._web3, replaces, self._fee_max_wei)
        signed = account.sign_transaction(found)
        return Signed(bytes(signed.raw_transaction), Web3.to_hex(signed.hash), nonce)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.address, self._errors)
