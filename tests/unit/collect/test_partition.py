from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from bal.collect.partition import BULK_KEYS, message_key, partition_of

names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
raws = st.binary(max_size=100)


def key(name: str, raw: bytes, *, bulk: bool) -> str:
    return message_key(name, sha256(raw).digest(), bulk=bulk)


@given(names, raws, raws, st.integers(1, 1000))
def test_one_senders_messages_stay_in_one_partition(
    name: str, one: bytes, other: bytes, partitions: int
) -> None:
    found = {partition_of(key(name, raw, bulk=False), partitions) for raw in (one, other)}
    assert len(found) == 1
    assert found <= set(range(partitions))


@given(names, raws, st.integers(1, 1000))
def test_a_retry_of_a_bulk_sender_meets_the_first_one(
    name: str, raw: bytes, partitions: int
) -> None:
    first, again = (key(name, raw, bulk=True) for _ in range(2))
    assert partition_of(first, partitions) == partition_of(again, partitions)


@given(st.lists(st.tuples(names, raws, st.booleans()), min_size=2, max_size=2))
def test_two_senders_share_no_key(two: list[tuple[str, bytes, bool]]) -> None:
    (one, raw, bulk), (other, raw2, bulk2) = two
    if one != other:
        assert key(one, raw, bulk=bulk) != key(other, raw2, bulk=bulk2)


def test_a_bulk_senders_messages_are_spread() -> None:
    keys = [key("head-end", b"%d" % number, bulk=True) for number in range(5_000)]
    assert len(set(keys)) == BULK_KEYS
    counts = [0] * 8
    for one in keys:
        counts[partition_of(one, 8)] += 1
    assert min(counts) > 0


def test_what_was_decided_stays_so() -> None:
    """A partition that moves would put a sender's messages out of order: pinned for good."""
    assert key("head-end", b"<a/>", bulk=False) == "head-end"
    assert key("head-end", b"<a/>", bulk=True) == f"head-end/{sha256(b'<a/>').digest()[-1] % 64}"
    assert [partition_of(f"meter-{n}", 16) for n in range(8)] == [12, 0, 10, 0, 9, 13, 5, 5]
