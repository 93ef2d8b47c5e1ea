"""DER messages read by a plan come to what they come to when read reading by reading."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import der, der_plan
from bal.model import Harmonised
from tests.unit.harmonise.conftest import take_message

QUARTERS = [f"2026-01-15T{n // 4:02d}:{n % 4 * 15:02d}:00" for n in range(96)]


@pytest.fixture(autouse=True)
def _no_plans() -> None:
    """Each test begins without plans."""
    der._plans.clear()


def slowly(raw: bytes) -> Harmonised | Rejected:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(der_plan, "read", lambda *_: None)
        return outcome(raw)


def outcome(raw: bytes) -> Harmonised | Rejected:
    try:
        return take_message(raw, "der")
    except Rejected as error:
        return error


def same(one: Harmonised | Rejected, other: Harmonised | Rejected) -> bool:
    if isinstance(one, Rejected) or isinstance(other, Rejected):
        return type(one) is type(other) and vars(one) == vars(other)
    return one == other


def planned(raw: bytes) -> bool:
    return der_plan.read(raw, der._plans) is not None


def quarter(slot: int, value: object, *, device: str = "pv", zone: str = "Z") -> dict[str, Any]:
    reading = {
        "begin": QUARTERS[slot] + zone, "end": QUARTERS[slot + 1] + zone,
        "measurand": "activeEnergyExport", "value": value, "unit": "Wh",
    }  # fmt: skip
    return {"device": device, "readings": [reading]}


def gateway(slot: int, value: str, **options: Any) -> bytes:
    items = [quarter(slot, value + "7" * (n % 2), device=f"pv-ö{n}") for n in range(5)]
    return json.dumps(items, ensure_ascii=False, **options).encode()


@pytest.mark.parametrize("options", [{}, {"indent": 1}, {"separators": (",", ":")}])
def test_a_text_is_learnt_when_it_comes_again(options: dict[str, Any]) -> None:
    for slot, value in enumerate(["1", "-22.50", "+0333", "4", ".5"]):
        raw = gateway(slot, value, **options)
        assert planned(raw) == (slot > 0)
        found = outcome(raw)
        assert isinstance(found, Harmonised)
        assert same(found, slowly(raw))
        assert len(found.records) == 5
        for draft in found.records:
            assert jcs.encode(jcs.decode(draft.record)) == draft.record


def test_numbers_stay_numbers_and_instants_instants() -> None:
    for slot, value in enumerate([1, -2.5, 1e3, 333]):
        raw = json.dumps(
            {"readings": [{"time": QUARTERS[slot] + "+01:00", "measurand": "activePower",
                           "unit": "kW", "phase": "A", "quality": "1.0.0", "value": value}]}
        ).encode()  # fmt: skip
        assert same(outcome(raw), slowly(raw))
        assert planned(raw)
    octal = re.sub(rb'"value": 333', rb'"value": 0333', raw)
    assert not planned(octal)
    assert same(outcome(octal), slowly(octal))


@pytest.mark.parametrize(
    ("was", "odd"),
    [
        ('"5"', '"5 "'),
        ('"5"', '" 0"'),
        ('"5"', '"5e1"'),
        ('"5"', '"--5"'),
        ('"5"', '"1.2.3"'),
        ('"5"', '"T"'),
        ('"5"', '"\u00b2"'),
        ('"5"', '"\u0661"'),
        ('"5"', '"\u00e4"'),
        ('"5"', '"' + "\u0661" * 5_000 + '"'),
        ('"5"', "05"),
        ('"5"', "5 "),
        ('"5"', '"' + "5" * 41 + '"'),
        ('"5"', '"5", "value": "6"'),
        ('"5"', '"5\\u0030"'),
        ('"5"', '"5", "note": {"value": "7"}'),
        (':00:00Z"', ':00:00"'),
        (':00:00Z"', ':00:00.0000001Z"'),
        (':00:00Z"', ':60:00Z"'),
        (':00:00Z"', ':00:00Z "'),
        ('"2026-01-15T00:00', '"2026-01-15T01:00'),
        ('"2026-01-15T00:00', '" 1970-01-01T00:00'),
        ('"Wh"', '"kg"'),
        ('"activeEnergyExport"', '"value"'),
        ('"pv"', '{"value": "5"}'),
        ('"pv"', '"forbidden"'),
        ('"pv"', '"pv", "time": "2026-01-15T00:00:00Z"'),
    ],
)
def test_what_is_odd_is_read_the_same(was: str, odd: str) -> None:
    plain = json.dumps([quarter(0, "5"), quarter(1, "6", device="pv-2")])
    assert was in plain
    raw, like = plain.replace(was, odd, 1).encode(), plain.encode()
    for one in (like, like, raw, raw, raw, raw.replace(b'"6"', b'"7"'), like):
        assert same(outcome(one), slowly(one))


@pytest.mark.parametrize("raw", [b"[]", b"{}", b"[{}]", b"", b"7", b'[{"value": 7}]'])
def test_what_says_nothing_has_no_plan(raw: bytes) -> None:
    for _ in range(3):
        assert same(outcome(raw), slowly(raw))
        assert not planned(raw)


def test_texts_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(der._plans, "_bytes_max", 600)
    for name in "abcdef":
        for _ in range(2):
            outcome(json.dumps(quarter(0, "5", device=name)).encode())
    assert sum(map(len, der._plans._kept)) == der._plans._bytes <= 600
    assert not planned(json.dumps(quarter(0, "5", device="a")).encode())
    assert planned(json.dumps(quarter(0, "5", device="f")).encode())


texts = st.sampled_from(["1", "-2.50", "007", "0", "9e2", "x", " 3", "4.", "", "\u00b2", "5" * 40])
times = st.sampled_from([*QUARTERS[:3], "1970-01-01T00:00:01", "2026-02-30T00:00:00", "now"])
zones = st.sampled_from(["Z", "+01:00", ".25Z", ".0000001Z", ""])


@st.composite
def stream(draw: Callable[..., Any]) -> list[bytes]:
    """Some messages, alike but for their values and times."""
    layout = [
        (draw(st.sampled_from(["pv", "pv-2", "forbidden", None])), draw(st.integers(1, 2)))
        for _ in range(draw(st.integers(1, 3)))
    ]
    style = draw(st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}]))
    momentary, number = draw(st.booleans()), draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(2, 5))):
        items = []
        for device, count in layout:
            readings = []
            for _ in range(count):
                members: dict[str, Any] = {"unit": "Wh", "measurand": "activeEnergyImport"}
                names = ["time"] if momentary else draw(st.permutations(["end", "begin"]))
                members |= {name: draw(times) + draw(zones) for name in names}
                value = draw(texts)
                members["value"] = int(value) if number and value.isdecimal() else value
                readings.append(members)
            items.append({"readings": readings} | ({"device": device} if device else {}))
        found.append(
            json.dumps(items if len(items) > 1 else items[0], ensure_ascii=False, **style).encode()
        )
    return found


@given(stream())
def test_both_ways_agree(messages: list[bytes]) -> None:
    for raw in messages:
        assert same(outcome(raw), slowly(raw))


@given(st.integers(0, 5), st.data())
def test_both_ways_agree_on_damaged_messages(shown: int, data: st.DataObject) -> None:
    plain = gateway(3, "5")
    for _ in range(shown):
        outcome(plain)
    raw = bytearray(plain)
    at = data.draw(st.integers(0, len(raw)))
    raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    for _ in range(2):
        assert same(outcome(bytes(raw)), slowly(bytes(raw)))
