"""The closer under every fault: each close once, in order, after its head, as the log has it."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from eth_account import Account

from bal.errors import Stop, Unavailable
from bal.model import Digest
from contracts import load
from infra.anchor_contract import AnchorContract, ClosedBook
from infra.anchorer import Anchorer
from infra.chain_embedded import EmbeddedChain
from tests.adapters.anchoring import (
    ADMIN,
    ANCHORER,
    FUNDED,
    LOG,
    Ground,
    Killed,
    eventually,
    prepared,
    state_of,
)

OTHER = Digest(sha256(b"another book").digest())


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    yield from prepared(tmp_path)


def books(ground: Ground) -> list[tuple[int, bytes]]:
    """What the contract has, from close 1 on."""
    count = ground.contract.closes(LOG)
    found = [ground.contract.close_at(LOG, k) for k in range(1, count + 1)]
    return [(one.prefix, one.root) for one in found if one is not None]


def kept(ground: Ground) -> list[tuple[int, bytes]]:
    """What the log has."""
    return [(one.prefix, one.book) for one in ground.closes]


def states(anchorer: Anchorer, count: int) -> list[str]:
    return [state_of(anchorer, k) for k in range(1, count + 1)]


def stops(anchorer: Anchorer, code: str) -> None:
    with pytest.raises(Stop) as caught:
        anchorer.start()
    assert caught.value.code == code
    assert anchorer.status()["halted"] == code
    with pytest.raises(Stop):
        anchorer.anchor_now()


# -- the plain way -------------------------------------------------------------------------------


def test_a_close_waits_for_the_head_that_covers_its_record(ground) -> None:
    anchorer = ground.anchorer()
    ground.log.size = 7
    ground.close_book(prefix=7)  # the record is entry 7: only a head of 8 covers it
    anchorer.anchor_now()
    assert books(ground) == []
    assert states(anchorer, 1) == ["pending"]
    assert not anchorer.closer.under_way()
    ground.log.size = 8
    anchorer.anchor_now()
    assert books(ground) == kept(ground)
    assert states(anchorer, 2) == ["final", "pending"]
    assert anchorer.status()["closes"] == {"anchored": 1, "final": 1, "under_way": None}


def test_closes_go_in_order_as_many_as_are_covered(ground) -> None:
    anchorer = ground.anchorer()
    for prefix in (3, 5, 5, 9):
        ground.close_book(prefix)
    ground.log.size = 6
    anchorer.anchor_now()
    assert books(ground) == kept(ground)[:3]
    assert states(anchorer, 4) == ["final", "final", "final", "pending"]
    ground.log.size = 10
    anchorer.anchor_now()
    assert books(ground) == kept(ground)
    assert ground.count() == 2
    assert ground.alarms == []


def test_the_thread_closes_by_itself(ground) -> None:
    ground.log.size = 3
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: anchorer.anchored_size() == 3)
    ground.close_book(prefix=3)
    ground.log.size = 4
    eventually(lambda: state_of(anchorer, 1) == "final")
    anchorer.stop(20)
    assert books(ground) == kept(ground)


def test_all_is_known_after_a_restart_without_the_chain(ground) -> None:
    ground.log.size = 5
    ground.close_book(prefix=4)
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    provider = ground.faulty()
    provider.down = True
    second = ground.anchorer(provider)
    second.start()
    assert states(second, 2) == ["final", "pending"]


def test_a_lost_journal_is_no_second_close(ground) -> None:
    for prefix in (2, 4):
        ground.close_book(prefix)
    ground.log.size = 5
    ground.anchorer().anchor_now()
    provider = ground.faulty()
    again = ground.anchorer(provider, journal="new.db")
    again.start()
    again.anchor_now()
    assert states(again, 3) == ["final", "final", "pending"]
    assert provider.sent == []
    assert books(ground) == kept(ground)


def test_the_own_chain_is_not_asked_where_nothing_changed(ground) -> None:
    ground.log.size = 5
    ground.close_book(prefix=4)
    anchorer = ground.anchorer()
    anchorer.anchor_now()
    anchorer.closer._contract = None  # any question now would be an AttributeError
    for size in (6, 7):
        ground.log.size = size
        anchorer.anchor_now()
    assert states(anchorer, 1) == ["final"]


# -- lost answers, kills -------------------------------------------------------------------------


def anchored(ground: Ground, size: int = 5) -> None:
    """A head of `size` stands, and a close that it covers waits."""
    ground.log.size = size
    one = ground.anchorer()
    one.anchor_now()
    one.stop(20)
    ground.running.clear()
    ground.close_book(prefix=size - 1)


def test_a_lost_answer_makes_one_close(ground) -> None:
    anchored(ground)
    provider = ground.faulty()
    provider.lose_answers_of = {"eth_sendRawTransaction"}
    anchorer = ground.anchorer(provider)
    with pytest.raises(Unavailable):
        anchorer.anchor_now()
    assert books(ground) == kept(ground)  # the chain has it, the closer does not know
    assert states(anchorer, 1) == ["pending"]
    assert anchorer.closer.under_way()
    provider.lose_answers_of = set()
    anchorer.anchor_now()
    assert states(anchorer, 1) == ["final"]
    assert not anchorer.closer.under_way()
    assert len(provider.sent) == 1


@pytest.mark.parametrize(
    "line",
    [
        "before eth_call",
        "before eth_estimateGas",
        "after eth_estimateGas",
        "before eth_sendRawTransaction",  # between intent and send
        "after eth_sendRawTransaction",  # between send and record
    ],
)
def test_a_kill_at_any_line_makes_one_close(ground, line: str) -> None:
    anchored(ground)
    provider = ground.faulty()
    provider.crash_at = line
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()  # it is gone, without any farewell
    nonce = ground.contract.next_nonce(FUNDED[1])
    again = ground.anchorer()
    again.anchor_now()
    assert books(ground) == kept(ground)
    assert states(again, 1) == ["final"]
    assert ground.contract.next_nonce(FUNDED[1]) == nonce + (line != "after eth_sendRawTransaction")


def test_an_intent_is_sent_as_it_was_written_down(ground) -> None:
    anchored(ground)
    provider = ground.faulty()
    provider.crash_at = "before eth_sendRawTransaction"
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()
    (intended,) = ground.anchorer().closer._journal.attempts(1)
    ground.log.size = 9  # the log went on meanwhile
    provider = ground.faulty()
    again = ground.anchorer(provider)
    assert again.anchor_now().size == 9
    assert provider.sent[0] == intended.tx
    assert len(provider.sent) == 2
    assert books(ground) == kept(ground)


def test_an_outage_ends_with_every_close(ground) -> None:
    anchored(ground)
    provider = ground.faulty()
    provider.down = True
    anchorer = ground.anchorer(provider, interval_s=0.02)
    anchorer.start()
    eventually(lambda: "connection refused" in str(anchorer.status()["last_error"]))
    for _ in range(4):
        ground.close_book(prefix=4)
    provider.down = False
    eventually(lambda: state_of(anchorer, 5) == "final")
    anchorer.stop(20)
    assert books(ground) == kept(ground)
    assert len(provider.sent) == 5
    assert ground.alarms == []


def test_two_closers_of_one_log_do_no_harm(ground) -> None:
    anchored(ground)
    one, two = ground.anchorer(), ground.anchorer(journal="two.db")
    one.anchor_now()
    two.anchor_now()
    ground.close_book(prefix=4)
    two.anchor_now()
    one.anchor_now()
    assert states(one, 2) == states(two, 2) == ["final", "final"]
    assert books(ground) == kept(ground)


# -- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"book": OTHER}, {"prefix": 3}], ids=["root", "prefix"])
@pytest.mark.parametrize("journal", ["journal.db", "new.db"])
def test_another_close_on_chain_stops(ground, changes, journal: str) -> None:
    anchored(ground)
    ground.close_book(prefix=4)
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    ground.closes[1] = replace(ground.closes[1], **changes)
    stops(ground.anchorer(journal=journal), "close-differs")
    assert ground.alarms == ["close-differs"]


def test_an_older_close_that_is_not_final_here_is_compared_too(ground) -> None:
    anchored(ground)
    ground.close_book(prefix=4)
    ground.anchorer().anchor_now()
    ground.closes[0] = replace(ground.closes[0], book=OTHER)
    stops(ground.anchorer(journal="new.db"), "close-differs")


def test_a_close_that_the_log_has_not_stops(ground) -> None:
    anchored(ground)
    ground.anchorer().anchor_now()
    ground.closes.clear()  # an old copy of the log was restored
    stops(ground.anchorer(), "close-differs")


def test_who_holds_the_key_and_closes_first_stops_it(ground) -> None:
    anchored(ground)
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: state_of(anchorer, 1) == "final")
    ground.contract.send_close(LOG, 2, 4, OTHER, ANCHORER)
    ground.close_book(prefix=4)
    eventually(lambda: ground.alarms == ["close-differs"])
    assert anchorer.status()["halted"] == "close-differs"
    assert state_of(anchorer, 1) == "final"  # what stands can still be given out
    assert ground.contract.close_at(LOG, 2).root == OTHER


def test_a_log_whose_prefix_goes_back_stops(ground) -> None:
    anchored(ground)
    ground.close_book(prefix=2)
    anchorer = ground.anchorer()
    with pytest.raises(Stop, match="PrefixLower"):
        anchorer.anchor_now()
    assert ground.alarms == ["close-differs"]
    assert books(ground) == kept(ground)[:1]


def test_an_older_chain_put_back_stops(ground) -> None:
    anchored(ground)
    ground.chain.close()
    older = (ground.folder / "chain.db").read_bytes()
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    ground.chain.close()
    (ground.folder / "chain.db").write_bytes(older)
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    stops(ground.anchorer(), "anchor-lost")


def test_a_replaced_anchorer_stops(ground) -> None:
    anchored(ground)
    ground.contract.replace_anchorer(LOG, FUNDED[0], ADMIN)
    with pytest.raises(Stop, match="anchor-not-allowed"):
        ground.anchorer().anchor_now()


def test_no_journal_of_ours_is_refused(ground) -> None:
    (ground.folder / "closes-journal.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(Stop, match="store-damaged"):
        ground.anchorer()


# -- another contract ----------------------------------------------------------------------------


def test_a_contract_that_knows_no_closes_is_another_one(ground) -> None:
    web3 = ground.chain.web3()
    harness = load("Rfc9162Harness", Path(__file__).parents[1] / "unit/contracts")
    creation = {"from": FUNDED[0], "data": harness.bytecode, "gas": 3_000_000, "gasPrice": 10**10}
    creation |= {"nonce": web3.eth.get_transaction_count(FUNDED[0]), "chainId": web3.eth.chain_id}
    signed = Account.from_key(ADMIN).sign_transaction(creation)
    place = web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(signed.raw_transaction)
    )["contractAddress"]
    with pytest.raises(Stop, match="contract-missing"):
        AnchorContract(web3, place).closes(LOG)


def test_a_successor_goes_on_where_its_parent_ended(ground) -> None:
    anchored(ground)
    ground.close_book(prefix=4)
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    ground.running.clear()
    parent = ground.contract
    parent.retire(LOG, 5, ADMIN)
    ground.contract = AnchorContract.deploy(ground.chain.web3(), ADMIN)
    ground.contract.open(LOG, FUNDED[1], ADMIN, parent=parent.address, parent_size=5)
    third = ground.close_book(prefix=4)
    again = ground.anchorer(journal="successor.db")
    with again._turn:
        again._settle()  # the head that was taken over covers it
    assert states(again, 4) == ["final", "final", "final", "pending"]
    assert ground.contract.close_at(LOG, 1) is None  # asked of the parent
    assert parent.close_at(LOG, 1).root == ground.closes[0].book
    found = ground.contract.close_at(LOG, 3)
    assert found == ClosedBook(third.prefix, found.time_s, third.book)
