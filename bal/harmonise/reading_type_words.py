"""A ReadingType code in the words of a meter engineer, all 18 fields of it.

`bal.harmonise.reading_type` says what a code means for a record, and knows only what a record
may carry; this module explains any code to a person, and guesses nothing either: a code that is
in no table is called unknown.
"""

import re
from typing import NamedTuple

from bal.harmonise import reading_type_tables as tables
from bal.harmonise.reading_type import FIELDS, NOTATION_LENGTH_MAX, decode

NAMES = (
    "macroPeriod",
    "aggregate",
    "measuringPeriod",
    "accumulation",
    "flowDirection",
    "commodity",
    "measurementKind",
    "interharmonicNumerator",
    "interharmonicDenominator",
    "argumentNumerator",
    "argumentDenominator",
    "tou",
    "cpp",
    "consumptionTier",
    "phases",
    "multiplier",
    "unit",
    "currency",
)
_TAIL = 4  # of a code of 19 fields, these last ones stand where they should
_TABLES = {
    "macroPeriod": tables.MACRO_PERIODS,
    "aggregate": tables.AGGREGATES,
    "measuringPeriod": tables.MEASURING_PERIODS,
    "accumulation": tables.ACCUMULATIONS,
    "flowDirection": tables.FLOW_DIRECTIONS,
    "commodity": tables.COMMODITIES,
    "measurementKind": tables.MEASUREMENT_KINDS,
    "phases": tables.PHASES,
    "multiplier": tables.MULTIPLIERS,
    "unit": tables.UNITS,
    "currency": tables.CURRENCIES,
}
# IEC 61968-9 ReadingType.interharmonic, ReadingType.argument, ReadingType.tou, ReadingType.cpp and
# ReadingType.consumptionTier are numbers of their own.
_NUMBERS = {
    "interharmonicNumerator": "harmonic, numerator",
    "interharmonicDenominator": "harmonic, denominator",
    "argumentNumerator": "argument, numerator",
    "argumentDenominator": "argument, denominator",
    "tou": "time-of-use tariff",
    "cpp": "critical peak period",
    "consumptionTier": "consumption tier",
}
# The order of a sentence, but for the unit, which follows what is measured.
_SENTENCE = (
    "measurementKind", "flowDirection", "phases", "commodity", "accumulation", "measuringPeriod",
    "aggregate", "macroPeriod", "tou", "cpp", "consumptionTier",
)  # fmt: skip
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,5})")
_KINDS_BY_UNIT = frozenset({"energy", "power", "demand"})
_BY_UNIT = {61: "apparent ", 63: "reactive ", 71: "apparent ", 73: "reactive "}
_NOT_APPLICABLE = "not applicable"


class Field(NamedTuple):
    """One field of a ReadingType code."""

    name: str  # IEC 61968-9's, or ReadingType for a text that is no code
    code: str  # as sent
    meaning: str


def describe(code: str) -> list[Field]:
    """What each field of a code means, in the order of the code.

    Of a code of 19 fields, of which nobody knows the one too many, the last four are explained;
    a text that is no code is one field, whose meaning says why.
    """
    texts = code.split(".") if len(code) <= NOTATION_LENGTH_MAX else []
    if not all(_NUMBER.fullmatch(text) for text in texts) or len(texts) not in {FIELDS, FIELDS + 1}:
        return [Field("ReadingType", code, "no ReadingType code: that is 18 numbers between dots")]
    if len(texts) == FIELDS:
        return [_field(name, text) for name, text in zip(NAMES, texts, strict=True)]
    doubtful = "not decoded: the code has 19 fields"
    first = [Field("?", text, doubtful) for text in texts[:-_TAIL]]
    return first + list(map(_field, NAMES[-_TAIL:], texts[-_TAIL:]))


def sentence(code: str) -> str:
    """The code in one line: `energy in kWh, forward, electricity secondary metered, …`."""
    fields = {field.name: field for field in describe(code)}
    if "unit" not in fields:
        return fields["ReadingType"].meaning
    said = [fields[name].meaning for name in _SENTENCE if _says(fields.get(name))]
    unit = _unit(fields["multiplier"].code, fields["unit"].code)
    if unit:
        if not _says(fields.get("measurementKind")):  # the unit says it, as far as it is known
            decoded = decode(code)
            said.insert(0, decoded.quantity.name if decoded is not None else "a value")
        elif fields["measurementKind"].meaning in _KINDS_BY_UNIT:
            said[0] = f"{_BY_UNIT.get(int(fields['unit'].code), '')}{said[0]}"
        said[0] = f"{said[0]} in {unit}"
    for name, numerator in (("harmonic", 7), ("argument", 9)):
        of, over = (fields.get(NAMES[numerator + more]) for more in (0, 1))
        if of is not None and over is not None and (_says(of) or _says(over)):
            said.append(f"{name} {of.code}/{over.code}")
    if _says(fields["currency"]):
        said.append(fields["currency"].meaning)
    if len(fields) < FIELDS:
        said.append("19 fields instead of 18: the others are not decoded")
    return ", ".join(said) or "nothing: every field is not applicable"


def _field(name: str, text: str) -> Field:
    code = int(text)
    numbered = _NUMBERS.get(name)
    if numbered is None:
        return Field(name, text, _TABLES[name].get(code, f"unknown {name} {code}"))
    if code < 0:
        return Field(name, text, f"unknown {name} {code}")
    return Field(name, text, f"{numbered} {code}" if code else _NOT_APPLICABLE)


def _says(field: Field | None) -> bool:
    return field is not None and field.meaning != _NOT_APPLICABLE


def _unit(multiplier: str, unit: str) -> str:
    """The unit with its prefix, "" where there is none."""
    power, symbol = int(multiplier), tables.UNITS.get(int(unit), f"unknown unit {unit}")
    if int(unit) == 0 and power == 0:
        return ""
    if power == 0:
        return symbol
    prefix = tables.PREFIXES.get(power)
    if prefix is not None and symbol in tables.PREFIXED:
        return f"{prefix}{symbol}"
    return f"10^{power} {symbol}" if int(unit) else f"10^{power}"
