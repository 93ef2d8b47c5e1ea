"""Closes of the book in CheckpointAnchor: numbered without gaps, one root each, for good."""

from hashlib import sha256
from itertools import count

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import load
from infra.anchor_contract import ClosedBook, address_of
from infra.chain_errors import Reverted

numbers = count()
ROOTS = [sha256(b"book %d" % number).digest() for number in range(4)]
SIZE_MAX = (1 << 64) - 1


@pytest.fixture(scope="module")
def contract(ground):
    return ground.deploy()


def new_log() -> bytes:
    return keccak(b"gridseal.invalid/closes/%d" % next(numbers))


@pytest.fixture
def log(ground, contract) -> bytes:
    found = new_log()
    contract.open(found, address_of(ground.anchorer), ground.admin)
    return found


def refused(call) -> tuple[object, ...]:
    with pytest.raises(Reverted) as caught:
        call()
    return (caught.value.name, *caught.value.arguments)


def pairs(contract, log: bytes, ks) -> dict[int, tuple[int, bytes] | None]:
    found = {k: contract.close_at(log, k) for k in ks}
    return {k: (one.prefix, one.root) if one else None for k, one in found.items()}


def test_a_log_has_no_close_at_first(contract, log) -> None:
    assert contract.closes(log) == contract.closes(new_log()) == 0
    assert pairs(contract, log, (0, 1, SIZE_MAX)) == {0: None, 1: None, SIZE_MAX: None}


def test_a_close_stands_with_its_time_and_an_event(ground, contract, log) -> None:
    mined = contract.send_close(log, 1, 17_000, ROOTS[0], ground.anchorer)
    block = ground.chain.request("eth_getBlockByNumber", [hex(mined.block)])
    assert contract.closes(log) == 1
    assert contract.close_at(log, 1) == ClosedBook(17_000, int(block["timestamp"], 16), ROOTS[0])
    (event,) = ground.chain.request("eth_getLogs", [{"blockHash": block["hash"]}])
    topic = "0x" + keccak(b"Closed(bytes32,uint64,uint64,bytes32)").hex()
    assert event["topics"] == [topic, "0x" + log.hex(), "0x" + (1).to_bytes(32).hex()]
    assert event["data"] == "0x" + (17_000).to_bytes(32).hex() + ROOTS[0].hex()


def test_closes_are_numbered_without_gaps(ground, contract, log) -> None:
    send = lambda k: contract.send_close(log, k, 5, ROOTS[0], ground.anchorer)  # noqa: E731
    assert refused(lambda: send(0)) == ("NotNextClose", 0, 0)
    assert refused(lambda: send(2)) == ("NotNextClose", 0, 2)
    send(1)
    for k in (0, 1, 3, SIZE_MAX):
        assert refused(lambda k=k: send(k)) == ("NotNextClose", 1, k)
    send(2)
    assert contract.closes(log) == 2


def test_a_close_is_never_replaced(ground, contract, log) -> None:
    contract.send_close(log, 1, 5, ROOTS[0], ground.anchorer)
    again = lambda: contract.send_close(log, 1, 6, ROOTS[1], ground.anchorer)  # noqa: E731
    assert refused(again) == ("NotNextClose", 1, 1)
    contract.send_close(log, 2, 6, ROOTS[1], ground.anchorer)
    assert pairs(contract, log, (1, 2)) == {1: (5, ROOTS[0]), 2: (6, ROOTS[1])}


def test_the_prefix_never_decreases(ground, contract, log) -> None:
    contract.send_close(log, 1, 100, ROOTS[0], ground.anchorer)
    lower = lambda: contract.send_close(log, 2, 99, ROOTS[1], ground.anchorer)  # noqa: E731
    assert refused(lower) == ("PrefixLower", 100, 99)
    contract.send_close(log, 2, 100, ROOTS[0], ground.anchorer)  # nothing came: the same book
    contract.send_close(log, 3, SIZE_MAX, ROOTS[1], ground.anchorer)
    assert refused(
        lambda: contract.send_close(log, 4, SIZE_MAX - 1, ROOTS[1], ground.anchorer)
    ) == ("PrefixLower", SIZE_MAX, SIZE_MAX - 1)


