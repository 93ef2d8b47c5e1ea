"""What a MeterReading has beside its readings is told, and where it costs or changes a value."""

from collections.abc import Callable
from typing import Any

import pytest

from bal import jcs
from bal.harmonise import cim, cim_scan, cim_xml
from bal.model import Draft, Harmonised, Rank

Take = Callable[..., Harmonised]
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
NS = 'xmlns="http://iec.ch/TC57/2011/MeterReadings#"'
METER = "<Meter><Names><name>M1</name></Names></Meter>"
TIME = "<timeStamp>2026-01-15T10:15:00Z</timeStamp>"


def reading(more: str = "", value: str = "<value>1.5</value>", ref: str = KWH) -> str:
    return f'<Readings>{TIME}{value}<ReadingType ref="{ref}"/>{more}</Readings>'


def block(inside: str, more: str = "", kind: str = KWH) -> str:
    good = f"<IntervalReadings>{TIME}<value>1.5</value>{more}</IntervalReadings>"
    return f'<IntervalBlocks>{good}{inside}<ReadingType ref="{kind}"/></IntervalBlocks>'


def message(*parts: str, meter: str = METER) -> bytes:
    one = f"<MeterReading>{meter}{''.join(parts)}</MeterReading>"
    return f"<MeterReadings {NS}>\n{one}\n</MeterReadings>".encode()


def record(draft: Draft) -> dict[str, Any]:
    decoded = jcs.decode(draft.record)
    assert isinstance(decoded, dict)
    return decoded


LOST = f"<timeStamp>2026-01-15T10:30:00Z</timeStamp><value>2</value><ReadingType ref='{KWH}'/>"


@pytest.mark.parametrize(
    ("parts", "name", "line"),
    [
        ((reading(), f"\n<Reading>{LOST}</Reading>"), "MeterReading.Reading", 3),
        ((reading(), f"\n<IntervalReadings>{LOST}</IntervalReadings>"),
         "MeterReading.IntervalReadings", 3),
        ((block(f"\n\n<IntervalReading>{LOST}</IntervalReading>"),),
         "IntervalBlocks.IntervalReading", 4),
        ((block("<value>3</value>"),), "IntervalBlocks.value", 2),
        ((reading(), "<value>3</value>"), "MeterReading.value", 2),
        ((reading("<Reading><value>7</value></Reading>"),), "Readings.Reading", 2),
        ((reading("<Value>7</Value>"),), "Readings.Value", 2),
        ((block("", "<x><y><value>7</value></y></x>"),), "IntervalReadings.x", 2),
        ((reading(), "<m123><value>1</value></m123>"), "MeterReading.another element", 2),
    ],
)  # fmt: skip
def test_a_value_in_the_wrong_place_is_refused_and_costs_no_other(
    take: Take, parts: tuple[str, ...], name: str, line: int
) -> None:
    found = take(message(*parts))
    assert [record(draft)["value"] for draft in found.records] == ["1500"]
    assert [(one.code, one.field, one.line) for one in found.refused] == [
        ("value-misplaced", name, line)
    ]
    assert found.refused[0].clause


def test_what_is_no_value_is_told_once_a_message(take: Take) -> None:
    beside = (
        "<valuesInterval><end>2026-01-15T10:15:00Z</end></valuesInterval>"
        "<UsagePoint><mRID>U</mRID><rated><value>5</value></rated></UsagePoint>"
    )
    one = f"<MeterReading>{METER}{beside}{reading('<source>x</source>')}</MeterReading>"
    found = take(f"<MeterReadings {NS}>{one * 3}</MeterReadings>".encode())
    assert not found.refused
    assert len(found.records) == 3
    told = [(one.code, one.field) for one in found.findings]
    assert told == [
        ("element-not-mapped", f"{name}")
        for name in ("MeterReading.valuesInterval", "Readings.source", "MeterReading.UsagePoint")
    ]


def test_elements_without_end_are_told_up_to_a_limit(take: Take) -> None:
    names = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    found = take(message(reading("".join(f"<{name}/>" for name in names))))
    assert [one.code for one in found.findings] == ["element-not-mapped"] * cim.IGNORED_MAX


SCALE = "<multiplier>1000</multiplier>"


@pytest.mark.parametrize(
    "parts",
    [
        (reading(SCALE),),
        (reading("<unit>kWh</unit>"),),
        (reading("<UnitMultiplier>k</UnitMultiplier>"),),
        (reading(value='<value multiplier="3">1.5</value>'),),
        (SCALE, reading()),
        (reading(), SCALE),
        (block(SCALE),),
        (block("", SCALE),),
    ],
)
def test_a_scale_beside_a_value_makes_it_no_value(take: Take, parts: tuple[str, ...]) -> None:
    found = take(message(*parts))
    assert not found.refused
    [event] = map(record, found.records)
    assert (event["kind"], event["event"]) == ("event", "incomplete")
    assert event["verbatim"]["value"] == ["1.5"]
    assert len(event["verbatim"]["multiplier"]) == 1
    assert [(one.code, one.field) for one in found.findings] == [
        ("reading-ambiguous", "multiplier")
    ]


def test_an_empty_scale_changes_nothing(take: Take) -> None:
    found = take(message(reading("<multiplier/>")))
    assert record(found.records[0])["value"] == "1500"
    assert [one.field for one in found.findings] == ["Readings.multiplier"]


