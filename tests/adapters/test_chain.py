"""The embedded chain and its read-only JSON-RPC face, as foreign clients see them."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractCustomError

from bal.errors import Stop, Unavailable
from contracts import load
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import LOG_BLOCKS_MAX, EmbeddedChain
from infra.chain_errors import Reverted
from infra.chain_json import RpcError
from infra.rpc_face import BATCH_MAX, BODY_MAX, METHODS, RpcFace
from infra.rpc_provider import remote_web3
from tests.adapters.rpc_server import serving_rpc

ROOT = Path(__file__).resolve().parents[2]
ADMIN, ANCHORER = sha256(b"admin").digest(), sha256(b"anchorer").digest()
FUNDED = [address_of(ADMIN), address_of(ANCHORER)]
LOG = sha256(b"a log").digest()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[EmbeddedChain]:
    found = EmbeddedChain(tmp_path / "chain.db", FUNDED)
    yield found
    found.close()


@pytest.fixture(scope="module")
def grown(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[EmbeddedChain, AnchorContract]]:
    """A chain with a contract and three first heads of three logs."""
    found = EmbeddedChain(tmp_path_factory.mktemp("grown") / "chain.db", FUNDED)
    contract = AnchorContract.deploy(found.web3(), ADMIN)
    for number in range(3):
        contract.open(log_id(number), address_of(ANCHORER), ADMIN)
        contract.send_anchor(log_id(number), 5 + number, log_id(9), [], ANCHORER)
    yield found, contract
    found.close()


def log_id(number: int) -> bytes:
    return sha256(b"log %d" % number).digest()


def asked(face: RpcFace, method: object, *params: object) -> dict:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    return json.loads(face.handle(json.dumps(body).encode()))


# -- the chain -----------------------------------------------------------------------------------


def test_only_the_funded_own_anything(chain) -> None:
    web3 = chain.web3()
    assert web3.eth.block_number == 0
    assert [web3.eth.get_balance(one) for one in FUNDED] == [10**24, 10**24]
    well_known = [address_of(number.to_bytes(32)) for number in range(1, 12)]
    well_known.append("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")  # Anvil's first
    assert [web3.eth.get_balance(one) for one in well_known] == [0] * 12


def test_each_chain_has_an_id_of_its_own(tmp_path) -> None:
    chains = [EmbeddedChain(tmp_path / f"{number}.db", FUNDED) for number in range(4)]
    identities = [one.web3().eth.chain_id for one in chains]
    assert len(set(identities)) == 4
    assert all(0 < one < 1 << 53 for one in identities)  # JavaScript holds it exactly
    for one in chains:
        one.close()


def test_all_is_there_after_reopening(tmp_path) -> None:
    path = tmp_path / "chain.db"
    first = EmbeddedChain(path, FUNDED)
    contract = AnchorContract.deploy(first.web3(), ADMIN)
    contract.open(LOG, address_of(ANCHORER), ADMIN)
    anchored = contract.send_anchor(LOG, 3, sha256(b"root").digest(), [], ANCHORER)
    before = [first.request("eth_getBlockByNumber", [hex(at), True]) for at in range(4)]
    events = first.request("eth_getLogs", [{"fromBlock": "earliest"}])
    first.close()
    second = EmbeddedChain(path, list(reversed(FUNDED)))
    assert second.chain_id == first.chain_id
    after = [second.request("eth_getBlockByNumber", [hex(at), True]) for at in range(4)]
    assert after == before
    assert second.request("eth_getLogs", [{"fromBlock": "0x0"}]) == events
    again = AnchorContract(second.web3(), contract.address)
    assert again.latest(LOG).size == 3
    assert again.mined(anchored.tx) == anchored
    again.send_anchor(log_opened(again), 4, sha256(b"root").digest(), [], ANCHORER)
    second.close()


def log_opened(contract: AnchorContract) -> bytes:
    contract.open(sha256(b"opened later").digest(), address_of(ANCHORER), ADMIN)
    return sha256(b"opened later").digest()


def test_old_states_can_be_asked(grown) -> None:
    chain, contract = grown
    wanted = {"to": contract.address, "data": "0x79feb107" + log_id(2).hex()}
    now = chain.request("eth_call", [wanted, "latest"])
    assert int(now[2:66], 16) == 7
    number = hex(chain.web3().eth.block_number - 1)
    before = chain.request("eth_call", [wanted, number])
    assert int(before[2:66], 16) == 0
    block = chain.request("eth_getBlockByNumber", [number, False])
    for named in ({"blockNumber": number}, {"blockHash": block["hash"]}):  # EIP-1898
        assert chain.request("eth_call", [wanted, named]) == before


def test_a_file_of_other_owners_or_of_no_chain_is_refused(tmp_path) -> None:
    path = tmp_path / "chain.db"
    EmbeddedChain(path, FUNDED).close()
    with pytest.raises(Stop, match="chain-foreign"):
        EmbeddedChain(path, FUNDED[:1])
    (tmp_path / "text.db").write_text("this is no database, and long enough to be none" * 30)
    with pytest.raises(Stop, match="chain-foreign"):
        EmbeddedChain(tmp_path / "text.db", FUNDED)


def test_a_second_process_is_kept_out(chain, tmp_path) -> None:
    with pytest.raises(Stop, match="chain-locked"):
        EmbeddedChain(tmp_path / "chain.db", FUNDED)


def test_a_closed_chain_is_unavailable(tmp_path) -> None:
    found = EmbeddedChain(tmp_path / "chain.db", FUNDED)
    found.close()
    with pytest.raises(Unavailable):
        found.request("eth_blockNumber", [])


def test_a_transaction_happens_once_and_in_order(chain) -> None:
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    contract.open(LOG, address_of(ANCHORER), ADMIN)
    signed = contract.sign_anchor(LOG, 3, sha256(b"root").digest(), [], ANCHORER)
    early = contract.sign_anchor(LOG, 3, sha256(b"root").digest(), [], ANCHORER, nonce=5)
    with pytest.raises(Unavailable, match="nonce too high"):
        contract.send(early)
    contract.send(signed)
    with pytest.raises(Unavailable, match="nonce too low"):
        contract.send(signed)
    assert contract.latest(LOG).count == 1
    assert chain.web3().eth.block_number == 3  # refused ones make no block


@pytest.mark.parametrize("raw", ["0x", "0x00", "0x02c0", "0xc0", "0xf8" + "00" * 90, "0x7f11"])
def test_garbage_is_no_transaction(chain, raw: str) -> None:
    """EIP-2718: neither a known type nor a list, or cut off."""
    with pytest.raises(RpcError) as caught:
        chain.request("eth_sendRawTransaction", [raw])
    assert caught.value.code == -32602
    assert chain.web3().eth.block_number == 0


def test_a_pauper_can_send_nothing(chain) -> None:
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    with pytest.raises(Unavailable):
        contract.deploy(chain.web3(), sha256(b"pauper").digest())
    assert chain.web3().eth.block_number == 1


def test_block_times_rise_even_when_the_clock_does_not(tmp_path) -> None:
    found = EmbeddedChain(tmp_path / "chain.db", FUNDED, now_s=lambda: 1_800_000_000)
    contract = AnchorContract.deploy(found.web3(), ADMIN)
    contract.open(LOG, address_of(ANCHORER), ADMIN)
    times = [
        int(found.request("eth_getBlockByNumber", [hex(at)])["timestamp"], 16) for at in range(3)
    ]
    assert times == [1_800_000_000, 1_800_000_001, 1_800_000_002]
    found.close()


def test_threads_take_turns(chain) -> None:
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(30):
                assert contract.latest(LOG).size <= 20
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    contract.open(LOG, address_of(ANCHORER), ADMIN)
    readers = [threading.Thread(target=read) for _ in range(3)]
    for one in readers:
        one.start()
    for number in range(10):
        contract.open(log_id(number), address_of(ANCHORER), ADMIN)
    for one in readers:
        one.join(60)
    assert failures == []
    assert chain.web3().eth.block_number == 12


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hashlib import sha256
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain
admin, anchorer = sha256(b"admin").digest(), sha256(b"anchorer").digest()
chain = EmbeddedChain(Path(sys.argv[2]), [address_of(admin), address_of(anchorer)])
contract = AnchorContract.deploy(chain.web3(), admin)
print(contract.address, flush=True)
for number in range(10_000):
    log = sha256(b"log %d" % number).digest()
    contract.open(log, address_of(anchorer), admin)
    print(number, flush=True)
"""


