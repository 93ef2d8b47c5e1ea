"""What every chain must do for the anchorer: one suite for the one in the process and for nodes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pytest
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from web3 import Web3
from web3.providers.base import BaseProvider

from bal.certify.tree import inclusion_path, leaf_hash
from bal.errors import Stop, Unavailable
from contracts import load
from infra.anchor_contract import AnchorContract, address_of
from infra.anchorer import Anchorer
from infra.chain_errors import Reverted
from infra.chain_json import RpcError
from infra.chain_reads import Mined
from tests.adapters.anchoring import LOG, Faulty, Killed, Log, Tick

ADMIN, ANCHORER = sha256(b"suite admin").digest(), sha256(b"suite anchorer").digest()
ADDRESSES = [address_of(ADMIN), address_of(ANCHORER)]
NOBODY = "0x" + "11" * 20


class Chain(Protocol):
    """A chain as these tests use it."""

    def web3(self) -> Web3: ...

    def request(self, method: str, params: list[Any]) -> Any: ...

    def restart(self) -> None: ...


class Legacy(BaseProvider):
    """The chain as one from before London shows itself: blocks without a base fee."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain

    def make_request(self, method: Any, params: Any) -> Any:
        found = self._chain.request(method, list(params))
        if method == "eth_getBlockByNumber" and found:
            found = {name: value for name, value in found.items() if name != "baseFeePerGas"}
        return {"jsonrpc": "2.0", "id": 1, "result": found}


def in_a_block(contract: AnchorContract, tx: str, within_s: float = 20) -> Mined:
    """What became of it: a node may answer before it mines, also where it mines at once."""
    until = time.monotonic() + within_s
    while (found := contract.mined(tx)) is None:
        assert time.monotonic() < until, "it is in no block"
        time.sleep(0.02)
    return found


@dataclass
class Site:
    """A contract on the chain, open for one log, with a log that grows."""

    chain: Chain
    folder: Path
    contract: AnchorContract
    log: Log = field(default_factory=lambda: Log(0))
    alarms: list[str] = field(default_factory=list)

    def head(self, size: int) -> tuple[bytes, list[bytes]]:
        """Root at `size`, and the proof from the chain's latest head."""
        self.log.size = size
        found = self.log.newest()
        assert found is not None
        before = self.contract.latest(LOG).size
        return found[0].root, self.log.consistency(before, size) if before else []

    def anchor(self, size: int) -> Any:
        root, proof = self.head(size)
        return self.contract.send_anchor(LOG, size, root, proof, ANCHORER)

    @contextmanager
    def anchorer(
        self, provider: BaseProvider | None = None, *, depth: int = 3
    ) -> Iterator[Anchorer]:
        web3 = Web3(provider) if provider else self.chain.web3()
        found = Anchorer(
            contract=AnchorContract(web3, self.contract.address),
            log=LOG,
            anchorer_key=ANCHORER,
            journal=self.folder / "anchors.db",
            newest=self.log.newest,
            consistency=self.log.consistency,
            interval_s=3600,
            depth=depth,
            own=False,
            clock=Tick(),
            on_anchored=lambda *_: None,
            on_alarm=lambda code, _: self.alarms.append(code),
        )
        try:
            yield found
        finally:
            found.stop(10)


