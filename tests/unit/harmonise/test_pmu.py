"""SOGNO's phasors to frames (docs/spec/pmu.md)."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import pmu, pmu_plan
from bal.harmonise.instant import parse
from bal.harmonise.phasors import MEASURANDS, rate_of, window_record
from bal.harmonise.pmu import READINGS_MAX, turned_away
from bal.harmonise.pmu_number import VALUE_LENGTH_MAX, exact
from bal.harmonise.pmu_time import instant, instants
from bal.model import Digest, Harmonised
from tests.unit.harmonise.conftest import SENDER, take_message

Take = Callable[..., Harmonised]
VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "phasors.json").read_text(encoding="utf-8")
)
TIME = "2026-01-15T10:00:00.02+00:00"


def reading(**changes: object) -> dict[str, Any]:
    made = {"component": "BUS1", "measurand": "voltmagnitude", "phase": "A", "data": 230.5}
    return made | changes


def message(*readings: object, **changes: object) -> bytes:
    made = {"device": "pmu-1", "timestamp": TIME, "readings": list(readings)}
    return json.dumps(made | changes).encode()


def codes(found: Harmonised) -> list[tuple[str, str]]:
    return [(one.code, one.field) for one in found.refused]


@pytest.fixture(autouse=True)
def _no_plans() -> None:
    """Each test begins without plans: the first message is read reading by reading."""
    pmu._plans.clear()


def slowly(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> Harmonised:
    with monkeypatch.context() as patched:
        patched.setattr(pmu_plan, "read", lambda *_: None)
        return take_message(raw, "pmu")


# --- what is published ------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: str(case["name"]))
def test_vectors(take: Take, case: dict[str, Any]) -> None:
    raw = case["message"].encode()
    for _ in range(2):  # the second time by the plan
        if "code" in case:
            with pytest.raises(Rejected) as caught:
                take(raw, "pmu")
            assert caught.value.code == case["code"]
            continue
        found = take(raw, "pmu")
        assert [one.data.decode() for one in found.frames] == case["frames"]
        for name in ("refused", "findings"):
            told = [[one.code, one.field, one.line] for one in getattr(found, name)]
            assert told == case[name]


def test_the_published_example(take: Take, shared_data: Path) -> None:
    text = (shared_data / "pmu_json" / "sogno_sogno_input.json").read_text()
    raw = text[text.index("{\n    ") :].encode()  # behind its notes
    found = take(raw, "pmu")
    assert [json.loads(one.data) for one in found.frames] == [
        {
            "readings": [
                {"component": bus, "data": "123", "measurand": "voltmagnitude", "phase": "A"}
                for bus in ("BUS1", "BUS2")
            ],
            "time": "2020-05-20T10:27:57.980802Z",
        }
    ]
    assert not found.refused


def test_every_measurand_and_phase(take: Take) -> None:
    readings = [reading(measurand=name, phase=phase) for name in MEASURANDS for phase in "ABC"]
    [frame] = take(message(*readings), "pmu").frames
    assert len(frame.channels) == 24


# --- the bytes --------------------------------------------------------------------------------

components = st.text(min_size=1, max_size=6).filter(lambda text: text.strip() != "")
numbers = (
    st.integers(-(10**20), 10**20).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.decimals(allow_nan=False, allow_infinity=False, places=5).map(lambda d: f"{d:f}")
    | st.sampled_from(
        ["-0", "-0.0", "0.000", "1.500", "100", "1E5", "1e-9", "NaN", "1e400", "null"]
    )
)


@st.composite
def messages(draw: st.DrawFn) -> str:
    """A message, with the spacing of some writer."""
    frames = []
    for _ in range(draw(st.integers(1, 3))):
        channels = draw(
            st.lists(
                st.tuples(components, st.sampled_from(sorted(MEASURANDS)), st.sampled_from("ABC")),
                min_size=1,
                max_size=3,
            )
        )
        readings = ",".join(
            f'{{"component":{json.dumps(component, ensure_ascii=draw(st.booleans()))}'
            f',"measurand":"{measurand}","phase":"{phase}","data":{draw(numbers)}}}'
            for component, measurand, phase in channels
        )
        digits = draw(st.sampled_from(["", ".5", ".020000", ".123456789"]))
        zone = draw(st.sampled_from(["Z", "+01:00", ""]))
        frames.append(
            f'{{"device":"pmu","timestamp":"2026-01-15T10:00:00{digits}{zone}"'
            f',"readings":[{readings}]}}'
        )
    text = f"[{','.join(frames)}]" if draw(st.booleans()) else frames[0]
    if draw(st.booleans()):
        text = text.replace('":', '": ').replace(",", ", ")
    return text


@settings(max_examples=300, deadline=None)
@given(messages())
def test_a_plan_reads_what_reading_by_reading_does(text: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        expected = slowly(text.encode(), patched)
    for _ in range(3):
        found = take_message(text.encode(), "pmu")
        assert found == expected


@settings(max_examples=300, deadline=None)
@given(messages(), st.data())
def test_a_plan_is_for_messages_of_its_text_only(text: str, data: st.DataObject) -> None:
    """A message that differs in one character from one that there is a plan of."""
    for _ in range(2):
        take_message(text.encode(), "pmu")
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from('0-.eE,"{}[]:\0\1 xT')) + text[at + 1 :]
    outcomes = []
    for planned in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            if not planned:
                patched.setattr(pmu_plan, "read", lambda *_: None)
            try:
                outcomes.append(take_message(changed.encode(), "pmu"))
            except Rejected as error:
                outcomes.append(error.code)  # type: ignore[arg-type]
    assert outcomes[0] == outcomes[1]


@settings(max_examples=200, deadline=None)
@given(messages())
def test_frames_are_canonical(text: str) -> None:
    for frame in take_message(text.encode(), "pmu").frames:
        decoded = jcs.decode(frame.data)
        assert parse(decoded["time"]).us == frame.time_us
        channels = [(r["component"], r["measurand"], r["phase"]) for r in decoded["readings"]]
        assert tuple(channels) == frame.channels


def test_a_stream_is_read_by_its_plan(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        take(message(reading()), "pmu")
    monkeypatch.setattr("bal.harmonise.der_json.read", None)
    [frame] = take(message(reading(data=7.25), timestamp="2026-01-15T10:00:00.04Z"), "pmu").frames
    assert frame.data.decode() == (
        '{"readings":[{"component":"BUS1","data":"7.25","measurand":"voltmagnitude","phase":"A"}]'
        ',"time":"2026-01-15T10:00:00.04Z"}'
    )


# --- numbers and times ------------------------------------------------------------------------


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
@example("0e999")
@example("-0.0e-5")
def test_exact_is_what_decimal_says(literal: str) -> None:
    """Any number of RFC 8259 §6."""
    try:
        found = exact(literal)
    except Rejected:
        written = f"{Decimal(literal):f}".strip("-")
        if "." in written:
            written = written.rstrip("0")
        assert len(literal) > 40 or len(written) > VALUE_LENGTH_MAX
        return
    assert Decimal(found) == Decimal(literal)
    assert len(found) <= VALUE_LENGTH_MAX + 1
    assert found == "0" or not (found.startswith("0") and found[1] != ".")
    assert "e" not in found.lower()
    assert found != "-0"
    assert "." not in found or not found.endswith(("0", "."))


@pytest.mark.parametrize("case", VECTORS["numbers"], ids=lambda case: str(case["literal"])[:12])
def test_number_vectors(case: dict[str, str]) -> None:
    if "code" in case:
        with pytest.raises(Rejected) as caught:
            exact(case["literal"])
        assert caught.value.code == case["code"]
    else:
        assert exact(case["literal"]) == case["value"]


@given(st.text("0123456789T:.Z+-", max_size=36) | st.datetimes().map(lambda d: f"{d.isoformat()}Z"))
@example("2026-01-15T10:00:00.123456789+01:00")
@example("2026-01-15T10:00:00.000000Z")
@example("2026-01-15T10:00:00.5")
@example("2026-01-15T10:00:60.5Z")
@example("1969-12-31T23:59:59.5Z")
def test_instants_are_those_of_the_other_reader(text: str) -> None:
    outcomes: list[object] = []
    for read in (instant, parse):
        try:
            outcomes.append(read(text))
        except Rejected as error:
            outcomes.append(error.code)
    assert outcomes[0] == outcomes[1]


stamps = st.builds(
    "2026-01-15T{}:00:{}.{}{}".format,
    st.sampled_from(["09", "10", "24"]),
    st.sampled_from(["00", "01"]),
    st.sampled_from(["0", "02", "000000", "020000", "999999", "1234567", "00000a", "\u0661" * 6]),
    st.sampled_from(["Z", "+01:00", "-00:00", "", "z"]),
)


@given(st.lists(stamps, max_size=8))
def test_instants_of_a_stream_are_those_of_each(texts: list[str]) -> None:
    outcomes: list[object] = []
    for read in (instants, lambda all_: [instant(text) for text in all_]):
        try:
            outcomes.append(read(texts))
        except Rejected as error:
            outcomes.append(error.code)
    assert outcomes[0] == outcomes[1]


def test_a_windows_record_is_canonical() -> None:
    """It is pieced together from text."""
    channels = [(f'"Süd\\ {name}', name, phase) for name in MEASURANDS for phase in "CA"]
    record = window_record(
        SENDER.pseudonym, 1_768_471_200_000_000, channels,
        frames=7, rate=50, root=Digest(bytes(32)), evidence=Digest(bytes(range(32))),
    )  # fmt: skip
    assert jcs.encode(json.loads(record)) == record


@pytest.mark.parametrize(
    ("gap_us", "rate"),
    [
        (20_000, 50),
        (19_000, 50),
        (21_000, 50),
        (16_667, 60),
        (100_000, 10),
        (25_000, 40),
        (1, 10**6),
    ],
)
def test_rates(gap_us: int, rate: int) -> None:
    """IEEE C37.118.1 §5.4.1: its rates, and others that PMUs have."""
    times = [gap_us * n for n in range(30) if n not in {4, 9, 10}]
    assert rate_of(times) == rate
    assert rate_of(times[:1]) == 0


# --- one bad thing costs no other -------------------------------------------------------------


def test_a_bad_reading_costs_itself(take: Take) -> None:
    raw = message(reading(), reading(phase="B", data=float("nan")), reading(phase="C", data="1"))
    found = take(raw, "pmu")
    assert codes(found) == [
        ("value-not-decimal", "/readings/1/data"),
        ("member-type", "/readings/2/data"),
    ]
    assert [frame.channels for frame in found.frames] == [(("BUS1", "voltmagnitude", "A"),)]


def test_a_frame_without_a_good_reading_is_not_taken(take: Take) -> None:
    found = take(message(reading(data=float("inf"))), "pmu")
    assert (found.frames, len(found.refused)) == ([], 1)


def test_a_device_that_the_sender_may_not_speak_for(take: Take) -> None:
    raw = b"[%s,\n%s]" % (message(reading(), device="forbidden"), message(reading()))
    found = take(raw, "pmu")
    assert codes(found) == [("subject-not-allowed", "/0")]
    assert [frame.number for frame in found.frames] == [1]
    assert len(found.parts) == 5
    assert found.parts[1].subject == SENDER
    assert found.frames[0].evidence == found.parts[3].commitment


def test_frames_of_several_devices_are_parts_of_each(take: Take) -> None:
    raw = b"[%s,%s]" % (message(reading(), device="a"), message(reading(), device="b"))
    found = take(raw, "pmu")
    first, second = (frame.subject.pseudonym for frame in found.frames)
    assert first != second
    assert [part.subject.pseudonym for part in found.parts][1::2] == [first, second]


def test_too_many_readings(take: Take) -> None:
    many = [reading(component=f"B{n}") for n in range(READINGS_MAX + 1)]
    assert codes(take(message(*many), "pmu")) == [("too-many-readings", "/readings")]
    assert len(take(message(*many[1:]), "pmu").frames) == 1


def test_doubts_are_told_once_a_message(take: Take) -> None:
    raw = b"[%s]" % b",".join(
        message(reading(odd="x"), timestamp=f"2026-01-15T10:00:00.{n}234567Z") for n in range(3)
    )
    found = take(raw, "pmu")
    assert [one.code for one in found.findings] == ["member-unknown", "time-cut"]


def test_what_windows_say_names_the_element() -> None:
    raw = b"[%s,\n%s]" % (message(reading()), message(reading()))
    told = list(turned_away(raw, {1: ("frame-conflict", "no"), 0: ("frame-duplicate", "again")}))
    assert [(one.code, one.severity, one.field, one.line) for one in told] == [
        ("frame-conflict", "refused", "/1", 2),
        ("frame-duplicate", "info", "/0", 1),
    ]
    assert list(turned_away(raw, {})) == []
