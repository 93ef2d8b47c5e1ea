"""The sequencer's intake: chains, claims, parts, and what comes doubled or too late."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.certify.log import Batch
from bal.certify.order import (
    CLAIM,
    PARTS_MAX,
    Offer,
    Order,
    Outcome,
    announcement,
    claim,
    decode,
    encode,
    offers,
)
from bal.store.merge import parse

EPOCH = "e" * 16
SOURCE = f"{EPOCH}/0"


def batch(offset: int, text: str = "", *, part: int = 0, prev: int | None = None) -> Batch:
    entry = f"{offset}/{part}/{text}".encode().ljust(32, b".")
    before = offset - 1 if prev is None else prev
    return Batch(EPOCH, 0, offset, before, [entry], {"registry": "0", "rules": "r"}, part)


def one(offset: int, text: str = "", *, generation: int = 0, prev: int | None = None) -> Offer:
    return offers([batch(offset, text, prev=prev)], generation)[0]


def feed(order: Order, items: Sequence[Offer]) -> list[Outcome]:
    return [order.offer(position, item) for position, item in enumerate(items)]


def taken(order: Order) -> list[int]:
    return [found.offset for found in order.take(1 << 30)]


def test_a_batch_is_taken_once_and_in_its_chain() -> None:
    order = Order({SOURCE: 4})
    outcomes = feed(order, [one(4), one(5), one(5), one(6), one(5)])
    assert outcomes == [Outcome.DROPPED, Outcome.READY, Outcome.DROPPED, Outcome.READY,
                        Outcome.DROPPED]  # fmt: skip
    assert taken(order) == [5, 6]
    assert order.halted == {}


def test_what_does_not_follow_halts_its_partition_and_no_other() -> None:
    order = Order({SOURCE: 4})
    other = Batch(EPOCH, 1, 0, -1, [bytes(32)], {})
    assert order.offer(7, one(6)) is Outcome.HALTED
    assert order.offer(8, one(5)) is Outcome.HALTED  # until a restart, which reads on from 7
    assert order.offer(9, offers([other], 0)[0]) is Outcome.READY
    assert [found.source for found in order.take(10)] == [f"{EPOCH}/1"]
    assert list(order.halted) == [SOURCE]
    assert order.needed_from(10) == 7


def test_a_claim_ends_those_before_it() -> None:
    order = Order({})
    old, new = claim(EPOCH, 0, 3), claim(EPOCH, 0, 4)
    items = [old, one(0, generation=3), new, one(1, "old", generation=3),
             one(1, "new", generation=4), old, new]  # fmt: skip
    assert feed(order, items) == [
        Outcome.READY, Outcome.READY, Outcome.READY, Outcome.DROPPED, Outcome.READY,
        Outcome.DROPPED, Outcome.DROPPED,
    ]  # fmt: skip
    found = order.take(100)
    assert [(b.source, b.offset, b.prev) for b in found] == [
        (CLAIM + SOURCE, 3, -1), (SOURCE, 0, -1), (CLAIM + SOURCE, 4, 3), (SOURCE, 1, 0),
    ]  # fmt: skip
    assert found[-1].entries[0].startswith(b"1/0/new")


def test_claims_are_remembered_by_the_heads_row() -> None:
    order = Order({SOURCE: 0, CLAIM + SOURCE: 4})
    assert order.offer(0, one(1, generation=3)) is Outcome.DROPPED
    assert order.offer(1, one(1, generation=4)) is Outcome.READY


def test_a_generation_that_nobody_claimed_halts() -> None:
    order = Order({CLAIM + SOURCE: 4})
    assert order.offer(0, one(0, generation=5)) is Outcome.HALTED


def test_parts_of_two_makings_are_not_mixed() -> None:
    order = Order({})
    first = offers([batch(0, "a"), batch(0, "a", part=1)], 0)
    second = offers([batch(0, "b"), batch(0, "b", part=1)], 0)
    items = [first[0], first[0], second[0], second[1], first[1]]
    assert feed(order, items) == [Outcome.HELD, Outcome.DROPPED, Outcome.HELD, Outcome.READY,
                                  Outcome.DROPPED]  # fmt: skip
    assert [b.entries[0][4:5] for b in order.take(100)] == [b"b", b"b"]


def test_a_claim_lets_go_of_half_a_batch() -> None:
    order = Order({})
    half = offers([batch(0, "a"), batch(0, "a", part=1)], 0)
    feed(order, [half[0], claim(EPOCH, 0, 1), one(0, generation=1)])
    assert order.offer(3, half[1]) is Outcome.DROPPED
    assert [b.source for b in order.take(100)] == [CLAIM + SOURCE, SOURCE]


def test_a_part_too_many_ahead_halts() -> None:
    three = offers([batch(0, part=n) for n in range(3)], 0)
    order = Order({})
    assert feed(order, [three[0], three[2]]) == [Outcome.HELD, Outcome.HALTED]
    assert order.needed_from(2) == 0
    order = Order({})
    assert order.offer(5, three[1]) is Outcome.HALTED


def test_a_restart_reads_from_what_is_not_taken_yet() -> None:
    order = Order({})
    feed(order, [one(0), one(1), one(2)])
    assert order.needed_from(3) == 0
    assert [b.offset for b in order.take(2)] == [0, 1]
    assert order.needed_from(3) == 2
    assert order.waiting() == 1
    two = offers([batch(3), batch(3, part=1)], 0)
    order.offer(3, two[0])
    assert taken(order) == [2]
    assert order.needed_from(4) == 3


def test_a_commit_has_whole_batches_only() -> None:
    order = Order({})
    big = offers([batch(0), batch(0, part=1)], 0)
    feed(order, [*big, one(1)])
    assert [b.part for b in order.take(1)] == [0, 1]  # over the limit, but one batch
    assert taken(order) == [1]


@given(
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 30),
)
def test_an_offer_is_read_as_it_was_written(
    entries: list[bytes], offset: int, generation: int
) -> None:
    made = Batch(EPOCH, 3, offset, offset - 1, entries, {"registry": "7", "rules": "r"}, 0, "e/0/1")
    offer = offers([made], generation)[0]
    assert decode(encode(offer)) == offer
    assert decode(encode(claim(EPOCH, 3, generation))) == claim(EPOCH, 3, generation)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epoch", ["e"]), ("again", ["e/0/1"]), ("making", {}), ("inputs", {"rules": ["r"]}),
     ("inputs", ["ab"]), ("inputs", "ab"), ("inputs", []), ("parts", "0"), ("epoch", f"{CLAIM}e")],
)  # fmt: skip
def test_what_a_worker_would_not_write_is_no_offer(name: str, value: object) -> None:
    """One such item would end each sequencer that comes to it."""
    header, _, entries = encode(one(1)).partition(b"\n")
    found = dict(jcs.decode(header))
    found[name] = value
    with pytest.raises(ValueError, match=r"offer|dictionary|sequence"):
        decode(jcs.encode(found) + b"\n" + entries)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        encode(one(0))[:-1],
        encode(one(0)).replace(b'"parts":"1"', b'"parts":"01"'),
        encode(one(0)).replace(b'"parts":"1"', b'"parts":"99999"'),
        encode(one(0)).replace(b"gridseal/offer/v1", b"gridseal/offer/v2"),
    ],
)
def test_what_is_no_offer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"offer|JSON|form"):
        decode(data)


def test_a_batch_has_a_limit() -> None:
    with pytest.raises(ValueError, match="parts"):
        offers([batch(0, part=n) for n in range(PARTS_MAX + 1)], 0)
    with pytest.raises(ValueError, match="parts"):
        offers([], 0)


def test_an_announcement_is_what_a_storer_reads() -> None:
    headers = [batch(0).header(10), batch(1).header(11)]
    found = parse(announcement(7, 12, headers))
    assert (found.version, found.size) == (7, 12)
    assert [(p.source, p.offset, p.first, p.count) for p in found.places] == [
        (SOURCE, 0, 10, 1), (SOURCE, 1, 11, 1),
    ]  # fmt: skip
    assert found.places[0].rows == batch(0).rows
    assert found.places[0].inputs == {"registry": "0", "rules": "r"}


@given(st.data())
def test_whatever_is_doubled_or_late_one_chain_comes_out(data: st.DataObject) -> None:
    """Generations write the same chain on; each may repeat any of what it wrote before."""
    items: list[Offer] = []
    follows = 0  # what the log will have of this source
    for generation in range(data.draw(st.integers(1, 4))):
        items.append(claim(EPOCH, 0, generation))
        for offset in range(follows, follows + data.draw(st.integers(0, 4))):
            items.append(one(offset, str(generation), generation=generation))
            follows = offset + 1
            if data.draw(st.booleans()):
                items.append(data.draw(st.sampled_from(items)))
    order = Order({})
    outcomes = feed(order, items)
    assert Outcome.HALTED not in outcomes
    chain = [b for b in order.take(1 << 30) if b.source == SOURCE]
    assert [(b.offset, b.prev) for b in chain] == [(n, n - 1) for n in range(follows)]