class ChainSuite:
    """Subclasses give `chain`: one on which ADDRESSES own ether."""

    finality: bool  # whether a block is `finalized` soon after it was made
    old_state = True  # whether a contract can be read as of an older block

    @pytest.fixture(scope="class")
    @classmethod
    def chain(cls) -> Iterator[Chain]:
        raise NotImplementedError

    @pytest.fixture
    def site(self, chain: Chain, tmp_path: Path) -> Site:
        contract = AnchorContract.deploy(chain.web3(), ADMIN)
        contract.open(LOG, ADDRESSES[1], ADMIN)
        return Site(chain, tmp_path, contract)

    # -- the contract's calls --------------------------------------------------------------------

    def test_the_committed_bytecode_is_what_stands_there(self, site: Site) -> None:
        code = bytes.fromhex(load("CheckpointAnchor").deployed_bytecode.removeprefix("0x"))
        assert site.contract.code_hash() == Web3.to_hex(Web3.keccak(code))
        assert site.contract.chain_id == int(site.chain.request("eth_chainId", []), 16)
        site.contract.check_chain()

    def test_a_log_that_is_open_has_no_head_yet(self, site: Site) -> None:
        contract = site.contract
        assert contract.anchorer_of(LOG) == ADDRESSES[1]
        assert contract.anchorer_of(sha256(b"not open").digest()) is None
        assert (contract.latest(LOG).size, contract.latest(LOG).count) == (0, 0)
        assert contract.root_at(LOG, 5) is None
        assert not contract.is_retired(LOG)

    def test_heads_are_read_back_as_they_were_anchored(self, site: Site) -> None:
        mined = [site.anchor(size) for size in (5, 9, 20)]
        contract = site.contract
        found = contract.latest(LOG)
        assert (found.size, found.count) == (20, 3)
        block = site.chain.web3().eth.get_block(mined[-1].block)
        assert block["timestamp"] == found.time_s
        for size, one in zip((5, 9, 20), mined, strict=True):
            newest = Log(size).newest()
            assert newest is not None
            assert contract.root_at(LOG, size) == newest[0].root
            assert contract.find_anchored(LOG, size) == contract.mined(one.tx) == one
            assert one.succeeded
            assert 40_000 < one.gas < 110_000
        assert [contract.root_at(LOG, size) for size in (1, 6, 21)] == [None] * 3
        assert mined[0].block < mined[1].block < mined[2].block <= contract.head_number()

    def test_logs_name_log_size_and_root(self, site: Site) -> None:
        one = site.anchor(5)
        topic = Web3.to_hex(Web3.keccak(text="Anchored(bytes32,uint64,bytes32)"))
        wanted = {"address": site.contract.address, "topics": [topic], "fromBlock": hex(one.block)}
        (event,) = site.chain.request("eth_getLogs", [wanted])
        newest = site.log.newest()
        assert newest is not None
        assert event["topics"][1] == "0x" + LOG.hex()
        assert event["data"] == "0x" + (5).to_bytes(32, "big").hex() + newest[0].root.hex()
        assert event["transactionHash"] == one.tx

    def test_an_entry_is_proved_by_the_contract(self, site: Site) -> None:
        site.anchor(9)
        path = list(inclusion_path(3, 9, site.log._node))
        entry = b"entry 3"
        assert leaf_hash(entry) == site.log._node(0, 3)
        assert site.contract.verify_inclusion(LOG, 9, 3, entry, path)
        assert not site.contract.verify_inclusion(LOG, 9, 4, entry, path)
        assert not site.contract.verify_inclusion(LOG, 9, 3, b"entry 4", path)

    def test_closes_are_read_back_also_of_an_older_block(self, site: Site) -> None:
        site.anchor(9)
        roots = [sha256(b"book %d" % k).digest() for k in (1, 2)]
        first = site.contract.send_close(LOG, 1, 7, roots[0], ANCHORER)
        second = site.contract.send_close(LOG, 2, 8, roots[1], ANCHORER)
        assert site.contract.closes(LOG) == 2
        assert site.contract.find_closed(LOG, 1) == first.block
        assert site.contract.find_closed(LOG, 3) is None
        if self.old_state:
            assert site.contract.closes(LOG, first.block) == 1
            assert site.contract.closes(LOG, first.block - 1) == 0
        else:
            with pytest.raises(Unavailable):
                site.contract.closes(LOG, first.block)
        for k, root, prefix in ((1, roots[0], 7), (2, roots[1], 8)):
            found = site.contract.close_at(LOG, k)
            assert found is not None
            assert (found.root, found.prefix) == (root, prefix)
        assert site.contract.close_at(LOG, 3) is None
        assert second.succeeded

    @pytest.mark.parametrize("how", ["estimate", "call"])
    def test_each_refusal_has_the_contracts_name_for_it(self, site: Site, how: str) -> None:
        site.anchor(9)
        contract, root = site.contract, sha256(b"root").digest()
        contract.send_close(LOG, 1, 7, root, ANCHORER)
        other = sha256(b"never opened").digest()
        refusals: list[tuple[str, tuple[Any, ...], bytes, str, tuple[int, ...]]] = [
            ("anchor", (LOG, 10, root, []), ADMIN, "NotAnchorer", ()),
            ("anchor", (LOG, 9, root, []), ANCHORER, "SizeNotGreater", (9, 9)),
            ("anchor", (LOG, 3, root, []), ANCHORER, "SizeNotGreater", (9, 3)),
            ("anchor", (LOG, 10, root, [root]), ANCHORER, "NotConsistent", ()),
            ("anchor", (other, 10, root, []), ANCHORER, "UnknownLog", ()),
            ("close", (LOG, 1, 7, root), ANCHORER, "NotNextClose", (1, 1)),
            ("close", (LOG, 2, 6, root), ANCHORER, "PrefixLower", (7, 6)),
            ("close", (LOG, 2, 8, bytes(32)), ANCHORER, "NoBook", ()),
            ("open", (LOG, ADDRESSES[1], "0x" + "00" * 20, 0), ADMIN, "AlreadyOpen", ()),
            ("open", (other, ADDRESSES[1], "0x" + "00" * 20, 0), ANCHORER, "NotAdmin", ()),
            ("retire", (LOG, 8), ADMIN, "SizeNotLatest", (9, 8)),
        ]

        def attempt(key: bytes, function: str, arguments: tuple[object, ...]) -> None:
            if how == "estimate":
                contract._execute(key, function, *arguments)
                return
            with contract._translated():
                call = contract._contract.functions[function](*arguments)
                call.call({"from": address_of(key)})

        for function, arguments, key, name, values in refusals:
            with pytest.raises(Reverted) as caught:
                attempt(key, function, arguments)
            assert (caught.value.name, caught.value.arguments) == (name, values)
        contract.retire(LOG, 9, ADMIN)
        with pytest.raises(Reverted, match="Retired"):
            contract._execute(ANCHORER, "anchor", LOG, 10, root, [])
        assert contract.is_retired(LOG)

    def test_no_contract_there_is_the_operators_matter(self, chain: Chain) -> None:
        nothing = AnchorContract(chain.web3(), NOBODY)
        for call in (nothing.code_hash, lambda: nothing.latest(LOG), lambda: nothing.closes(LOG)):
            with pytest.raises(Stop, match="contract-missing"):
                call()

    # -- transactions ----------------------------------------------------------------------------

    def test_the_same_bytes_again_happen_once(self, site: Site) -> None:
        # Ganache 7.9.2 takes an account's very first transaction, of nonce 0, as often as it comes;
        # the contract refuses the repetitions, which use up nonces all the same.
        site.anchor(3)
        root, proof = site.head(5)
        signed = site.contract.sign_anchor(LOG, 5, root, proof, ANCHORER)
        before = site.contract.next_nonce(ADDRESSES[1])
        assert signed.nonce == before
        assert site.contract.mined(signed.tx) is None
        site.contract.send(signed)
        for _ in range(3):
            try:
                site.contract.send(signed)
            except Unavailable as error:
                assert "nonce" in str(error)  # noqa: PT017 - a block has it: the number is used
        assert site.contract.latest(LOG).count == 2
        assert site.contract.next_nonce(ADDRESSES[1]) == before + 1
        assert site.contract.next_nonce(ADDRESSES[1], queued=False) == before + 1
        found = in_a_block(site.contract, signed.tx)
        assert found.succeeded

    def test_what_is_mined_and_reverts_says_so(self, site: Site) -> None:
        """EIP-658: the status of the receipt."""
        root, _ = site.head(5)
        signed = site.contract.sign_anchor(LOG, 5, root, [root], ANCHORER, gas=200_000)
        site.contract.send(signed)
        found = in_a_block(site.contract, signed.tx)
        assert not found.succeeded
        assert site.contract.latest(LOG).count == 0

    def test_fees_follow_the_base_fee_and_grow(self, site: Site) -> None:
        """EIP-1559, in an envelope of EIP-2718."""
        root, _ = site.head(5)
        block = site.chain.request("eth_getBlockByNumber", ["latest", False])
        base = int(block["baseFeePerGas"], 16)
        first = site.contract.sign_anchor(LOG, 5, root, [], ANCHORER)
        dearer = site.contract.sign_anchor(
            LOG, 5, root, [], ANCHORER, nonce=first.nonce, replaces=first.raw
        )
        before, after = (
            TypedTransaction.from_bytes(HexBytes(one.raw)).as_dict() for one in (first, dearer)
        )
        assert before["maxFeePerGas"] >= 2 * base
        assert before["maxPriorityFeePerGas"] <= before["maxFeePerGas"]
        assert before["chainId"] == site.contract.chain_id
        assert before["nonce"] == after["nonce"]
        for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert after[name] * 10 >= before[name] * 11

    def test_no_more_is_paid_than_may_be(self, site: Site) -> None:
        root, _ = site.head(5)
        web3 = site.chain.web3()
        mean = AnchorContract(web3, site.contract.address, fee_max_wei=1)
        with pytest.raises(Unavailable, match="gwei"):
            mean.sign_anchor(LOG, 5, root, [], ANCHORER)
        careful = AnchorContract(web3, site.contract.address, fee_max_wei=3 * 10**9)
        signed = careful.sign_anchor(LOG, 5, root, [], ANCHORER)
        fields = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
        assert fields["maxFeePerGas"] <= 3 * 10**9
        careful.send(signed)
        assert site.contract.latest(LOG).count == 1

    def test_a_chain_without_a_base_fee_is_paid_by_price(self, site: Site) -> None:
        """EIP-155 transactions from before London: consortium chains still take nothing else."""
        contract = AnchorContract(Web3(Legacy(site.chain)), site.contract.address)
        root, _ = site.head(5)
        signed = contract.sign_anchor(LOG, 5, root, [], ANCHORER)
        assert signed.raw[0] >= 0xC0
        dearer = contract.sign_anchor(
            LOG, 5, root, [], ANCHORER, nonce=signed.nonce, replaces=signed.raw
        )
        contract.send(dearer)
        found = in_a_block(contract, dearer.tx)
        assert found.succeeded
        assert contract.latest(LOG).size == 5

    # -- blocks ----------------------------------------------------------------------------------

    def test_what_is_unknown_is_none(self, site: Site) -> None:
        assert site.contract.mined("0x" + "ab" * 32) is None
        assert site.contract.find_anchored(LOG, 77) is None
        assert site.chain.request("eth_getBlockByNumber", ["0xffffff", False]) is None

    def test_finality(self, site: Site) -> None:
        one = site.anchor(5)
        final = site.contract.finalized_number()
        head = site.contract.head_number()
        assert final is not None
        assert 0 <= final <= head
        assert (final >= one.block) is self.finality

    def test_where_there_is_no_such_tag_nothing_is_final_by_it(self, site: Site) -> None:
        class Old(Faulty):
            def make_request(self, method: Any, params: Any) -> Any:
                if method == "eth_getBlockByNumber" and params[0] == "finalized":
                    error = {"code": -32602, "message": "Unknown block number tag"}
                    return {"jsonrpc": "2.0", "id": 1, "error": error}
                return super().make_request(method, params)

        old: Any = Old(site.chain)  # type: ignore[arg-type]  # any chain will do
        assert AnchorContract(Web3(old), site.contract.address).finalized_number() is None
        site.log.size = 5
        with site.anchorer(old, depth=1) as anchorer:
            anchorer.anchor_now()
            found = anchorer.covering(0)
            assert found is not None
            assert found[2] == "anchored"
            site.contract.open(sha256(b"one more block").digest(), ADDRESSES[1], ADMIN)
            anchorer.anchor_now()
            found = anchorer.covering(0)
            assert found is not None
            assert found[2] == "final"

    # -- the anchorer on it ----------------------------------------------------------------------

    def test_heads_follow_one_another(self, site: Site) -> None:
        with site.anchorer() as anchorer:
            for size in (1, 2, 9, 300):
                site.log.size = size
                found = anchorer.anchor_now()
                assert found is not None
                assert (found.size, found.chain_id) == (size, site.contract.chain_id)
            assert site.contract.latest(LOG).count == 4
            assert anchorer.status()["outage_s"] == 0
        assert site.alarms == []

    def test_a_lost_answer_is_found_out(self, site: Site) -> None:
        way: Any = Faulty(site.chain)  # type: ignore[arg-type]
        way.lose_answers_of = {"eth_sendRawTransaction"}
        site.log.size = 5
        with site.anchorer(way) as anchorer:
            with pytest.raises(Unavailable):
                anchorer.anchor_now()
            way.lose_answers_of = set()
            found = anchorer.anchor_now()
            assert found is not None
        assert len(set(way.sent)) == 1
        assert site.contract.latest(LOG).count == 1

    @pytest.mark.parametrize(
        "crash", ["before eth_sendRawTransaction", "after eth_sendRawTransaction"]
    )
    def test_an_anchorer_that_was_killed_goes_on(self, site: Site, crash: str) -> None:
        way: Any = Faulty(site.chain)  # type: ignore[arg-type]
        way.crash_at = crash
        site.log.size = 5
        with site.anchorer(way) as anchorer, pytest.raises(Killed):
            anchorer.anchor_now()
        site.log.size = 9
        way.crash_at = None
        with site.anchorer(way) as anchorer:
            found = anchorer.anchor_now()
            assert found is not None
            assert found.size == 9
        assert site.contract.latest(LOG).count == 2  # 5 was signed, so 5 was sent, once
        assert len(set(way.sent)) == 2
        assert site.alarms == []

    def test_a_chain_that_was_restarted_has_it_all(self, site: Site) -> None:
        site.log.size = 5
        with site.anchorer() as anchorer:
            before = anchorer.anchor_now()
        site.chain.restart()
        site.contract = AnchorContract(site.chain.web3(), site.contract.address)
        assert before is not None
        found = site.contract.mined(before.tx)
        assert found is not None
        assert found.block == before.block
        site.log.size = 9
        with site.anchorer() as anchorer:
            again = anchorer.covering(0)
            assert again is not None
            assert again[0] == before
            anchorer.anchor_now()
        assert site.contract.latest(LOG).count == 2
        assert site.alarms == []

    def test_errors_are_one_sentence_of_the_nodes(self, site: Site) -> None:
        poor = AnchorContract(site.chain.web3(), site.contract.address)
        with pytest.raises((Unavailable, Reverted)) as caught:
            poor.send_anchor(LOG, 5, sha256(b"r").digest(), [], sha256(b"no ether").digest())
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
        with pytest.raises(RpcError):
            site.chain.request("eth_noSuchMethod", [])

    def test_a_chain_that_is_away_is_unavailable(self, site: Site) -> None:
        way: Any = Faulty(site.chain)  # type: ignore[arg-type]
        way.down = True
        contract = AnchorContract(Web3(way), site.contract.address)
        for call in (
            lambda: contract.latest(LOG),
            lambda: contract.mined("0x" + "ab" * 32),
            contract.head_number,
            contract.finalized_number,
            lambda: contract.sign_anchor(LOG, 5, LOG, [], ANCHORER),
        ):
            with pytest.raises(Unavailable):
                call()
