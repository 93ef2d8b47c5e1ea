"""Which version of a slot counts, and that a message taken twice is shown once."""

from collections.abc import Sequence
from typing import Literal

import pytest

from bal.errors import Rejected
from bal.model import Rank
from bal.store.segment import Key
from bal.store.versions import as_sort_key, shown, sort_key

Version = tuple[int, Rank, bytes]  # index, rank, record


def keys_of(versions: Sequence[Version], register: str = "r", kind: str = "reading") -> list[Key]:
    return [
        Key(9, "d", kind, register, 0, index, rank, b"\x01", 2026, 0, len(record), index)
        for index, rank, record in versions
    ]


def show(
    versions: Sequence[Version], mode: Literal["latest", "all"]
) -> tuple[list[int], list[int]]:
    """Indexes that are shown, and those whose records were read for it."""
    record_of = {index: record for index, _, record in versions}
    read: list[int] = []

    def records(keys: Sequence[Key]) -> list[bytes]:
        read.extend(key.log_index for key in keys)
        return [record_of[key.log_index] for key in keys]

    return [key.log_index for key in shown(keys_of(versions), mode, records)], read


M, E, C = Rank.MEASURED, Rank.ESTIMATED, Rank.CORRECTED


@pytest.mark.parametrize(
    ("versions", "latest", "every"),
    [
        ([(1, M, b"a")], [1], [1]),
        ([(1, M, b"a"), (2, M, b"b")], [2], [1, 2]),
        ([(1, M, b"a"), (2, E, b"b")], [1], [1, 2]),
        ([(1, M, b"a"), (2, C, b"b"), (3, M, b"c")], [2], [1, 2, 3]),
        ([(1, M, b"a"), (2, M, b"a")], [1], [1]),
        # A retry that slipped through brings nothing new: it does not outrank what came between.
        ([(1, M, b"a"), (2, M, b"b"), (3, M, b"a")], [2], [1, 2]),
        ([(1, M, b"a"), (2, M, b"bb"), (3, M, b"a")], [2], [1, 2]),
        ([(1, C, b"a"), (2, M, b"b"), (3, C, b"a"), (4, C, b"c")], [4], [1, 2, 4]),
    ],
)
def test_which_version_is_shown(
    versions: list[Version], latest: list[int], every: list[int]
) -> None:
    assert show(versions, "latest")[0] == latest
    assert show(versions, "all")[0] == every


def test_records_are_read_only_where_two_are_equally_long() -> None:
    assert show([(1, M, b"a"), (2, M, b"bb"), (3, M, b"ccc")], "latest")[1] == []
    assert show([(1, M, b"a"), (2, M, b"bb"), (3, M, b"c")], "latest")[1] == [1, 3]
    assert show([(1, M, b"a")], "all")[1] == []


def test_slots_do_not_mix() -> None:
    keys = keys_of([(4, M, b"a")], "r2") + keys_of([(5, M, b"a")], "r1")
    given = list(shown(keys, "latest", lambda keys: [b""] * len(keys)))
    assert [key.register for key in given] == ["r1", "r2"]


def test_an_event_without_register_is_no_version_of_another() -> None:
    """Two readings without a reading type at one instant: nothing says that they mean the same."""
    versions = [(1, M, b"a"), (2, M, b"b"), (3, M, b"a")]
    record_of = {index: record for index, _, record in versions}

    def show_events(register: str) -> list[int]:
        keys = keys_of(versions, register, "event")
        given = shown(keys, "latest", lambda keys: [record_of[key.log_index] for key in keys])
        return [key.log_index for key in given]

    assert show_events("") == [1, 2]  # the third brings nothing new
    assert show_events("r") == [2]


def test_a_cursor_comes_back_as_it_was_given() -> None:
    key = keys_of([(4, M, b"a")])[0]
    assert as_sort_key(list(sort_key(key))) == sort_key(key)


@pytest.mark.parametrize(
    "cursor",
    [[], [1], ["1", "d", "k", "r", 0, 0], [1, "d", "k", "r", 0, None], [1, "d", "k", "r", 0, 0, 0]],
)
def test_what_is_no_cursor_is_refused(cursor: list[object]) -> None:
    with pytest.raises(Rejected) as caught:
        as_sort_key(cursor)
    assert (caught.value.code, caught.value.field) == ("cursor-invalid", "cursor")