@pytest.mark.parametrize("kill_after", [1, 4, 9])
def test_what_was_mined_survives_a_kill(tmp_path, kill_after: int) -> None:
    path = tmp_path / "chain.db"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(ROOT), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    address = child.stdout.readline().strip()
    said = [int(child.stdout.readline()) for _ in range(kill_after)]
    child.send_signal(signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().split() if line.isdigit()]
    child.wait(30)
    child.stdout.close()
    chain = EmbeddedChain(path, FUNDED)
    contract = AnchorContract(chain.web3(), address)
    known = [contract.anchorer_of(log_id(number)) is not None for number in range(len(said) + 5)]
    assert all(known[number] for number in said)
    opened = sum(known)
    assert opened in (len(said), len(said) + 1)  # the last may have been mined and not said
    assert (
        chain.web3().eth.block_number
        == opened + 1
        == chain.web3().eth.get_transaction_count(address_of(ADMIN))
    )
    assert len(chain.request("eth_getLogs", [{"fromBlock": "0x0"}])) == opened
    contract.open(log_id(opened), address_of(ANCHORER), ADMIN)  # and on it goes
    chain.close()


# -- the contract's calls ------------------------------------------------------------------------


def test_no_contract_there_is_the_operators_matter(chain) -> None:
    nothing = AnchorContract(chain.web3(), "0x" + "11" * 20)
    for call in (nothing.code_hash, lambda: nothing.latest(LOG), lambda: nothing.root_at(LOG, 1)):
        with pytest.raises(Stop, match="contract-missing"):
            call()


