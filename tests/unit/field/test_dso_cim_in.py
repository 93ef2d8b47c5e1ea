"""CIM exports of telemetering centres: what they mean, and a word on all that is not taken."""

import time
from pathlib import Path

import pytest

from bal.errors import Rejected
from bal.times import rfc3339
from field import dso_cim
from field.dso_cim_in import read
from field.dso_value import Value

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
REVERSE = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"
TIME = "<timeStamp>2026-01-15T10:15:00Z</timeStamp>"
TYPE = f'<ReadingType ref="{ENERGY}"/>'
METER = "<Meter><mRID>M1</mRID></Meter>"


def export(inside: str, beside: str = "") -> bytes:
    reading = f"<MeterReading>{METER}{inside}</MeterReading>"
    return f"<MeterReadings>{reading}{beside}</MeterReadings>".encode()


def reading(*inside: str, at: str = TIME, value: str = "<value>1</value>") -> str:
    return f"<Readings>{at}{value}{''.join(inside)}</Readings>"


def taken(raw: bytes) -> tuple[list[Value], list[str], list[str]]:
    """Values, codes of what was refused, codes of what was told."""
    refused: list[Rejected] = []
    told: list[Rejected] = []
    found = read(
        raw, "", "", lambda error, _: refused.append(error), lambda error, _: told.append(error)
    )
    values = [value for _, value in found]
    return values, [one.code for one in refused], [one.code for one in told]


@pytest.mark.parametrize(
    "kind",
    [
        TYPE,
        f"<ReadingType>{ENERGY}</ReadingType>",
        f"<ReadingType><mRID>{ENERGY}</mRID></ReadingType>",
        f"<ReadingType><Names><name>{ENERGY}</name></Names></ReadingType>",
        f'<ReadingType ref="{ENERGY}"><mRID>{ENERGY}</mRID></ReadingType>',
        '<ReadingType ref="A+"/>',
    ],
)
def test_a_type_in_each_of_its_ways(kind: str) -> None:
    defined = f"<ReadingType><mRID>{ENERGY}</mRID><Names><name>A+</name></Names></ReadingType>"
    values, refused, told = taken(export(reading(kind), defined))
    assert ([(one.register, one.value) for one in values], refused, told) == (
        [(ENERGY, "1")], [], [],
    )  # fmt: skip


def test_a_type_in_the_interval_itself() -> None:
    inside = f"<IntervalReadings>{TIME}<value>1</value>{TYPE}</IntervalReadings>"
    assert len(taken(export(f"<IntervalBlocks>{inside}</IntervalBlocks>"))[0]) == 1


@pytest.mark.parametrize(
    "quality",
    ['<ReadingQualityType ref="3.8.0"/>', "<ReadingQualityType>3.8.0</ReadingQualityType>",
     "<ReadingQualityType><mRID>3.8.0</mRID></ReadingQualityType>",
     "<ReadingQualityType><Names><name>3.8.0</name></Names></ReadingQualityType>",
     '<ReadingQualityType ref="1.0.0"/><ReadingQualityType ref="3.8.0"/>'],
)  # fmt: skip
def test_an_estimate_never_passes_as_measured(quality: str) -> None:
    raw = export(reading(TYPE, f"<ReadingQualities>{quality}</ReadingQualities>"))
    [value], refused, told = taken(raw)
    assert (value.qualities[-1], refused, told) == ("3.8.0", [], [])


@pytest.mark.parametrize("quality", ["", "<source>x</source>", "<ReadingQualityType/>"])
def test_a_quality_without_a_code_is_questionable(quality: str) -> None:
    raw = export(reading(TYPE, f"<ReadingQualities>{quality}</ReadingQualities>"))
    [value], refused, told = taken(raw)
    assert (value.qualities, refused, told) == (("0.10.0",), [], ["quality-malformed"])


