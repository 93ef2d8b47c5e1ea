"""CIM IEC 61968-9 MeterReadings, read from a centre's export.

A value is taken where it is unambiguous, in whichever of the standard's ways its type, time and
quality are written. What is not taken, or not as it was sent, is told: nothing else may become of
an element that has a value in it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from lxml import etree

from bal.errors import Rejected
from field.dso_value import (
    DAY_S,
    SECOND_US,
    Meter,
    Register,
    Value,
    check_name,
    decimal_text,
    is_code,
    qualities_of,
    register_of,
    us_of,
)

_XML = "XML 1.0"
_CLAUSE = "IEC 61968-9 MeterReadings"
# What a value beside them may have to be taken by; the ReadingType has multiplier and unit.
_SCALES = frozenset({
    "multiplier", "unitmultiplier", "poweroftenmultiplier", "scale", "scalefactor", "scaling",
    "factor", "constant", "unit", "unitsymbol", "units", "uom",
})  # fmt: skip
_NAMING = frozenset({"Meter", "UsagePoint", "CustomerAccount", "Customer", "isCoincidentTrigger"})
_END_OF_DAY = re.compile("T24:00(?=:00|[Z+-])")  # XML Schema 1.1 part 2 §3.3.7.2
_HOUR_S = 3_600
_UNREADABLE = "?"  # no quality's code: the value is kept as questionable

Refuse = Callable[[Rejected, int], None]
Codes = Mapping[str, str]  # name or mRID of a type that the export defines → its code


class _Reading(NamedTuple):
    element: etree._Element
    types: Sequence[etree._Element]  # of its block
    scaled: bool  # its block or MeterReading has a multiplier or unit


def read(
    raw: bytes, authority: str, name_type: str, refuse: Refuse, doubt: Refuse
) -> Iterator[tuple[int, Value]]:
    """Each value of a MeterReadings document with its line; what is none is told to `refuse`.

    doubt: told what of a value is kept otherwise than sent, and what is no value; authority,
    name_type: of meters whose names come without. Raises Rejected where it is not XML, has a
    document type, or no MeterReading.
    """
    root = _parsed(raw)
    found = [one for one in root.iter() if _name(one) == "MeterReading"]
    if not found:
        raise Rejected("no-meter-reading", "there is no MeterReading in it")
    codes = _defined(root)
    told: set[str] = set()
    for element in root.iter():
        if _name(element) in {"Readings", "IntervalBlocks"} and _outside(element):
            _misplaced(element, refuse)
    for element in found:
        try:
            meter = _meter(element, authority, name_type)
        except Rejected as error:
            refuse(error, _line(element))
            continue
        if all(_name(one) in _NAMING for one in element):
            text = "a MeterReading without Readings or IntervalReadings"
            refuse(Rejected("no-reading", text, field="MeterReading"), _line(element))
        for reading in _readings(element, refuse, doubt, told):
            try:
                yield _line(reading.element), _value(meter, reading, codes, doubt)
            except Rejected as error:
                refuse(error, _line(reading.element))


def _parsed(raw: bytes) -> etree._Element:
    if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in raw[:2]:  # a DTD could hide in it
        raise Rejected("not-utf8", "text in UTF-16, not UTF-8", clause=_XML)
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise Rejected("dtd-forbidden", "a document type is not taken", clause=f"{_XML} §2.8")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise Rejected("xml-malformed", "not well-formed XML", line=line, clause=_XML) from None
    if root.getroottree().docinfo.doctype:
        raise Rejected("dtd-forbidden", "a document type is not taken", clause=f"{_XML} §2.8")
    return root


# --- elements -----------------------------------------------------------------------------------


def _name(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]  # etree.QName takes five times as long


def _line(element: etree._Element) -> int:
    return int(element.sourceline or 0)


def _children(element: etree._Element, name: str) -> list[etree._Element]:
    return [one for one in element if _name(one) == name]


def _one(element: etree._Element, name: str) -> etree._Element | None:
    """The one child of this name. Raises Rejected("reading-ambiguous") where there are more."""
    found = _children(element, name)
    if len(found) > 1:
        text = f"{name} stands {len(found)} times where it may stand once; none of them is chosen"
        raise Rejected("reading-ambiguous", text, field=name, clause=_CLAUSE)
    return found[0] if found else None


def _text(element: etree._Element | None, *path: str) -> str:
    for name in path:
        element = None if element is None else _one(element, name)
    return "" if element is None else (element.text or "").strip()


def _has_value(element: etree._Element) -> bool:
    if _name(element) in _NAMING:
        return False
    return any(_name(one).lower() == "value" for one in element.iter())


def _outside(element: etree._Element) -> bool:
    return all(_name(one) != "MeterReading" for one in element.iterancestors())


def _misplaced(element: etree._Element, refuse: Refuse) -> None:
    text = "it has a value, and is no reading of the standard's in that place"
    error = Rejected("value-misplaced", text, field=_name(element)[:64], clause=_CLAUSE)
    refuse(error, _line(element))


# --- types --------------------------------------------------------------------------------------


def _texts(element: etree._Element) -> list[str]:
    """All that a ReadingType or ReadingQualityType is called by."""
    names = [name for one in _children(element, "Names") for name in _children(one, "name")]
    said = [element, *_children(element, "mRID"), *names]
    texts = [str(element.get("ref", "")), *(one.text or "" for one in said)]
    return [text.strip() for text in texts if text.strip()]


def _defined(root: etree._Element) -> Codes:
    """The types that stand beside the MeterReadings; one that is given twice is not chosen from."""
    codes: dict[str, str] = {}
    for element in root.iter():
        if _name(element) not in {"ReadingType", "ReadingQualityType"}:
            continue
        parent = element.getparent()
        if parent is None or _name(parent) != "MeterReadings":
            continue
        texts = _texts(element)
        for code in filter(is_code, texts):
            for text in texts:
                codes[text] = code if codes.get(text, code) == code else ""
    return codes


def _code(elements: Sequence[etree._Element], codes: Codes) -> str:
    """The code that they all mean; "" for none. Raises Rejected("reading-ambiguous")."""
    texts = [codes.get(text, text) for one in elements for text in _texts(one)]
    found = set(filter(is_code, texts)) or set(texts)
    if len(found) > 1:
        name = _name(elements[0])
        text = f"{len(found)} of {name} that differ; none of them is chosen"
        raise Rejected("reading-ambiguous", text, field=name, clause=_CLAUSE)
    return found.pop() if found else ""


# --- readings -----------------------------------------------------------------------------------


def _meter(element: etree._Element, authority: str, name_type: str) -> Meter:
    named = _children(element, "Meter") or _children(element, "UsagePoint")
    if len(named) != 1:
        raise Rejected("meter-unnamed", "not one Meter in a MeterReading", field="Meter")
    mrid = _text(named[0], "mRID")
    if mrid:
        return Meter(check_name(mrid), mrid=True)
    for names in _children(named[0], "Names"):
        name = _text(names, "name")
        if name:
            kind = _text(names, "NameType", "name") or name_type
            by = _text(names, "NameType", "NameTypeAuthority", "name") or authority
            check_name(f"{name}{kind}{by}")
            return Meter(check_name(name), False, kind, by)
    raise Rejected("meter-unnamed", "the Meter has neither mRID nor name", field="Meter")


def _readings(
    element: etree._Element, refuse: Refuse, doubt: Refuse, told: set[str]
) -> Iterator[_Reading]:
    """Each reading, with what its block and MeterReading say of it."""
    scaled = _is_scaled(element)
    for child in element:
        name = _name(child)
        if name == "Readings":
            yield _Reading(child, (), scaled)
        elif name == "IntervalBlocks":
            types, of_block = _children(child, "ReadingType"), scaled or _is_scaled(child)
            for inside in child:
                if _name(inside) == "IntervalReadings":
                    yield _Reading(inside, types, of_block)
                elif _has_value(inside):
                    _misplaced(inside, refuse)
        elif _has_value(child):
            _misplaced(child, refuse)
        elif name not in _NAMING and name.lower() not in _SCALES and name not in told:
            told.add(name)
            error = Rejected("element-not-mapped", "it is no value, and not kept", field=name[:64])
            doubt(error, _line(child))


def _value(meter: Meter, reading: _Reading, codes: Codes, doubt: Refuse) -> Value:
    element, line = reading.element, _line(reading.element)
    if reading.scaled or _is_scaled(element) or any(map(_has_scale, _children(element, "value"))):
        text = "a multiplier or unit stands beside the value: the ReadingType has its own"
        raise Rejected("reading-ambiguous", text, field="multiplier", clause=_CLAUSE)
    code = _code([*_children(element, "ReadingType"), *reading.types], codes)
    if not code:
        text = "the reading has no ReadingType"
        raise Rejected("reading-type-missing", text, field="ReadingType", clause=_CLAUSE)
    register = register_of(code)
    sent = _text(element, "value")
    if not sent:
        raise Rejected("value-missing", "the reading has no value", field="value", clause=_CLAUSE)
    value = decimal_text(sent, register.multiplier)
    begin_us, end_us = _period_us(element, register)
    qualities = qualities_of(_qualities(element, codes), lambda error: doubt(error, line))
    if register.is_long:
        text = "the code has 19 fields instead of 18; only its last four are read"
        doubt(Rejected("reading-type-19-fields", text, field="ReadingType"), line)
    return Value(meter, register.register, end_us, value, qualities, begin_us)


def _is_scaled(element: etree._Element) -> bool:
    """Whether a multiplier or unit of its own stands in it, beside those of the ReadingType."""
    return any(_name(one).lower() in _SCALES and (one.text or "").strip() for one in element)


def _has_scale(value: etree._Element) -> bool:
    attributes = ((str(name).rpartition("}")[2], text) for name, text in value.items())
    return any(name.lower() in _SCALES and text.strip() for name, text in attributes)


def _qualities(reading: etree._Element, codes: Codes) -> list[str]:
    """Codes of all its qualities: one that is lost would let an estimate pass as measured."""
    found: list[str] = []
    for several in _children(reading, "ReadingQualities"):
        types = _children(several, "ReadingQualityType")
        found += [_code([one], codes) or _UNREADABLE for one in types] or [_UNREADABLE]
    return found


def _period_us(reading: etree._Element, register: Register) -> tuple[int | None, int]:
    """A day's begin, and the instant or the end of the interval, as long as the register's.

    A day has the length that its timePeriod says, 23 to 25 h.
    """
    period = _one(reading, "timePeriod")
    end = _text(period, "end") or _text(reading, "timeStamp")
    if not end:
        raise Rejected("time-missing", "the reading has no time", field="timeStamp")
    end_us, begin = _instant_us(end), _text(period, "start")
    if not begin:
        return None, end_us
    begin_us, is_day = _instant_us(begin), register.interval_s == DAY_S
    off_us = abs(end_us - begin_us - register.interval_s * SECOND_US)
    if off_us > _HOUR_S * SECOND_US * is_day:
        text = "the timePeriod is of another length than the ReadingType says"
        raise Rejected("interval-length-differs", text, field="timePeriod", clause=_CLAUSE)
    return begin_us if is_day else None, end_us


def _instant_us(sent: str) -> int:
    text, days = _END_OF_DAY.subn("T00:00", sent)
    try:
        instant = datetime.fromisoformat(text) + timedelta(days=days)
    except ValueError:
        raise Rejected("time-malformed", "the time is not RFC 3339", field="timeStamp") from None
    except OverflowError:
        raise Rejected("time-out-of-range", "the time is out of range", field="time") from None
    if instant.tzinfo is None:
        text = "the time has no offset from UTC"
        raise Rejected("time-without-offset", text, field="timeStamp", clause="RFC 3339 §4.4")
    try:
        return us_of(instant)
    except OverflowError:
        raise Rejected("time-out-of-range", "the time is out of range", field="time") from None
