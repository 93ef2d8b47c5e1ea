"""Whatever the bytes are: a result or Rejected, parts that cover them, the same again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.model import Harmonised

Take = Callable[..., Harmonised]
CIM = (
    b'<MeterReadings xmlns="u"><MeterReading><Meter><Names><name>M1</name></Names></Meter>'
    b"<Readings><timeStamp>2026-01-15T10:15:00Z</timeStamp><value>1.5</value>"
    b'<ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/></Readings></MeterReading>'
    b"<MeterReading><Meter><mRID>2</mRID></Meter><IntervalBlocks><IntervalReadings/>"
    b"</IntervalBlocks></MeterReading></MeterReadings>"
)
DER = (
    b'[{"device":"d","readings":[{"time":"2026-01-15T10:15:00Z","measurand":"voltage",'
    b'"value":230.1,"unit":"V"}]},{"readings":[{}]}]'
)


def settle(take: Take, raw: bytes, form: str) -> None:
    try:
        found = take(raw, form)
    except Rejected as error:
        with pytest.raises(Rejected, match=error.code):
            take(raw, form)
        return
    assert found == take(raw, form)
    for draft in found.records:
        jcs.decode(draft.record)
        assert draft.begin_us <= draft.end_us
    for finding in [*found.findings, *found.refused]:
        assert jcs.encode(finding.as_json())


@given(st.binary(max_size=200), st.sampled_from(["cim", "der"]))
def test_any_bytes(take: Take, raw: bytes, form: str) -> None:
    settle(take, raw, form)


@settings(max_examples=200)
@given(st.sampled_from([("cim", CIM), ("der", DER)]), st.data())
def test_damaged_messages(take: Take, sample: tuple[str, bytes], data: st.DataObject) -> None:
    form, good = sample
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    settle(take, bytes(raw), form)


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
members = st.sampled_from(
    ["device", "readings", "time", "begin", "end", "measurand", "value", "unit", "phase", "mRID"]
)
values = st.recursive(
    scalars | st.sampled_from(["activePower", "W", "2026-01-15T10:15:00Z", "-1.5"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(members, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=200)
@given(values)
def test_any_json(take: Take, value: Any) -> None:
    settle(take, json.dumps(value).encode(), "der")


@settings(max_examples=100)
@given(st.lists(st.text(max_size=12), min_size=5, max_size=5))
def test_any_texts_in_a_reading(take: Take, texts: list[str]) -> None:
    escaped = [
        "".join(f"&#{ord(char)};" if char in '<&"\r' else char for char in text) for text in texts
    ]
    name, time, value, kind, quality = escaped
    raw = (
        f"<MeterReading><Meter><mRID>{name}</mRID></Meter><Readings><timeStamp>{time}</timeStamp>"
        f'<value>{value}</value><ReadingType ref="{kind}"/><ReadingQualities>'
        f'<ReadingQualityType ref="{quality}"/></ReadingQualities></Readings></MeterReading>'
    ).encode()
    settle(take, raw, "cim")
