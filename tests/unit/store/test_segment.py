"""Segments: what goes in comes out, by device and by position, and damage is noticed."""

import json
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.model import Pseudonym, Rank, StoredRecord
from bal.store.segment import DAY_US, Key, KeyTable, day_of, decode, encode, row

VECTOR = Path(__file__).resolve().parents[2] / "vectors" / "segment.json"
SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "store.md"

DEVICES = ["A", "AA", "a-b_c", "_", *("".join(c) for c in ("x" * 43, "y" * 42 + "-", "z" * 43))]
INSTANTS = st.integers(-(2**62), 2**62)


@st.composite
def stored_rows(draw: st.DrawFn) -> list[StoredRecord]:
    """Rows of one shard with distinct indexes, in no order."""
    indexes = draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30, unique=True))
    return [
        StoredRecord(
            index=index,
            shard="feeder-7/0",
            device=Pseudonym(draw(st.sampled_from(DEVICES))),
            kind=draw(st.sampled_from(["reading", "telemetry", "event", "größe"])),
            register=draw(st.sampled_from(["", "0.0.2", "0.0.2.4"])),
            begin_us=draw(INSTANTS),
            end_us=draw(INSTANTS),
            rank=draw(st.sampled_from(Rank)),
            type=draw(st.sampled_from([b"\x01", b"\x02"])),
            year=draw(st.integers(1, 9999)),
            record=draw(st.binary(max_size=40)),
        )
        for index in indexes
    ]


def in_order(rows: list[StoredRecord]) -> list[StoredRecord]:
    return sorted(rows, key=lambda r: (r.device, r.end_us, r.kind, r.register, r.begin_us, r.index))


@given(stored_rows())
def test_decoding_gives_back_every_row_in_order(rows: list[StoredRecord]) -> None:
    segment = encode(rows)
    assert decode(segment.keys, segment.records, "feeder-7/0") == in_order(rows)


@given(stored_rows())
def test_what_a_database_needs_to_know_is_right(rows: list[StoredRecord]) -> None:
    segment = encode(rows)
    assert segment.count == len(rows)
    assert (segment.first, segment.last) == (
        min(r.index for r in rows),
        max(r.index for r in rows),
    )
    assert (segment.end_min_us, segment.end_max_us) == (
        min(r.end_us for r in rows),
        max(r.end_us for r in rows),
    )


@given(stored_rows(), st.sampled_from([*DEVICES, "", "B", "zz", "x" * 44]))
def test_a_device_is_found_where_it_is_and_nowhere_else(
    rows: list[StoredRecord], device: str
) -> None:
    segment = encode(rows)
    table = KeyTable(segment.keys, segment=9)
    keys = table.rows(*table.of_device(device))
    found = [row(key, "feeder-7/0", segment.records[key.start : key.stop]) for key in keys]
    assert found == [r for r in in_order(rows) if r.device == device]
    assert all(key.segment == 9 for key in keys)


@given(stored_rows(), st.data())
def test_any_stretch_of_positions_is_the_same_as_the_whole_cut(
    rows: list[StoredRecord], data: st.DataObject
) -> None:
    table = KeyTable(encode(rows).keys)
    start = data.draw(st.integers(0, table.count))
    stop = data.draw(st.integers(start, table.count))
    assert table.rows(start, stop) == table.rows()[start:stop]
    assert [key.log_index for key in table.rows()] == list(table.indexes())