def test_no_book_has_the_root_zero(ground, contract, log) -> None:
    nothing = lambda: contract.send_close(log, 1, 5, bytes(32), ground.anchorer)  # noqa: E731
    assert refused(nothing) == ("NoBook",)
    assert contract.closes(log) == 0


def test_nobody_but_the_anchorer_closes(ground, contract, log) -> None:
    for key in (ground.admin, ground.stranger):
        close = lambda key=key: contract.send_close(log, 1, 5, ROOTS[0], key)  # noqa: E731
        assert refused(close) == ("NotAnchorer",)
    unknown = lambda: contract.send_close(new_log(), 1, 5, ROOTS[0], ground.anchorer)  # noqa: E731
    assert refused(unknown) == ("UnknownLog",)
    contract.replace_anchorer(log, address_of(ground.stranger), ground.admin)
    old = lambda: contract.send_close(log, 1, 5, ROOTS[0], ground.anchorer)  # noqa: E731
    assert refused(old) == ("NotAnchorer",)
    contract.send_close(log, 1, 5, ROOTS[0], ground.stranger)


def test_closes_of_one_log_are_not_those_of_another(ground, contract, log) -> None:
    other = new_log()
    contract.open(other, address_of(ground.anchorer), ground.admin)
    contract.send_close(log, 1, 5, ROOTS[0], ground.anchorer)
    contract.send_close(other, 1, 3, ROOTS[1], ground.anchorer)
    assert pairs(contract, log, (1,)) == {1: (5, ROOTS[0])}
    assert pairs(contract, other, (1,)) == {1: (3, ROOTS[1])}


def test_heads_and_closes_leave_each_other_alone(ground, contract, reference, log) -> None:
    entries = reference.entries(9)
    contract.send_close(log, 1, 3, ROOTS[0], ground.anchorer)
    contract.send_anchor(log, 5, reference.mth(entries[:5]), [], ground.anchorer)
    contract.send_close(log, 2, 5, ROOTS[1], ground.anchorer)
    proof = reference.proof(5, entries)
    contract.send_anchor(log, 9, reference.mth(entries), proof, ground.anchorer)
    assert contract.closes(log) == 2
    assert (contract.latest(log).size, contract.latest(log).count) == (9, 2)
    contract.retire(log, 9, ground.admin)
    assert contract.closes(log) == 2
    assert contract.is_retired(log)


def test_a_retired_log_is_closed_no_more(ground, contract, log) -> None:
    contract.send_close(log, 1, 5, ROOTS[0], ground.anchorer)
    contract.retire(log, 0, ground.admin)
    late = lambda: contract.send_close(log, 2, 6, ROOTS[1], ground.anchorer)  # noqa: E731
    assert refused(late) == ("Retired",)
    assert pairs(contract, log, (1, 2)) == {1: (5, ROOTS[0]), 2: None}


def test_a_successor_goes_on_at_the_next_close(ground, contract, log) -> None:
    for k in (1, 2):
        contract.send_close(log, k, 10 * k, ROOTS[k], ground.anchorer)
    contract.retire(log, 0, ground.admin)
    successor, anchorer = ground.deploy(), address_of(ground.anchorer)
    successor.open(log, anchorer, ground.admin, parent=contract.address)
    assert successor.closes(log) == 2
    assert successor.close_at(log, 2) == contract.close_at(log, 2)  # with the parent's time
    assert successor.close_at(log, 1) is None  # stands in the parent
    send = lambda k, prefix: successor.send_close(log, k, prefix, ROOTS[3], ground.anchorer)  # noqa: E731
    for k in (1, 2, 4):
        assert refused(lambda k=k: send(k, 30)) == ("NotNextClose", 2, k)
    assert refused(lambda: send(3, 19)) == ("PrefixLower", 20, 19)
    send(3, 20)
    assert pairs(successor, log, (1, 2, 3)) == {1: None, 2: (20, ROOTS[2]), 3: (20, ROOTS[3])}
    # and once more: the second successor knows of the first's only
    successor.retire(log, 0, ground.admin)
    third = ground.deploy()
    third.open(log, anchorer, ground.admin, parent=successor.address)
    assert third.closes(log) == 3
    assert pairs(third, log, (2, 3)) == {2: None, 3: (20, ROOTS[3])}