PERIOD = "<timePeriod><start>{}</start><end>2026-01-15T10:15:00Z</end></timePeriod>"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        (reading(TYPE, "<value>2</value>"), "reading-ambiguous"),
        (reading(TYPE, TIME), "reading-ambiguous"),
        (reading(TYPE, f'<ReadingType ref="{REVERSE}"/>'), "reading-ambiguous"),
        (reading(TYPE, "<multiplier>k</multiplier>"), "reading-ambiguous"),
        (f"<unit>kWh</unit>{reading(TYPE)}", "reading-ambiguous"),
        (reading(TYPE, value='<value unit="kWh">1</value>'), "reading-ambiguous"),
        (reading(TYPE, PERIOD.format("2026-01-15T09:15:00Z")), "interval-length-differs"),
        (reading(), "reading-type-missing"),
        (reading(TYPE, value=""), "value-missing"),
        (reading(TYPE, at=""), "time-missing"),
        (reading('<ReadingType ref="A+"/>'), "register-invalid"),
        (f"<valuesInterval><value>1</value></valuesInterval>{reading(TYPE)}", "value-misplaced"),
        (f"<IntervalReadings>{TIME}<value>1</value></IntervalReadings>", "value-misplaced"),
        (f"<IntervalBlocks>{reading(TYPE)}</IntervalBlocks>", "value-misplaced"),
        ("", "no-reading"),
    ],
)
def test_what_is_not_clear_is_refused_and_never_chosen_from(inside: str, code: str) -> None:
    good = reading(f'<ReadingType ref="{REVERSE}"/>')
    assert taken(export(inside))[1] == [code]
    other = f"<MeterReading><Meter><mRID>M2</mRID></Meter>{good}</MeterReading>"
    values, refused, _ = taken(export(inside, other))
    assert ("M2", REVERSE) in [(one.meter.name, one.register) for one in values]
    assert refused == [code]


def test_readings_outside_of_every_meter_reading_are_refused() -> None:
    assert taken(export(reading(TYPE), reading(TYPE)))[1] == ["value-misplaced"]


def test_what_is_no_value_is_told_once_by_its_name() -> None:
    event = "<EndDeviceEvents><mRID>1</mRID></EndDeviceEvents>"
    values, refused, told = taken(export(event + event + reading(TYPE)))
    assert (len(values), refused, told) == (1, [], ["element-not-mapped"])


def test_the_period_says_the_interval_where_it_is_given() -> None:
    period = PERIOD.format("2026-01-15T10:00:00Z")
    later = "<timeStamp>2026-01-15T10:16:03Z</timeStamp>"  # when it was collected
    [value], refused, _ = taken(export(reading(TYPE, period, at=later)))
    assert (rfc3339(value.end_us), refused) == ("2026-01-15T10:15:00Z", [])


@pytest.mark.parametrize("sent", ["2026-01-15T24:00:00Z", "2026-01-15T24:00Z"])
def test_the_midnight_that_ends_a_day(sent: str) -> None:
    [value], _, _ = taken(export(reading(TYPE, at=f"<timeStamp>{sent}</timeStamp>")))
    assert rfc3339(value.end_us) == "2026-01-16T00:00:00Z"


def test_a_type_defined_twice_is_not_chosen_from() -> None:
    one, other = (
        f"<ReadingType><mRID>{code}</mRID><Names><name>A+</name></Names></ReadingType>"
        for code in (ENERGY, REVERSE)
    )
    assert taken(export(reading('<ReadingType ref="A+"/>'), one + other))[0] == []


def test_figure_1_of_d29(shared_data: Path) -> None:
    """The Greek trial's own example: 1.234 kWh and 0.321 kvarh of a code with 19 fields."""
    values, refused, told = taken((shared_data / "d29_figure_1.xml").read_bytes())
    code = "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.0.{}.0"  # multiplier 0: values are in base units
    assert [(one.register, one.value, rfc3339(one.end_us)) for one in values] == [
        (code.format(72), "1234", "2019-09-13T12:30:00Z"),
        (code.format(73), "321", "2019-09-13T12:30:00Z"),
    ]
    meter = values[0].meter
    assert (meter.name, meter.kind, meter.authority) == ("11111111", "EndpointID 110", "NAME")
    assert (refused, told) == ([], ["reading-type-19-fields"] * 2)
    again, refused, _ = taken(dso_cim.document(values))
    assert (again, refused) == (values, [])


def test_figure_1_of_d29_as_printed_has_no_value(shared_data: Path) -> None:
    values, refused, _ = taken((shared_data / "d29_figure_1_as_printed.xml").read_bytes())
    assert (values, refused) == ([], ["reading-ambiguous"])


def test_a_code_of_19_fields_with_a_unit_of_no_quantity_is_refused() -> None:
    code = "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.80.0"
    assert taken(export(reading(f'<ReadingType ref="{code}"/>')))[1] == ["register-invalid"]


def test_four_times_the_readings_take_no_more_than_their_share() -> None:
    """What a block says is looked for once, not once a reading."""

    def needed_s(count: int) -> float:
        one = f"<IntervalReadings>{TIME}<value>1</value></IntervalReadings>"
        raw = export(f"<IntervalBlocks>{one * count}{TYPE}</IntervalBlocks>")
        began = time.process_time()
        assert len(taken(raw)[0]) == count
        return time.process_time() - began

    needed_s(100)
    assert needed_s(16_000) < 10 * needed_s(4_000)
