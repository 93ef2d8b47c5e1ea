"""Registers of DER in words: members of IEEE 2030.5's DER resources, and points of SunSpec."""

import re

_POINT = re.compile(r"sunspec\.([0-9]{1,5})\.(?:([A-Za-z]+)\.([0-9]{1,5})\.)?(\w+)")
_DC = re.compile(r"DC([0-9]{1,5})")
_PLACES = {  # what stands behind the point of a register, beside a phase
    "DC": "DC side",
    "LL": "line to line, mean of the phases",
    "LN": "line to neutral, mean of the phases",
    "cabinet": "cabinet",
    "heatSink": "heat sink",
    "transformer": "transformer",
    "switch": "power switches",
    "ambient": "ambient",
    "other": "another place",
    "cellMin": "lowest cell",
    "cellMax": "highest cell",
    "cellAverage": "mean of the cells",
    **{f"Q{number}": f"quadrant {number}" for number in range(1, 5)},
}
_NAMES = {
    "alarmStatus": "alarms",
    "genConnectStatus": "connection of the generator",
    "storConnectStatus": "connection of the storage",
    "inverterStatus": "state of the inverter",
    "localControlModeStatus": "who controls it",
    "manufacturerStatus": "state, as its maker numbers it",
    "operationalModeStatus": "operational mode",
    "storageModeStatus": "state of the storage",
    "stateOfCharge": "state of charge",
    "stateOfHealth": "state of health",
    "statWAvail": "active power that is available in reserve",
    "statVarAvail": "reactive power that is available in reserve",
    "statWhAvail": "energy that is available",
    "statAhAvail": "charge that is available",
    "availabilityDuration": "how long it can deliver its reserve",
    "maxChargeDuration": "how long it can take up its reserve",
    "reservePercent": "delivered power in reserve, of the most that is set",
    "reserveChargePercent": "received power in reserve, of the most that is set",
    "type": "type of DER",
    "modesSupported": "control modes that it has",
    "modesEnabled": "control modes that are enabled",
    "rtgNormalCategory": "IEEE 1547 category in normal operation",
    "rtgAbnormalCategory": "IEEE 1547 category in abnormal operation",
    "rtgReactiveSusceptance": "susceptance that stays connected after a trip",
    "setGradW": "ramp of active power, of the most a second",
    "setSoftGradW": "ramp of active power at a soft start, of the most a second",
    "setESDelay": "delay before entering service",
    "setESRandomDelay": "random delay before entering service",
    "setESRampTms": "ramp when entering service",
    "setESHighFreq": "highest frequency for entering service",
    "setESLowFreq": "lowest frequency for entering service",
    "setESHighVolt": "highest voltage for entering service, of the reference",
    "setESLowVolt": "lowest voltage for entering service, of the reference",
    "setVRef": "reference voltage at the point of common coupling",
    "setVRefOfs": "offset of the reference voltage",
    "setMaxReserve": "largest reserve, of the energy rating",
    "setMinReserve": "smallest reserve, of the energy rating",
    "selfDischargeRate": "self-discharge, of the energy rating a day",
    "depthOfDischarge": "depth of discharge",
    "throttling": "power reduced by, of the rating",
    "cycles": "charge cycles so far",
    "power": "DC power",
    "energy": "DC energy",
    "energyExport": "DC energy fed in",
    "energyImport": "DC energy drawn",
}
_RATED = re.compile(r"(rtg|set)(Max|Min|OverExcited|UnderExcited|V)(\w*)")
_WHAT = {
    "W": "active power", "VA": "apparent power", "Var": "reactive power that is delivered",
    "VarNeg": "reactive power that is received", "VarAbsorbed": "reactive power that is received",
    "Wh": "energy", "Ah": "charge", "A": "current", "V": "voltage", "PF": "power factor",
    "PFNeg": "power factor with reactive power received", "Nom": "nominal voltage",
    "PFOverExcited": "power factor, overexcited", "PFUnderExcited": "power factor, underexcited",
    "ChargeRateW": "active power of charging", "DischargeRateW": "active power of discharging",
    "ChargeRateVA": "apparent power of charging",
    "DischargeRateVA": "apparent power of discharging", "ChargeA": "current of charging",
    "DischargeA": "current of discharging", "StateOfCharge": "state of charge",
}  # fmt: skip
_BOUNDS = {
    "Max": "highest", "Min": "lowest", "OverExcited": "overexcited",
    "UnderExcited": "underexcited", "V": "",
}  # fmt: skip


def register(code: str) -> str | None:
    """What a register of DER is; None for one that is none, or needs no words."""
    point = _POINT.fullmatch(code)
    if point is not None:
        model, group, number, name = point.groups()
        inside = f" of {group} {number}" if group else ""
        return f"point {name}{inside} of SunSpec's model {model}"
    name, _, place = code.partition(".")
    words = _NAMES.get(name) or _rated(name)
    dc = _DC.fullmatch(place)
    where = f"DC input {dc[1]}" if dc is not None else _PLACES.get(place)
    if words is None and where is None:
        return None
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    return ", ".join(filter(None, (words or plain, where or place)))


def _rated(name: str) -> str | None:
    match = _RATED.fullmatch(name)
    what = _WHAT.get(match[3]) if match is not None else None
    if match is None or what is None:
        return None
    said = "rated" if match[1] == "rtg" else "set"
    return f"{' '.join(filter(None, (_BOUNDS[match[2]], what)))}, as {said}"
