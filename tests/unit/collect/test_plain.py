"""The guard's short way for frames and DER lets nothing pass that the long way refuses."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bal.collect import guard as module
from bal.collect.guard import DEFAULT_LIMITS, Limits, guard
from bal.collect.plain import is_der, is_frames
from bal.errors import Rejected

READING = '{"component":"B","measurand":"voltmagnitude","phase":"A","data":%s}'
FRAME = '{"device":"d","timestamp":"2026-01-15T10:00:00Z","readings":[%s]}'
ONE = FRAME % (READING % "230.5")
SPACED = ONE.replace('":', '": ').replace(",", " , ")
TWO = f" [{ONE},\n{SPACED}]\r\n"
DER_READING = (
    '{"begin":"2026-01-15T10:00:00Z","end":"2026-01-15T10:15:00Z","measurand":"m","value":"1",'
    '"unit":"Wh"}'
)
DER = '{"device":"d","readings":[%s]}'
DER_ONE = DER % DER_READING
DER_TWO = json.dumps([json.loads(DER_ONE)] * 2, indent=1) + "\n"
PIECES = (
    *'"\\{}[],:\0 1-.e\u00e9\ufffe', "NaN", "null", '"phase":"A",', '"phase":"B"', '"device":"x",',
    '"x":1,', '{"a":1,"a":2}', "[[[1]]]", "01", '"\\ud800"',
)  # fmt: skip


def check(raw: bytes) -> None:
    """What goes the short way would go the long one, too."""
    for is_plain, constants in ((is_frames, True), (is_der, False)):
        if is_plain(raw, DEFAULT_LIMITS.depth_max, DEFAULT_LIMITS.items_max):
            module._check_json(raw, DEFAULT_LIMITS, constants=constants)


@pytest.mark.parametrize("text", [ONE, TWO, "[]", FRAME % "", FRAME % (READING % '"1"')])
def test_the_short_way_is_taken(text: str) -> None:
    assert is_frames(text.encode(), 64, 1_000)
    check(text.encode())
    guard(text.encode(), "pmu")


@pytest.mark.parametrize("text", [DER_ONE, DER_TWO, "[]", DER % "", DER % "{}"])
def test_the_short_way_is_taken_by_der(text: str) -> None:
    assert is_der(text.encode(), 64, 1_000)
    check(text.encode())
    guard(text.encode(), "der")


@pytest.mark.parametrize(
    "text",
    [
        DER_ONE.replace('"value":"1"', '"value":1.0'),
        DER_ONE.replace('"d"', '{"name":"d"}'),
        DER_ONE.replace('"unit"', '"quality":["1.0.0"],"unit"'),
    ],
)
def test_the_long_way_takes_more(text: str) -> None:
    assert not is_der(text.encode(), 64, 1_000)
    guard(text.encode(), "der")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (DER_ONE.replace('"unit"', '"value":"2","unit"'), "json-duplicate-key"),
        (DER_ONE.replace('"Wh"', '"Wh","x":{"a":1,"a":2}'), "json-duplicate-key"),
        (DER_ONE.replace('"d"', '"\x01"'), "control-character"),
        (DER_ONE + "}", "json-malformed"),
    ],
)
def test_der_refused_before_the_bus(text: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        guard(text.encode(), "der")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ONE.replace('"phase":"A"', '"phase":"A","phase":"A"'), "json-duplicate-key"),
        (FRAME % (READING % '{"a":1,"a":1}'), "json-duplicate-key"),
        (ONE.replace('"d"', '"\\ud800"'), "not-unicode"),
        (ONE.replace('"d"', '"\ufffe"'), "control-character"),
        (ONE.replace('"d"', '"\0"'), "control-character"),
        (FRAME % (READING % ("[" * 70 + "]" * 70)), "depth-exceeded"),
        (FRAME % (READING % "01"), "json-malformed"),
        (ONE + ONE, "json-malformed"),
        ("\ufeff" + ONE, "json-malformed"),
        (" ", "message-empty"),
    ],
)
def test_refused_before_the_bus(text: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        guard(text.encode(), "pmu")
    assert caught.value.code == code


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_are_left_to_harmonise(constant: str) -> None:
    guard((FRAME % (READING % constant)).encode(), "pmu")
    with pytest.raises(Rejected):
        guard((FRAME % (READING % constant)).encode(), "der")


def test_limits_hold_on_the_short_way() -> None:
    many = f"[{','.join([ONE] * 20)}]".encode()
    guard(many, "pmu", Limits(items_max=400))
    with pytest.raises(Rejected, match="too-many-items"):
        guard(many, "pmu", Limits(items_max=100))
    with pytest.raises(Rejected, match="depth-exceeded"):
        guard(ONE.encode(), "pmu", Limits(depth_max=2))


@settings(max_examples=1_000, deadline=None)
@given(
    st.sampled_from([ONE, TWO, DER_ONE, DER_TWO]),
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(PIECES), st.integers(0, 3)), max_size=3
    ),
)
@example(ONE, [(1, '"device":"x",', 0)])
def test_nothing_passes_that_the_long_way_refuses(
    text: str, changes: list[tuple[int, str, int]]
) -> None:
    for place, piece, dropped in changes:
        at = place % len(text)
        text = text[:at] + piece + text[at + dropped :]
    check(text.encode())


values = st.recursive(
    st.text(max_size=4) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["device", "readings", "data"]), inner)
    ),
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_json(value: object) -> None:
    check(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