def test_an_unreachable_chain_is_unavailable() -> None:
    contract = AnchorContract(remote_web3("http://127.0.0.1:1", timeout_s=1), "0x" + "11" * 20)
    with pytest.raises(Unavailable):
        contract.latest(LOG)


def test_an_anchoring_is_found_by_its_event(grown) -> None:
    _, contract = grown
    found = contract.find_anchored(log_id(1), 6)
    assert found is not None
    assert found == contract.mined(found.tx)
    assert contract.find_anchored(log_id(1), 5) is None
    assert contract.find_anchored(LOG, 6) is None


def test_everything_on_the_own_chain_is_final(grown) -> None:
    _, contract = grown
    assert contract.finalized_number() == contract.head_number()
    assert contract.mined("0x" + "00" * 32) is None


def test_py_evm_leaves_no_higher_recursion_limit() -> None:
    """With it, 100,000 brackets crashed the process instead of raising RecursionError."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import infra.chain_embedded, infra.rpc_face;"
        "print(infra.rpc_face.RpcFace(None).handle(b'[' * 1_000_000)[:40], sys.getrecursionlimit())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)], check=True, capture_output=True, text=True
    )
    assert "1000" in done.stdout


# -- the face ------------------------------------------------------------------------------------


def test_the_ten_methods_and_no_other(grown) -> None:
    chain, _ = grown
    face = RpcFace(chain)
    assert len(METHODS) == 10
    for method in (
        "eth_sendRawTransaction", "eth_sendTransaction", "eth_accounts", "eth_getBalance",
        "eth_estimateGas", "evm_mine", "debug_traceCall", "web3_clientVersion", "", "eth_CALL",
    ):  # fmt: skip
        assert asked(face, method)["error"]["code"] == -32601
    assert asked(face, "eth_chainId") == {
        "jsonrpc": "2.0", "id": 7, "result": hex(chain.chain_id),
    }  # fmt: skip
    assert asked(face, "net_version")["result"] == str(chain.chain_id)


@pytest.mark.parametrize("tag", ["latest", "safe", "finalized", "pending", "earliest", "0x2"])
def test_tags(grown, tag: str) -> None:
    chain, contract = grown
    face = RpcFace(chain)
    number = {"earliest": 0, "0x2": 2}.get(tag, chain.web3().eth.block_number)
    block = asked(face, "eth_getBlockByNumber", tag, False)["result"]
    assert int(block["number"], 16) == number
    assert asked(face, "eth_getBlockByHash", block["hash"], False)["result"] == block
    code = asked(face, "eth_getCode", contract.address, tag)["result"]
    assert code == (load("CheckpointAnchor").deployed_bytecode if number else "0x")


def test_what_is_unknown_is_null(grown) -> None:
    face = RpcFace(grown[0])
    assert asked(face, "eth_getBlockByNumber", "0xffff", False)["result"] is None
    for method in ("eth_getBlockByHash", "eth_getTransactionByHash", "eth_getTransactionReceipt"):
        assert asked(face, method, "0x" + "ab" * 32)["result"] is None


def test_a_revert_gives_its_data(grown) -> None:
    chain, contract = grown
    error = asked(RpcFace(chain), "eth_call", anchor_call(contract), "latest")["error"]
    not_anchorer = "0x" + Web3.keccak(text="NotAnchorer()")[:4].hex()
    assert error == {"code": 3, "message": "execution reverted", "data": not_anchorer}


def anchor_call(contract: AnchorContract) -> dict[str, str]:
    data = contract._contract.encode_abi("anchor", args=[log_id(0), 9, log_id(9), []])
    return {"to": contract.address, "input": data}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_call", []),
        ("eth_call", ["0x"]),
        ("eth_call", [{"data": "0x6000"}]),
        ("eth_call", [{"to": "0x12"}]),
        ("eth_call", [{"to": "0x" + "11" * 20, "data": "xyz"}]),
        ("eth_call", [{"to": "0x" + "11" * 20}, {"blockNumber": []}]),
        ("eth_call", [{"to": "0x" + "11" * 20}, "latest", {"0x00": {"balance": "0x1"}}]),
        ("eth_getBlockByNumber", ["newest", True]),
        ("eth_getBlockByNumber", [-1, True]),
        ("eth_getBlockByNumber", [[], True]),
        ("eth_getBlockByNumber", ["0x" + "f" * 40, True]),
        ("eth_getBlockByHash", ["0x1", True]),
        ("eth_getTransactionReceipt", [None]),
        ("eth_getTransactionReceipt", ["0x" + "0" * 63]),
        ("eth_getLogs", ["all"]),
        ("eth_getLogs", [{"topics": ["0x12"]}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"address": 5}]),
        ("eth_getLogs", [{"address": ["0x" + "11" * 20] * 101}]),
        ("eth_chainId", [1]),
        ("eth_getCode", ["0x" + "11" * 19]),
    ],
)
def test_wrong_parameters(grown, method: str, params: list[object]) -> None:
    """EIP-1474, JSON-RPC 2.0 §5.1: -32602, invalid params."""
    assert asked(RpcFace(grown[0]), method, *params)["error"]["code"] == -32602


def test_no_contract_makes_us_fetch_a_url(chain, url: str) -> None:
    """EIP-3668: web3.py would follow OffchainLookup wherever a contract sends it."""
    for web3 in (chain.web3(), remote_web3(url)):
        assert web3.provider.global_ccip_read_enabled is False


def test_calls_to_precompiles_and_accounts_run_nothing(grown) -> None:
    chain, _ = grown
    for place in ("0x" + "00" * 19 + "05", "0x" + "00" * 19 + "08", FUNDED[0]):
        call = {"to": place, "data": "0x" + "ff" * 200}
        assert asked(RpcFace(chain), "eth_call", call, "latest")["result"] == "0x"


def test_logs_are_filtered_as_asked(grown) -> None:
    chain, contract = grown
    face = RpcFace(chain)
    topic = Web3.to_hex(Web3.keccak(text="Anchored(bytes32,uint64,bytes32)"))

    def found(**wanted: object) -> int:
        return len(asked(face, "eth_getLogs", {"fromBlock": "earliest", **wanted})["result"])

    one, two = ("0x" + log_id(number).hex() for number in (1, 2))
    assert found() == 6
    assert found(address=contract.address) == 6
    assert found(address=contract.address.lower(), topics=[topic]) == 3
    assert found(topics=[None, one]) == 2
    assert found(topics=[topic, [one, two]]) == 2
    assert found(topics=[[topic], [one, None]]) == 3
    assert found(topics=[]) == found(topics=None) == 6
    assert found(address=[]) == 6
    assert found(address="0x" + "11" * 20) == 0
    assert found(fromBlock="0x6", toBlock="0x7") == 2
    assert found(fromBlock="0x9", toBlock="0x7") == 0
    newest = asked(face, "eth_getBlockByNumber", "latest", False)["result"]["hash"]
    (event,) = asked(face, "eth_getLogs", {"blockHash": newest})["result"]
    receipt = asked(face, "eth_getTransactionReceipt", event["transactionHash"])["result"]
    assert receipt["logs"] == [event]
    unknown = asked(face, "eth_getLogs", {"blockHash": "0x" + "00" * 32})
    assert unknown["error"]["code"] == -32001


def test_too_many_blocks_at_once_are_refused(grown, monkeypatch) -> None:
    face = RpcFace(grown[0])
    wide = {"fromBlock": "0x0", "toBlock": hex(LOG_BLOCKS_MAX * 5)}
    assert "result" in asked(face, "eth_getLogs", wide)  # the chain is short: nothing to refuse
    monkeypatch.setattr("infra.chain_embedded.LOG_BLOCKS_MAX", 3)
    assert asked(face, "eth_getLogs", wide)["error"]["code"] == -32005
    monkeypatch.undo()
    monkeypatch.setattr("infra.chain_embedded.LOGS_MAX", 2)
    assert asked(face, "eth_getLogs", wide)["error"]["code"] == -32005


def test_batches_and_notifications(grown) -> None:
    """JSON-RPC 2.0 §4.1: a notification is not answered."""
    face = RpcFace(grown[0])
    one = {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"}
    quiet = {"jsonrpc": "2.0", "method": "eth_chainId"}
    answers = json.loads(face.handle(json.dumps([one, quiet, 5, {**one, "id": 2}]).encode()))
    assert [answer["id"] for answer in answers] == ["a", None, 2]
    assert answers[1]["error"]["code"] == -32600
    assert face.handle(json.dumps(quiet).encode()) == b""
    assert face.handle(json.dumps([quiet]).encode()) == b""
    full = json.loads(face.handle(json.dumps([one] * BATCH_MAX).encode()))
    assert len(full) == BATCH_MAX
    for wrong in ([], [one] * (BATCH_MAX + 1)):
        answer = json.loads(face.handle(json.dumps(wrong).encode()))
        assert answer["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"{}", -32600),
        (b"5", -32600),
        (b'"eth_chainId"', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        # RFC 8259 §4: names should be unique
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"eth_blockNumber"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","\\u0069d":2}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x","to":"0x"}]}', -32600),
        (b'[{"jsonrpc":"2.0","id":1,"id":1,"method":"eth_chainId"}]', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}', -32602),
        (b" " * (BODY_MAX + 1), -32600),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_requests(grown, body: bytes, code: int) -> None:
    """EIP-1474: -32700, -32600 and -32602, as JSON-RPC has them."""
    assert json.loads(RpcFace(grown[0]).handle(body))["error"]["code"] == code


def test_a_broken_disk_is_an_internal_error() -> None:
    class Broken:
        def request(self, method: str, params: list[object]) -> object:
            raise Unavailable("the chain's file: disk I/O error")

    assert asked(RpcFace(Broken()), "eth_blockNumber")["error"]["code"] == -32603


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["0x", "0x0", "latest", "0x" + "00" * 20, "0x" + "11" * 32, "blockHash"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["to", "from", "data", "input", "gas", "fromBlock", "toBlock", "topics", "address",
             "blockHash", "blockNumber"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(method=st.sampled_from(sorted(METHODS)), params=st.lists(json_values, max_size=3))
def test_no_parameters_break_the_face(grown, method: str, params: list[object]) -> None:
    answer = asked(RpcFace(grown[0]), method, *params)
    assert "result" in answer or answer["error"]["code"] in (-32602, -32001, -32005, -32000, 3)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=60))
def test_no_bytes_break_the_face(grown, body: bytes) -> None:
    answer = RpcFace(grown[0]).handle(body)
    assert answer == b"" or "error" in json.loads(answer)


# -- foreign clients over HTTP -------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(grown) -> Iterator[str]:
    with serving_rpc(grown[0]) as found:
        yield found


def test_web3_py_reads_it_over_http(grown, url: str) -> None:
    chain, local = grown
    web3 = Web3(HTTPProvider(url))
    contract = AnchorContract(web3, local.address)
    assert contract.chain_id == chain.chain_id
    assert contract.code_hash() == local.code_hash()
    assert contract.latest(log_id(1)) == local.latest(log_id(1))
    assert contract.root_at(log_id(1), 6) == log_id(9)
    found = contract.find_anchored(log_id(1), 6)
    assert found == local.find_anchored(log_id(1), 6)
    assert found is not None
    block = web3.eth.get_block(found.block, full_transactions=True)
    assert block["transactions"][0]["hash"].to_0x_hex() == found.tx
    assert web3.eth.get_transaction(found.tx)["blockNumber"] == found.block
    with pytest.raises(ContractCustomError):
        contract._contract.functions.anchor(log_id(1), 9, log_id(9), []).call()
    with pytest.raises(Reverted) as caught:
        contract._read("anchor", log_id(1), 9, log_id(9), [])
    assert caught.value.name == "NotAnchorer"
    with pytest.raises(Unavailable):  # nothing can be sent this way
        contract.send_anchor(log_id(1), 9, log_id(9), [], ANCHORER)
    web3.provider._request_session_manager.session_cache.clear()
