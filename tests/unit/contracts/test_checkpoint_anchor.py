"""Who may do what in CheckpointAnchor, and what it never lets happen."""

from hashlib import sha256
from itertools import count

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import load
from infra.anchor_contract import address_of
from infra.chain_errors import Reverted

numbers = count()
FOREIGN_ROOT = sha256(b"another tree").digest()


def new_log() -> bytes:
    return keccak(b"gridseal.invalid/%d" % next(numbers))


@pytest.fixture(scope="module")
def contract(ground):
    return ground.deploy()


@pytest.fixture
def log(ground, contract) -> bytes:
    found = new_log()
    contract.open(found, address_of(ground.anchorer), ground.admin)
    return found


@pytest.fixture(scope="module")
def anchored(ground, contract, reference):
    """anchor(log, first, second): bring the log of the reference's entries to `second`."""

    def anchor(log: bytes, first: int, second: int) -> None:
        entries = reference.entries(second)
        proof = reference.proof(first, entries) if first else []
        contract.send_anchor(log, second, reference.mth(entries), proof, ground.anchorer)

    return anchor


def refused(call) -> Reverted:
    with pytest.raises(Reverted) as caught:
        call()
    return caught.value


def test_a_new_contract_knows_its_admin_and_nothing_else(ground, contract) -> None:
    assert contract._read("admin") == address_of(ground.admin)
    log = new_log()
    assert contract.latest(log).size == 0
    assert contract.root_at(log, 0) is None
    assert contract.anchorer_of(log) is None
    assert not contract.is_retired(log)
    assert not contract.verify_inclusion(log, 1, 0, b"entry 0", [])


def test_the_code_hash_is_that_of_the_artifact_wherever_it_stands(ground, contract) -> None:
    code = bytes.fromhex(load("CheckpointAnchor").deployed_bytecode[2:])
    assert contract.code_hash() == "0x" + keccak(code).hex() == ground.deploy().code_hash()


def test_a_head_is_anchored_with_its_time_and_an_event(
    ground, contract, reference, anchored, log
) -> None:
    anchored(log, 0, 5)
    block = ground.chain.request("eth_getBlockByNumber", ["latest"])
    latest = contract.latest(log)
    assert (latest.size, latest.time_s, latest.count) == (5, int(block["timestamp"], 16), 1)
    assert contract.root_at(log, 5) == reference.mth(reference.entries(5))
    (event,) = ground.chain.request("eth_getLogs", [{"blockHash": block["hash"]}])
    topic = keccak(b"Anchored(bytes32,uint64,bytes32)")
    assert event["topics"] == ["0x" + topic.hex(), "0x" + log.hex()]
    assert event["data"] == "0x" + (5).to_bytes(32).hex() + contract.root_at(log, 5).hex()


def test_heads_grow_and_stay(contract, reference, anchored, log) -> None:
    for first, second in ((0, 1), (1, 2), (2, 7), (7, 8), (8, 23)):
        anchored(log, first, second)
    assert contract.latest(log).count == 5
    for size in (1, 2, 7, 8, 23):
        assert contract.root_at(log, size) == reference.mth(reference.entries(size))
    assert contract.root_at(log, 9) is None


@pytest.mark.parametrize("size", [0, 1, 4, 5])
def test_a_head_that_is_not_larger_is_refused(ground, contract, anchored, log, size: int) -> None:
    anchored(log, 0, 5)
    error = refused(lambda: contract.send_anchor(log, size, FOREIGN_ROOT, [], ground.anchorer))
    assert (error.name, error.arguments) == ("SizeNotGreater", (5, size))


