"""Rows and announcements come together, in log order, whatever is doubled, late or never taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.certify.log import Batch
from bal.certify.order import announcement
from bal.model import DeviceInfo, Pseudonym, Rank, StoredRecord
from bal.registry import Registry, device_record
from bal.store.merge import Announced, Merge, Merged, Place, housed, parse

SOURCE = "e/0"


def place(offset: int, digest: str, first: int, *, count: int = 1, again: str = "") -> Place:
    return Place(SOURCE, offset, 0, digest, first, count, {}, again)


def payloads(merged: Merged[str] | None) -> list[str | None]:
    assert merged is not None
    return [rows for _, rows in merged.parts]


def test_a_version_waits_for_its_rows_and_for_those_before_it() -> None:
    merge: Merge[str] = Merge(0, {})
    merge.announce(Announced(2, 2, [place(1, "b", 1)]))
    merge.rows(SOURCE, 1, 0, "b", "rows 1")
    assert merge.next() is None
    merge.announce(Announced(1, 1, [place(0, "a", 0)]))
    assert merge.next() is None
    assert [lacking.offset for lacking in merge.missing()] == [0]
    merge.rows(SOURCE, 0, 0, "a", "rows 0")
    assert payloads(merge.next()) == ["rows 0"]
    assert payloads(merge.next()) == ["rows 1"]
    assert merge.next() is None
    assert merge.taken == {SOURCE: 1}


def test_rows_that_were_not_sequenced_are_dropped() -> None:
    merge: Merge[str] = Merge(0, {})
    merge.rows(SOURCE, 0, 0, "other", "of a worker that lost its partition")
    merge.announce(Announced(1, 1, [place(0, "a", 0)]))
    assert merge.next() is None
    merge.rows(SOURCE, 0, 0, "a", "rows")
    assert payloads(merge.next()) == ["rows"]
    assert merge.held() == []
    assert not merge.rows(SOURCE, 0, 0, "other", "once more")
    assert not merge.announce(Announced(1, 1, [place(0, "a", 0)]))


def test_only_what_has_rows_is_waited_for() -> None:
    merge: Merge[str] = Merge(4, {SOURCE: 6})
    public = Place("sequencer/0", 4, 0, "tick", 9, 1, {})
    claimed = Place("claim.e/0", 2, 0, "nothing", 10, 0, {})
    retry = place(7, "empty", 10, count=0, again="e/0/3")
    merge.announce(Announced(5, 10, [retry, public, claimed]))
    assert payloads(merge.next()) == [None, None, None]
    merge.announce(Announced(6, 10, [place(8, "empty", 10, count=0)]))
    assert merge.next() is None  # its message is to be archived, though nothing came of it
    merge.rows(SOURCE, 8, 0, "empty", "parts only")
    assert payloads(merge.next()) == ["parts only"]


def test_others_of_several_storers_are_not_waited_for() -> None:
    merge: Merge[str] = Merge(0, {}, mine=lambda one: one.source == SOURCE)
    other = Place("e/1", 0, 0, "b", 1, 1, {})
    merge.announce(Announced(1, 2, [place(0, "a", 0), other]))
    merge.rows(SOURCE, 0, 0, "a", "mine")
    assert payloads(merge.next()) == ["mine", None]


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_in_whatever_order_they_come(order: list[int], doubled: list[int]) -> None:
    merge: Merge[str] = Merge(0, {})
    found: list[str | None] = []
    for number in [*order, *doubled]:
        if number % 2:
            merge.rows(SOURCE, number // 2, 0, str(number // 2), f"rows {number // 2}")
        else:
            n = number // 2
            merge.announce(Announced(n + 1, n + 1, [place(n, str(n), n)]))
        while (merged := merge.next()) is not None:
            found += [rows for _, rows in merged.parts]
    assert found == ["rows 0", "rows 1", "rows 2"]
    assert merge.held() == []


@pytest.mark.parametrize("data", [b"", b"{}", b'{"v":"gridseal/announcement/v1"}', b"[]"])
def test_what_is_no_announcement_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"announcement|JSON|form"):
        parse(data)


def test_a_header_of_another_form_is_refused() -> None:
    broken = jcs.encode({"v": "gridseal/announcement/v1", "version": "1", "size": "1",
                         "batches": ["{}"]})  # fmt: skip
    with pytest.raises(ValueError, match="announcement"):
        parse(broken)
    assert parse(announcement(1, 1, [Batch("e", 0, 0, -1, [bytes(32)], {}).header(0)])).size == 1


def row(device: str, shard: str, kind: str = "reading") -> StoredRecord:
    return StoredRecord(
        Pseudonym(device), 900, kind, "r", 0, 1, Rank.MEASURED, b"\x01", 2026, b"{}", shard
    )


def test_rows_stand_where_the_first_record_of_their_device_says() -> None:
    registry = Registry()
    for shard in ("g/0", "g/7"):  # of two workers that named it side by side
        info = DeviceInfo(Pseudonym("d"), "g", shard, "UTC", "meter", "head-end", "active")
        registry.apply(device_record(info))
    rows = [row("d", "g/7"), row("d", "g/0"), row("x", "g/9"), row("d", "$platform/0", "device")]
    found = [one.shard for one in housed(rows, registry.device)]
    assert found == ["g/0", "g/0", "g/9", "$platform/0"]


def test_the_first_record_of_a_device_counts_but_for_its_state() -> None:
    registry = Registry()
    first = DeviceInfo(Pseudonym("d"), "a", "a/0", "UTC", "meter", "one", "active")
    second = DeviceInfo(Pseudonym("d"), "b", "b/3", "Europe/Berlin", "der", "two", "revoked")
    registry.apply(device_record(first))
    registry.apply(device_record(second))
    found = registry.device(Pseudonym("d"))
    assert found == DeviceInfo(Pseudonym("d"), "a", "a/0", "UTC", "meter", "one", "revoked")
    assert registry.next_shard("b", 256) == "b/1"
