"""What a file is by its first bytes, its root element or its members, before it is read.

For people only: a platform is told the format by the topic.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Known(NamedTuple):
    """What a file is."""

    form: str  # of `bal.harmonise.FORMATS`; "" where it is none of them
    what: str = ""  # in words, where it is none
    do: str = ""  # what its author does about it


_SEND = "send what is measured in one of the formats of docs/spec"
_MAGIC = (  # first bytes → what they begin, and what to do with it
    (b"\n\x0d\x0d\x0a", "a capture (pcapng)", ""),
    (b"\xd4\xc3\xb2\xa1", "a capture (pcap)", ""),
    (b"\xa1\xb2\xc3\xd4", "a capture (pcap)", ""),
    (b"\x4d\x3c\xb2\xa1", "a capture (pcap)", ""),
    (b"\xa1\xb2\x3c\x4d", "a capture (pcap)", ""),
    (b"\x1f\x8b", "a file packed by gzip", "Unpack it first (gunzip)."),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first, and take its files one by one."),
    (b"\x28\xb5\x2f\xfd", "a file packed by Zstandard", "Unpack it first (unzstd)."),
    (b"BZh", "a file packed by bzip2", "Unpack it first (bunzip2)."),
    (b"\xfd7zXZ\0", "a file packed by xz", "Unpack it first (unxz)."),
    (b"\xff\xfe", "text in UTF-16", "Encode the message as UTF-8."),
    (b"\xfe\xff", "text in UTF-16", "Encode the message as UTF-8."),
    (b"-----BEGIN ", "PEM, which is text", "Send the bytes it stands for: CMS is taken in DER."),
    (b"%PDF-", "a PDF", f"Nothing of it can be read: {_SEND}."),
)
_CAPTURE_DO = "See what it holds of IEEE C37.118.2, and send it: gridseal replay-capture FILE."
_TURTLE = re.compile(
    rb"(?:\s|#[^\n]*\n)*(?:@prefix\s|@base\s|PREFIX\s|BASE\s|<[a-z]+:[^>\s]*>\s+(?:a|<))"
)
_DELIMITERS = b";\t,|"
_TABLE_DO = "Let the DSO Data Server read it, by a centre.toml (docs/dso-server.md)."
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"

_BEFORE_ROOT = re.compile(
    rb"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>)", re.DOTALL
)
_ROOT = re.compile(
    rb"\s*<(?:([A-Za-z_][\w.-]*):)?([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*)"
)
_XMLNS = re.compile(rb"xmlns(?::([\w.-]+))?\s*=\s*[\"']([^\"'<]*)[\"']")
_NAMESPACES = (  # how the root's namespace begins → format
    ("urn:ieee:std:2030.5", "sep2"),
    ("http://ieee.org/2030.5", "sep2"),
    ("http://naesb.org/espi/customer", ""),
    ("http://naesb.org/espi", "espi"),
    ("http://www.w3.org/2005/Atom", "espi"),
    ("http://vde.de/AR_2418-6", "vde2418"),
)
_CIM_ROOTS = re.compile(
    r"MeterReadings?|EndDeviceEvents?|(?:Request|Response|Event|Fault)Message(?:Type)?|Message"
    r"|(?:Create|Created|Change|Changed|Get|Reply)?(?:MeterReadings|EndDeviceEvents)\w*|Envelope"
)
_PAYLOAD = re.compile(rb"<(?:[\w.-]+:)?(?:MeterReading|EndDeviceEvent)s?[\s>/]")
_OTHERS = (  # root's name and namespace, as one text → what it is
    (r"SCL http://www\.iec\.ch/61850/.*", "an SCL file of IEC 61850: how a substation is made"),
    (r"\w+ urn:iec62325\.351:.*", "a market document of IEC 62325"),
    (r"\w+_MarketDocument .*", "a market document of IEC 62325"),
    (r"RDF http://www\.w3\.org/1999/02/22-rdf-syntax-ns#", "RDF, perhaps a grid model (CIM)"),
    (r"schema http://www\.w3\.org/2001/XMLSchema", "an XML schema: how messages are built"),
    (r"Envelope http://(schemas|www)\.\S*soap.*", "a SOAP envelope, without a format's root in it"),
    (r"\w+ http://openadr\.org/.*", "an OpenADR message"),
    (r"html ?.*", "a web page"),
)
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # CMS, RFC 5652 §5.1
_MEMBERS: Mapping[str, frozenset[str]] = {  # of which the messages of a format have some
    "pmu": frozenset({"device", "timestamp", "readings"}),
    "der": frozenset({"device", "time", "readings"}),
    "sunspec": frozenset({"models", "ID", "SN"}),
}
_VILLAS = frozenset({"ts", "data"})


def is_capture(raw: bytes) -> bool:
    """Whether its first bytes are those of pcap or pcapng."""
    return any(raw.startswith(magic) for magic, what, _ in _MAGIC if what.startswith("a capture"))


def recognise(raw: bytes) -> Known | None:
    """What `raw` is, as far as its beginning and its outermost names tell; None: no idea."""
    for magic, what, do in _MAGIC:
        if raw.startswith(magic):
            return Known("", what, do or _CAPTURE_DO)
    body = raw.removeprefix(_BOM).lstrip(_SPACE)
    if not body:
        return Known("", "empty", "Send nothing where there is nothing to say.")
    if _TURTLE.match(body) is not None:
        return Known("", "RDF in Turtle", f"{_SEND[0].upper()}{_SEND[1:]}.")
    if body.startswith(b"<"):
        return _xml(body)
    if body[:1] in {b"{", b"["}:
        return _json(body)
    if raw[0] == 0xAA and len(raw) > 1 and raw[1] & 0x8F in {1, 2, 3} and raw[1] >> 4 <= 5:
        return Known("c37118")
    if raw[:1] == b"0" and _SIGNED_DATA in raw[:32]:
        return Known("cls")
    return Known("", "a table (CSV): a centre's export?", _TABLE_DO) if _is_table(body) else None


def _is_table(body: bytes) -> bool:
    """Whether its first lines have as many of one delimiter, two cells or more, and no tags."""
    lines = [line for line in body[:65_536].split(b"\n")[:3] if line.strip()]
    if len(lines) < 2 or b"<" in lines[0] or b"\0" in body[:65_536]:
        return False
    counts = [{line.count(bytes([one])) for line in lines} for one in _DELIMITERS]
    return any(len(count) == 1 and count != {0} for count in counts)


def uncommented(raw: bytes) -> tuple[bytes, int] | None:
    """`raw` without the `#` lines before its JSON, and how many those are; None: none there."""
    lines = raw.removeprefix(_BOM).split(b"\n")
    count = 0
    for line in lines:
        text = line.strip()
        if text and not text.startswith(b"#"):
            break
        count += 1
    comments = sum(line.strip().startswith(b"#") for line in lines[:count])
    body = b"\n".join(lines[count:])
    if not comments or body.lstrip(_SPACE)[:1] not in {b"{", b"["}:
        return None
    return b"\n" * count + body, comments  # what follows keeps its lines


def _xml(body: bytes) -> Known:
    while (before := _BEFORE_ROOT.match(body)) is not None:
        body = body[before.end() :]
    root = _ROOT.match(body)
    if root is None:
        return Known("", "no XML: it has no root element", f"Let an XML library write it; {_SEND}.")
    prefix, local, attributes = root.group(1) or b"", root.group(2).decode(), root.group(3)
    spaces = {one.group(1) or b"": one.group(2) for one in _XMLNS.finditer(attributes)}
    namespace = spaces.get(prefix, b"").decode("utf-8", "replace").strip()
    for begin, form in _NAMESPACES:
        if form and namespace.startswith(begin):
            return Known(form)
    both = f"{local} {namespace}"
    payload = _PAYLOAD.search(body) is not None
    if _CIM_ROOTS.fullmatch(local) and (local not in {"Envelope", "Message"} or payload):
        return Known("cim")
    what = next((what for form, what in _OTHERS if re.fullmatch(form, both)), "")
    if payload and not what:
        return Known("cim")  # a wrapper of its sender's own
    where = f" in {namespace}" if namespace else ", in no namespace"
    text = f"{what} (root {local}{where})" if what else f"XML with the root {local}{where}"
    return Known("", text, f"{_SEND[0].upper()}{_SEND[1:]}; none of them has this root.")


def _json(body: bytes) -> Known | None:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    first = said[0] if isinstance(said, list) and said else said
    if not isinstance(first, dict):
        return Known("", "JSON without an object", f"{_SEND[0].upper()}{_SEND[1:]}.")
    if first.keys() >= _VILLAS and isinstance(first["data"], list):
        return Known(
            "",
            "samples of a VILLASnode (JSON with `ts`, `sequence`, `data`): numbers without a name",
            "Send them as pmu: each value with its component, measurand and phase, and the time as"
            " RFC 3339 (docs/spec/pmu.md).",
        )
    if "component" in first and "device" not in first and "readings" in first:
        return Known(
            "",
            "what SOGNO's state estimation puts out: computed values of a component, of no device",
            "Send what was measured: SOGNO's input, with `device`, and `component` in each reading"
            " (docs/spec/pmu.md).",
        )
    fits = {form: len(names & first.keys()) for form, names in _MEMBERS.items()}
    if "datagram" in first:
        what = "a datagram of EEBUS SPINE"
    elif not any(fits.values()):
        what = f"JSON with the members {', '.join(sorted(first)[:6]) or 'of none'}"
    else:
        return None
    return Known("", what, f"{_SEND[0].upper()}{_SEND[1:]}.")
