"""Elements of a MeterReading that no record carries: which of them cost a value, or change one."""

import re
from typing import NamedTuple

from lxml import etree

from bal.harmonise.cim_tree import local_names

# In a reading, its block or its MeterReading: what the value beside them may have to be taken by.
# The ReadingType has multiplier and unit; IEC 61968-9 knows no others, so nobody knows which count.
_SCALES = frozenset({
    "multiplier", "unitmultiplier", "poweroftenmultiplier", "scale", "scalefactor", "scaling",
    "factor", "constant", "unit", "unitsymbol", "units", "uom",
})  # fmt: skip
_DESCRIBED = frozenset({"UsagePoint", "Meter", "EndDevice", "CustomerAccount", "Customer"})
_TOLD = re.compile(
    r"[A-Za-z_]{1,64}"
)  # without digits: a finding never says what a device is called


class Lost(NamedTuple):
    """An element with a value in it that is no reading where it stands."""

    line: int  # of its start tag, from 1
    name: str


class Scale(NamedTuple):
    """An element or attribute that says by what a value is to be taken."""

    text: str  # as sent
    line: int


def told(name: str) -> str:
    """An element's name as a finding may say it."""
    return name if _TOLD.fullmatch(name) is not None else "another element"


def has_value(element: etree._Element) -> bool:
    """Whether a value stands in it, or it is one; what devices and customers are does not count."""
    if local_names[element.tag] in _DESCRIBED:
        return False
    return any(local_names[one.tag].lower() == "value" for one in element.iter())


def scales(element: etree._Element) -> list[Scale]:
    """What `element` says of a value's scale: one, or none."""
    text = element.text or ""
    if local_names[element.tag].lower() in _SCALES and text.strip():
        return [Scale(text, element.sourceline or 1)]
    return []


def attributes(value: etree._Element) -> list[Scale]:
    """The same of the attributes of a value."""
    line = value.sourceline or 1
    return [
        Scale(text, line)
        for name, text in value.items()
        if name.rpartition("}")[2].lower() in _SCALES and text.strip()
    ]