def test_a_contract_that_knows_no_closes_is_no_parent(ground, contract) -> None:
    log, anchorer = new_log(), address_of(ground.anchorer)
    orphan = lambda: contract.open(log, anchorer, ground.admin, parent=anchorer)  # noqa: E731
    assert refused(orphan)[0] == "Unknown"
    assert contract.anchorer_of(log) is None


def test_the_count_can_be_asked_at_an_older_block(ground, contract, log) -> None:
    first = contract.send_close(log, 1, 5, ROOTS[0], ground.anchorer)
    contract.send_close(log, 2, 5, ROOTS[0], ground.anchorer)
    assert contract.closes(log, first.block - 1) == 0
    assert contract.closes(log, first.block) == 1


def test_the_interface_of_closes_is_the_promised_one() -> None:
    abi = {one["name"]: one for one in load("CheckpointAnchor").abi if "name" in one}
    answer = [(one["name"], one["type"]) for one in abi["closeAt"]["outputs"]]
    assert answer == [("prefix", "uint64"), ("time", "uint64"), ("root", "bytes32")]
    given = [(one["name"], one["type"], one["indexed"]) for one in abi["Closed"]["inputs"]]
    assert given == [
        ("log", "bytes32", True),
        ("k", "uint64", True),
        ("prefix", "uint64", False),
        ("root", "bytes32", False),
    ]


class Model:
    """What the contract promises of closes, in ten lines of Python."""

    def __init__(self) -> None:
        self.closes: list[tuple[int, bytes]] = []
        self.retired = False

    def close(self, k: int, prefix: int, root: bytes, *, anchorer: bool) -> tuple[object, ...]:
        """The error that is due, or ()."""
        last = self.closes[-1][0] if self.closes else 0
        if not anchorer:
            return ("NotAnchorer",)
        if self.retired:
            return ("Retired",)
        if k != len(self.closes) + 1:
            return ("NotNextClose", len(self.closes), k)
        if root == bytes(32):
            return ("NoBook",)
        if prefix < last:
            return ("PrefixLower", last, prefix)
        self.closes.append((prefix, root))
        return ()


ATTEMPT = st.tuples(
    st.integers(-1, 1) | st.just(1) | st.just(1),  # k, from the next one
    st.integers(-2, 5),  # prefix, from the last one
    st.sampled_from([*ROOTS, *ROOTS, bytes(32)]),
    st.sampled_from([True] * 5 + [False]),  # sent by the anchorer
)
MOVE = st.just("move")  # retire here, open in a successor


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(ATTEMPT | ATTEMPT | ATTEMPT | MOVE, max_size=10))
def test_whatever_is_offered_the_model_agrees(ground, contract, steps) -> None:
    log, model, here = new_log(), Model(), contract
    here.open(log, address_of(ground.anchorer), ground.admin)
    placed: dict[int, object] = {}
    for step in steps:
        if step == "move":
            here.retire(log, 0, ground.admin)
            model.retired = True
            due = model.close(1, 0, ROOTS[0], anchorer=True)
            sent = lambda: here.send_close(log, 1, 0, ROOTS[0], ground.anchorer)  # noqa: B023, E731
            assert refused(sent) == due
            old, here, model.retired = here, ground.deploy(), False
            here.open(log, address_of(ground.anchorer), ground.admin, parent=old.address)
            continue
        more, further, root, anchorer = step
        k = max(0, len(model.closes) + more)
        prefix = max(0, (model.closes[-1][0] if model.closes else 0) + further)
        key = ground.anchorer if anchorer else ground.stranger
        due = model.close(k, prefix, root, anchorer=anchorer)
        send = lambda: here.send_close(log, k, prefix, root, key)  # noqa: B023, E731
        if due:
            assert refused(send) == due
        else:
            send()
            placed[k] = here
    assert here.closes(log) == len(model.closes)
    for k, (prefix, root) in enumerate(model.closes, 1):
        assert pairs(placed[k], log, (k,)) == {k: (prefix, root)}