def test_a_head_of_another_log_is_refused(ground, contract, reference, anchored, log) -> None:
    """RFC 9162 §2.1.4.2."""
    anchored(log, 0, 5)
    proof = reference.proof(5, reference.entries(9))
    for root, offered in (
        (FOREIGN_ROOT, proof),
        (reference.mth(reference.entries(9)), proof[:-1]),
        (reference.mth(reference.entries(9)), [*proof, FOREIGN_ROOT]),
        (reference.mth(reference.entries(9)), []),
        (bytes(32), proof),
    ):
        send = lambda root=root, offered=offered: contract.send_anchor(  # noqa: E731
            log, 9, root, offered, ground.anchorer
        )
        assert refused(send).name == "NotConsistent"
    assert contract.latest(log).size == 5


def test_the_first_head_takes_no_proof_and_no_root_of_zero(ground, contract, log) -> None:
    for root, proof in ((FOREIGN_ROOT, [FOREIGN_ROOT]), (bytes(32), [])):
        send = lambda root=root, proof=proof: contract.send_anchor(  # noqa: E731
            log, 3, root, proof, ground.anchorer
        )
        assert refused(send).name == "NotConsistent"


def test_nobody_but_the_anchorer_anchors(ground, contract, log) -> None:
    for key in (ground.admin, ground.stranger):
        error = refused(lambda key=key: contract.send_anchor(log, 1, FOREIGN_ROOT, [], key))
        assert error.name == "NotAnchorer"
    unknown = refused(lambda: contract.send_anchor(new_log(), 1, FOREIGN_ROOT, [], ground.anchorer))
    assert unknown.name == "UnknownLog"


def test_nobody_but_the_admin_administers(ground, contract, log) -> None:
    place = address_of(ground.stranger)
    for key in (ground.anchorer, ground.stranger):
        for call in (
            lambda key=key: contract.open(new_log(), place, key),
            lambda key=key: contract.replace_anchorer(log, place, key),
            lambda key=key: contract.retire(log, 0, key),
        ):
            assert refused(call).name == "NotAdmin"


def test_a_log_is_opened_once_and_for_somebody(ground, contract, log) -> None:
    again = refused(lambda: contract.open(log, address_of(ground.stranger), ground.admin))
    assert again.name == "AlreadyOpen"
    nobody = refused(lambda: contract.open(new_log(), "0x" + "00" * 20, ground.admin))
    assert nobody.name == "ZeroAddress"
    orphan = refused(
        lambda: contract.open(new_log(), address_of(ground.anchorer), ground.admin, parent_size=3)
    )
    assert orphan.name == "ParentNotRetired"


def test_a_replaced_anchorer_is_out_at_once(ground, contract, log) -> None:
    contract.replace_anchorer(log, address_of(ground.stranger), ground.admin)
    assert contract.anchorer_of(log) == address_of(ground.stranger)
    error = refused(lambda: contract.send_anchor(log, 1, FOREIGN_ROOT, [], ground.anchorer))
    assert error.name == "NotAnchorer"
    contract.send_anchor(log, 1, FOREIGN_ROOT, [], ground.stranger)
    unknown = refused(
        lambda: contract.replace_anchorer(new_log(), address_of(ground.stranger), ground.admin)
    )
    assert unknown.name == "UnknownLog"
    nobody = refused(lambda: contract.replace_anchorer(log, "0x" + "00" * 20, ground.admin))
    assert nobody.name == "ZeroAddress"


def test_a_retired_log_takes_nothing_more(ground, contract, reference, anchored, log) -> None:
    anchored(log, 0, 5)
    early = refused(lambda: contract.retire(log, 4, ground.admin))
    assert (early.name, early.arguments) == ("SizeNotLatest", (5, 4))
    contract.retire(log, 5, ground.admin)
    assert contract.is_retired(log)
    assert refused(lambda: anchored(log, 5, 6)).name == "Retired"
    assert refused(lambda: contract.retire(log, 5, ground.admin)).name == "Retired"
    unknown = refused(lambda: contract.retire(new_log(), 0, ground.admin))
    assert unknown.name == "UnknownLog"
    # what stands stays readable
    path = reference.path(2, reference.entries(5))
    assert contract.latest(log).size == 5
    assert contract.verify_inclusion(log, 5, 2, b"entry 2", path)


