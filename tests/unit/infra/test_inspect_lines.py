"""`gridseal inspect` tells where each reading stands: a line, in JSON and frames a pointer."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.c37118.data import Layout
from bal.c37118.writer import config_frames
from bal.inspected import Seen
from bal.inspection import inspect
from bal.json_lines import lines
from infra.cli import main
from tests.c37118_streams import config, frame

KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def seen(raw: bytes, form: str) -> list[Seen]:
    told = inspect(raw, form, received_us=1_800_000_000_000_000)
    assert not told.whole, told.refused
    return [one for device in told.devices for one in device.seen]


def read(shared_data: Path, name: str) -> bytes:
    return (shared_data / name).read_bytes()


def starts(raw: bytes, *tags: str) -> list[int]:
    """The lines of the start tags of these names, with any prefix."""
    pattern = re.compile(rb"<(?:\w+:)?(?:%s)[\s>]" % "|".join(tags).encode())
    return [raw.count(b"\n", 0, match.start()) + 1 for match in pattern.finditer(raw)]


@pytest.mark.parametrize(
    ("name", "form", "tags"),
    [
        ("d29_figure_1.xml", "cim", ["Readings"]),
        ("smgw/trudi_IF_Adapter_TRuDI_DatenTAF7.xml", "vde2418", ["IntervalReading"]),
        ("greenbutton/gbsdk_Electric.xml", "espi",
         ["IntervalReading", "ElectricPowerUsageSummary"]),
        ("greenbutton/openespi_test_usage_data_01.xml", "espi",
         ["IntervalReading", "ElectricPowerUsageSummary", "ElectricPowerQualitySummary"]),
        ("ieee2030_5/bsgip_envoy_meter_mirroring_mirrormeterreading.xml", "sep2", ["Reading"]),
        ("ieee2030_5/epri_DERStatus.xml", "sep2",
         ["genConnectStatus", "inverterStatus", "localControlModeStatus", "operationalModeStatus",
          "stateOfChargeStatus", "storageModeStatus", "storConnectStatus"]),
    ],
)  # fmt: skip
def test_published_xml(shared_data: Path, name: str, form: str, tags: Sequence[str]) -> None:
    raw = read(shared_data, name)
    assert sorted(one.line or 0 for one in seen(raw, form)) == starts(raw, *tags)


def test_a_reading_has_its_own_line_though_others_are_refused_and_events_stand_between() -> None:
    event = (
        "<EndDeviceEvents><createdDateTime>2026-01-15T10:20:00Z</createdDateTime>\n"
        '<EndDeviceEventType ref="3.26.0.85"/></EndDeviceEvents>'
    )
    readings = [
        f"<Readings>\n<timeStamp>2026-01-15T1{hour}:00:00{zone}</timeStamp><value>{hour}</value>"
        f'<ReadingType ref="{KWH}"/></Readings>'
        for hour, zone in ((0, "Z"), (1, ""), (2, "Z"))
    ]
    meters = "\n".join(
        f"<MeterReading><Meter><Names><name>{name}</name></Names></Meter>\n"
        f"{readings[0]}\n{event}\n{readings[1]}\n{readings[2]}</MeterReading>"
        for name in ("a", "b")
    )
    raw = (
        f'<MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#">\n{meters}</MeterReadings>'
    ).encode()
    found = [(one.kind, one.value, one.line) for one in seen(raw, "cim")]
    assert found == [
        (kind, value, line + 9 * meter)
        for meter in (0, 1)
        for kind, value, line in (
            ("reading", "0", 3), ("reading", "2000", 9), ("event", "", 5),
        )
    ]  # fmt: skip


DER = b"""[
 {"device": "a", "readings": [
   {"time": "2026-01-15T10:00:00Z", "measurand": "activePower", "value": 1, "unit": "kW"},
   {"time": "2026-01-15T10:00:00", "measurand": "activePower", "value": 2, "unit": "kW"},
   {"time": "2026-01-15T10:00:02Z",
    "measurand": "activePower", "value": 3, "unit": "kW"}]},
 {"device": "b", "readings": [
   {"time": "2026-01-15T10:00:00Z", "measurand": "speed", "value": 1, "unit": "kW"}]}
]"""


def test_json_has_a_pointer_and_a_line() -> None:
    found = [(one.value, one.pointer, one.line) for one in seen(DER, "der")]
    assert found == [
        ("1000", "/0/readings/0", 3), ("3000", "/0/readings/2", 5), ("", "/1/readings/0", 8),
    ]  # fmt: skip


def test_what_is_wrong_in_json_has_the_line_of_the_member_at_fault() -> None:
    told = inspect(DER, "der")
    assert [(one.field, one.line) for one in told.refused] == [("/0/readings/1/time", 4)]
    assert [(one.field, one.line) for one in told.findings] == [("/1/readings/0/measurand", 8)]


def test_a_message_that_is_known_already_is_told_as_well() -> None:
    """What is read by a plan, since it came before, has its places too."""
    raw = DER.replace(b'10:00:00"', b'10:00:01Z"').replace(b"speed", b"activePower")
    for _ in range(3):
        places = [one.pointer for one in seen(raw, "der")]
        assert places == ["/0/readings/0", "/0/readings/1", "/0/readings/2", "/1/readings/0"]


def test_what_readings_say_together_has_their_own_lines() -> None:
    twice = DER.replace(b'10:00:02Z"', b'10:00:00Z"')
    told = inspect(twice, "der", received_us=1_768_000_000_000_000)
    assert [(one.code, one.field, one.line) for one in told.findings] == [
        ("measurand-unmapped", "/1/readings/0/measurand", 8),
        ("time-ahead", "/0/readings/0", 3),
        ("slot-values-differ", "/0/readings/0", 3),
        ("slot-values-differ", "/0/readings/2", 5),
    ]
    times = [(1, "10:00"), (2, "10:00"), (3, "11:00")]
    readings = "\n".join(
        f"<Readings><timeStamp>2026-01-15T{time}:00Z</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{KWH}"/></Readings>'
        for value, time in times
    )
    raw = (
        '<MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#"><MeterReading><Meter><mRID>'
        f"m</mRID></Meter>\n{readings}</MeterReading></MeterReadings>"
    ).encode()
    told = inspect(raw, "cim", received_us=1_768_000_000_000_000)
    assert [(one.code, one.line) for one in told.findings] == [
        ("time-ahead", 4), ("slot-values-differ", 2), ("slot-values-differ", 3),
    ]  # fmt: skip


def test_points_of_sunspec() -> None:
    raw = b"""{"device": "x", "timestamp": "2026-01-15T10:00:00Z",
 "models": [
  {"ID": 103, "W": 5, "W_SF": 0,
   "Hz": 50, "Hz_SF": 0, "St": 4}]}"""
    found = {one.pointer: one.line for one in seen(raw, "sunspec")}
    assert found == {"/models/0/W": 3, "/models/0/Hz": 4, "/models/0/St": 4}


def test_values_of_phasor_frames() -> None:
    part = '{"component": "BUS1", "measurand": "voltmagnitude", "phase": "%s", "data": %s}'
    of = [part % ("A", 1), part % ("A", 2), part % ("B", 3)]
    text = ",\n".join(of)
    raw = f'{{"device": "p", "timestamp": "2026-01-15T10:00:00Z", "readings": [\n{text}]}}'.encode()
    found = [(one.value, one.pointer, one.line) for one in seen(raw, "pmu")]
    assert found == [("1", "/readings/0", 2), ("3", "/readings/2", 4)]


def test_binary_frames_are_counted() -> None:
    of = config()
    layout = Layout(of)
    raw = b"".join([*config_frames(of), *(frame(layout, n, stat=0) for n in range(2))])
    found = [(one.pointer, one.line) for one in seen(raw, "c37118")]
    count = len(found) // 2
    before = len(list(config_frames(of)))
    assert found == [(f"/frames/{before + n}/pmus/0", None) for n in range(2) for _ in range(count)]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (DER, {"": 1, "/0": 2, "/0/readings/2/value": 6, "/1/device": 7}),
        (b'{"a/b": {"~c": [1,\n {"\\u0064": null}]}}',
         {"/a~1b/~0c/0": 1, "/a~1b/~0c/1": 2, "/a~1b/~0c/1/d": 2}),
        (b'["]\\"[,{",\n[], {},\n-1.5e3 ]', {"/0": 1, "/1": 2, "/2": 2, "/3": 3}),
    ],
)  # fmt: skip
def test_lines_of_pointers(raw: bytes, wanted: dict[str, int]) -> None:
    assert lines(raw.decode(), set(wanted) | {"/none"}) == wanted


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


def pointers(value: Any, at: str = "") -> dict[str, Any]:
    """Every value by its pointer (RFC 6901)."""
    found = {at: value}
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= pointers(inner, f"{at}/{name.replace('~', '~0').replace('/', '~1')}")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            found |= pointers(inner, f"{at}/{number}")
    return found


@given(_values)
def test_every_value_is_found_where_it_begins(value: Any) -> None:
    text = json.dumps(value, indent=1)
    rows = text.split("\n")
    found = lines(text, set(pointers(value)))
    assert found.keys() == pointers(value).keys()
    for pointer, inner in pointers(value).items():
        first = json.dumps(inner)[0]
        assert first in rows[found[pointer] - 1]


def test_both_outputs_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    shared_data: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    Path("d29").write_bytes(read(shared_data, "d29_figure_1.xml"))
    Path("der").write_bytes(DER)
    Path("flat").write_bytes(DER.replace(b"\n", b""))
    main(["inspect", "d29", "der", "flat"])
    told = capsys.readouterr().out
    assert "    line 16  2019-09-13 12:30:00Z  1234 Wh" in told
    assert "    line 5 /0/readings/2  2026-01-15 10:00:02Z  3000 W" in told
    assert "    /0/readings/2  2026-01-15 10:00:02Z  3000 W" in told
    main(["inspect", "--json", "d29", "der"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    readings = first["devices"][0]["readings"]
    assert [one["line"] for one in readings] == [16, 21]
    assert "pointer" not in readings[0]
    readings = second["devices"][0]["readings"]
    assert [(one["line"], one["pointer"]) for one in readings] == [
        (3, "/0/readings/0"), (5, "/0/readings/2"),
    ]  # fmt: skip
