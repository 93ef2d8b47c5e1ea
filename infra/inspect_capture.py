"""What `gridseal inspect` says of a capture (pcap, pcapng): docs/inspect.md."""

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

from bal.c37118.frame import KINDS, time_us
from bal.harmonise.c37118_channels import Channels
from bal.harmonise.c37118_words import stat_words, time_words
from bal.model import Finding
from bal.times import rfc3339
from bal.wording import channel
from field.capture import Capture, Stream, read_capture
from infra.capture_cli import many, sendable, told
from infra.inspect_text import printable

if TYPE_CHECKING:
    from bal.c37118.config import Pmu
    from bal.c37118.data import Data, Layout

_NONE = "no stream has both a configuration 2 or 3 and data frames"


def capture_of(raw: bytes) -> Capture:
    """What a capture holds. Raises Stop("capture-malformed")."""
    return read_capture(BytesIO(raw))


def is_taken(capture: Capture) -> bool:
    """Whether all of it that is IEEE C37.118.2 could be sent, and that is something."""
    whole = not capture.damage and not any(one.refused for one in capture.streams)
    return whole and bool(sendable(capture.streams))


def show(name: str, capture: Capture, *, everything: bool) -> None:
    """Print what replay-capture tells; everything: the values of all data frames."""
    name = printable(name)
    for line in told(name, capture, capture.streams, everything=everything, option="--all"):
        sys.stdout.write(f"{printable(line)}\n")
    count = len(sendable(capture.streams))
    streams = f"{many(count, 'stream')} of it can be sent as format c37118"
    do = f"gridseal replay-capture {name} --files DIR sends {'it' if count == 1 else 'them'}"
    found = f"{streams}: {do}" if count else f"nothing of it can be sent as format c37118: {_NONE}"
    sys.stdout.write(f"\n{name}: a capture, no message; {found}.\n")


def as_json(name: str, capture: Capture, *, everything: bool) -> dict[str, Any]:
    """The same as one object."""
    return {
        "file": name,
        "format": "",
        "guessed": True,
        "taken": 0,
        "devices": [],
        "findings": [],
        "refused": [] if sendable(capture.streams) else [_empty()],
        "capture": {
            "packets": capture.packets,
            "passed_over": dict(capture.passed_over),
            "streams": [_stream(one, everything=everything) for one in capture.streams],
            "damaged": {str(flow): dict(counts) for flow, counts in capture.damage.items()},
            "incomplete": {str(flow): count for flow, count in capture.gaps.items()},
        },
    }


def _empty() -> dict[str, str]:
    error = Finding("capture-empty", "refused", f"nothing to send: {_NONE}", "message", None, "")
    return {**error.as_json(), "advice": ""}


def _stream(stream: Stream, *, everything: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source": stream.source,
        "idcode": stream.idcode,
        "flows": sorted(str(flow) for flow in stream.flows),
        "frames": {KINDS[kind]: count for kind, count in sorted(stream.kinds.items())},
        "can_be_sent": bool(sendable([stream])),
        "refused": dict(stream.refused),
    }
    if stream.config is not None:
        found["configuration"] = {
            "kind": KINDS[stream.config.kind],
            "rate": stream.config.rate,
            "time_base": stream.config.time_base,
            "different": stream.configs,
            "behind_data": stream.is_early,
            "stations": [_station(pmu) for pmu in stream.config.pmus],
        }
    if stream.begin_us:
        found |= {"begin": rfc3339(stream.begin_us), "end": rfc3339(stream.end_us)}
        found |= {"lost": stream.lost, "again": stream.again}
    found["data"] = []
    for layout, data in stream.data():
        found["data"].append(_data(layout, data))
        if not everything:
            break
    return found


def _station(pmu: "Pmu") -> dict[str, Any]:
    return {
        "station": pmu.station,
        "idcode": pmu.idcode,
        "nominal_hz": pmu.nominal_hz,
        "phasors": [
            {"name": one.name, "unit": "A" if one.is_current else "V"} for one in pmu.phasors
        ],
        "analogs": [one.name for one in pmu.analogs],
        "digitals": len(pmu.digitals),
    }


def _data(layout: "Layout", data: "Data") -> dict[str, Any]:
    base = layout.config.time_base
    when = {"time": rfc3339(time_us(data.soc, data.fraction, base))} if data.fraction < base else {}
    return {
        **when,
        "soc": data.soc,
        "fracsec": data.fraction,
        "time_quality": f"{data.time_quality:02x}",
        "time_quality_in_words": list(time_words(data.time_quality)),
        "stations": [
            _values(Channels(layout.config, pmu), data.values[span])
            for pmu, span in zip(layout.config.pmus, layout.spans, strict=True)
        ],
    }


def _values(of: Channels, values: tuple[int, ...]) -> dict[str, Any]:
    return {
        "station": of.pmu.station,
        "idcode": of.pmu.idcode,
        "stat": f"{values[0]:04x}",
        "stat_in_words": list(stat_words(values[0])),
        "values": [
            {
                "component": component,
                "measurand": measurand,
                "phase": phase,
                "unit": channel(component, measurand, phase)[1],
                **({"value": text} if text is not None else {}),
            }
            for (component, measurand, phase), text in zip(
                of.channels, of.texts(values), strict=True
            )
        ],
    }