def test_a_successor_continues_where_the_parent_ended(
    ground, contract, reference, anchored, log
) -> None:
    successor, anchorer = ground.deploy(), address_of(ground.anchorer)
    anchored(log, 0, 5)
    taken_over = {"parent": contract.address, "parent_size": 5}
    early = refused(lambda: successor.open(log, anchorer, ground.admin, **taken_over))
    assert early.name == "ParentNotRetired"
    contract.retire(log, 5, ground.admin)
    wrong = refused(
        lambda: successor.open(log, anchorer, ground.admin, parent=contract.address, parent_size=4)
    )
    assert wrong.name == "ParentNotRetired"
    successor.open(log, anchorer, ground.admin, **taken_over)
    assert successor.latest(log).size == 5
    assert successor.latest(log).count == 0
    assert successor.latest(log).time_s == contract.latest(log).time_s
    assert successor.root_at(log, 5) == contract.root_at(log, 5)
    entries = reference.entries(9)
    fork = refused(lambda: successor.send_anchor(log, 9, FOREIGN_ROOT, [], ground.anchorer))
    assert fork.name == "NotConsistent"
    proof = reference.proof(5, entries)
    successor.send_anchor(log, 9, reference.mth(entries), proof, ground.anchorer)
    assert successor.latest(log).count == 1


def test_a_log_without_heads_can_move_too(ground, contract, log) -> None:
    successor = ground.deploy()
    contract.retire(log, 0, ground.admin)
    successor.open(log, address_of(ground.anchorer), ground.admin, parent=contract.address)
    successor.send_anchor(log, 3, FOREIGN_ROOT, [], ground.anchorer)
    assert successor.latest(log).size == 3


def test_inclusion_is_asked_of_anchored_sizes_only(contract, reference, anchored, log) -> None:
    """RFC 9162 §2.1.3.2."""
    entries = reference.entries(13)
    anchored(log, 0, 11)
    anchored(log, 11, 13)
    for size in (11, 13):
        for index in range(size):
            path = reference.path(index, entries[:size])
            assert contract.verify_inclusion(log, size, index, entries[index], path)
    path = reference.path(3, entries[:12])
    assert not contract.verify_inclusion(log, 12, 3, entries[3], path)
    assert not contract.verify_inclusion(log, 13, 4, entries[3], reference.path(3, entries))
    assert not contract.verify_inclusion(log, 13, 13, entries[3], reference.path(3, entries))


def test_the_largest_public_entry_can_be_asked_for(ground, contract, log) -> None:
    """EIP-7623: its calldata alone costs 40 gas for each of 65,535 bytes."""
    entry = b"{" + b"x" * 65_534
    root = sha256(b"\x00" + entry).digest()
    contract.send_anchor(log, 1, root, [], ground.anchorer)
    assert contract.verify_inclusion(log, 1, 0, entry, [])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.integers(0, 24), max_size=6), chance=st.integers(0, 3))
def test_whatever_is_offered_heads_only_grow(
    ground, contract, reference, steps: list[int], chance: int
) -> None:
    """A model of the contract beside it: the same heads are taken, the same refused."""
    log, model, size = new_log(), {}, 0
    contract.open(log, address_of(ground.anchorer), ground.admin)
    for number, step in enumerate(steps):
        entries = reference.entries(step)
        lying = number % 4 == chance and step != 0 and size != 0
        root = FOREIGN_ROOT if lying else reference.mth(entries)
        proof = reference.proof(size, entries) if 0 < size < step else []
        if step > size and not lying:
            contract.send_anchor(log, step, root, proof, ground.anchorer)
            model[step], size = root, step
        else:
            error = refused(
                lambda: contract.send_anchor(log, step, root, proof, ground.anchorer)  # noqa: B023
            )
            assert error.name == ("SizeNotGreater" if step <= size else "NotConsistent")
    assert contract.latest(log).size == size
    assert {at: contract.root_at(log, at) for at in range(25)} == {
        at: model.get(at) for at in range(25)
    }
