"""docs/spec/completeness.md, Device-day: its bytes, its key, and what a decoder refuses."""

import json
from base64 import b64decode
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.certify import device_day
from bal.certify.device_day import DeviceDay, content, decode, encode, key
from bal.slots import EMPTY_SLOT, NO_INDEX, Slot, slot_of, thousandfold

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "device_days.json").read_text()
)
INT64 = st.integers(-(2**63), 2**63 - 1)
DIGEST = st.binary(min_size=32, max_size=32)


def slots_of(indexes: list[int]) -> st.SearchStrategy[tuple[Slot, ...]]:
    def one(index: int) -> st.SearchStrategy[Slot]:
        return st.one_of(
            st.builds(Slot, st.integers(1, 3), st.sampled_from([0, 4]), INT64, st.just(index)),
            st.sampled_from([Slot(0, 2, 0, index), Slot(0, 3, 0, index), EMPTY_SLOT]),
        )

    return st.tuples(*map(one, indexes))


DAYS = st.builds(
    DeviceDay,
    DIGEST,
    st.integers(2, 2**32 - 1),
    DIGEST.filter(any),
    st.just(2**63),
    st.integers(0, 2**64 - 1),
    st.sampled_from([60, 900, 3600, 43_200]),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30, unique=True).flatmap(slots_of),
)


@given(DAYS)
def test_what_is_encoded_is_decoded(day: DeviceDay) -> None:
    data = encode(day)
    assert len(data) == 93 + 18 * len(day.slots)
    assert decode(data) == day


@given(DAYS, st.data())
def test_whatever_is_decoded_is_encoded_again(day: DeviceDay, draw: st.DataObject) -> None:
    data = bytearray(encode(day))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = decode(bytes(data))
    except ValueError:
        return
    assert encode(found) == data


@given(DAYS)
def test_the_content_leaves_out_what_a_version_alone_changes(day: DeviceDay) -> None:
    later = DeviceDay(
        day.key, day.version ^ 1, b"p" * 32, 2**63 + 1, day.start_s, day.slot_s, day.slots
    )
    assert content(encode(later)) == content(encode(day))
    moved = DeviceDay(*(getattr(day, name) for name in ("key", "version", "previous", "prefix")),
                      day.start_s ^ 1, day.slot_s, day.slots)  # fmt: skip
    assert content(encode(moved)) != content(encode(day))


@pytest.mark.parametrize("case", VECTORS["encoded"])
def test_published_bytes(case: dict[str, Any]) -> None:
    day = decode(bytes.fromhex(case["data"]))
    assert encode(day).hex() == case["data"]
    shown = case["day"]
    assert [day.version, day.prefix, day.start_s, day.slot_s] == [
        int(shown[name]) for name in ("version", "prefix", "start", "slot_s")
    ]
    assert (day.key.hex(), day.previous.hex()) == (shown["key"], shown["previous"])
    assert [list(map(str, slot)) for slot in day.slots] == shown["slots"]


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["name"])
def test_published_bad_bytes(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"device-day|version|slot|day"):
        decode(bytes.fromhex(case["data"]))


def test_the_example_of_the_page_is_the_published_document() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/spec/completeness.md").read_text()
    whole = VECTORS["documents"][0]["document"]
    data = b64decode(whole["device_day"]["data"])
    cuts = (0, 5, 37, 41, 73, 81, 89, 91, 93, 94, 95, 103, 111)
    for start, stop in pairwise(cuts):
        assert data[start:stop].hex() in page
    assert whole["device"] in page
    assert whole["day_proof"]["terminal"]["key"][:4] + "…" in page


@pytest.mark.parametrize("case", VECTORS["keys"])
def test_published_keys(case: dict[str, Any]) -> None:
    assert key(int(case["day"]), case["device"], case["register"]).hex() == case["key"]


@pytest.mark.parametrize("device", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "+"])
def test_what_is_no_pseudonym_has_no_key(device: str) -> None:
    with pytest.raises(ValueError, match="pseudonym"):
        key(0, device, "r")


@pytest.mark.parametrize("register", ["", "a b", "ä", "x" * 257])
def test_what_is_no_register_has_no_key(register: str) -> None:
    with pytest.raises(ValueError, match="register"):
        key(0, "A" * 43, register)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_a_value_becomes_milliunits_half_to_even(number: Decimal) -> None:
    text = format(number.normalize(), "f")
    text = "0" if Decimal(text) == 0 else text
    with localcontext() as context:
        context.prec = 500
        exact = Decimal(text) * 1000
        expected = int(exact.to_integral_value(ROUND_HALF_EVEN))
    assert thousandfold(text) == (expected, exact == expected)


@pytest.mark.parametrize("text", ["", "-0", "1.0", "01", "+1", "1e3", ".5", "5.", "1_0", "٣"])
def test_a_value_that_is_not_normalised_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        thousandfold(text)


@pytest.mark.parametrize(
    ("state", "value", "found"),
    [
        (2, "0.0005", Slot(2, 4, 0, 7)),
        (2, "0.0015", Slot(2, 4, 2, 7)),
        (2, "-0.00051", Slot(2, 4, -1, 7)),
        (2, "9223372036854775.807", Slot(2, 0, 2**63 - 1, 7)),
        (2, "9223372036854775.8075", Slot(0, 3, 0, 7)),
        (2, "-9223372036854775.808", Slot(2, 0, -(2**63), 7)),
        (3, None, Slot(0, 2, 0, 7)),
        (0, "5", Slot(0, 2, 0, 7)),
    ],
)
def test_what_a_record_says_about_its_slot(state: int, value: str | None, found: Slot) -> None:
    assert slot_of(state, value, 7) == found
    assert Slot(0, 1, 0, NO_INDEX) == EMPTY_SLOT


def test_the_fast_encoder_writes_the_same() -> None:
    day = decode(bytes.fromhex(VECTORS["encoded"][0]["data"]))
    assert device_day.encode_checked(day) == encode(day)
