"""The members of the DER resources of IEEE 2030.5, as data (IEEE 2030.5 sep.xsd, 2018).

The names that the edition of 2013 has for the same stand beside them.
"""

from typing import NamedTuple

from bal.harmonise import quantity as q
from bal.harmonise.quantity import Quantity
from bal.harmonise.states import States, of_names

_INT16 = (-(1 << 15), (1 << 15) - 1)
_UINT16 = (0, (1 << 16) - 1)
_UINT32 = (0, (1 << 32) - 1)
_PERCENT = (0, 10_000)  # PerCent: hundredths of a percent


class Value(NamedTuple):
    """A member whose value is a number with a unit."""

    register: str
    quantity: Quantity
    limits: tuple[int, int]  # of the type that the schema gives it
    shift: int = 0  # power of ten of the type, beside the multiplier that is sent
    number: str = ""  # element that holds the number, beside `multiplier`; "" for the member itself


class State(NamedTuple):
    """A member whose value is a code, in decimal digits, or in hexadecimal ones where it is bits.

    words: None where the manufacturer defines them; another: of the edition of 2013, where that
    numbers them otherwise and Gridseal has no table.
    """

    words: States | None
    another: bool = False


Member = Value | State

CONNECT = States(
    of_names("connected | available | operating | test | fault or error"), bits=True,
    none="not connected",
)  # fmt: skip
ALARM = States(
    of_names(
        "over-current | over-voltage | under-voltage | over-frequency | under-frequency"
        " | voltage imbalance | current imbalance | emergency, local | emergency, remote"
        " | low power input | phase rotation"
    ),
    bits=True,
)
INVERTER = States(
    of_names(
        "not applicable | off | sleeping, or at low output | starting, or on without producing"
        " | tracking the maximum power point | power reduced by force, derated | shutting down"
        " | one or more faults | standby | test mode | as the manufacturer's status says"
    )
)
LOCAL_CONTROL = States(of_names("local control | remote control"))
OPERATIONAL_MODE = States(of_names("not applicable or unknown | off | operational | test mode"))
STORAGE_MODE = States(of_names("charging | discharging | holding"))
TYPE = States(
    of_names(
        "not applicable or unknown | virtual or mixed | reciprocating engine | fuel cell"
        " | photovoltaic | combined heat and power | other generation"
    )
    | of_names("other storage | electric vehicle | EVSE | photovoltaic and storage", 80)
)
MODES = States(
    of_names(
        "charge | discharge | opModConnect | opModEnergize | opModFixedPFAbsorbW"
        " | opModFixedPFInjectW | opModFixedVar | opModFixedW | opModFreqDroop | opModFreqWatt"
        " | opModHFRTMayTrip | opModHFRTMustTrip | opModHVRTMayTrip | opModHVRTMomentaryCessation"
        " | opModHVRTMustTrip | opModLFRTMayTrip | opModLFRTMustTrip | opModLVRTMayTrip"
        " | opModLVRTMomentaryCessation | opModLVRTMustTrip | opModMaxLimW | opModTargetVar"
        " | opModTargetW | opModVoltVar | opModVoltWatt | opModWattPF | opModWattVar"
    ),
    bits=True,
)
NORMAL = States(of_names("not specified | category A | category B"))
ABNORMAL = States(of_names("not specified | category I | category II | category III"))

_SCALED = {  # type of the schema → quantity, type of its value
    "W": (q.RATED_ACTIVE_POWER, _INT16),
    "VA": (q.RATED_APPARENT_POWER, _UINT16),
    "var": (q.RATED_REACTIVE_POWER, _INT16),
    "Wh": (q.RATED_ACTIVE_ENERGY, _UINT16),
    "Ah": (q.CHARGE, _UINT16),
    "A": (q.RATED_CURRENT, _UINT16),
    "V": (q.RATED_VOLTAGE, _UINT16),
    "S": (q.SUSCEPTANCE, _UINT16),
}


def _scaled(unit: str, names: str) -> dict[str, Member]:
    """Members with `multiplier` and `value`. names: `<2018>`, or `<2018>=<2013>`."""
    quantity, limits = _SCALED[unit]
    return {
        name: Value(both.partition("=")[0], quantity, limits, 0, "value")
        for both in names.split()
        for name in both.split("=")
    }


def _factors(names: str) -> dict[str, Member]:
    """Members with `displacement` and `multiplier`: cos φ."""
    return {
        name: Value(name, q.RATED_POWER_FACTOR, _UINT16, 0, "displacement")
        for name in names.split()
    }


