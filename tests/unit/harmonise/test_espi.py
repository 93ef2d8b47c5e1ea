"""What Green Button feeds come to (docs/spec/green-button.md)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import espi_type
from bal.model import Harmonised, Rank, Subject
from tests.unit.harmonise.message_kit import codes, records, refused, xml

Take = Callable[..., Harmonised]
START = 1_768_471_200  # 2026-01-15T10:00:00Z
ESPI = "http://naesb.org/espi"
UUID = "28571c16-d0d5-4a9d-b0ee-edf565a6b931"
REGISTER = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
ENERGY = {
    "accumulationBehaviour": 4, "commodity": 1, "flowDirection": 1, "intervalLength": 900,
    "kind": 12, "powerOfTenMultiplier": 0, "uom": 72,
}  # fmt: skip
NEW_YORK = {
    "dstEndRule": "B40E2000", "dstOffset": 3600, "dstStartRule": "360E2000", "tzOffset": -18000,
}  # fmt: skip
SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "green-button.md"


def resource(name: str, *inside: str, **members: object) -> str:
    return xml(name, *inside, **members).replace(f"<{name}>", f'<{name} xmlns="{ESPI}">', 1)


def entry(content: str, own: str, *related: str, up: str = "", ident: str = "") -> str:
    links = f'<link rel="self" href="{own}"/>' + (f'<link rel="up" href="{up}"/>' if up else "")
    links += "".join(f'<link rel="related" href="{href}"/>' for href in related)
    return (
        f"<entry>{f'<id>{ident}</id>' if ident else ''}{links}<content>{content}</content></entry>"
    )


def feed(*several: str) -> bytes:
    return f'<feed xmlns="http://www.w3.org/2005/Atom">{"".join(several)}</feed>'.encode()


def point(n: str = "1", ident: str = f"urn:uuid:{UUID.upper()}", kind: object = 0) -> str:
    content = resource("UsagePoint", xml("ServiceCategory", kind=kind))
    return entry(content, f"UP/{n}", f"UP/{n}/MR", f"UP/{n}/US", "LTP/1", ident=ident)


def meter_reading(n: str = "1", kind: str = "RT/1") -> str:
    content = resource("MeterReading")
    return entry(content, f"UP/{n}/MR/1", f"UP/{n}/MR/1/IB", kind, up=f"UP/{n}/MR")


def of_type(*inside: str, own: str = "RT/1", **members: object) -> str:
    return entry(resource("ReadingType", *inside, **(ENERGY | members)), own, up="RT")


def local(**members: object) -> str:
    return entry(resource("LocalTimeParameters", **(NEW_YORK | members)), "LTP/1", up="LTP")


def period(start: object = START, duration: object = 900, name: str = "timePeriod") -> str:
    return xml(name, duration=duration, start=start)


def reading(*inside: str, value: object = 282, **members: object) -> str:
    return xml("IntervalReading", *inside, value=value, **members)


def block(*readings: str, n: str = "1", up: str | None = None) -> str:
    content = resource("IntervalBlock", *readings)
    return entry(content, f"UP/{n}/MR/1/IB/1", up=f"UP/{n}/MR/1/IB" if up is None else up)


def whole(*readings: str, **members: object) -> bytes:
    """A feed of one block."""
    return feed(point(), meter_reading(), of_type(**members), block(*readings))


def utc(text: str) -> str:
    """A time as the comments of the published files print it, in UTC."""
    return (
        f"{datetime.strptime(text, '%m/%d/%Y %I:%M:%S %p').replace(tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}"
    )


# --- published feeds, by what stands in them ------------------------------------------------


def published(shared_data: Path, name: str) -> tuple[bytes, ElementTree.Element]:
    raw = (shared_data / "greenbutton" / name).read_bytes()
    return raw, ElementTree.fromstring(raw)


def test_the_sdk_feed_is_two_bills_of_energy_delivered(take: Take, shared_data: Path) -> None:
    raw, _ = published(shared_data, "gbsdk_Electric.xml")
    starts = re.findall(rb"<!-- start date: (.*?) -->", raw)
    april, may = (utc(text.decode()) for text in starts)
    found = take(raw, "espi")
    assert refused(found) == []
    first, second, summary = records(found)
    # its comments say when, its ElectricPowerUsageSummary says how much: 4,702,205 Wh in the last
    # period of 2,592,000 s, and 1,262,848 Wh until 1336795200
    assert (first["begin"], first["end"], first["value"]) == (april, may, "4702205")
    until = f"{datetime.fromtimestamp(1336795200, UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert (second["begin"], second["end"], second["value"]) == (may, until, "1262848")
    assert {one["unit"] for one in (first, second)} == {"Wh"}
    # ReadingType/07: delta (4), electricity (1), normal (12), forward (1), energy (12), S1 and S2
    # to N (769), Wh (72); no code of measuringPeriod is 2,678,400 s long
    assert first["register"] == "32.12.0.4.1.1.12.0.0.0.0.0.0.0.769.0.72.0"
    assert [one["code"] for one in first["findings"]] == ["interval-length-differs"]  # of 30 days
    assert (summary["event"], summary["begin"], summary["end"]) == ("summary", april, may)
    assert summary["verbatim"]["billLastPeriod"] == ["38882000"]
    assert summary["verbatim"]["overallConsumptionLastPeriod"] == [
        "powerOfTenMultiplier=0 uom=72 value=4702205"
    ]


def test_the_test_feed_is_a_day_of_quarter_hours(take: Take, shared_data: Path) -> None:
    """NAESB REQ.21 ESPI IntervalBlock, ElectricPowerQualitySummary."""
    raw, root = published(shared_data, "openespi_test_usage_data_01.xml")
    space = {"e": ESPI}
    sent = root.findall(".//e:IntervalReading", space)
    dates = {utc(text) for text in re.findall(r"<!-- (3/\d+/2012 \S+ [AP]M)", raw.decode())}
    dates.add("2012-03-02T00:00:00Z")  # printed as a date alone
    found = take(raw, "espi")
    assert (refused(found), codes(found)) == ([], [])
    readings = [one for one in records(found) if one["kind"] == "reading"]
    assert len(readings) == len(sent) == 96
    assert [one["value"] for one in readings] == [
        one.findtext("e:value", "", space) for one in sent
    ]
    begins = [one["begin"] for one in readings]
    starts = [int(one.findtext("e:timePeriod/e:start", "", space)) for one in sent]
    assert begins == [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in starts]
    assert set(begins) <= dates  # the comments say the same
    assert {one["register"] for one in readings} == {
        "0.12.2.4.1.1.12.600.800.1.2.0.0.0.769.0.72.0"  # with its interharmonic and argument
    }
    # QualityOfReading 8: machine computed from historical data; 7: replaced or approved by a human
    ranks = [draft.rank for draft in found.records if draft.kind == "reading"]
    assert ranks == [Rank.ESTIMATED, Rank.CORRECTED, *[Rank.MEASURED] * 94]
    usage, quality = (one for one in records(found) if one["kind"] == "event")
    assert usage["verbatim"]["qualityOfReading"] == ["14"]
    assert quality["verbatim"]["longInterruptions"] == ["4"]
    assert quality["notation"] == "ElectricPowerQualitySummary"


def test_the_feed_of_the_page_is_taken_as_it_says(take: Take) -> None:
    page = SPEC.read_text(encoding="utf-8")
    match = re.search(r"```xml\n(.*?)```", page, re.DOTALL)
    assert match is not None
    found = take(match[1].encode(), "espi")
    assert (refused(found), codes(found)) == ([], [])
    assert [(one["value"], one["end"][11:16]) for one in records(found)] == [
        ("282", "10:15"), ("323", "10:30"),
    ]  # fmt: skip
    assert [draft.rank for draft in found.records] == [Rank.MEASURED, Rank.ESTIMATED]
    assert f"Register: `{found.records[0].register}`" in page


# --- links ----------------------------------------------------------------------------------


def test_whose_it_is(take: Take, subject: Callable[[str], Subject]) -> None:
    """NAESB REQ.21 ESPI UsagePoint, by its atom:id (RFC 4287 §4.2.6) as RFC 4122 §3 prints it."""
    found = take(whole(reading(period())), "espi")
    assert found.records[0].subject == subject(f"name:espi/usage-point/{UUID}")


def test_the_order_of_entries_does_not_matter(take: Take) -> None:
    several = [block(reading(period())), of_type(), meter_reading(), point()]
    assert [one["value"] for one in records(take(feed(*several), "espi"))] == ["282"]


def test_up_alone_leads_to_the_parent(take: Take) -> None:
    """RFC 4287 §4.2.7: atom:link."""
    plain = entry(resource("UsagePoint"), "UP/1", ident=UUID)
    typed = entry(resource("MeterReading"), "UP/1/MeterReading/1/", "RT/1", up="UP/1/MeterReading")
    of = block(reading(period()), up="UP/1/MeterReading/1/IntervalBlock")
    assert [one["value"] for one in records(take(feed(plain, typed, of_type(), of), "espi"))] == [
        "282"
    ]


def test_two_points_are_cut_apart(
    take: Take, subject: Callable[[str], Subject], owners: tuple[Subject, Subject]
) -> None:
    raw = feed(
        point(), point("2", "two"), meter_reading(), meter_reading("2"), of_type(),
        block(reading(period())), block(reading(period(), value=7), n="2"),
        entry(resource("Authorization"), "A/1"),
    )  # fmt: skip
    found = take(raw, "espi")
    assert [one["value"] for one in records(found)] == ["282", "7"]
    assert [one.subject for one in found.records] == [
        subject(f"name:espi/usage-point/{UUID}"), subject("name:espi/usage-point/two"),
    ]  # fmt: skip
    platform, sender = owners
    of = {part.subject.pseudonym: raw[part.start : part.end] for part in found.parts}
    assert b"Authorization" in of[sender.pseudonym]
    typed = [part for part in found.parts if b"<ReadingType" in raw[part.start : part.end]]
    assert [part.subject for part in typed] == [platform]


BLOCK = block(reading(period()))
BILL = resource("UsageSummary", statusTimeStamp=START)


@pytest.mark.parametrize(
    ("several", "code"),
    [
        ([point(), meter_reading(), of_type(), block(reading(period()), up="UP/9/IB")],
         "link-broken"),
        ([point(), of_type(), BLOCK], "link-broken"),
        ([meter_reading(), of_type(), BLOCK], "link-broken"),
        ([point(), point(ident="b"), meter_reading(), of_type(), BLOCK], "link-ambiguous"),
        ([point(), meter_reading(), meter_reading(), of_type(), BLOCK], "link-ambiguous"),
        ([point(), entry(BILL, "x", up="UP/2/US")], "link-broken"),
    ],
)  # fmt: skip
def test_a_link_that_does_not_lead_to_one_costs_the_entry(
    take: Take, several: list[str], code: str
) -> None:
    found = take(feed(*several), "espi")
    assert records(found) == []
    assert refused(found)[0] == code
    assert found.refused[0].line == 1


def test_a_broken_block_never_costs_another(take: Take) -> None:
    lost = block(reading(period(), value=1), up="nowhere")
    raw = feed(point(), meter_reading(), of_type(), lost, block(reading(period())))
    found = take(raw, "espi")
    assert ([one["value"] for one in records(found)], refused(found)) == (["282"], ["link-broken"])


def test_without_one_reading_type_the_reading_is_incomplete(take: Take) -> None:
    for types, code in (
        ((), "reading-type-missing"),
        ((of_type(), of_type()), "reading-ambiguous"),
    ):
        found = take(feed(point(), meter_reading(), *types, block(reading(period()))), "espi")
        [one] = records(found)
        assert (one["event"], one["verbatim"]["value"], codes(found)) == (
            "incomplete",
            ["282"],
            [code],
        )


def test_a_point_that_is_not_the_senders(take: Take) -> None:
    raw = feed(point(ident="forbidden"), meter_reading(), of_type(), block(reading(period())))
    found = take(raw, "espi")
    assert (records(found), refused(found)) == ([], ["subject-not-allowed"])
    assert b"forbidden" not in jcs.encode([one.as_json() for one in found.refused])


def test_a_point_without_an_id_or_without_data(take: Take) -> None:
    raw = feed(point(ident=""), meter_reading(), of_type(), block(reading(period())))
    assert refused(take(raw, "espi")) == ["meter-unnamed"]
    assert refused(take(feed(point(), meter_reading()), "espi")) == ["no-reading"]


def test_a_resource_without_atom_is_about_its_sender(
    take: Take, owners: tuple[Subject, Subject]
) -> None:
    found = take(resource("IntervalBlock", reading(period())).encode(), "espi")
    assert [one["event"] for one in records(found)] == ["incomplete"]
    assert found.records[0].subject == owners[1]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'<feed xmlns="http://www.w3.org/2005/Atom"/>', "no-meter-reading"),
        (b'<ReadingType xmlns="http://naesb.org/espi"/>', "no-meter-reading"),
        (b"<feed/>", "namespace-unknown"),
        (b'<feed xmlns="urn:x"/>', "namespace-unknown"),
        (b"<!DOCTYPE feed><feed/>", "dtd-forbidden"),
        (b"<feed", "xml-malformed"),
    ],
)
def test_a_message_that_is_refused_whole(take: Take, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as error:
        take(raw, "espi")
    assert error.value.code == code


# --- types, qualities, times ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "register", "value"),
    [
        ({}, REGISTER, "282"),
        ({"powerOfTenMultiplier": 3}, REGISTER, "282000"),
        ({"powerOfTenMultiplier": -3}, REGISTER, "0.282"),
        ({"flowDirection": 19}, "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0", "282"),
        ({"currency": 840}, REGISTER, "282"),
        ({"tou": 2, "cpp": 1, "consumptionTier": 3},
         "0.0.2.4.1.1.12.0.0.0.0.2.1.3.0.0.72.0", "282"),
        ({"timeAttribute": 13, "measuringPeriod": 4},
         "13.0.4.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0", "282"),
        ({"intervalLength": 0}, REGISTER, "282"),
        ({"kind": 0}, REGISTER, "282"),
        ({"accumulationBehaviour": 6, "kind": 8, "uom": 38},
         "0.0.2.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0", "282"),
    ],
)  # fmt: skip
def test_the_reading_type(
    take: Take, members: dict[str, object], register: str, value: str
) -> None:
    """NAESB REQ.21 ESPI ReadingType."""
    [one] = records(take(whole(reading(period()), **members), "espi"))
    assert (one["register"], one["value"]) == (register, value)


@pytest.mark.parametrize(
    ("members", "why"),
    [({"uom": 42}, "kind and unit"), ({"kind": 58}, "kind and unit"),
     ({"commodity": 7}, "the commodity"), ({"uom": "x"}, "is no number"),
     ({"powerOfTenMultiplier": 4}, "the multiplier"), ({"tou": -1}, "is no number"),
     ({"uom": 70_000}, "is no number")],
)  # fmt: skip
def test_what_has_no_meaning_is_kept(take: Take, members: dict[str, object], why: str) -> None:
    found = take(whole(reading(period(), cost=974), **members), "espi")
    assert why in found.findings[0].text.replace("measurementKind", "kind")
    [one] = records(found)
    assert (one["event"], codes(found)) == ("unmapped", ["reading-type-unmapped"])
    assert one["verbatim"]["cost"] == ["974"]
    [(name, value)] = members.items()
    assert f"{name}={value}" in one["verbatim"]["readingType"]


def test_gas_is_not_taken_for_electricity(take: Take) -> None:
    several = meter_reading(), of_type(commodity=0), block(reading(period()))
    assert [one["kind"] for one in records(take(feed(point(), *several), "espi"))] == ["reading"]
    found = take(feed(point(kind=1), *several), "espi")
    assert [one["event"] for one in records(found)] == ["unmapped"]


def test_the_readings_own_tier_counts(take: Take) -> None:
    [one] = records(take(whole(reading(period(), tou=2), tou=1), "espi"))
    assert one["register"].split(".")[11] == "2"


def test_qualities_are_those_of_the_page(take: Take) -> None:
    """NAESB REQ.21 ESPI QualityOfReading."""
    page = SPEC.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| .*? \| `(.*?)` \| (\w+) \|", page, re.MULTILINE)
    assert {int(number): code for number, code, _ in rows} == espi_type.QUALITIES
    for number, code, rank in rows:
        found = take(whole(reading(xml("ReadingQuality", quality=number), period())), "espi")
        assert records(found)[0]["quality"] == [code]
        assert found.records[0].rank.name.lower() == rank


def test_qualities_without_a_code_and_default_ones(take: Take) -> None:
    def one(*qualities: object, **members: object) -> Harmonised:
        sent = "".join(xml("ReadingQuality", quality=quality) for quality in qualities)
        return take(whole(reading(sent, period()), **members), "espi")

    assert records(one(14))[0]["quality"] == ["espi:14"]
    assert codes(one(14)) == []
    assert records(one(8, 17))[0]["quality"] == ["0.8.0", "espi:17"]
    assert records(one(defaultQuality=8))[0]["quality"] == ["0.8.0"]
    assert records(one(10, defaultQuality=8))[0]["quality"] == ["0.10.0"]
    assert (records(one("x"))[0]["quality"], codes(one("x"))) == (["x"], ["quality-malformed"])
    assert refused(one("é")) == ["quality-malformed"]


def test_a_registers_state_holds_at_the_end(take: Take) -> None:
    [one] = records(
        take(whole(reading(period()), accumulationBehaviour=1, intervalLength=0), "espi")
    )
    assert (one["kind"], one["time"]) == ("reading", "2026-01-15T10:15:00Z")


def test_a_block_is_cut_only_where_its_length_says_so(take: Take) -> None:
    """NAESB REQ.21 ESPI IntervalBlock and DateTimeInterval."""
    two = reading(value=1), reading(value=2)
    found = take(whole(period(duration=1800, name="interval"), *two), "espi")
    assert [(one["value"], one["begin"][11:16]) for one in records(found)] == [
        ("1", "10:00"), ("2", "10:15"),
    ]  # fmt: skip
    found = take(whole(period(duration=2700, name="interval"), *two), "espi")
    assert codes(found) == ["interval-ambiguous"] * 2
    assert {(one["event"], one["end"][11:16]) for one in records(found)} == {
        ("incomplete", "10:45")
    }
    assert refused(take(whole(*two), "espi")) == ["time-missing"] * 2
    found = take(whole(period(name="interval"), two[0], intervalLength=0), "espi")
    assert [one["value"] for one in records(found)] == ["1"]


def test_a_day_on_which_the_clock_changes_is_a_day(take: Take) -> None:
    midnight = int(datetime(2026, 3, 8, 5, tzinfo=UTC).timestamp())  # 00:00 in New York
    autumn = int(datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp())
    days = [reading(period(midnight, 82_800)), reading(period(autumn, 90_000)),
            reading(period(midnight, 86_400))]  # fmt: skip
    several = point(), meter_reading(), of_type(intervalLength=86_400), block(*days)
    found = take(feed(*several, local()), "espi")
    told = [one.get("findings", [{"code": ""}])[0]["code"] for one in records(found)]
    # the last says as many seconds as its type, though it is an hour more than the day
    assert told == ["", "", ""]
    assert [one["end"][8:13] for one in records(found)] == ["09T04", "02T05", "09T05"]
    assert codes(take(feed(*several), "espi")) == ["interval-length-differs"] * 2
    found = take(feed(*several, local(dstEndRule="00000000")), "espi")
    assert codes(found)[0] == "local-time-malformed"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        (reading(period("x")), "time-malformed"),
        (reading(period(duration=-1)), "time-malformed"),
        (reading(period(9**18)), "time-out-of-range"),
        (reading(period(), value="1.5"), "value-not-integer"),
        (reading(period(), value=(1 << 47) + 1), "value-not-integer"),
        (reading(period(), value="9" * 50), "value-not-integer"),
    ],
)
def test_one_bad_reading_never_costs_another(take: Take, inside: str, code: str) -> None:
    """NAESB REQ.21 ESPI IntervalReading."""
    found = take(whole(inside, reading(period())), "espi")
    assert ([one["value"] for one in records(found)], refused(found)) == (["282"], [code])


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        (xml("IntervalReading", period()), "value-missing"),
        (xml("IntervalReading", period(), "<value>1</value><value>2</value>"), "reading-ambiguous"),
        (reading(period(), period(START + 900)), "reading-ambiguous"),
    ],
)
def test_incomplete_readings_are_kept(take: Take, inside: str, code: str) -> None:
    found = take(whole(inside), "espi")
    assert ([one["event"] for one in records(found)], codes(found)) == (["incomplete"], [code])


def test_a_summary_without_a_period_stands_at_its_status(take: Take) -> None:
    """NAESB REQ.21 ESPI UsageSummary."""

    def one(**members: object) -> Harmonised:
        return take(
            feed(point(), entry(resource("UsageSummary", **members), "x", up="UP/1/US")), "espi"
        )

    [kept] = records(one(statusTimeStamp=START, billToDate=5))
    assert (kept["time"], kept["verbatim"]["billToDate"]) == ("2026-01-15T10:00:00Z", ["5"])
    assert refused(one(billToDate=5)) == ["time-missing"]


@pytest.mark.parametrize(("items", "told"), [(32, []), (33, ["element-not-mapped"])])
def test_a_long_bill_is_kept_without_its_items(take: Take, items: int, told: list[str]) -> None:
    detail = xml("costAdditionalDetailLastPeriod", amount=1, note="tax") * items
    bill = resource("UsageSummary", detail, statusTimeStamp=START)
    found = take(feed(point(), entry(bill, "x", up="UP/1/US")), "espi")
    [one] = records(found)
    assert (codes(found), "costAdditionalDetailLastPeriod" in one["verbatim"]) == (told, not told)


def test_elements_that_espi_has_not_are_told(take: Take) -> None:
    found = take(whole(reading(period(), "<other/>", '<x:y xmlns:x="urn:x"/>')), "espi")
    assert ([one["value"] for one in records(found)], codes(found)) == (
        ["282"],
        ["element-not-mapped"] * 2,
    )
