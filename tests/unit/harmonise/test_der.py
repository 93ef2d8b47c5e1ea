"""What DER telemetry comes to."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bal.errors import Rejected
from bal.harmonise.der import MEASURANDS, UNITS
from bal.model import Harmonised, Rank, Subject
from tests.unit.harmonise.message_kit import records

Take = Callable[..., Harmonised]
TIME = "2018-01-02T15:15:27Z"


def reading(**members: Any) -> dict[str, Any]:
    plain = {"time": TIME, "measurand": "activePower", "value": "-4200", "unit": "W"}
    return {name: value for name, value in (plain | members).items() if value is not None}


def message(*readings: Any, **members: Any) -> bytes:
    return json.dumps({"device": "inverter-7", "readings": readings} | members).encode()


def test_power_of_a_battery(take: Take, subject: Callable[[str], Subject]) -> None:
    found = take(message(reading()), "der")
    device = subject("name://inverter-7").pseudonym
    assert records(found) == [
        {
            "device": device,
            "evidence": found.parts[0].commitment.hex(),
            "hasResult": {
                "hasValue": "-4200",
                "id": "#value",
                "isMeasuredIn": {"id": "qunit:W", "type": "UnitOfMeasure"},
                "type": "PropertyValue",
            },
            "hasTimestamp": TIME,
            "id": "",
            "kind": "telemetry",
            "madeBy": {"id": device, "type": ["Device"]},
            "observes": {
                "broader": "s4grid:ActivePower",
                "id": f"{device}#activePower",
                "type": ["EnergyAndPowerProperty", "Property"],
            },
            "quality": ["0.0.0"],
            "register": "activePower",
            "time": TIME,
            "type": "Observation",
            "unit": "W",
            "v": "1",
            "value": "-4200",
        }
    ]
    assert (found.findings, found.refused) == ([], [])


def test_an_interval_a_phase_a_quality(take: Take) -> None:
    sent = reading(
        time=None,
        begin="2018-01-02T16:00:00+01:00",
        end="2018-01-02T15:15:00Z",
        measurand="activeEnergyExport",
        unit="kWh",
        value="0.25",
        phase="A",
        quality=["3.8.0", "1.4.6"],
    )
    found = take(message(sent), "der")
    [one] = records(found)
    assert (one["begin"], one["end"]) == ("2018-01-02T15:00:00Z", "2018-01-02T15:15:00Z")
    assert (one["value"], one["unit"], one["register"]) == ("250", "Wh", "activeEnergyExport.A")
    assert one["quality"] == ["1.4.6", "3.8.0"]
    assert found.records[0].rank == Rank.ESTIMATED


@pytest.mark.parametrize("number", ["-4200", "1.50", "0.1234567890123456789", "-0", "1e2"])
def test_a_number_keeps_its_text(take: Take, number: str) -> None:
    raw = message(reading(value="HERE")).replace(b'"HERE"', number.encode())
    found = take(raw, "der")
    text = take(message(reading(value=number)), "der")
    values = [one["value"] for one in records(found)]
    assert values == [one["value"] for one in records(text)]
    if number == "1e2":
        assert [one.code for one in found.refused] == ["value-not-decimal"]
    elif number.startswith("0"):
        assert values == [number]


def test_the_sender_itself(take: Take, owners: tuple[Subject, Subject]) -> None:
    raw = json.dumps({"readings": [reading()]}).encode()
    found = take(raw, "der")
    assert found.records[0].subject == owners[1]


@pytest.mark.parametrize(
    ("device", "identity"),
    [
        ("inverter-7", "name://inverter-7"),
        ({"mRID": "a b"}, "mrid:a%20b"),
        ({"name": "n"}, "name://n"),
        ({"name": "n", "type": "t", "authority": "a"}, "name:a/t/n"),
        ({"name": "n", "mRID": "m"}, "mrid:m"),
    ],
)
def test_identity(
    take: Take, subject: Callable[[str], Subject], device: object, identity: str
) -> None:
    found = take(message(reading(), device=device), "der")
    assert found.records[0].subject == subject(identity)


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        (reading(value="NaN"), "value-not-decimal", "value"),
        (reading(value=""), "value-not-decimal", "value"),
        (reading(value=True), "member-type", "value"),
        (reading(value=None), "member-type", "value"),
        (reading(value=[1]), "member-type", "value"),
        (reading(time="2018-01-02T15:15:27"), "time-without-offset", "time"),
        (reading(time=None), "time-missing", "time"),
        (reading(time=7), "member-type", "time"),
        (reading(begin=TIME), "time-missing", "time"),
        (reading(begin=TIME, time=None), "time-missing", "time"),
        (reading(begin=TIME, end=TIME, time=None), "interval-reversed", "end"),
        (reading(unit="Wh"), "unit-mismatch", "unit"),
        (reading(unit="MMW"), "unit-mismatch", "unit"),
        (reading(unit=None), "member-missing", "unit"),
        (reading(measurand=None), "member-missing", "measurand"),
        (reading(measurand=7), "member-type", "measurand"),
        (reading(phase="D"), "phase-unknown", "phase"),
        (reading(phase=1), "member-type", "phase"),
        (reading(quality=7), "member-type", "quality"),
        (reading(quality=["a b"]), "quality-malformed", "ReadingQualities"),
        (reading(measurand="\ud800"), "not-unicode", ""),
        (reading(measurand="m" * 1025), "text-too-long", ""),
        (7, "member-type", ""),
        ([], "member-type", ""),
        (None, "member-type", ""),
    ],
)
def test_one_bad_reading_costs_no_other(take: Take, wrong: object, code: str, field: str) -> None:
    found = take(
        message(reading(), wrong, reading(value=1, measurand="reactivePower", unit="var")), "der"
    )
    assert [one["value"] for one in records(found)] == ["-4200", "1"]
    pointer = f"/readings/1/{field}" if field else "/readings/1"  # RFC 6901 §3
    assert [(one.code, one.field) for one in found.refused] == [(code, pointer)]
    assert found.refused[0].clause
    assert found.findings == []


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"device": ""}, "name-invalid"),
        ({"device": "a\x00b"}, "name-invalid"),
        ({"device": "a\ud800b"}, "name-invalid"),
        ({"device": 7}, "member-type"),
        ({"device": None}, "member-type"),
        ({"device": {}}, "meter-unnamed"),
        ({"device": {"type": "t"}}, "meter-unnamed"),
        ({"device": {"name": 7}}, "member-type"),
        ({"device": {"serial": "x"}}, "member-type"),
        ({"device": "forbidden"}, "subject-not-allowed"),
        ({"readings": []}, "no-reading"),
        ({"readings": {}}, "no-reading"),
    ],
)
def test_one_bad_device_costs_no_other(
    take: Take, owners: tuple[Subject, Subject], members: dict[str, object], code: str
) -> None:
    good, bad = message(reading(value="1")), message(reading(), **members)
    raw = b"[\n" + good + b" ,\n" + bad + b"]\n"
    found = take(raw, "der")
    assert [one["value"] for one in records(found)] == ["1"]
    assert [(one.code, one.line) for one in found.refused] == [(code, 3)]
    assert found.refused[0].field.startswith("/1")
    platform, sender = owners
    device = found.records[0].subject
    assert [part.subject for part in found.parts] == [platform, device, platform, sender, platform]
    assert raw[found.parts[1].start : found.parts[1].end] == good


def test_byte_ranges_behind_other_alphabets(take: Take) -> None:
    first = message(reading(), device="Wechselrichter Süd 𝄞").decode()
    first = json.dumps(json.loads(first), ensure_ascii=False)
    raw = f" [{first} , {message(reading()).decode()}]".encode()
    found = take(raw, "der")
    assert raw[found.parts[1].start : found.parts[1].end] == first.encode()
    assert raw[found.parts[3].start : found.parts[3].end] == message(reading())


def test_an_unknown_measurand_is_kept_verbatim(take: Take) -> None:
    sent = reading(measurand="windSpeed", unit="m/s", value=7.25, phase="?")
    found = take(message(sent), "der")
    [event] = records(found)
    assert (event["kind"], event["event"], event["register"]) == ("event", "unmapped", "windSpeed")
    assert event["verbatim"] == {
        "id": "#verbatim",
        "measurand": ["windSpeed"],
        "phase": ["?"],
        "time": [TIME],
        "unit": ["m/s"],
        "value": ["7.25"],
    }
    assert [one.code for one in found.findings] == ["measurand-unmapped"]


def test_what_is_doubtful_is_told_in_the_record_too(take: Take) -> None:
    sent = reading(colour="red", quality="good", time="2018-01-02T15:15:27.1234567Z")
    found = take(message(sent, version="2"), "der")
    [one] = records(found)
    told = ["member-unknown", "quality-malformed", "time-cut"]
    assert [finding["code"] for finding in one["findings"]] == told
    assert [finding.code for finding in found.findings] == ["member-unknown", *told]
    assert [finding.field for finding in found.findings][:2] == ["", "/readings/0"]


@pytest.mark.parametrize(
    ("raw", "code", "line"),
    [
        (b"", "json-malformed", 1),
        (b"[]", "no-reading", 1),
        (b"{", "json-malformed", 1),
        (b"[{}\n,]", "json-malformed", 2),
        (b"[{} {}]", "json-malformed", 1),
        (b"[{}]]", "json-malformed", 1),
        (b"[{}", "json-malformed", 1),
        (b"{}\n{}", "json-malformed", 2),
        (b'{"a":NaN}', "json-malformed", 1),  # RFC 8259 §6: not permitted
        (b'\n{"a":-Infinity}', "json-malformed", 2),
        (b'[{},\n{"a":1,"a":2}]', "json-duplicate-key", 2),  # RFC 8259 §4
        (b'{"a":{"b":1,"\\u0062":2}}', "json-duplicate-key", 1),
        (b'{"a":"\x01"}', "json-malformed", 1),
        (b'{"a":\xff}', "not-utf8", 1),
        (b"\n" + b"[" * 300 + b"]" * 300, "depth-exceeded", 2),
        (b'{"a":' * 100_000, "depth-exceeded", 1),
        (b'{"a":"' + b"[" * 100 + b'\\"{"}', None, None),
        (b"\xef\xbb\xbf{}", "json-malformed", 1),
    ],
)
def test_what_cannot_be_read_at_all(
    take: Take, raw: bytes, code: str | None, line: int | None
) -> None:
    if code is None:  # brackets in strings are no depth
        assert [one.code for one in take(raw, "der").refused] == ["no-reading"]
        return
    with pytest.raises(Rejected) as error:
        take(raw, "der")
    assert (error.value.code, error.value.line) == (code, line)


def test_every_measurand_has_a_unit() -> None:
    bases = {base for base, _ in UNITS.values()}
    assert {quantity.unit for several in MEASURANDS.values() for quantity in several} <= bases
    for name in bases - {"degC", "deg"}:
        assert UNITS[name] == (name, 0)