@given(stored_rows(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_come_does_not_matter(rows: list[StoredRecord], rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert encode(shuffled) == encode(rows)


@given(stored_rows(), stored_rows())
def test_merging_is_encoding_what_both_decode_to(
    rows: list[StoredRecord], more: list[StoredRecord]
) -> None:
    taken = {r.index for r in rows}
    more = [r for r in more if r.index not in taken]
    if more:
        parts = [encode(rows), encode(more)]
        merged = encode(r for part in parts for r in decode(part.keys, part.records, "feeder-7/0"))
        assert merged == encode([*rows, *more])


@given(stored_rows(), st.data())
def test_one_flipped_bit_in_the_key_table_is_noticed(
    rows: list[StoredRecord], data: st.DataObject
) -> None:
    keys = bytearray(encode(rows).keys)
    bit = data.draw(st.integers(0, 8 * len(keys) - 1))
    keys[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="segment"):
        KeyTable(bytes(keys))


@given(stored_rows(), st.data())
def test_a_cut_key_table_is_noticed(rows: list[StoredRecord], data: st.DataObject) -> None:
    keys = encode(rows).keys
    with pytest.raises(ValueError, match="segment"):
        KeyTable(keys[: data.draw(st.integers(0, len(keys) - 1))])


@settings(max_examples=200)
@given(st.data())
def test_a_table_that_was_made_to_fit_its_checksum_is_noticed_or_read(data: st.DataObject) -> None:
    vector = json.loads(VECTOR.read_text(encoding="utf-8"))
    keys, records = bytearray.fromhex(vector["keys"])[:-4], vector["records"].encode()
    for _ in range(data.draw(st.integers(1, 3))):
        keys[data.draw(st.integers(5, len(keys) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(keys) + crc32(keys).to_bytes(4, "big")
    with suppress(ValueError):
        KeyTable(whole).rows()
    with suppress(ValueError):
        KeyTable(whole).stored(records, vector["shard"])
    with suppress(ValueError):
        table = KeyTable(whole)
        assert len(table.ends()) == len(table.indexes()) == table.count
        table.of_device("a")


def test_records_of_another_length_are_noticed() -> None:
    segment = encode([a_row(record=b"{}")])
    with pytest.raises(ValueError, match="records are not as long"):
        decode(segment.keys, segment.records[:-1], "feeder-7/0")


def a_row(**changes: object) -> StoredRecord:
    plain = StoredRecord(
        index=0,
        shard="feeder-7/0",
        device=Pseudonym("A"),
        kind="reading",
        register="",
        begin_us=0,
        end_us=0,
        rank=Rank.MEASURED,
        type=b"\x01",
        year=2026,
        record=b"{}",
    )
    return plain._replace(**changes)


@pytest.mark.parametrize("device", ["", "x" * 44, "a\0", "ä"])
def test_a_name_that_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=r"ASCII|ascii"):
        encode([a_row(device=device)])


@pytest.mark.parametrize("type_", [b"", b"\x01\x01"])
def test_a_type_is_one_byte(type_: bytes) -> None:
    with pytest.raises(ValueError, match="one byte"):
        encode([a_row(type=type_)])


def test_no_row_makes_no_segment() -> None:
    with pytest.raises(ValueError, match="unpack"):
        encode([])


@pytest.mark.parametrize(
    ("end_us", "day"), [(0, 0), (-1, -1), (DAY_US - 1, 0), (DAY_US, 1), (-DAY_US, -1)]
)
def test_midnight_belongs_to_the_day_that_begins(end_us: int, day: int) -> None:
    assert day_of(end_us) == day


def test_key_has_the_order_of_the_port_first() -> None:
    assert Key._fields[:6] == ("end_us", "device", "kind", "register", "begin_us", "log_index")


def test_the_published_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    rows = [
        StoredRecord(
            **item
            | {
                "shard": vector["shard"],
                "rank": Rank(item["rank"]),
                "type": bytes.fromhex(item["type"]),
                "record": item["record"].encode(),
            }
        )
        for item in vector["rows"]
    ]
    segment = encode(rows)
    assert segment.keys.hex() == vector["keys"]
    assert segment.records.decode() == vector["records"]
    assert decode(bytes.fromhex(vector["keys"]), segment.records, vector["shard"]) == in_order(rows)


def test_the_specification_shows_the_vector() -> None:
    """The example's hex column, top to bottom, is the vector's key table."""
    example = SPEC.read_text().split("```")[1]
    shown = "".join(line.split("  ")[0].replace(" ", "") for line in example.splitlines())
    assert shown == json.loads(VECTOR.read_text())["keys"]
