"""Records as one IEC 61968-9 MeterReadings document, and back to the certified bytes.

What CIM has elements for stands in them, in the order of the 2011 schema; the rest stands beside
them in the namespace of docs/spec/rdf.md, which a reader of CIM passes over.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import msgspec
from lxml import etree

from bal import jcs
from bal.decimals import normalised
from bal.errors import Rejected, Stop
from bal.provide.merge_patch import Json, merge, patch
from bal.provide.rdf import Viewed, strict_index

NAMESPACE = "http://iec.ch/TC57/2011/MeterReadings#"
OWN_NAMESPACE = "https://gridseal.invalid/ontology/v1#"
CLAUSE = "gridseal/rdf/v1"
VALUE_LENGTH_MAX = 40  # characters that readers of ours take
MULTIPLIER_MAX = 12  # IEC 61968-9 annex C: from p (-12) to T (12)

_CODE = re.compile(r"-?(?:0|[1-9][0-9]{0,5})(?:\.-?(?:0|[1-9][0-9]{0,5})){17,18}")
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]*[1-9]))?")
_SENT_DECIMAL = re.compile(r"(-?)([0-9]*)(?:\.([0-9]+))?")
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2
_HEX = re.compile(r"[0-9a-f]{64}")
_JSON_IN_XML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{43}")
_XML_SPACE = " \t\r\n"


class Said(NamedTuple):
    """What CIM's own elements say of one record; None where there is no such element."""

    device: str
    end: str  # timeStamp: of an instant, or of the interval's end
    begin: str | None  # timePeriod.start; the same as `end` where it is given and empty
    value: str | None  # in the unit that the reading type names
    quality: tuple[str, ...]
    reading_type: str | None  # the identifier as sent; where none was, the register


def meter_readings(page: Iterable[Viewed]) -> bytes:
    """One page as a MeterReadings document: a MeterReading a device, a Readings element a record.

    Raises Stop("record-unreadable") where a record is none.
    """
    devices: dict[str, list[str]] = {}
    for one in page:
        try:
            record = msgspec.json.decode(one.record, type=Json)
            said = _said(record)
            rest = patch(_view(said), record)
        except (KeyError, TypeError, ValueError) as error:
            raise Stop("record-unreadable", f"row {one.index} holds no record") from error
        devices.setdefault(said.device, []).append(_readings(said, one, rest))
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<MeterReadings xmlns="{NAMESPACE}" xmlns:gridseal="{OWN_NAMESPACE}">',
    ]
    for device, readings in devices.items():
        lines.append(f"  <MeterReading>\n    <Meter><mRID>{escape(device)}</mRID></Meter>")
        lines += readings
        lines.append("  </MeterReading>")
    lines.append("</MeterReadings>\n")
    return "\n".join(lines).encode()


def records_of_cim(data: bytes) -> list[Viewed]:
    """The records in a document that `meter_readings` wrote, in its order.

    Raises Rejected: xml-malformed, dtd-forbidden, view-malformed, view-contradicts.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Rejected("xml-malformed", "not well-formed XML", clause="XML 1.0 §2.1") from None
    if root.getroottree().docinfo.doctype:
        raise Rejected(
            "dtd-forbidden", "a document type declaration is not allowed", clause="XML 1.0 §2.8"
        )
    found: list[Viewed] = []
    for meter_reading in root.iter(f"{{{NAMESPACE}}}MeterReading"):
        device = _one(meter_reading, f"{{{NAMESPACE}}}Meter", f"{{{NAMESPACE}}}mRID")
        readings = meter_reading.iterchildren(f"{{{NAMESPACE}}}Readings")
        found += [_record_of(device or "", reading) for reading in readings]
    return found


def _said(record: Mapping[str, Any]) -> Said:
    """What of a record CIM has elements for."""
    end = record["time"] if "time" in record else record["end"]
    begin = record.get("begin")
    if begin is None and any(f["code"] == "interval-empty" for f in record.get("findings", [])):
        begin = end  # else a reader would take the length from the reading type
    value, reading_type = _value_and_type(record)
    return Said(
        record["device"],
        end,
        begin,
        _for_xml(value),
        tuple(sorted(record.get("quality", []))),
        _for_xml(reading_type),
    )


def _value_and_type(record: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The value in the unit that the reading type names, and the reading type."""
    sent = {name: texts for name, texts in record.get("verbatim", {}).items() if name != "id"}
    if any(len(texts) > 1 for texts in sent.values()):
        return None, None  # elements that say one thing each would make a reading of it
    reading_type = record.get("notation")
    if reading_type is None:
        observed = record.get("observes", {})  # the channels of a window of phasors are several
        notation = observed.get("notation") if isinstance(observed, dict) else None
        reading_type = record.get("register") if notation is None else notation
    if "value" in record:
        return _shorter(shifted(record["value"], -_multiplier(reading_type))), reading_type
    [value] = sent.get("value") or [""]
    return value if value.strip(_XML_SPACE) else None, reading_type


def _view(said: Said) -> Json:
    """The record as far as CIM's own elements tell it."""
    device, end, begin, value, quality, reading_type = said
    view: Json = {
        "device": device,
        "id": "",
        "madeBy": {"id": device},
        "quality": list(quality),
        "type": "Observation",
    }
    if begin is None or begin == end:
        view |= {"hasTimestamp": end, "time": end}
    else:
        view |= {"begin": begin, "end": end, "hasPhenomenonTime": _interval(begin, end)}
    if reading_type is not None:
        fields = reading_type.split(".")
        if _CODE.fullmatch(reading_type) is not None and len(fields) == 18:
            fields[15] = "0"
        register = ".".join(fields)
        view["register"] = register
        view["observes"] = {
            "id": f"{device}#{quote(register, safe='', errors='replace')}",
            "notation": reading_type,
        }
    if value is not None:
        base = shifted(value, _multiplier(reading_type))
        view["value"] = base
        view["hasResult"] = {"hasValue": base, "id": "#value", "type": "PropertyValue"}
    return view


