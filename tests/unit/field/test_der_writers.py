"""What inverters and gateways send: exact numbers, in the shapes of the published examples."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree

from field.der_writer import Telemetry, telemetry
from field.sep2_writer import NAMESPACE, Mirrored, mirror_meter_reading

BEGIN = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
END = BEGIN + timedelta(minutes=15)


def test_a_gateways_array() -> None:
    raw = telemetry([Telemetry("pv-1", BEGIN, END, 210), Telemetry("pv-2", BEGIN, END, "NaN")])
    first, second = json.loads(raw)
    assert first == {
        "device": "pv-1",
        "readings": [
            {
                "begin": "2026-01-15T10:00:00Z",
                "end": "2026-01-15T10:15:00Z",
                "measurand": "activeEnergyExport",
                "value": "210",
                "unit": "Wh",
            }
        ],
    }
    assert second["readings"][0]["value"] == "NaN"
    with pytest.raises(ValueError, match="offset"):
        telemetry([Telemetry("pv-1", BEGIN.replace(tzinfo=None), END, 1)])


def children(element: etree._Element) -> list[str]:
    return [etree.QName(child).localname for child in element if isinstance(child.tag, str)]


def test_a_mirrored_reading() -> None:
    """IEEE 2030.5 AccumulationBehaviourType, CommodityType, FlowDirectionType, KindType, UomType"""
    root = etree.fromstring(mirror_meter_reading(Mirrored("pv-1", BEGIN, 900, [210])))
    assert root.tag == f"{{{NAMESPACE}}}MirrorMeterReading"
    assert children(root) == ["mRID", "description", "MirrorReadingSet", "ReadingType"]
    reading = root.find(f".//{{{NAMESPACE}}}Reading")
    assert reading is not None
    assert [part.text for part in reading.iter(f"{{{NAMESPACE}}}*")][-1] == "210"
    kind = {etree.QName(part).localname: part.text for part in root[-1]}
    assert list(kind) == sorted(kind)
    assert (kind["uom"], kind["intervalLength"], kind["flowDirection"]) == ("72", "900", "19")
    assert (kind["accumulationBehaviour"], kind["commodity"], kind["kind"]) == ("4", "1", "12")
    start = root.findtext(f".//{{{NAMESPACE}}}start")
    assert start == str(int(BEGIN.timestamp()))


def test_the_same_elements_as_the_standards_example(shared_data: Path) -> None:
    file = shared_data / "ieee2030_5" / "bsgip_envoy_meter_mirroring_mirrormeterreading.xml"
    published = etree.parse(file).getroot()
    written = etree.fromstring(mirror_meter_reading(Mirrored("pv-1", BEGIN, 900, [210])))
    assert published.tag == written.tag

    def paths(root: etree._Element) -> set[str]:
        tree = root.getroottree()
        return {tree.getelementpath(e) for e in root.iter() if isinstance(e.tag, str)}

    extra = paths(published) - paths(written)
    assert {path.rsplit("}", 1)[-1] for path in extra} <= {"localID"}


def test_mrids_are_stable_and_differ() -> None:
    """IEEE 2030.5 mRIDType: 128 bits."""
    first, again, later = (
        etree.fromstring(mirror_meter_reading(Mirrored("pv-1", begin, 900, [1])))
        for begin in (BEGIN, BEGIN, END)
    )
    ids = [
        [e.text or "" for e in root.iter(f"{{{NAMESPACE}}}mRID")] for root in (first, again, later)
    ]
    assert ids[0] == ids[1]
    assert ids[0][0] == ids[2][0]  # the same meter reading, another set
    assert ids[0][1] != ids[2][1]
    assert all(len(bytes.fromhex(text)) == 16 for text in ids[0])


@pytest.mark.parametrize(
    "mirrored",
    [
        Mirrored("pv-1", BEGIN.replace(tzinfo=None), 900, [1]),
        Mirrored("pv-1", BEGIN.replace(microsecond=1), 900, [1]),
        Mirrored("pv-1", BEGIN, 900, [1 << 47]),
    ],
)
def test_what_the_schema_can_not_hold(mirrored: Mirrored) -> None:
    """IEEE 2030.5 TimeType is in whole seconds."""
    with pytest.raises(ValueError, match=r"Int48|whole second"):
        mirror_meter_reading(mirrored)