@pytest.mark.parametrize(
    "odd",
    [
        reading(SCALE),
        reading() + f"<Reading>{LOST}</Reading>",
        reading() + "<UsagePoint><mRID>U</mRID></UsagePoint>",
        reading() + "<UsagePoint/><valuesInterval/>",
        reading("<source>x</source>"),
        reading("<source></source><multiplier></multiplier>"),
        reading("<multiplier>\n</multiplier>"),
        reading("<value>2</value>\n<timeStamp>x</timeStamp>"),
        reading(value='<value multiplier="">1.5</value>'),
        block(SCALE),
        block(f"<IntervalReading>{LOST}</IntervalReading>"),
    ],
)
@pytest.mark.parametrize("odds", [1, 5, 60])
def test_the_fast_way_tells_the_same(odd: str, odds: int) -> None:
    def element(n: int) -> str:
        inside = odd if n % 60 < odds else reading(value=f"<value>{n}.5</value>")
        return f"<MeterReading>\n{METER.replace('M1', f'M{n}')}\n{inside}</MeterReading>\n"

    raw = f"<MeterReadings {NS}>\n{''.join(map(element, range(180)))}</MeterReadings>".encode()
    read = cim_xml.read(raw)
    found = cim_scan.read(raw)
    assert found is None or found == read
    assert found is not None or odds > 1


QUALITY = '<ReadingQualities><ReadingQualityType ref="{}"/></ReadingQualities>'


@pytest.mark.parametrize("code", ["1.5.259", "3.5.259"])
def test_a_value_that_is_said_to_be_missing_does_not_count(take: Take, code: str) -> None:
    found = take(message(reading(QUALITY.format(code))))
    [event] = map(record, found.records)
    assert (event["kind"], event["event"], event["verbatim"]["value"]) == (
        "event",
        "incomplete",
        ["1.5"],
    )
    assert (event["begin"], found.records[0].rank) == ("2026-01-15T10:00:00Z", Rank.MISSING)
    assert [one.code for one in found.findings] == ["reading-ambiguous"]
    assert "missing" in found.findings[0].text


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("1-0:1.8.0*255", "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        (" 1-0:2.8.0 ", "0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("0100010800FF", "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("7-0:3.0.0*255", "no ReadingType"),
        ("kWh", "has no meaning here"),
    ],
)
def test_an_obis_code_is_told_its_reading_type(take: Take, sent: str, told: str) -> None:
    found = take(message(reading(ref=sent)))
    assert record(found.records[0])["event"] == "unmapped"
    [finding] = found.findings
    assert finding.code == "reading-type-unmapped"
    assert told in finding.text


@pytest.mark.parametrize("macro", [8, 11, 13])
def test_a_maximum_of_a_day_or_month_is_of_its_time_stamp(take: Take, macro: int) -> None:
    code = f"{macro}.8.2.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0"
    found = take(message(reading(ref=code, value="<value>12980</value>")))
    one = record(found.records[0])
    assert (one["time"], one["value"], found.findings) == ("2026-01-15T10:15:00Z", "12980", [])
    period = "<timePeriod><start>2026-01-01T00:00:00Z</start></timePeriod>"
    one = record(take(message(reading(period, ref=code))).records[0])
    assert (one["begin"], one["end"]) == ("2026-01-01T00:00:00Z", "2026-01-15T10:15:00Z")


def test_a_sum_over_a_day_is_not_of_its_last_quarter_hour(take: Take) -> None:
    found = take(message(reading(ref="11.26.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0")))
    assert record(found.records[0])["time"] == "2026-01-15T10:15:00Z"
    assert [one.code for one in found.findings] == ["interval-length-unknown"]


@pytest.mark.parametrize("meters", [1, 100])
def test_readings_of_no_meter_reading_are_refused(take: Take, meters: int) -> None:
    raw = message(*[reading()]).decode()
    one = raw[raw.index("<MeterReading>") : raw.index("</MeterReadings>")]
    several = "".join(one.replace("M1", f"M{n}") for n in range(meters))
    stray = f"{reading()}\n{reading()}<Reading/>{block('')}"
    found = take(f"<MeterReadings {NS}>\n{several}{stray}</MeterReadings>".encode())
    assert len(found.records) == meters
    assert [(refused.code, refused.field, refused.line) for refused in found.refused] == [
        ("value-misplaced", name, 2) for name in ("IntervalBlocks", "IntervalReadings", "Readings")
    ]


@pytest.mark.parametrize(
    ("inside", "event"),
    [
        ("<multiplier>3</multiplier><unit>72</unit>", None),
        ("<multiplier>0</multiplier>", "incomplete"),
        ("<unit>73</unit>", "incomplete"),
        ("<multiplier>kilo</multiplier>", "incomplete"),
    ],
)
@pytest.mark.parametrize("given", ["ref", "mRID"])
def test_a_part_of_a_type_that_contradicts_its_code_is_told(
    take: Take, inside: str, event: str | None, given: str
) -> None:
    by_ref = f'<ReadingType ref="{KWH}">{inside}</ReadingType>'
    by_mrid = f"<ReadingType><mRID>{KWH}</mRID>{inside}</ReadingType>"
    kind = by_ref if given == "ref" else by_mrid
    found = take(message(f"<Readings>{TIME}<value>1.5</value>{kind}</Readings>"))
    one = record(found.records[0])
    assert one.get("event") == event
    assert one.get("value") == (None if event else "1500")
    codes = [finding.code for finding in found.findings]
    assert codes == (["reading-ambiguous"] if event else [])