def _plain(
    names: str, quantity: Quantity, limits: tuple[int, int], shift: int = 0
) -> dict[str, Member]:
    return {name: Value(name, quantity, limits, shift) for name in names.split()}


MEMBERS: dict[str, dict[str, Member]] = {
    "DERStatus": {
        "alarmStatus": State(ALARM),
        "genConnectStatus": State(CONNECT),
        "inverterStatus": State(INVERTER),
        "localControlModeStatus": State(LOCAL_CONTROL),
        "manufacturerStatus": State(None),
        "operationalModeStatus": State(OPERATIONAL_MODE),
        "stateOfChargeStatus": Value("stateOfCharge", q.STATE_OF_CHARGE, _PERCENT, -2),
        "storageModeStatus": State(STORAGE_MODE),
        "storConnectStatus": State(CONNECT),
    },
    "DERAvailability": {
        **_plain("availabilityDuration maxChargeDuration", q.DURATION, _UINT32),
        **_plain("reserveChargePercent reservePercent", q.SHARE, _PERCENT, -2),
        **_scaled("var", "statVarAvail"),
        **_scaled("W", "statWAvail"),
    },
    "DERCapability": {
        "modesSupported": State(MODES, another=True),
        "rtgAbnormalCategory": State(ABNORMAL),
        "rtgNormalCategory": State(NORMAL),
        "type": State(TYPE),
        **_scaled("A", "rtgMaxA=rtgA"),
        **_scaled("Ah", "rtgMaxAh=rtgAh"),
        **_scaled("VA", "rtgMaxChargeRateVA rtgMaxDischargeRateVA rtgMaxVA=rtgVA"),
        **_scaled("W", "rtgMaxChargeRateW=rtgMaxChargeRate rtgMaxW=rtgW rtgOverExcitedW"),
        **_scaled("W", "rtgMaxDischargeRateW=rtgMaxDischargeRate rtgUnderExcitedW"),
        **_scaled("V", "rtgMaxV rtgMinV rtgVNom"),
        **_scaled("var", "rtgMaxVar=rtgVAr rtgMaxVarNeg=rtgVArNeg"),
        **_scaled("Wh", "rtgMaxWh=rtgWh"),
        **_scaled("S", "rtgReactiveSusceptance"),
        **_factors("rtgMinPFOverExcited rtgMinPFUnderExcited rtgOverExcitedPF rtgUnderExcitedPF"),
        **_factors("rtgMinPF rtgMinPFNeg"),
    },
    "DERSettings": {
        "modesEnabled": State(MODES, another=True),
        **_plain("setESDelay setESRampTms setESRandomDelay", q.DURATION, _UINT32, -2),
        **_plain("setESHighFreq setESLowFreq", q.RATED_FREQUENCY, _UINT16, -2),
        **_plain("setESHighVolt setESLowVolt", q.SHARE, _INT16, -2),
        **_plain("setGradW setSoftGradW", q.SHARE_RATE, _UINT16, -2),
        **_scaled("A", "setMaxA"),
        **_scaled("Ah", "setMaxAh"),
        **_scaled("VA", "setMaxChargeRateVA setMaxDischargeRateVA setMaxVA"),
        **_scaled("W", "setMaxChargeRateW=setMaxChargeRate setMaxW"),
        **_scaled("W", "setMaxDischargeRateW=setMaxDischargeRate"),
        **_scaled("V", "setMaxV setMinV setVNom setVRef setVRefOfs"),
        **_scaled("var", "setMaxVar=setMaxVAr setMaxVarNeg=setMaxVArNeg"),
        **_scaled("Wh", "setMaxWh"),
        **_factors("setMinPFOverExcited setMinPFUnderExcited setMinPF setMinPFNeg"),
    },
}

TIMES = {  # resource → its element for when it holds; "" for none
    "DERStatus": "readingTime",
    "DERAvailability": "readingTime",
    "DERCapability": "",
    "DERSettings": "updatedTime",
}

_STAMPED = frozenset({"dateTime", "value"})


def known() -> dict[str, frozenset[str]]:
    """Element → the elements that the standard has in it."""
    found: dict[str, frozenset[str]] = {}
    for resource, members in MEMBERS.items():
        found[resource] = frozenset({*members, TIMES[resource]} - {""})
        for name, member in members.items():
            if isinstance(member, Value) and member.number:
                found[name] = frozenset({"multiplier", member.number})
            elif resource == "DERStatus" and name != "alarmStatus":
                found[name] = _STAMPED
            else:
                found[name] = frozenset()
    return found
