"""The bytes of a record are what the general encoder would write."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import quantity, record
from bal.harmonise.instant import Instant, parse
from bal.harmonise.quality import quality
from bal.harmonise.reading_type import decode
from bal.model import Draft, Finding, Rank, Subject

QUANTITIES = [value for value in vars(quantity).values() if isinstance(value, quantity.Quantity)]
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
BEGIN, END = parse("2026-01-15T10:00:00Z"), parse("2026-01-15T10:15:00.25Z")

findings = st.lists(
    st.builds(
        Finding,
        code=st.text(max_size=9),
        severity=st.sampled_from(["refused", "warning", "info"]),
        text=st.text(max_size=20),
        field=st.text(max_size=9),
        line=st.none() | st.integers(1, 9999),
        clause=st.text(max_size=9),
    ),
    max_size=3,
)
codes = st.lists(st.from_regex(r"[!-~]{1,12}", fullmatch=True), max_size=3).map(tuple)


@pytest.fixture(scope="module")
def origin(subject: Callable[[str], Subject]) -> record.Origin:
    return record.Origin(subject("device"), "ab" * 32)


def check(draft: Draft) -> dict[str, Any]:
    value = json.loads(draft.record)
    assert jcs.encode(value) == draft.record
    assert jcs.decode(draft.record) == value
    assert value["kind"] == draft.kind
    assert value.get("register", "") == draft.register
    assert value["device"] == draft.subject.pseudonym
    check_ids(value)
    return dict(value)


def check_ids(value: object) -> None:
    """Every object has an id: there are no blank nodes."""
    if isinstance(value, dict):
        assert "id" in value
        for member in value.values():
            check_ids(member)
    elif isinstance(value, list):
        for member in value:
            check_ids(member)


shapes = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["reading", "telemetry"]),
        "register": st.text(max_size=20),
        "notation": st.text(max_size=20),
        "quantity": st.sampled_from(QUANTITIES),
    }
)


@given(shapes, st.sampled_from([BEGIN, END]), codes, findings)
def test_readings_are_in_canonical_form(
    origin: record.Origin,
    fixed: dict[str, Any],
    begin: Instant,
    sent: tuple[str, ...],
    told: list[Finding],
) -> None:
    rated = quality(sent)
    slot = record.slot(record.shape(**fixed, quality=rated.json), begin, END)
    draft = record.reading(slot, origin, "-1.5", rated.rank, record.findings_text(told))
    value = check(draft)
    assert value["value"] == "-1.5"
    assert value["unit"] == fixed["quantity"].unit
    assert value["quality"] == list(rated.codes)
    assert len(value.get("findings", [])) == len(told)
    assert (draft.begin_us, draft.end_us) == (begin.us, END.us)


@given(st.booleans(), codes, findings)
def test_missing_values_are_in_canonical_form(
    origin: record.Origin, instant: bool, sent: tuple[str, ...], told: list[Finding]
) -> None:
    decoded = decode(KWH)
    assert decoded is not None
    draft = record.missing(
        origin,
        decoded,
        quality=quality(sent),
        begin=END if instant else BEGIN,
        end=END,
        findings=told,
    )
    assert check(draft).keys().isdisjoint({"value", "unit", "hasResult"})
    assert draft.rank == Rank.MISSING


texts = st.dictionaries(st.sampled_from(["value", "timeStamp"]), st.lists(st.text(max_size=9)))


@given(st.text(max_size=150), texts, codes, findings)
def test_events_are_in_canonical_form(
    origin: record.Origin,
    notation: str,
    verbatim: dict[str, list[str]],
    sent: tuple[str, ...],
    told: list[Finding],
) -> None:
    draft = record.event(
        "unmapped",
        origin,
        notation=notation,
        verbatim=verbatim,
        quality=quality(sent),
        begin=BEGIN,
        end=END,
        findings=told,
    )
    value = check(draft)
    assert value["event"] == "unmapped"
    assert value["verbatim"] == {"id": "#verbatim", **verbatim}
    assert draft.register in {"", notation}
    assert re.fullmatch("[!-~]{0,128}", draft.register)


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"value": ["x" * 1025]}, "text-too-long"),
        ({"value": ["x"] * 65}, "text-too-long"),
        ({"value": ["\ud800"]}, "not-unicode"),
    ],
)
def test_what_no_record_could_hold(texts: dict[str, list[str]], code: str) -> None:
    """RFC 8259 §8.2: what is no Unicode has no predictable form."""
    with pytest.raises(Rejected, match=code):
        record.check_verbatim(texts)
