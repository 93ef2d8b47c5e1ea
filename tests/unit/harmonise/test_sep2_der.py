"""What the DER resources of IEEE 2030.5 come to (docs/spec/ieee-2030-5.md)."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise.sep2_der_table import MEMBERS, TIMES, State, Value
from bal.harmonise.sep2_xml import NAMESPACE, NAMESPACE_2013
from bal.model import Harmonised
from tests.unit.harmonise.message_kit import records, told, xml

Take = Callable[..., Harmonised]
START = 1_768_471_200  # 2026-01-15T10:00:00Z
NOW_US = 1_768_471_260_500_000

# As the EPRI client has them in its settings (epri-dev/IEEE-2030.5-Client, BSD-3-Clause).
CAPABILITY: dict[str, Any] = {
    "modesSupported": "01900260", "rtgMaxA": (2083, -2), "rtgMaxVA": (5000, 0),
    "rtgMaxVar": (5000, 0), "rtgMaxVarNeg": (-5000, 0), "rtgMaxW": (5000, 0), "type": 4,
}  # fmt: skip
CAPABILITY_2013: dict[str, Any] = {
    "modesSupported": "01fffd", "rtgA": (10, 0), "rtgAbnormalCategory": 1, "rtgAh": (20, 0),
    "rtgNormalCategory": 2, "rtgVA": (2000, 0), "rtgW": (2000, 0), "rtgWh": (4000, 0), "type": 4,
}  # fmt: skip


def resource(name: str, *inside: str, namespace: str = NAMESPACE, **members: object) -> bytes:
    scaled = {key: one for key, one in members.items() if isinstance(one, tuple)}
    plain = {key: one for key, one in members.items() if key not in scaled}
    pairs = [xml(key, value=one[0], multiplier=one[1]) for key, one in scaled.items()]
    text = xml(name, *pairs, *inside, **plain)
    return text.replace(f"<{name}>", f'<{name} xmlns="{namespace}">', 1).encode()


def state(name: str, value: object, at: object = START) -> str:
    return xml(name, dateTime=at, value=value)


def status(*inside: str, **members: Any) -> bytes:
    return resource("DERStatus", *inside, **members)


def test_state_of_charge_is_in_hundredths_of_a_percent(take: Take) -> None:
    """IEEE 2030.5 DERStatus."""
    found = take(status(state("stateOfChargeStatus", 7050), readingTime=START), "sep2")
    assert told(found) == ([], [])
    [data] = records(found)
    assert (data["register"], data["value"], data["unit"]) == ("stateOfCharge", "70.5", "%")
    assert (data["kind"], data["time"]) == ("telemetry", "2026-01-15T10:00:00Z")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("alarmStatus", "00", ["none"]),
        ("alarmStatus", "0403", ["over-current", "over-voltage", "phase rotation"]),
        ("alarmStatus", "0", ["none"]),
        ("genConnectStatus", "07", ["connected", "available", "operating"]),
        ("genConnectStatus", "00", ["not connected"]),
        ("storConnectStatus", "0a", ["available", "test"]),
        ("storConnectStatus", "10", ["fault or error"]),
        ("inverterStatus", 4, ["tracking the maximum power point"]),
        ("inverterStatus", " 10 ", ["as the manufacturer's status says"]),
        ("localControlModeStatus", 1, ["remote control"]),
        ("operationalModeStatus", 2, ["operational"]),
        ("storageModeStatus", 0, ["charging"]),
    ],
)
def test_a_state_keeps_its_code_and_says_what_it_means(
    take: Take, name: str, value: object, words: list[str]
) -> None:
    said = xml(name) if name == "alarmStatus" else state(name, value)
    said = said.replace("><", f">{value}<", 1) if name == "alarmStatus" else said
    found = take(status(said, readingTime=START + 60), "sep2")
    assert told(found) == ([], [])
    [data] = records(found)
    assert (data["kind"], data["event"]) == ("event", "state")
    assert (data["register"], data["notation"]) == (name, name)
    assert (data["verbatim"]["value"], data["means"]) == ([str(value)], words)
    later = name == "alarmStatus"  # it has no dateTime of its own
    assert data["time"] == f"2026-01-15T10:0{int(later)}:00Z"


def test_the_manufacturer_s_own_code_is_kept(take: Take) -> None:
    found = take(status(state("manufacturerStatus", "E-17")), "sep2")
    assert told(found) == ([], [])
    [data] = records(found)
    assert (data["event"], data["verbatim"]["value"]) == ("state", ["E-17"])
    assert "means" not in data


@pytest.mark.parametrize(
    ("said", "event", "words"),
    [
        (state("inverterStatus", 11), "unmapped", None),
        (state("inverterStatus", "on"), "unmapped", None),
        (state("operationalModeStatus", 100), "unmapped", None),
        (state("genConnectStatus", "21"), "state", ["connected"]),
        (state("genConnectStatus", "20"), "unmapped", None),
        (state("genConnectStatus", "0x01"), "unmapped", None),
    ],
)
def test_a_code_that_the_standard_reserves(
    take: Take, said: str, event: str, words: list[str] | None
) -> None:
    found = take(status(said), "sep2")
    assert told(found) == ([], ["state-unknown"])
    [data] = records(found)
    assert (data["event"], data.get("means")) == (event, words)
    assert data["findings"][0]["code"] == "state-unknown"


def test_what_is_available_is_no_power_that_was_measured(take: Take) -> None:
    found = take(
        resource("DERAvailability", statWAvail=(42, 2), statVarAvail=(-15, -1),
                 reservePercent=8050, reserveChargePercent=0, availabilityDuration=3600,
                 maxChargeDuration=0, readingTime=START),
        "sep2",
    )  # fmt: skip
    assert told(found) == ([], [])
    assert {one["register"]: (one["value"], one["unit"]) for one in records(found)} == {
        "statWAvail": ("4200", "W"), "statVarAvail": ("-1.5", "var"),
        "reservePercent": ("80.5", "%"), "reserveChargePercent": ("0", "%"),
        "availabilityDuration": ("3600", "s"), "maxChargeDuration": ("0", "s"),
    }  # fmt: skip
    for data in records(found):
        assert (data["kind"], data["time"]) == ("telemetry", "2026-01-15T10:00:00Z")
        assert "broader" not in data["observes"]


def test_ratings_hold_at_the_receipt_of_their_message(take: Take) -> None:
    """IEEE 2030.5 DERCapability."""
    factor = xml("rtgMinPFOverExcited", displacement=750, multiplier=-3)
    raw = resource("DERCapability", factor, **CAPABILITY)
    found = take(raw, "sep2", NOW_US)
    assert told(found) == ([], ["time-of-receipt"])
    made = {one["register"]: one for one in records(found)}
    assert {one["time"] for one in made.values()} == {"2026-01-15T10:01:00.5Z"}
    assert all(one["findings"][0]["code"] == "time-of-receipt" for one in made.values())
    values = {name: (one["value"], one["unit"]) for name, one in made.items() if "value" in one}
    assert values == {
        "rtgMaxA": ("20.83", "A"), "rtgMaxVA": ("5000", "VA"), "rtgMaxVar": ("5000", "var"),
        "rtgMaxVarNeg": ("-5000", "var"), "rtgMaxW": ("5000", "W"),
        "rtgMinPFOverExcited": ("0.75", "1"),
    }  # fmt: skip
    assert made["type"]["means"] == ["photovoltaic"]
    assert made["modesSupported"]["means"] == [
        "opModFixedPFInjectW", "opModFixedVar", "opModFreqWatt", "opModMaxLimW", "opModVoltVar",
        "opModVoltWatt",
    ]  # fmt: skip
    nobody_knows = take(raw, "sep2")
    assert set(told(nobody_knows)[0]) == {"time-missing"}
    assert nobody_knows.records == []


def test_the_edition_of_2013_has_other_names_for_the_same(take: Take) -> None:
    raw = resource("DERCapability", namespace=NAMESPACE_2013, **CAPABILITY_2013)
    found = take(raw, "sep2", NOW_US)
    assert told(found) == (
        [],
        ["namespace-2013", "time-of-receipt", "state-unknown"],
    )
    made = {one["register"]: one for one in records(found)}
    assert made["rtgMaxW"]["value"] == "2000"
    assert made["rtgMaxW"]["observes"]["notation"] == "rtgW"
    assert (made["rtgMaxAh"]["value"], made["rtgMaxAh"]["unit"]) == ("20", "Ah")
    assert made["rtgAbnormalCategory"]["means"] == ["category I"]
    assert made["rtgNormalCategory"]["means"] == ["category B"]
    assert "means" not in made["modesSupported"]  # its bits are others
    assert made["modesSupported"]["verbatim"]["value"] == ["01fffd"]


def test_settings(take: Take) -> None:
    """IEEE 2030.5 DERSettings."""
    found = take(
        resource("DERSettings", xml("setMinPFUnderExcited", displacement=9, multiplier=-1),
                 modesEnabled="04", setGradW=27, setMaxW=(18, 2), setESHighFreq=5010,
                 setESLowVolt=9170, setESDelay=600, updatedTime=1_602_574_105),
        "sep2",
    )  # fmt: skip
    assert told(found) == ([], [])
    made = {one["register"]: one for one in records(found)}
    assert {one["time"] for one in made.values()} == {"2020-10-13T07:28:25Z"}
    values = {name: (one["value"], one["unit"]) for name, one in made.items() if "value" in one}
    assert values == {
        "setMinPFUnderExcited": ("0.9", "1"), "setGradW": ("0.27", "%/s"),
        "setMaxW": ("1800", "W"), "setESHighFreq": ("50.1", "Hz"), "setESLowVolt": ("91.7", "%"),
        "setESDelay": ("6", "s"),
    }  # fmt: skip
    assert made["modesEnabled"]["means"] == ["opModConnect"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (state("stateOfChargeStatus", 10001), "value-not-integer"),
        (state("stateOfChargeStatus", -1), "value-not-integer"),
        (state("stateOfChargeStatus", "NaN"), "value-not-integer"),
        (state("stateOfChargeStatus", 1, "now"), "time-malformed"),
        (xml("alarmStatus"), "time-missing"),
        ("", "no-reading"),
    ],
)
def test_a_state_that_is_refused(take: Take, bad: str, code: str) -> None:
    assert told(take(status(bad), "sep2")) == ([code], [])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (xml("statWAvail", value=32768, multiplier=0), "value-not-integer"),
        (xml("statWAvail", value=1, multiplier=10), "value-not-integer"),
        (xml("statWAvail", value=1, multiplier="k"), "value-not-integer"),
        (xml("statWAvail", value="1.5", multiplier=0), "value-not-integer"),
        (xml("reservePercent") , "value-not-integer"),
        ("<availabilityDuration>-1</availabilityDuration>", "value-not-integer"),
    ],
)  # fmt: skip
def test_a_bad_value_costs_no_other(take: Take, bad: str, code: str) -> None:
    good = xml("statVarAvail", value=1, multiplier=0)
    found = take(resource("DERAvailability", bad, good, readingTime=START), "sep2")
    assert told(found) == ([code], [])
    assert found.refused[0].clause == "IEEE 2030.5-2018 DERAvailability"
    assert [one["register"] for one in records(found)] == ["statVarAvail"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (xml("statWAvail", multiplier=0), "value-missing"),
        ("<statWAvail>4200</statWAvail>", "value-missing"),
        (xml("statWAvail", "<value>1</value>", value=2, multiplier=0), "reading-ambiguous"),
        (xml("statWAvail", "<multiplier>1</multiplier>", value=2, multiplier=0),
         "reading-ambiguous"),
        (xml("statWAvail", value=1) * 2, "reading-ambiguous"),
    ],
)  # fmt: skip
def test_a_member_that_is_not_whole_is_kept(take: Take, bad: str, code: str) -> None:
    found = take(resource("DERAvailability", bad, readingTime=START), "sep2")
    assert set(told(found)[1]) == {code}
    assert {one["event"] for one in records(found)} == {"incomplete"}


def test_without_a_multiplier_it_is_one(take: Take) -> None:
    raw = resource("DERAvailability", xml("statWAvail", value=7), readingTime=START)
    assert [one["value"] for one in records(take(raw, "sep2"))] == ["7"]


def test_an_extension_is_kept_as_evidence_only(take: Take) -> None:
    said = xml("statWAvail", value=7, multiplier=0, refType=1)
    found = take(resource("DERAvailability", said, doeModes="01", readingTime=START), "sep2")
    assert told(found) == ([], ["element-not-mapped"] * 2)
    assert len(found.records) == 1


MEASURED = [
    (resource_name, name, member)
    for resource_name, members in MEMBERS.items()
    for name, member in members.items()
    if isinstance(member, Value) and member.number == "value"
]


@given(st.sampled_from(MEASURED), st.data(), st.integers(-9, 9))
def test_a_value_times_its_power_of_ten_is_exact(
    take: Take, of: tuple[str, str, Value], data: st.DataObject, power: int
) -> None:
    of_resource, name, member = of
    value = data.draw(st.integers(*member.limits))
    time: dict[str, Any] = {TIMES[of_resource]: START} if TIMES[of_resource] else {}
    raw = resource(of_resource, xml(name, value=value, multiplier=power), **time)
    found = take(raw, "sep2", NOW_US)
    [one] = records(found)
    assert Decimal(one["value"]) == Decimal(value).scaleb(power)
    assert one["register"] == member.register


@given(st.integers(0, 255))
def test_every_bit_has_a_word_or_is_told(take: Take, value: int) -> None:
    found = take(status(state("genConnectStatus", f"{value:02X}")), "sep2")
    [one] = records(found)
    assert one["verbatim"]["value"] == [f"{value:02X}"]
    assert (told(found)[1] == ["state-unknown"]) == (value > 31)


def test_every_member_of_the_standard_has_its_place() -> None:
    """The names stand in a record's IRI: none needs an escape, and no two members share one."""
    for members in MEMBERS.values():
        taken = [one.register if isinstance(one, Value) else name for name, one in members.items()]
        assert all(name.isalnum() for name in taken)
        values = {name: one.register for name, one in members.items() if isinstance(one, Value)}
        former = [name for name, one in values.items() if one not in {name, "stateOfCharge"}]
        assert len(set(taken)) == len(taken) - len(former)
    assert sum(isinstance(one, State) for one in MEMBERS["DERStatus"].values()) == 8


def test_the_public_sample(take: Take, shared_data: Path) -> None:
    """The file that the EPRI client has as its DERStatus."""
    found = take((shared_data / "ieee2030_5" / "epri_DERStatus.xml").read_bytes(), "sep2")
    assert told(found) == ([], ["namespace-2013"])
    made = {one["register"]: one for one in records(found)}
    assert {one["time"] for one in made.values()} == {"2018-01-02T15:15:27Z"}
    assert made["stateOfCharge"]["value"] == "0.7"
    assert {name: one["means"] for name, one in made.items() if "means" in one} == {
        "genConnectStatus": ["not connected"],
        "inverterStatus": ["tracking the maximum power point"],
        "localControlModeStatus": ["remote control"],
        "operationalModeStatus": ["operational"],
        "storageModeStatus": ["discharging"],
        "storConnectStatus": ["available", "test"],
    }
