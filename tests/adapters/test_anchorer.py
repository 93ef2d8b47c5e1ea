"""The anchorer under every fault: one head, not two, and never a lie about what stands on chain."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bal.errors import Stop, Unavailable
from infra.anchor_contract import AnchorContract
from infra.anchorer import Anchorer
from infra.chain_embedded import EmbeddedChain
from tests.adapters.anchoring import ADMIN, FUNDED, LOG, Ground, Killed, Log, eventually, prepared


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    yield from prepared(tmp_path)


# -- the plain way -------------------------------------------------------------------------------


def test_an_empty_log_has_nothing_to_anchor(ground) -> None:
    anchorer = ground.anchorer()
    assert anchorer.anchor_now() is None
    assert anchorer.covering(0) is None
    assert anchorer.anchored_size() == 0
    assert anchorer.status()["anchored_size"] == 0


def test_heads_follow_each_other_and_cover_their_entries(ground) -> None:
    anchorer = ground.anchorer()
    anchors = {}
    for size in (1, 5, 6, 40):
        ground.log.size = size
        anchors[size] = anchorer.anchor_now()
        assert anchorer.anchor_now() == anchors[size]  # again costs nothing
    assert ground.count() == 4
    for index, size in ((0, 1), (1, 5), (4, 5), (5, 6), (6, 40), (39, 40)):
        assert anchorer.covering(index) == (anchors[size], b"note of %d" % size, "final")
    assert anchorer.covering(40) is None
    assert [anchor.size for anchor, _ in ground.anchored] == [1, 5, 6, 40]
    last = anchors[40]
    assert last.contract == ground.contract.address
    assert last.log == "0x" + LOG.hex()
    assert last.chain_id == ground.chain.chain_id
    assert ground.contract.mined(last.tx).block == last.block


def test_the_thread_anchors_by_itself(ground) -> None:
    ground.log.size = 3
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: anchorer.anchored_size() == 3)
    ground.log.size = 9
    eventually(lambda: anchorer.anchored_size() == 9)
    anchorer.stop(20)
    assert ground.contract.latest(LOG).size == 9
    assert ground.alarms == []


def test_status_tells_age_gas_and_last_error(ground) -> None:
    provider = ground.faulty()
    anchorer = ground.anchorer(provider)
    ground.log.size = 3
    anchor = anchorer.anchor_now()
    ground.clock.us += 90_000_000
    status = anchorer.status()
    assert status["age_s"] == 90
    assert status["gas"] == ground.contract.mined(anchor.tx).gas
    assert (status["state"], status["last_error"], status["halted"]) == ("final", "", None)


def test_all_is_known_after_a_restart(ground) -> None:
    first = ground.anchorer()
    for size in (2, 7):
        ground.log.size = size
        first.anchor_now()
    covered = [first.covering(index) for index in range(8)]
    first.stop(20)
    second = ground.anchorer()
    assert [second.covering(index) for index in range(8)] == covered
    second.start()
    assert second.anchored_size() == 7
    assert ground.count() == 2


def test_the_own_chain_does_nothing_twice(ground) -> None:
    """It runs in the process whose senders wait for their receipts meanwhile."""
    provider = ground.faulty()
    anchorer = ground.anchorer(provider)
    ground.log.size = 3
    anchorer.anchor_now()
    assert "eth_estimateGas" in provider.asked
    provider.asked.clear()
    for size in (9, 1_000, 1_001):
        ground.log.size = size
        anchorer.anchor_now()
    asked = Counter(provider.asked)
    assert asked["eth_estimateGas"] == 0
    assert asked["eth_call"] == 3 * 2  # latest and rootAt
    assert asked["eth_sendRawTransaction"] == 3


def test_an_anchorer_replaced_meanwhile_stops(ground) -> None:
    anchorer = ground.anchorer()
    ground.log.size = 3
    anchorer.anchor_now()
    ground.contract.replace_anchorer(LOG, FUNDED[0], ADMIN)
    ground.log.size = 9
    with pytest.raises(Stop, match="anchor-not-allowed"):
        anchorer.anchor_now()
    assert ground.alarms == ["anchor-reverted", "anchor-not-allowed"]
    assert ground.count() == 1


def test_a_configured_depth_holds_on_the_own_chain(ground) -> None:
    """Its `finalized` is its latest block, which says nothing."""
    ground.log.size = 5
    anchorer = ground.anchorer(depth=3)
    anchor = anchorer.anchor_now()
    assert ground.contract.finalized_number() == anchor.block
    assert anchorer.covering(0)[2] == "anchored"
    ground.mine(2)
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    ground.mine(1)
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "final"


# -- lost answers, kills -------------------------------------------------------------------------


def test_a_lost_answer_makes_one_head(ground) -> None:
    provider = ground.faulty()
    provider.lose_answers_of = {"eth_sendRawTransaction"}
    ground.log.size = 5
    anchorer = ground.anchorer(provider)
    with pytest.raises(Unavailable):
        anchorer.anchor_now()
    assert ground.count() == 1  # the chain has it, the anchorer does not know
    assert anchorer.covering(0) is None
    provider.lose_answers_of = set()
    ground.log.size = 8
    assert anchorer.anchor_now().size == 8
    assert ground.count() == 2
    assert len(provider.sent) == 2
    assert [anchor.size for anchor, _ in ground.anchored] == [5, 8]
    assert anchorer.covering(4)[1] == b"note of 5"


@pytest.mark.parametrize(
    "line",
    [
        "before eth_call",
        "before eth_estimateGas",
        "after eth_estimateGas",
        "before eth_sendRawTransaction",  # between intent and send
        "after eth_sendRawTransaction",  # between send and record
        "before eth_getTransactionReceipt",
        "after eth_getTransactionReceipt",
    ],
)
def test_a_kill_at_any_line_makes_one_head(ground, line: str) -> None:
    provider = ground.faulty()
    provider.crash_at = line
    ground.log.size = 5
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()  # it is gone, without any farewell
    again = ground.anchorer()
    assert again.anchor_now().size == 5
    assert ground.count() == 1
    assert again.covering(4)[1:] == (b"note of 5", "final")
    ground.log.size = 6
    assert again.anchor_now().size == 6
    assert ground.count() == 2


def test_an_intent_is_sent_as_it_was_written_down(ground) -> None:
    provider = ground.faulty()
    provider.crash_at = "before eth_sendRawTransaction"
    ground.log.size = 5
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()
    ground.log.size = 9  # the log went on meanwhile
    provider = ground.faulty()
    again = ground.anchorer(provider)
    assert again.anchor_now().size == 9
    assert [anchor.size for anchor, _ in ground.anchored] == [5, 9]
    assert len(provider.sent) == 2


def test_a_lost_journal_is_no_second_head(ground) -> None:
    ground.log.size = 5
    ground.anchorer().anchor_now()
    again = ground.anchorer(journal="new.db")
    assert again.anchor_now().size == 5  # found by its event, with the newest note
    assert ground.count() == 1
    assert again.covering(2)[1] == b"note of 5"
    ground.log.size = 9
    third = ground.anchorer(journal="third.db")
    assert third.anchor_now().size == 9
    assert ground.count() == 2
    assert third.covering(0)[0].size == 9  # the note of 5 is gone for good, 9 covers


def test_the_chain_restarts(ground) -> None:
    ground.log.size = 5
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    ground.chain.close()
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    ground.log.size = 7
    again = ground.anchorer()
    again.start()
    assert again.anchor_now().size == 7
    assert ground.count() == 2


def test_an_outage_ends_in_one_transaction_for_the_newest(ground) -> None:
    provider = ground.faulty()
    provider.down = True
    ground.log.size = 1
    anchorer = ground.anchorer(provider, interval_s=0.02)
    anchorer.start()  # no chain is no reason not to start
    eventually(lambda: "connection refused" in str(anchorer.status()["last_error"]))
    for size in range(2, 30):
        ground.log.size = size
        time.sleep(0.005)
    provider.down = False
    eventually(lambda: anchorer.anchored_size() == 29)
    anchorer.stop(20)
    assert ground.count() == len(provider.sent) == 1
    assert ground.alarms == []


# -- contradictions ------------------------------------------------------------------------------


def stops(anchorer: Anchorer, code: str) -> None:
    with pytest.raises(Stop) as caught:
        anchorer.start()
    assert caught.value.code == code
    assert anchorer.status()["halted"] == code
    with pytest.raises(Stop):  # and it stays stopped
        anchorer.anchor_now()


def test_a_chain_ahead_of_the_log_stops(ground) -> None:
    ground.log.size = 9
    ground.anchorer().anchor_now()
    ground.log.size = 5  # an old copy of the log was restored
    stops(ground.anchorer(), "anchor-ahead")
    ground.log.size = 0
    stops(ground.anchorer(journal="new.db"), "anchor-ahead")
    assert ground.alarms == ["anchor-ahead", "anchor-ahead"]
    assert ground.count() == 1


@pytest.mark.parametrize("size", [9, 10, 16, 33])
def test_a_chain_that_differs_from_the_log_stops(ground, size: int) -> None:
    ground.log.size = 9
    ground.anchorer().anchor_now()
    ground.log = Log(size, b"another ")
    stops(ground.anchorer(), "anchor-fork")
    assert ground.alarms == ["anchor-fork"]
    assert ground.count() == 1


def test_a_contradiction_met_while_running_ends_the_thread(ground) -> None:
    ground.log.size = 9
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: anchorer.anchored_size() == 9)
    other = Log(12, b"another ")
    head = other.newest()[0]
    ground.log.size = 12
    ground.log.salt = b"another "
    eventually(lambda: ground.alarms == ["anchor-fork"])
    assert anchorer.status()["halted"] == "anchor-fork"
    assert anchorer.covering(3)[0].size == 9  # what stands can still be given out
    assert ground.contract.root_at(LOG, 12) is None
    assert head.size == 12


def test_an_older_chain_put_back_stops(ground) -> None:
    ground.log.size = 5
    anchorer = ground.anchorer()
    anchorer.anchor_now()
    ground.chain.close()
    older = (ground.folder / "chain.db").read_bytes()
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    ground.log.size = 7
    ground.anchorer().anchor_now()
    ground.chain.close()
    (ground.folder / "chain.db").write_bytes(older)
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    stops(ground.anchorer(), "anchor-lost")


def test_another_contract_needs_another_journal(ground) -> None:
    ground.log.size = 5
    ground.anchorer().anchor_now()
    ground.contract = AnchorContract.deploy(ground.chain.web3(), ADMIN)
    ground.contract.open(LOG, FUNDED[1], ADMIN)
    stops(ground.anchorer(), "anchor-target")
    assert ground.anchorer(journal="other.db").anchor_now().size == 5


def test_no_journal_of_ours_is_refused(ground) -> None:
    (ground.folder / "journal.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(Stop, match="anchor-journal"):
        ground.anchorer()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda contract: contract.replace_anchorer(LOG, FUNDED[0], ADMIN), "anchor-not-allowed"),
        (lambda contract: contract.retire(LOG, 0, ADMIN), "anchor-retired"),
    ],
    ids=["replaced", "retired"],
)
def test_what_only_the_operator_can_mend_stops(ground, spoil, code: str) -> None:
    spoil(ground.contract)
    ground.log.size = 5
    anchorer = ground.anchorer()
    with pytest.raises(Stop) as caught:
        anchorer.anchor_now()
    assert caught.value.code == code
    assert ground.alarms == [code]


def test_a_log_that_is_not_open_stops(ground) -> None:
    ground.contract = AnchorContract.deploy(ground.chain.web3(), ADMIN)
    ground.log.size = 5
    with pytest.raises(Stop, match="anchor-unknown-log"):
        ground.anchorer().anchor_now()


def test_two_anchorers_of_one_log_do_no_harm(ground) -> None:
    ground.log.size = 3
    one, two = ground.anchorer(), ground.anchorer(journal="two.db")
    one.anchor_now()
    two.anchor_now()
    ground.log.size = 8
    two.anchor_now()
    one.anchor_now()
    assert ground.count() == 2
    assert one.covering(5)[0] == two.covering(5)[0]


def test_covering_may_be_asked_while_the_thread_writes(ground) -> None:
    ground.log.size = 1
    anchorer = ground.anchorer(interval_s=0.01)
    anchorer.start()
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found = anchorer.covering(0)
            if found is not None and found[1] != b"note of %d" % found[0].size:
                wrong.append(found)

    asker = threading.Thread(target=ask)
    asker.start()
    for size in range(2, 12):
        ground.log.size = size
        eventually(lambda size=size: anchorer.anchored_size() == size)
    done.set()
    asker.join(20)
    assert wrong == []


def test_a_defect_in_a_callback_does_not_end_the_thread(ground) -> None:
    anchorer = ground.anchorer(interval_s=0.02)
    calls: list[Sequence[object]] = []

    def broken(*arguments: object) -> None:
        calls.append(arguments)
        raise ValueError("a defect")

    anchorer._on_anchored = broken
    ground.log.size = 3
    anchorer.start()
    eventually(lambda: "anchorer-defect" in ground.alarms)
    assert anchorer.covering(0) is not None
    assert len(calls) == 1
