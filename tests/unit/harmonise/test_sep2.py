"""What IEEE 2030.5 messages come to (docs/spec/ieee-2030-5.md)."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bal.errors import Rejected
from bal.harmonise.sep2_xml import NAMESPACE, NAMESPACE_2013, read
from bal.model import Harmonised, Rank, Subject
from field.sep2_writer import Mirrored, mirror_meter_reading
from tests.unit.harmonise.message_kit import records, told, xml

Take = Callable[..., Harmonised]
START = 1_768_471_200  # 2026-01-15T10:00:00Z
LFDI = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"
ENERGY = {
    "accumulationBehaviour": 4, "commodity": 1, "flowDirection": 19, "intervalLength": 900,
    "kind": 12, "uom": 72,
}  # fmt: skip
REGISTER = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"


def kind(**members: object) -> str:
    return xml("ReadingType", **(ENERGY | members))


def period(start: object = START, duration: object = 900) -> str:
    return xml("timePeriod", duration=duration, start=start)


def reading(*inside: str, value: object = 210, **members: object) -> str:
    return xml("Reading", *inside, value=value, **members)


def mirror(*inside: str, **members: object) -> str:
    return xml("MirrorMeterReading", *inside, **({"mRID": "0800006CC8"} | members))


def readings(*several: str, length: object = 900, **members: object) -> str:
    """A MirrorMeterReading of one set."""
    inside = xml("MirrorReadingSet", period(duration=length), *several, mRID="0900006CC8")
    return mirror(inside, kind(**members))


def usage_point(*inside: str, lfdi: str | None = LFDI, **members: object) -> str:
    plain = {"mRID": "0600006CC8", "roleFlags": "49", "serviceCategoryKind": 0, "status": 1}
    named = {} if lfdi is None else {"deviceLFDI": lfdi}
    return xml("MirrorUsagePoint", *inside, **(plain | named | members))


def sep2(text: str, namespace: str = NAMESPACE) -> bytes:
    name, rest = text[1:].split(">", 1)
    return f'<?xml version="1.0"?>\n<{name} xmlns="{namespace}">{rest}'.encode()


def test_what_the_simulator_sends(take: Take, owners: tuple[Subject, Subject]) -> None:
    """IEEE 2030.5 MirrorMeterReading."""
    begin = datetime.fromtimestamp(START, UTC)
    found = take(mirror_meter_reading(Mirrored("pv-1", begin, 900, [1234])), "sep2")
    assert told(found) == ([], [])
    [draft] = found.records
    assert (draft.kind, draft.register, draft.rank) == ("reading", REGISTER, Rank.MEASURED)
    [data] = records(found)
    assert (data["begin"], data["end"]) == ("2026-01-15T10:00:00Z", "2026-01-15T10:15:00Z")
    assert (data["value"], data["unit"], data["quality"]) == ("1234", "Wh", ["0.0.0"])
    assert data["observes"]["notation"] == REGISTER
    assert draft.subject == owners[1]  # it names no device: the sender


def test_the_same_bytes_as_by_cim_but_for_the_evidence(take: Take) -> None:
    code = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0"
    cim = (
        f"<m><MeterReading><Meter><Names><name>{LFDI}</name><NameType><name>lfdi</name>"
        "<NameTypeAuthority><name>ieee2030.5</name></NameTypeAuthority></NameType></Names></Meter>"
        "<Readings><timeStamp>2026-01-15T11:15:00+01:00</timeStamp><value>1</value>"
        f'<ReadingType ref="{code}"/><ReadingQualities><ReadingQualityType ref="1.0.0"/>'
        "</ReadingQualities></Readings></MeterReading></m>"
    ).encode()
    one = reading(value=1, qualityFlags="01")
    mine = usage_point(readings(one, powerOfTenMultiplier=3), lfdi=LFDI.lower())
    [by_cim], [by_sep2] = records(take(cim)), records(take(sep2(mine), "sep2"))
    assert by_cim | {"evidence": ""} == by_sep2 | {"evidence": ""}
    assert by_sep2["value"] == "1000"


def test_the_order_of_elements_does_not_matter(take: Take) -> None:
    within = xml("MirrorReadingSet", reading(), period())
    one = sep2(mirror(kind(), within))
    assert records(take(one, "sep2"))[0]["value"] == "210"


def test_a_set_is_cut_by_its_interval_length(take: Take) -> None:
    several = [
        reading(value=3, localID="0A"),
        reading(value=1, localID="01"),
        reading(value=2, localID="02"),
    ]
    found = take(sep2(readings(*several, length=2700)), "sep2")
    assert told(found) == ([], [])
    ends = {data["value"]: (data["begin"][11:16], data["end"][11:16]) for data in records(found)}
    assert ends == {"1": ("10:00", "10:15"), "2": ("10:15", "10:30"), "3": ("10:30", "10:45")}
    in_order = take(sep2(readings(reading(value=1), reading(value=2), length=1800)), "sep2")
    assert [data["end"][11:16] for data in records(in_order)] == ["10:15", "10:30"]


def test_tiers_cover_the_whole_set(take: Take) -> None:
    several = [reading(value=9), reading(value=4, touTier=1), reading(value=5, touTier=2)]
    found = take(sep2(readings(*several)), "sep2")
    assert told(found) == ([], [])
    tiers = {draft.register.split(".")[11] for draft in found.records}
    assert tiers == {"0", "1", "2"}
    assert {data["end"] for data in records(found)} == {"2026-01-15T10:15:00Z"}


@pytest.mark.parametrize(
    ("several", "length", "of"),
    [
        ([reading(localID="17")], 86400, {}),  # the 23rd of a day, or the 17th?
        ([reading(localID="01"), reading(localID="01")], 1800, {}),
        ([reading(localID="01"), reading()], 1800, {}),
        ([reading(localID="x"), reading(localID="02")], 1800, {}),
        ([reading(), reading()], 900, {}),
        ([reading(), reading()], 900, {"intervalLength": 0}),
        ([reading(touTier=1), reading(touTier=2)], 1800, {}),
    ],
)
def test_a_reading_of_no_certain_interval_is_incomplete(
    take: Take, several: list[str], length: int, of: dict[str, int]
) -> None:
    found = take(sep2(readings(*several, length=length, **of)), "sep2")
    assert told(found) == ([], ["interval-ambiguous"] * len(several))
    for data in records(found):
        assert (data["kind"], data["event"]) == ("event", "incomplete")
        assert data["begin"] == "2026-01-15T10:00:00Z"
        assert data["verbatim"]["value"] == ["210"]


def test_its_own_period_counts_first(take: Take) -> None:
    several = [reading(period(START + 900), localID="17"), reading(period(START), localID="17")]
    found = take(sep2(readings(*several, length=86400)), "sep2")
    assert told(found) == ([], [])
    assert [data["end"][11:16] for data in records(found)] == ["10:30", "10:15"]


def test_a_length_that_differs_is_told(take: Take) -> None:
    found = take(sep2(readings(reading(period(duration=1800)))), "sep2")
    assert told(found) == ([], ["interval-length-differs"])
    [data] = records(found)
    assert (data["end"], data["register"]) == ("2026-01-15T10:30:00Z", REGISTER)
    assert data["findings"][0]["code"] == "interval-length-differs"
    empty = take(sep2(readings(reading(period(duration=0)))), "sep2")
    assert told(empty) == ([], ["interval-empty"])
    assert [draft.kind for draft in empty.records] == ["telemetry"]


@pytest.mark.parametrize("accumulation", [1, 3, 9])
def test_a_register_s_state_holds_at_the_end(take: Take, accumulation: int) -> None:
    one = mirror(reading(period(START, 900)), kind(accumulationBehaviour=accumulation))
    [data] = records(take(sep2(one), "sep2"))
    assert (data["kind"], data["time"]) == ("telemetry", "2026-01-15T10:15:00Z")
    assert "begin" not in data


def test_an_instant_is_telemetry(take: Take) -> None:
    of = kind(accumulationBehaviour=12, kind=0, uom=29, intervalLength=0, powerOfTenMultiplier=-1)
    found = take(sep2(mirror(reading(period(START, 0), value=-2301), of)), "sep2")
    assert told(found) == ([], [])
    [data] = records(found)
    assert (data["kind"], data["time"]) == ("telemetry", "2026-01-15T10:00:00Z")
    assert (data["value"], data["unit"]) == ("-230.1", "V")


def test_without_a_period_it_ends_at_the_last_update(take: Take) -> None:
    average = kind(accumulationBehaviour=0, kind=37, uom=38, dataQualifier=2, intervalLength=300)
    found = take(sep2(mirror(reading(), average, lastUpdateTime=START + 300)), "sep2")
    assert told(found) == ([], ["time-from-update"])
    [data] = records(found)
    assert (data["begin"], data["end"]) == ("2026-01-15T10:00:00Z", "2026-01-15T10:05:00Z")
    momentary = kind(accumulationBehaviour=12, kind=37, uom=38, intervalLength=300)
    [data] = records(take(sep2(mirror(reading(), momentary, lastUpdateTime=START)), "sep2"))
    assert (data["kind"], data["time"]) == ("telemetry", "2026-01-15T10:00:00Z")
    refused = take(sep2(mirror(reading(), average)), "sep2")
    assert told(refused) == (["time-missing"], [])


def test_flags_become_quality_and_rank(take: Take) -> None:
    several = [reading(period(), qualityFlags=flags) for flags in ("01", "02", "08", "80", "zz")]
    found = take(sep2(readings(*several)), "sep2")
    assert [draft.rank for draft in found.records] == [
        Rank.MEASURED, Rank.CORRECTED, Rank.ESTIMATED, Rank.MEASURED, Rank.MEASURED,
    ]  # fmt: skip
    assert [data["quality"] for data in records(found)] == [
        ["1.0.0"], ["1.7.0"], ["1.8.0"], ["80"], ["zz"],
    ]  # fmt: skip
    assert told(found) == ([], ["quality-malformed"] * 2)


def test_without_a_reading_type_it_is_an_event(take: Take) -> None:
    inside = xml("MirrorReadingSet", period(), reading(qualityFlags="01"))
    for text in (mirror(inside), inside):
        found = take(sep2(text), "sep2")
        assert told(found) == ([], ["reading-type-missing"])
        [data] = records(found)
        assert (data["event"], data["quality"]) == ("incomplete", ["1.0.0"])
        assert "register" not in data


def test_what_has_no_meaning_keeps_its_reading_type(take: Take) -> None:
    found = take(sep2(readings(reading(), commodity=7, uom=119)), "sep2")
    assert told(found) == ([], ["reading-type-unmapped"])
    assert found.findings[0].text.endswith("known here; the commodity is not electricity")
    [data] = records(found)
    assert (data["event"], data["notation"]) == (
        "unmapped",
        "0.0.2.4.19.7.12.0.0.0.0.0.0.0.0.0.119.0",
    )
    assert data["verbatim"]["readingType"] == [
        "accumulationBehaviour=4", "commodity=7", "flowDirection=19", "intervalLength=900",
        "kind=12", "uom=119",
    ]  # fmt: skip
    malformed = take(sep2(readings(reading(), uom="seventy-two")), "sep2")
    assert told(malformed) == ([], ["reading-type-unmapped"])
    assert malformed.findings[0].text.endswith("is no number of its type, or stands twice")
    assert "notation" not in records(malformed)[0]


def test_energy_of_another_service_is_not_electricity(take: Take) -> None:
    gas = usage_point(readings(reading(), commodity=0), serviceCategoryKind=1)
    found = take(sep2(gas), "sep2")
    assert told(found) == ([], ["reading-type-unmapped"])
    assert "the service is not electricity" in found.findings[0].text
    said = usage_point(readings(reading(), commodity=1), serviceCategoryKind=1)
    assert told(take(sep2(said), "sep2")) == ([], [])


def test_what_stands_twice_is_ambiguous(take: Take) -> None:
    twice = reading(period(), "<value>211</value>")
    found = take(sep2(readings(twice)), "sep2")
    assert told(found) == ([], ["reading-ambiguous"])
    assert records(found)[0]["verbatim"]["value"] == ["210", "211"]
    spans = take(sep2(readings(reading(period(START), period(START + 900)))), "sep2")
    assert told(spans) == ([], ["reading-ambiguous"])
    data = records(spans)[0]
    assert (data["begin"][11:16], data["end"][11:16]) == ("10:00", "10:30")
    types = take(sep2(mirror(reading(period()), kind(), kind())), "sep2")
    assert told(types) == ([], ["reading-ambiguous"])
    empty = take(sep2(mirror(xml("Reading", period()), kind())), "sep2")
    assert told(empty) == ([], ["value-missing"])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (reading(period(), value="NaN"), "value-not-integer"),
        (reading(period(), value="1.5"), "value-not-integer"),
        (reading(period(), value="1e3"), "value-not-integer"),
        (reading(period(), value=""), "value-not-integer"),
        (reading(period(), value=(1 << 47) + 1), "value-not-integer"),
        (reading(period(), value=-(1 << 47) - 1), "value-not-integer"),
        (reading(period(), value="9" * 60), "value-not-integer"),
        (reading(period(start="2026-01-15T10:00:00Z")), "time-malformed"),
        (reading(period(start="")), "time-malformed"),
        (reading(period(start=-1)), "time-out-of-range"),
        (reading(period(start=7_289_654_400)), "time-out-of-range"),
        (reading(period(start=9_223_372_036_854_775_807)), "time-out-of-range"),
        (reading(period(start="9" * 30)), "time-malformed"),
        (reading(period(duration=-900)), "time-malformed"),
        (reading(period(duration=1 << 32)), "time-malformed"),
        (reading(period(7_289_654_399, 900)), "time-out-of-range"),
        (reading("<timePeriod><start>1768471200</start></timePeriod>"), "time-missing"),
        (reading(period(), qualityFlags="\u00e9"), "quality-malformed"),
        (reading(period(), "<value/>", value="x" * 1025), "text-too-long"),
    ],
)
def test_a_bad_reading_costs_no_other(take: Take, bad: str, code: str) -> None:
    found = take(sep2(readings(reading(period()), bad, reading(period(START + 900)))), "sep2")
    assert told(found) == ([code], [])
    assert len(found.records) == 2
    [refused] = found.refused
    assert refused.line == 2
    assert refused.clause


def test_the_bounds_of_int48_are_taken(take: Take) -> None:
    """IEEE 2030.5 ReadingBase: value is an Int48."""
    several = [reading(period(), value=value) for value in (1 << 47, -(1 << 47), "+0", "-0", "007")]
    values = [data["value"] for data in records(take(sep2(readings(*several)), "sep2"))]
    assert values == ["140737488355328", "-140737488355328", "0", "0", "7"]


def test_a_period_of_the_set_that_is_bad_costs_its_readings_only(take: Take) -> None:
    """IEEE 2030.5 DateTimeInterval; its start is an IEEE 2030.5 TimeType."""
    bad = xml("MirrorReadingSet", period(start="x"), reading(), reading(period()))
    none = xml("MirrorReadingSet", reading())
    good = xml("MirrorReadingSet", period(), reading())
    found = take(sep2(mirror(bad, none, good, kind())), "sep2")
    assert told(found) == (["time-malformed", "time-missing"], [])
    assert len(found.records) == 2


# --- namespaces, resources, devices --------------------------------------------------------


def test_the_2013_namespace_is_told(take: Take) -> None:
    """IEEE 2030.5 sep.xsd, in either of its two namespaces."""
    found = take(sep2(readings(reading()), NAMESPACE_2013), "sep2")
    assert told(found) == ([], ["namespace-2013"])
    now = take(sep2(readings(reading())), "sep2")
    [one], [other] = records(found), records(now)
    assert one | {"evidence": ""} == other | {"evidence": ""}


INNER = readings(reading()).removeprefix("<MirrorMeterReading>")


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (sep2(readings(reading()), "http://zigbee.org/sep"), 2),
        (sep2(readings(reading()), "urn:ieee:std:2030.5:ns/"), 2),
        (sep2(readings(reading()), "URN:IEEE:STD:2030.5:NS"), 2),
        (readings(reading()).encode(), 1),
        (f'<a:MirrorMeterReading xmlns:a="{NAMESPACE}">\n\n{INNER[:-21]}</a:MirrorMeterReading>'
         .encode(), 3),
        (sep2(mirror(f'\n<Reading xmlns="{NAMESPACE_2013}"/>')), 3),
        (sep2(mirror('\n<Reading xmlns=""/>')), 3),
    ],
)  # fmt: skip
def test_any_other_namespace_refuses_the_message(take: Take, raw: bytes, line: int) -> None:
    with pytest.raises(Rejected) as caught:
        take(raw, "sep2")
    assert (caught.value.code, caught.value.line) == ("namespace-unknown", line)
    assert caught.value.clause


def test_prefixes_and_comments_make_no_difference(take: Take) -> None:
    text = readings(reading()).replace("</", "</s:").replace("<", "<s:").replace("<s:/s:", "</s:")
    raw = f"<?xml version='1.0'?><!-- a --><?pi?>{text}".replace(
        "<s:MirrorMeterReading>", f"<s:MirrorMeterReading xmlns:s='{NAMESPACE}'><!--<value/>-->", 1
    )
    found = take(raw.encode(), "sep2")
    assert told(found) == ([], [])
    assert records(found)[0]["value"] == "210"


def test_extensions_are_kept_as_evidence_only(take: Take) -> None:
    strange = '<x:More xmlns:x="https://example.org/x"><MirrorMeterReading xmlns=""/></x:More>'
    found = take(sep2(readings(reading(strange, "<Value>1</Value>"))), "sep2")
    assert told(found) == ([], ["element-not-mapped"] * 2)
    assert {finding.field for finding in found.findings} == {"Reading"}
    assert len(found.records) == 1


@pytest.mark.parametrize(
    "text",
    [
        kind(),
        reading(),
        xml("EndDevice"),
        xml("MirrorUsagePointList"),
        xml("MeterReading", reading(period())),
    ],
)
def test_other_resources_are_refused(take: Take, text: str) -> None:
    with pytest.raises(Rejected, match="no-meter-reading"):
        take(sep2(text), "sep2")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "xml-malformed"),
        (b"<", "xml-malformed"),
        (sep2(readings(reading()))[:-5], "xml-malformed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "dtd-forbidden"),
        (sep2(mirror("&b;")), "xml-malformed"),
        (sep2(mirror("\0")), "xml-malformed"),
        (b"\xff" + sep2(mirror()), "not-utf8"),
        (sep2("<MirrorMeterReading>" + "<a>" * 80 + "</a>" * 80), "depth-exceeded"),
        (sep2(mirror("<value/>" * 600_000)), "too-many-items"),
    ],
)
def test_bytes_that_are_refused(take: Take, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        take(raw, "sep2")
    assert caught.value.code == code


def test_an_lfdi_names_the_device(take: Take, subject: Callable[[str], Subject]) -> None:
    """IEEE 2030.5 MirrorUsagePoint: IEEE 2030.5 deviceLFDI says whose it is."""
    for lfdi in (LFDI, LFDI.lower(), f"\n  {LFDI} "):
        found = take(sep2(usage_point(readings(reading()), lfdi=lfdi)), "sep2")
        assert told(found) == ([], [])
        assert found.records[0].subject == subject(f"name:ieee2030.5/lfdi/{LFDI}")
        assert len(found.parts) == 1


@pytest.mark.parametrize("lfdi", ["", LFDI[:-1], LFDI + "00", "x" * 40, "meter-1"])
def test_an_lfdi_that_is_none(take: Take, owners: tuple[Subject, Subject], lfdi: str) -> None:
    found = take(sep2(usage_point(readings(reading()), lfdi=lfdi)), "sep2")
    assert told(found) == (["name-invalid"], [])
    assert found.refused[0].field == "deviceLFDI"
    assert lfdi not in found.refused[0].text or not lfdi
    assert [part.subject for part in found.parts] == [owners[1]]


def test_two_devices_are_two_parts(take: Take, owners: tuple[Subject, Subject]) -> None:
    points = [
        usage_point(readings(reading())),
        "<MirrorUsagePoint/>",
        usage_point(readings(reading()), lfdi="x"),
        usage_point(readings(reading()), f"<deviceLFDI>{LFDI}</deviceLFDI>"),
        usage_point(readings(reading()), lfdi=LFDI[::-1]),
    ]
    raw = sep2(xml("MirrorUsagePointList", "\n", *(f"{point}\n" for point in points)))
    found = take(raw, "sep2")
    assert told(found) == (["name-invalid", "meter-ambiguous", "no-reading"], [])
    assert len(found.records) == 2
    assert found.records[0].subject != found.records[1].subject
    pieces = [raw[part.start : part.end].decode() for part in found.parts]
    assert [piece for piece in pieces if piece.startswith("<MirrorUsagePoint")] == points
    platform, sender = owners
    assert [part.subject for part in found.parts[::2]] == [platform] * 6
    assert [part.subject for part in found.parts[3:8:2]] == [sender] * 3


def test_a_device_without_readings_is_told_once(take: Take) -> None:
    found = take(sep2(usage_point(mirror(kind()), mirror(kind()))), "sep2")
    assert told(found) == (["no-reading"], [])
    assert found.records == []
    assert len(found.parts) == 1


def test_a_malformed_mrid_is_told_and_costs_nothing(take: Take) -> None:
    """IEEE 2030.5 mRIDType."""
    for mrid in ("", "0", "xx", "00" * 17):
        found = take(sep2(mirror(reading(period()), kind(), mRID=mrid)), "sep2")
        assert told(found) == ([], ["mrid-malformed"])
        assert len(found.records) == 1
    found = take(sep2(mirror(reading(period()), kind(), mRID="FF" * 16)), "sep2")
    assert told(found) == ([], [])


def test_elements_know_their_bytes() -> None:
    raw = sep2(
        "<MirrorUsagePointList><MirrorUsagePoint/><MirrorUsagePoint ></MirrorUsagePoint >"
        "<MirrorUsagePoint a='/>'>/></MirrorUsagePoint><MirrorUsagePoint><mRID/></MirrorUsagePoint>"
        "<MirrorUsagePoint><x:a xmlns:x='u'/></MirrorUsagePoint><MirrorUsagePoint b='>'/>"
        "<MirrorUsagePoint><!-- /></MirrorUsagePoint --></MirrorUsagePoint>"
        "<MirrorUsagePoint><![CDATA[</MirrorUsagePoint>/>]]></MirrorUsagePoint>"
        "</MirrorUsagePointList>"
    )
    root = read(raw).root
    pieces = [raw[node.start : node.end] for node in root.children]
    start = raw.index(b"<MirrorUsagePoint/>")
    assert b"".join(pieces) == raw[start : -len("</MirrorUsagePointList>")]
    assert (raw[: root.start], raw[root.end :]) == (b'<?xml version="1.0"?>\n', b"")
    assert len(pieces) == 8


# --- public samples ------------------------------------------------------------------------


def test_public_samples(take: Take, shared_data: Path) -> None:
    samples = shared_data / "ieee2030_5"

    def sample(name: str) -> bytes:
        return (samples / name).read_bytes()

    mirrored = take(sample("bsgip_envoy_meter_mirroring_mirrormeterreading.xml"), "sep2")
    assert told(mirrored) == (
        [],
        ["reading-type-missing"],
    )  # the server's memory has it
    [data] = records(mirrored)
    assert (data["begin"], data["end"]) == ("2012-07-06T12:56:05Z", "2012-07-07T12:56:05Z")
    assert data["verbatim"] == {"id": "#verbatim", "localID": ["17"], "value": ["10"]}
    for name in ("meter_mirroring_readingtype", "pricing_readingtype"):
        with pytest.raises(Rejected, match="no-meter-reading"):
            take(sample(f"bsgip_envoy_{name}.xml"), "sep2")


def test_a_public_sample_with_its_reading_type(take: Take, shared_data: Path) -> None:
    """As a client of ours sends it: the ReadingType of the pricing sample goes with the reading."""
    samples = shared_data / "ieee2030_5"
    message = (samples / "bsgip_envoy_meter_mirroring_mirrormeterreading.xml").read_text()
    of = (samples / "bsgip_envoy_pricing_readingtype.xml").read_text().split("-->", 1)[1]
    raw = (
        message.replace("86400", "3600").replace("</MirrorMeterReading>", of)
        + "</MirrorMeterReading>"
    )
    found = take(raw.encode(), "sep2")
    assert told(found) == ([], [])
    [data] = records(found)
    assert (data["value"], data["unit"]) == ("10000", "Wh")
    assert data["register"] == "0.12.7.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
