"""What SunSpec's models as JSON come to (docs/spec/sunspec.md)."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs, wording
from bal.errors import Rejected
from bal.harmonise import MeterNames, harmonise, reading_type
from bal.harmonise.sep2_der_table import MEMBERS
from bal.harmonise.sunspec_table import MODELS, NAMES, Point
from bal.harmonise.sunspec_value import held
from bal.model import Harmonised, Subject
from tests.unit.harmonise.conftest import PLATFORM, SENDER, commit_parts, subject_of
from tests.unit.harmonise.message_kit import records, told
from tests.unit.harmonise.test_any_bytes import damaged

Take = Callable[..., Harmonised]
TIME = "2026-01-15T10:15:00Z"
COMMON = {"ID": 1, "L": 66, "Mn": "Sunny Works", "Md": "Roof 10", "Opt": None, "SN": "9999abcd"}


def device(*models: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"timestamp": TIME, **members, "models": [COMMON, *models]}


def sunspec(value: Any) -> bytes:
    return json.dumps(value).encode()


def values(found: Harmonised) -> dict[str, tuple[str, str]]:
    return {
        one["register"]: (one["value"], one["unit"]) for one in records(found) if "value" in one
    }


def states(found: Harmonised) -> dict[str, tuple[list[str], list[str] | None]]:
    return {
        one["register"]: (one["verbatim"]["value"], one.get("means"))
        for one in records(found)
        if one.get("event") == "state"
    }


def test_an_inverter(take: Take, subject: Callable[[str], Subject]) -> None:
    """SunSpec Information Model Reference models 1, 101-103."""
    model = {
        "ID": 103, "L": 50, "A": 411, "AphA": 137, "A_SF": -1, "PPVphAB": 4001, "PhVphA": 2301,
        "V_SF": -1, "W": -98, "W_SF": 2, "Hz": 50010, "Hz_SF": -3, "VA": 10000, "VA_SF": 0,
        "VAr": 200, "VAr_SF": 0, "PF": -985, "PF_SF": -1, "WH": 1234567, "WH_SF": 1, "DCA": 12,
        "DCA_SF": 0, "DCV": 6000, "DCV_SF": -1, "DCW": 7200, "DCW_SF": 0, "TmpCab": -55,
        "TmpSnk": 65, "Tmp_SF": -1, "St": 4, "StVnd": 17, "Evt1": 129, "Evt2": 0, "EvtVnd1": 0,
        "EvtVnd2": 6,
    }  # fmt: skip
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], [])
    assert values(found) == {
        "current": ("41.1", "A"), "current.A": ("13.7", "A"), "voltage.AB": ("400.1", "V"),
        "voltage.AN": ("230.1", "V"), "activePower": ("-9800", "W"), "frequency": ("50.01", "Hz"),
        "apparentPower": ("10000", "VA"), "reactivePower": ("200", "var"),
        "powerFactor": ("-0.985", "1"), "activeEnergyExport": ("12345670", "Wh"),
        "current.DC": ("12", "A"), "voltage.DC": ("600", "V"), "power.DC": ("7200", "W"),
        "temperature.cabinet": ("-5.5", "degC"), "temperature.heatSink": ("6.5", "degC"),
    }  # fmt: skip
    assert states(found) == {
        "sunspec.103.St": (["4"], ["tracking the maximum power point"]),
        "sunspec.103.StVnd": (["17"], None),
        "sunspec.103.Evt1": (["129"], ["ground fault", "over-temperature"]),
        "sunspec.103.EvtVnd2": (["6"], None),
    }
    for data in records(found):
        assert (data["kind"] in {"telemetry", "event"}, data["time"]) == (True, TIME)
    assert found.records[0].subject == subject("name:Sunny%20Works/serialNumber/9999abcd")
    assert len(found.parts) == 1


def test_a_float_inverter_needs_no_scale_factor(take: Take) -> None:
    """SunSpec Information Model Reference models 111-113."""
    raw = sunspec(device({"ID": 113, "W": 9800.5, "Hz": 5.001e1, "PF": 98.5, "VA": "NaN"}))
    raw = raw.replace(b'"NaN"', b"NaN")
    found = take(raw, "sunspec")
    assert told(found) == ([], ["point-not-implemented"])
    assert values(found) == {
        "activePower": ("9800.5", "W"), "frequency": ("50.01", "Hz"), "powerFactor": ("0.985", "1"),
    }  # fmt: skip


def test_the_1547_model_as_sunspec_s_own_tool_writes_it(take: Take) -> None:
    """SunSpec Information Model Reference models 701, 702.

    Part of the device that pysunspec2 (Apache-2.0) has among its test data, with a time.
    """
    model = {
        "ID": 701, "L": None, "ACType": 2, "St": 1, "Alrm": 0, "W": 9800, "VA": 10000, "Var": 200,
        "PF": 985, "A": 411, "LLV": 2400, "LNV": 2400, "Hz": 60010, "TotWhInj": 150, "TotWhAbs": 0,
        "TotVarhInj": 9, "TmpAmb": 450, "TmpSw": 400, "WL1": 3200, "VL1L2": 120, "VL1": 120,
        "VL3N": 120, "TotWhInjL1": 49, "A_SF": -1, "V_SF": -1, "Hz_SF": -3, "W_SF": 0, "PF_SF": -3,
        "VA_SF": 0, "Var_SF": 0, "TotWh_SF": 3, "TotVarh_SF": 3, "Tmp_SF": -1,
    }  # fmt: skip
    rating = {"ID": 702, "WMaxRtg": 10000, "PFOvrExtRtg": 850, "NorOpCatRtg": 1, "AbnOpCatRtg": 3,
              "WMaxOvrExt": None, "W_SF": 0, "PF_SF": -3}  # fmt: skip
    said = {"name": "device_1547", **device(model, rating, {"ID": 705, "Ena": 1}), "did": "f"}
    found = take(sunspec(said), "sunspec")
    assert told(found) == (
        [], ["member-unknown", "state-unknown", "point-not-implemented", "model-unmapped"],
    )  # fmt: skip
    assert found.findings[0].field == "/models/1"  # VL3N is VL3 in the model
    got = values(found)
    assert got["activePower"] == ("9800", "W")
    assert got["powerFactor"] == ("0.985", "1")
    assert got["voltage.LL"] == ("240", "V")
    assert got["frequency"] == ("60.01", "Hz")
    assert got["activeEnergyExport"] == ("150000", "Wh")
    assert got["activeEnergyImport"] == ("0", "Wh")
    assert got["activeEnergyExport.A"] == ("49000", "Wh")
    assert got["temperature.switch"] == ("40", "degC")
    assert (got["rtgMaxW"], got["rtgMinPFOverExcited"]) == (("10000", "W"), ("0.85", "1"))
    assert states(found)["sunspec.701.ACType"] == (["2"], ["three-phase"])
    assert states(found)["sunspec.701.Alrm"] == (["0"], ["none"])
    assert states(found)["sunspec.702.NorOpCatRtg"] == (["1"], ["category B"])


def test_a_meter_has_the_registers_of_a_head_end(take: Take) -> None:
    model = {"ID": 203, "TotWhImp": 5, "TotWhExpPhB": 7, "TotWh_SF": 3, "PhVphA": 2301, "V_SF": -1,
             "TotVArhImpQ1": 4, "TotVArh_SF": 0, "W": -12, "W_SF": 1, "Evt": 12}  # fmt: skip
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], [])
    assert values(found) == {
        "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0": ("5000", "Wh"),
        "0.0.0.1.19.1.12.0.0.0.0.0.0.0.64.0.72.0": ("7000", "Wh"),
        "0.0.0.1.15.1.12.0.0.0.0.0.0.0.0.0.73.0": ("4", "varh"),
        "0.0.0.12.0.1.54.0.0.0.0.0.0.0.129.0.29.0": ("230.1", "V"),
        "0.0.0.12.0.1.37.0.0.0.0.0.0.0.0.0.38.0": ("-120", "W"),
    }
    assert states(found)["sunspec.203.Evt"] == (["12"], ["power failure", "under-voltage"])


@pytest.mark.parametrize("number", [201, 202, 203, 204, 211, 214])
def test_every_code_of_a_meter_means_its_quantity(number: int) -> None:
    """SunSpec Information Model Reference models 201-204, 211-214."""
    for point in MODELS[number].points.values():
        if point.quantity is not None:
            decoded = reading_type.decode(point.register)
            assert decoded is not None
            assert (decoded.register, decoded.quantity) == (point.register, point.quantity)


def test_modules_of_an_mppt_inverter(take: Take) -> None:
    """SunSpec Information Model Reference model 160."""
    modules = [
        {"ID": 1, "IDStr": "east", "DCA": 51, "DCV": 6001, "DCW": 30, "DCWH": 99, "Tmp": 41,
         "DCSt": 4, "DCEvt": 0},
        {"ID": 2, "DCA": 65535, "DCV": 5999, "DCW": 29, "DCWH": 0, "Tmp": -32768, "DCSt": 65535,
         "DCEvt": 4294967295},
        7,
    ]  # fmt: skip
    model = {"ID": 160, "DCA_SF": -1, "DCV_SF": -1, "DCW_SF": 1, "DCWH_SF": 0, "Evt": 0, "N": 2,
             "module": modules[:2]}  # fmt: skip
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], ["point-not-implemented"])
    assert values(found) == {
        "current.DC1": ("5.1", "A"), "voltage.DC1": ("600.1", "V"), "power.DC1": ("300", "W"),
        "energy.DC1": ("99", "Wh"), "temperature.DC1": ("41", "degC"),
        "voltage.DC2": ("599.9", "V"), "power.DC2": ("290", "W"),
    }  # fmt: skip
    assert states(found)["sunspec.160.module.1.DCSt"][1] == ["tracking the maximum power point"]
    bad = take(sunspec(device(model | {"module": modules})), "sunspec")
    assert told(bad)[0] == ["member-type"]
    assert values(bad).keys() == values(found).keys()


def test_a_battery(take: Take) -> None:
    """SunSpec Information Model Reference model 802."""
    model = {"ID": 802, "WHRtg": 100, "WHRtg_SF": 2, "SoC": 555, "SoH": 990, "SoC_SF": -1,
             "SoH_SF": -1, "NCyc": 12, "ChaSt": 3, "State": 99, "Typ": 4, "A": -120, "A_SF": -1,
             "W": -600, "W_SF": 1, "Evt1": (1 << 1) | (1 << 27), "Hb": 7}  # fmt: skip
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], ["state-unknown"])
    assert values(found) == {
        "rtgMaxWh": ("10000", "Wh"), "stateOfCharge": ("55.5", "%"), "stateOfHealth": ("99", "%"),
        "cycles": ("12", "1"), "current.DC": ("-12", "A"), "power.DC": ("-6000", "W"),
    }  # fmt: skip
    assert states(found) == {
        "sunspec.802.ChaSt": (["3"], ["discharging"]),
        "sunspec.802.State": (["99"], ["fault"]),
        "sunspec.802.Typ": (["4"], ["lithium-ion"]),
        "sunspec.802.Evt1": (["134217730"], ["over-temperature alarm"]),
    }


def test_ratings_have_the_registers_of_ieee_2030_5(take: Take) -> None:
    """SunSpec Information Model Reference model 120."""
    model = {"ID": 120, "DERTyp": 4, "WRtg": 50, "WRtg_SF": 2, "VArRtgQ1": -30, "VArRtg_SF": 1,
             "PFRtgQ1": 85, "PFRtg_SF": -2, "AhrRtg": 200, "AhrRtg_SF": 0}  # fmt: skip
    found = take(sunspec(device(model)), "sunspec")
    assert values(found) == {
        "rtgMaxW": ("5000", "W"), "rtgMaxVar.Q1": ("-300", "var"), "rtgMinPF.Q1": ("0.85", "1"),
        "rtgMaxAh": ("200", "Ah"),
    }  # fmt: skip
    assert states(found)["sunspec.120.DERTyp"][1] == ["photovoltaic"]


# --- forms ---------------------------------------------------------------------------------

POINTS = {"W": 98, "W_SF": 1}


@pytest.mark.parametrize(
    "said",
    [
        {"models": [COMMON, {"ID": 103, **POINTS}]},
        {"models": [COMMON, {"ID": "103", "W": "98", "W_SF": "1"}]},
        {"models": [COMMON, {"id": 103, "W": "0x62", "W_SF": 1}]},
        {"models": [COMMON, {"name": "inverter_three_phase", **POINTS}]},
        {"models": [COMMON, {"name": "inverter", "points": POINTS}]},
        {"models": [COMMON, {"ID": 103, "fixed": POINTS}]},
        {"models": [COMMON, {"ID": 103, "points": [{"name": k, "value": v} for k, v in
                                                   POINTS.items()]}]},
        {"models": {"common": COMMON, "103": POINTS}},
        {"models": {"model_1": COMMON, "inverter": POINTS}},
        {"groups": [COMMON, {"ID": 103, **POINTS}]},
        {"common": {"Mn": "Sunny Works", "SN": "9999abcd\0\0"}, "inverter": POINTS},
    ],
)  # fmt: skip
def test_the_forms_that_gateways_write(
    take: Take, subject: Callable[[str], Subject], said: dict[str, Any]
) -> None:
    found = take(sunspec({"timestamp": TIME} | said), "sunspec")
    assert told(found) == ([], [])
    assert values(found) == {"activePower": ("980", "W")}
    assert found.records[0].subject == subject("name:Sunny%20Works/serialNumber/9999abcd")


def test_a_model_by_itself_is_about_the_sender(take: Take) -> None:
    found = take(sunspec({"ID": 103, "time": TIME, **POINTS}), "sunspec")
    assert told(found) == ([], [])
    assert found.records[0].subject == SENDER


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (TIME, TIME),
        ("2026-01-15T11:15:00.250+01:00", "2026-01-15T10:15:00.25Z"),
        (1_768_472_100, TIME),
        ("1768472100", TIME),
        (1_768_472_100_250, "2026-01-15T10:15:00.25Z"),
        (1_768_472_100.5, "2026-01-15T10:15:00.5Z"),
    ],
)
def test_times(take: Take, time: object, text: str) -> None:
    for name in ("timestamp", "time", "ts"):
        found = take(sunspec({name: time, "models": [{"ID": 103, **POINTS}]}), "sunspec")
        assert [one["time"] for one in records(found)] == [text]


def test_a_model_s_own_time_counts(take: Take) -> None:
    model = {"ID": 103, **POINTS, "timestamp": "2026-01-15T10:14:30Z"}
    found = take(sunspec(device(model, {"ID": 203, "W": 5, "W_SF": 0})), "sunspec")
    assert [one["time"] for one in records(found)] == ["2026-01-15T10:14:30Z", TIME]


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (None, "time-missing"),
        ("2026-01-15T10:15:00", "time-without-offset"),
        ("noon", "time-malformed"),
        (True, "member-type"),
        ([], "member-type"),
        (-1, "time-malformed"),
        (7_289_654_400, "time-out-of-range"),
        (1e300, "time-malformed"),
    ],
)
def test_a_time_that_is_none(take: Take, time: object, code: str) -> None:
    found = take(sunspec({"timestamp": time, "models": [{"ID": 103, **POINTS}]}), "sunspec")
    assert told(found) == ([code], [])
    assert found.refused[0].field == "/timestamp"


def test_finer_than_a_microsecond_is_told(take: Take) -> None:
    raw = sunspec(device({"ID": 103, **POINTS})).replace(
        f'"{TIME}"'.encode(), b"1768472100.1234567"
    )
    found = take(raw, "sunspec")
    assert told(found) == ([], ["time-cut"])
    [data] = records(found)
    assert (data["time"], data["findings"][0]["code"]) == (
        "2026-01-15T10:15:00.123456Z", "time-cut",
    )  # fmt: skip


# --- whose ---------------------------------------------------------------------------------


def as_self(raw: bytes) -> Harmonised:
    """As a sender has it that may speak for itself alone."""

    def resolve(names: MeterNames) -> Subject:
        if names.names:
            raise Rejected("subject-not-allowed", "for itself alone")
        return SENDER

    return harmonise(
        raw, "sunspec", resolve=resolve, platform=PLATFORM, sender=SENDER, commit_parts=commit_parts
    )


def test_what_a_device_sends_of_itself_is_its_own_whatever_its_serial_number() -> None:
    found = as_self(sunspec([device({"ID": 103, **POINTS})] * 2))
    assert told(found) == ([], ["device-is-sender"] * 2)
    assert {draft.subject.pseudonym for draft in found.records} == {SENDER.pseudonym}


def test_but_not_of_two_devices() -> None:
    other = {"timestamp": TIME, "models": [COMMON | {"SN": "2"}, {"ID": 103, **POINTS}]}
    found = as_self(sunspec([device({"ID": 103, **POINTS}), other]))
    assert told(found) == (["subject-not-allowed"] * 2, [])
    assert found.records == []


def test_a_name_given_on_purpose_counts(take: Take) -> None:
    said = device({"ID": 103, **POINTS}, device="roof-7")
    assert take(sunspec(said), "sunspec").records[0].subject == subject_of("name://roof-7")
    assert told(as_self(sunspec(said))) == (["subject-not-allowed"], [])
    refused = take(sunspec(said | {"device": 7}), "sunspec")
    assert told(refused) == (["member-type"], [])


def test_two_devices_are_two_parts_and_never_one_object(take: Take) -> None:
    other = {"timestamp": TIME, "models": [COMMON | {"SN": "2"}, {"ID": 103, **POINTS}]}
    found = take(sunspec([device({"ID": 103, **POINTS}), other]), "sunspec")
    assert len(found.parts) == 5
    assert len({draft.subject.pseudonym for draft in found.records}) == 2
    both = device({"ID": 103, **POINTS}, COMMON | {"SN": "2"}, {"ID": 203, "W": 1})
    assert told(take(sunspec(both), "sunspec")) == (["meter-ambiguous"], [])


# --- what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ({"W": 98.5, "W_SF": 0}, "value-not-integer"),
        ({"W": 40000, "W_SF": 0}, "value-not-integer"),
        ({"W": -32769, "W_SF": 0}, "value-not-integer"),
        ({"A": -1, "A_SF": 0}, "value-not-integer"),
        ({"W": "many", "W_SF": 0}, "value-not-decimal"),
        ({"W": "٣", "W_SF": 0}, "value-not-decimal"),
        ({"W": float("inf"), "W_SF": 0}, "value-not-decimal"),
        ({"W": True, "W_SF": 0}, "member-type"),
        ({"W": [1], "W_SF": 0}, "member-type"),
        ({"W": {"value": 1}, "W_SF": 0}, "member-type"),
    ],
)
def test_a_bad_point_costs_no_other(take: Take, point: dict[str, Any], code: str) -> None:
    model = {"ID": 103, **point, "Hz": 50, "Hz_SF": 0}
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([code], [])
    assert values(found) == {"frequency": ("50", "Hz")}
    assert found.refused[0].field == f"/models/1/{next(iter(point))}"


@pytest.mark.parametrize("factor", [None, 11, -11, 32768, -32768, "x", 1.5, [], "absent"])
def test_without_its_scale_factor_a_value_is_kept_and_not_guessed(
    take: Take, factor: object
) -> None:
    model = {"ID": 103, "W": 98} | ({} if factor == "absent" else {"W_SF": factor})
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], ["scale-factor-missing"])
    [data] = records(found)
    assert (data["event"], data["register"]) == ("incomplete", "sunspec.103.W")
    assert data["verbatim"]["value"] == ["98"]


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ("W", -32768), ("W", 32768), ("W", "0x8000"), ("A", 65535), ("A", "0xFFFF"), ("WH", 0),
        ("St", 65535), ("Evt1", 4294967295), ("Evt1", 0x80000000), ("A", None), ("A", "NaN"),
        ("A", ""), ("TmpCab", -32768),
    ],
)  # fmt: skip
def test_what_the_device_has_not_got_is_no_reading(take: Take, point: str, value: object) -> None:
    model = {"ID": 103, "Hz": 50, "Hz_SF": 0, point: value, f"{point}_SF": 0}
    found = take(sunspec(device(model)), "sunspec")
    assert told(found) == ([], ["point-not-implemented"])
    assert found.findings[0].severity == "info"
    assert point in found.findings[0].text
    assert values(found) == {"frequency": ("50", "Hz")}


def test_what_two_models_say_is_taken_once(take: Take) -> None:
    found = take(
        sunspec(device({"ID": 103, **POINTS}, {"ID": 701, "W": 9804, "W_SF": -1})), "sunspec"
    )
    assert told(found) == ([], ["register-repeated"])
    assert values(found) == {"activePower": ("980", "W")}


def test_what_nothing_is_known_of_is_told_and_not_quoted(take: Take) -> None:
    model = {"ID": 103, **POINTS, "secret-point": 1}
    said = device(model, {"ID": 64999, "W": 1}, {"ID": "secret"}, 5, {"secret": 2}, secret=3)  # type: ignore[arg-type]
    found = take(sunspec(said), "sunspec")
    assert told(found) == ([], ["member-unknown"] * 2 + ["model-unmapped"] * 4)
    assert "secret" not in "".join(one.text + one.field for one in found.findings)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([], "no-reading"),
        ({}, "no-reading"),
        ({"models": []}, "no-reading"),
        ({"models": [COMMON]}, "no-reading"),
        ({"models": 5}, "member-type"),
        (5, "member-type"),
        ([[]], "member-type"),
    ],
)
def test_a_message_without_models(take: Take, said: object, code: str) -> None:
    if said == []:
        with pytest.raises(Rejected, match=code):
            take(sunspec(said), "sunspec")
        return
    assert told(take(sunspec(said), "sunspec")) == ([code], [])


# --- laws ----------------------------------------------------------------------------------

SCALED = [
    (number, name, point)
    for number, model in MODELS.items()
    for name, point in model.points.items()
    if point.scale
]
LIMITS = {"int16": (-32767, 32767), "uint16": (0, 65534), "acc32": (1, (1 << 32) - 1),
          "uint32": (0, (1 << 32) - 2), "uint64": (0, (1 << 64) - 2)}  # fmt: skip


@given(st.sampled_from(SCALED), st.data(), st.integers(-10, 10))
def test_a_register_times_its_scale_factor_is_exact(
    take: Take, of: tuple[int, str, Point], data: st.DataObject, factor: int
) -> None:
    """SunSpec Information Model Reference models 122, 124, 713, 714 and each other."""
    number, name, point = of
    value = data.draw(st.integers(*LIMITS[point.type]))
    model = {"ID": number, name: value, point.scale: factor}
    [one] = records(take(sunspec(device(model)), "sunspec"))
    assert Decimal(one["value"]) == Decimal(value).scaleb(factor + point.shift)
    assert one["register"] == point.register


@given(st.sampled_from(sorted(LIMITS)), st.integers(-(1 << 65), 1 << 65))
def test_a_register_holds_what_its_type_holds(kind: str, value: int) -> None:
    """SunSpec Device Information Model Specification: point types."""
    lowest, highest = LIMITS[kind]
    absent = {"int16": {-32768, 32768}, "acc32": {0}}.get(kind, {highest + 1})
    if lowest <= value <= highest:
        assert held(str(value), kind) == str(value)
    elif value in absent:
        assert held(str(value), kind) is None
    else:
        with pytest.raises(Rejected, match="value-not-integer"):
            held(str(value), kind)


def test_registers_need_no_escape_and_differ_within_a_model() -> None:
    for model in MODELS.values():
        own = [one for one in (*model.points.values(), *model.of_group.values()) if one.quantity]
        assert all(one.register.replace("#", "1").replace(".", "").isalnum() for one in own)
        several: dict[str, set[str]] = {}
        for name, one in {**model.points, **model.of_group}.items():
            if one.quantity:  # PPVphAB and PhVphAB, Q1PhA and Q1phA are two names of one point
                several.setdefault(one.register, set()).add(name.lower().replace("ppv", "phv"))
        if not model.group:
            assert all(len(names) == 1 for names in several.values())
    assert set(NAMES.values()) <= set(MODELS)


SAMPLE = sunspec([device({"ID": 103, **POINTS, "St": 4, "Evt1": 1}, {"ID": 160, "DCA_SF": 0,
                 "module": [{"ID": 1, "DCA": 4}]}), {"inverter": POINTS}])  # fmt: skip


def settle(take: Take, raw: bytes) -> None:
    try:
        found = take(raw, "sunspec")
    except Rejected:
        return
    assert found == take(raw, "sunspec")
    for draft in found.records:
        jcs.decode(draft.record)
    for finding in [*found.findings, *found.refused]:
        assert jcs.encode(finding.as_json())


@settings(max_examples=200)
@given(st.data())
def test_damaged_messages(take: Take, data: st.DataObject) -> None:
    settle(take, damaged(SAMPLE, data))


members = st.sampled_from(
    ["models", "groups", "device", "timestamp", "ID", "id", "name", "points", "fixed", "common",
     "inverter", "mppt", "module", "SN", "Mn", "W", "W_SF", "DCA", "DCA_SF", "St", "Evt1", "ts",
     "value", "103", "other", "ac_meter_abc", "TotWhImp", "TotWh_SF"]
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
    | st.sampled_from([TIME, 1, 103, 160, 203, 0x8000, "0xFFFF", 1_768_472_100, "NaN", -2])
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(members, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=300)
@given(anything | st.lists(st.dictionaries(members, anything, max_size=6), max_size=3))
def test_any_json(take: Take, value: Any) -> None:
    settle(take, json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes(take: Take, raw: bytes) -> None:
    settle(take, raw)


def test_every_register_has_words_for_readers() -> None:
    for model in MODELS.values():
        for name, point in (*model.points.items(), *model.of_group.items()):
            code = point.register.replace("#", "1") or f"sunspec.103.{name}"
            words = wording.register(code)
            assert words != "a register", code
            assert "sunspec" not in words
    for members in MEMBERS.values():
        for name in members:
            assert wording.register(name) != "a register", name
    assert wording.register("rtgMaxW") == "highest active power, as rated"
    assert wording.register("voltage.DC2") == "voltage, DC input 2"
    told = wording.register("sunspec.160.module.2.DCSt")
    assert told == "point DCSt of module 2 of SunSpec's model 160"
