"""What the writer prints is the 2011 schema's message, exact to the last digit."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from field.cim_writer import ENERGY_15_MIN_KWH, NAMESPACE, IntervalEnergy, kwh, meter_readings

END = datetime(2026, 1, 15, 10, 15, tzinfo=UTC)


def text(root: etree._Element, path: str) -> list[str]:
    found = root.xpath(path, namespaces={"m": NAMESPACE})
    return [str(item.text if isinstance(item, etree._Element) else item) for item in found]


def test_one_meter_reading_a_meter_in_order() -> None:
    readings = [IntervalEnergy(f"{number:010d}", END, number) for number in (3, 1, 2)]
    root = etree.fromstring(meter_readings(readings))
    assert root.tag == f"{{{NAMESPACE}}}MeterReadings"
    assert text(root, "m:MeterReading/m:Meter/m:Names/m:name") == [r.meter for r in readings]
    block = "m:MeterReading/m:IntervalBlocks"
    assert text(root, f"{block}/m:IntervalReadings/m:timeStamp") == ["2026-01-15T10:15:00Z"] * 3
    assert text(root, f"{block}/m:IntervalReadings/m:value") == ["0.003", "0.001", "0.002"]
    assert text(root, f"{block}/m:ReadingType/@ref") == [ENERGY_15_MIN_KWH] * 3
    assert text(root, f"{block}//m:ReadingQualityType/@ref") == ["1.0.0"] * 3


def test_same_readings_same_bytes_whatever_the_offset() -> None:
    berlin = END.astimezone(timezone(timedelta(hours=1)))
    here, there = (meter_readings([IntervalEnergy("1", end, 210)]) for end in (END, berlin))
    assert here == there


def test_no_readings_is_an_empty_message() -> None:
    assert len(etree.fromstring(meter_readings([]))) == 0


def test_a_name_is_escaped() -> None:
    root = etree.fromstring(meter_readings([IntervalEnergy('<a> & "b" ]]>', END, 1)]))
    assert text(root, "//m:Meter/m:Names/m:name") == ['<a> & "b" ]]>']


@pytest.mark.parametrize("bad", ["0.0.2.4", ENERGY_15_MIN_KWH.replace(".3.72", ".0.72"), ""])
def test_a_reading_type_that_is_not_in_kwh_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="reading type in kWh"):
        meter_readings([IntervalEnergy("1", END, 1, reading_type=bad)])


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="no offset"):
        meter_readings([IntervalEnergy("1", END.replace(tzinfo=None), 1)])


@pytest.mark.parametrize(
    ("energy_wh", "printed"),
    [
        (0, "0.000"),
        (1, "0.001"),
        (210, "0.210"),
        (1000, "1.000"),
        (-4200, "-4.200"),
        (Decimal("66.25425"), "0.06625425"),
        (Decimal("1E+6"), "1000.000"),
    ],
)
def test_kwh_as_printed(energy_wh: int | Decimal, printed: str) -> None:
    assert kwh(energy_wh) == printed


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-1e9, max_value=1e9))
def test_kwh_loses_nothing(energy_wh: Decimal) -> None:
    printed = kwh(energy_wh)
    assert Decimal(printed) * 1000 == energy_wh
    assert "E" not in printed


def test_kwh_refuses_what_it_would_have_to_round() -> None:
    with pytest.raises(ValueError, match="digits"):
        kwh(Decimal("1.0000000000000000000000000000001"))


def test_elements_stand_in_the_schemas_order() -> None:
    root = etree.fromstring(meter_readings([IntervalEnergy("1", END, 1)]))
    order = {
        "MeterReading": ["isCoincidentTrigger", "EndDeviceEvents", "IntervalBlocks", "Meter"],
        "IntervalBlocks": ["IntervalReadings", "ReadingType"],
        "IntervalReadings": ["source", "timeStamp", "value", "ReadingQualities"],
        "Names": ["name", "NameType"],
        "NameType": ["description", "name", "NameTypeAuthority"],
    }
    for element in root.iter():
        known = order.get(etree.QName(element).localname)
        if known:
            places = [known.index(etree.QName(child).localname) for child in element]
            assert all(before < after for before, after in pairwise(places)), element.tag