def _interval(begin: str, end: str) -> Json:
    return {
        "hasBeginning": {"id": "#begin", "inXSDDateTimeStamp": begin, "type": "Instant"},
        "hasEnd": {"id": "#end", "inXSDDateTimeStamp": end, "type": "Instant"},
        "id": "#interval",
        "type": "ProperInterval",
    }


def _multiplier(reading_type: str | None) -> int:
    """The power of ten in a ReadingType code, the third from its end; 0 where it is no code."""
    if reading_type is None or _CODE.fullmatch(reading_type) is None:
        return 0
    power = int(reading_type.split(".")[-3])
    return power if abs(power) <= MULTIPLIER_MAX else 0


def shifted(text: str, power: int) -> str:
    """`text` times ten to `power`, normalised; unchanged where it is no decimal."""
    match = _SENT_DECIMAL.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return text
    return normalised(match[2], match[3] or "", power, negative=match[1] == "-")


def _shorter(value: str) -> str:
    """Without the zero before the point where the value is too long for a reader with it."""
    if len(value) > VALUE_LENGTH_MAX and value.lstrip("-").startswith("0."):
        return value.replace("0.", ".", 1)
    return value


def _for_xml(text: str | None) -> str | None:
    """None for what XML can't hold or would not give back as it is: then it is in the rest."""
    return None if text is None or _NO_XML.search(text) is not None else text


def _readings(said: Said, one: Viewed, rest: Json) -> str:
    lines = ["    <Readings>", f"      <timeStamp>{escape(said.end)}</timeStamp>"]
    if said.value is not None:
        lines.append(f"      <value>{_content(said.value)}</value>")
    for code in said.quality:
        quality = f"<ReadingQualityType ref={quoteattr(code)}/>"
        lines.append(f"      <ReadingQualities>{quality}</ReadingQualities>")
    of = "" if said.reading_type is None else f" ref={quoteattr(said.reading_type)}"
    lines.append(f"      <ReadingType{of}/>")
    if said.begin is not None:
        period = f"<end>{escape(said.end)}</end><start>{escape(said.begin)}</start>"
        lines.append(f"      <timePeriod>{period}</timePeriod>")
    # ASCII without markup, so that no parser changes a character of it
    text = json.dumps(rest, sort_keys=True, separators=(",", ":")).translate(_JSON_IN_XML)
    lines += [
        f"      <gridseal:commitment>{one.commitment}</gridseal:commitment>",
        f"      <gridseal:index>{one.index}</gridseal:index>",
        f"      <gridseal:rest>{text}</gridseal:rest>",
        "    </Readings>",
    ]
    return "\n".join(lines)


def _content(text: str) -> str:
    return escape(text, {"\r": "&#13;"})  # XML 1.0 §2.11 would make a line feed of it


def _record_of(device: str, element: etree._Element) -> Viewed:
    mine, own = f"{{{NAMESPACE}}}", f"{{{OWN_NAMESPACE}}}"
    end = _one(element, f"{mine}timeStamp")
    commitment, rest = _one(element, f"{own}commitment"), _one(element, f"{own}rest")
    if end is None or rest is None or commitment is None or not _HEX.fullmatch(commitment):
        raise _malformed("a reading without timeStamp, commitment or rest")
    if _PSEUDONYM.fullmatch(device) is None:
        raise _malformed("a meter whose mRID is no pseudonym")
    types = [one.get("ref") for one in element.iterchildren(f"{mine}ReadingType")]
    codes = [
        one.get("ref") or ""
        for several in element.iterchildren(f"{mine}ReadingQualities")
        for one in several.iterchildren(f"{mine}ReadingQualityType")
    ]
    said = Said(
        device,
        end,
        _one(element, f"{mine}timePeriod", f"{mine}start"),
        _one(element, f"{mine}value"),
        tuple(sorted(codes)),
        types[0] if types else None,
    )
    period_end = _one(element, f"{mine}timePeriod", f"{mine}end")
    try:
        record = merge(_view(said), msgspec.json.decode(rest, type=Json))
        encoded = jcs.encode(record)
        again = _said(record)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    # what the rest says must not stand against what the elements say
    if not _same(again, said) or period_end not in {None, end}:
        raise Rejected("view-contradicts", "the view says two things of one record", clause=CLAUSE)
    index = _one(element, f"{own}index")
    return Viewed(commitment, strict_index(index), encoded)


def _same(one: Said, other: Said) -> bool:
    """Equal, but for another way to write the same decimal."""
    values = [None if said.value is None else shifted(said.value, 0) for said in (one, other)]
    return values[0] == values[1] and one._replace(value=other.value) == other


def _one(element: etree._Element, *path: str) -> str | None:
    """The text of the one element at `path`; None where there is none.

    Raises Rejected("view-malformed") where there are several.
    """
    for name in path:
        several = list(element.iterchildren(name))
        if len(several) > 1:
            raise _malformed(f"{etree.QName(name).localname} stands more than once")
        if not several:
            return None
        [element] = several
    return element.text or ""


def _malformed(why: str) -> Rejected:
    return Rejected("view-malformed", f"not a view of records: {why}", clause=CLAUSE)
