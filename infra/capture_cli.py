"""`gridseal replay-capture`: what a pcap holds of IEEE C37.118.2, and to a platform with it."""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bal.errors import Stop
from bal.times import rfc3339

EPILOG = """
  gridseal replay-capture capture.pcapng                  print what it holds, and the first values
  gridseal replay-capture capture.pcapng --values         and the values of every data frame
  gridseal replay-capture capture.pcapng --files pdc-1    and send it, as `gridseal pdc` would

exit code: 0, or 1 where the file is no capture, there is no such stream, or something sent was
refused or got no receipt
"""
CHANNELS_SHOWN = 24
DRAIN_S = 120.0


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    text = "print what a capture (pcap, pcapng) holds of IEEE C37.118.2; send it with --files"
    replay = commands.add_parser(
        "replay-capture",
        help=text,
        description=text,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng")
    replay.add_argument("--idcode", type=int, metavar="N", help="this stream only")
    text = "the values of every data frame, not of the first of each stream only"
    replay.add_argument("--values", action="store_true", help=text)
    replay.add_argument("--files", type=Path, metavar="DIR", help="a sender's enrolment: send it")
    text = "the platform; else where it was at enrolment"
    replay.add_argument("--to", metavar="mqtts://HOST:PORT", help=text)
    replay.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print, and send; 1 where nothing is found, refused or without a receipt. Raises Stop."""
    from field.capture import read_capture  # noqa: PLC0415 - as infra/cli.py
    from infra.inspect_text import printable  # noqa: PLC0415

    try:
        with arguments.file.open("rb") as file:
            capture = read_capture(file)
    except OSError as error:
        text = f"{arguments.file} can't be read: {error.strerror or error}"
        raise Stop("capture-malformed", text) from error
    wanted = [one for one in capture.streams if arguments.idcode in {None, one.idcode}]
    for line in told(arguments.file.name, capture, wanted, everything=arguments.values):
        sys.stdout.write(f"{printable(line)}\n")
    if not wanted and capture.streams:
        there = ", ".join(str(one) for one in sorted({one.idcode for one in capture.streams}))
        sys.stdout.write(f"no stream has IDCODE {arguments.idcode}; there are {there}\n")
    streams = sendable(wanted)
    if arguments.files is None:
        return int(not wanted)
    if not streams:
        text = "nothing to send: no stream has both a configuration 2 or 3 and data frames"
        raise Stop("capture-empty", text)
    return asyncio.run(_send(arguments, streams))


def sendable(streams: list[Any]) -> list[Any]:
    """Those that can be sent as messages."""
    return [one for one in streams if one.config is not None and one.begin_us]


def told(
    name: str,
    capture: Any,
    streams: list[Any],
    *,
    everything: bool = False,
    option: str = "--values",
) -> Iterator[str]:
    """What a capture holds, line by line; everything: the values of all data frames.

    option: of the command line, that asks for everything.
    """
    from infra.capture_values import values  # noqa: PLC0415 - as infra/cli.py

    packets, found = many(capture.packets, "packet"), many(len(capture.streams), "stream")
    yield f"{name}: {packets}, {found} of IEEE C37.118.2"
    for why, count in capture.passed_over.most_common():
        yield f"  {many(count, 'packet')} passed over: {why}"
    if not capture.streams:
        yield "  no frame of IEEE C37.118.2 with a right checksum; its usual ports are 4712, 4713"
    for stream in streams:
        yield from _stream(stream)
        yield from values(stream, everything=everything, option=option)
    for flow, counts in capture.damage.items():
        damage = ", ".join(f"{code} {count}" for code, count in counts.most_common())
        yield f"damaged, {flow}: {damage}"
    for flow, count in capture.gaps.items():
        yield f"incomplete, {flow}: the capture lacks {count} stretch{'' if count == 1 else 'es'}"


def many(number: int, what: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _stream(stream: Any) -> Iterator[str]:
    from bal.c37118.frame import DATA, KINDS  # noqa: PLC0415

    yield f"stream {stream.idcode} from {stream.source}"
    for flow in sorted(stream.flows):
        yield f"  {flow}"
    counts = ", ".join(f"{count} {KINDS[kind]}" for kind, count in sorted(stream.kinds.items()))
    yield f"  frames: {counts}"
    config = stream.config
    if config is None:
        if stream.kinds[DATA]:
            yield "  no configuration 2 or 3: its data can't be read, nor sent"
        return
    rate = f"{config.rate} frames/s" if config.rate >= 0 else f"a frame each {-config.rate} s"
    yield f"  {KINDS[config.kind]}, {rate}, time base {config.time_base}"
    if stream.configs > 1:
        yield f"  {stream.configs} different configurations; this is the first"
    if stream.is_early:
        yield "  data come before their configuration: they are read by the first one"
    for pmu in config.pmus:
        yield from _pmu(pmu)
    if stream.begin_us:
        yield f"  from {rfc3339(stream.begin_us)} to {rfc3339(stream.end_us)}"
        lost = many(stream.lost, "frame")
        yield f"  lost {lost}; {stream.again} with a time that another one has"
    for code, count in stream.refused.most_common():
        yield f"  {many(count, 'frame')} can't be read: {code}"


def _pmu(pmu: Any) -> Iterator[str]:
    from bal.c37118.config import FLOAT_ANALOGS, FLOAT_PHASORS, POLAR  # noqa: PLC0415

    notation = "polar" if pmu.format & POLAR else "rectangular"
    number = "floats" if pmu.format & FLOAT_PHASORS else "integers"
    yield f"  station {pmu.station or '(no name)'}, IDCODE {pmu.idcode}, {pmu.nominal_hz} Hz"
    names = [f"{one.name} ({'A' if one.is_current else 'V'})" for one in pmu.phasors]
    if names:
        yield f"    phasors, {notation}, {number}: {_some(names)}"
    names = [one.name for one in pmu.analogs]
    if names:
        analogs = "floats" if pmu.format & FLOAT_ANALOGS else "integers"
        yield f"    analog values, {analogs}: {_some(names)}"
    if pmu.digitals:
        yield f"    digital status words: {len(pmu.digitals)}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:CHANNELS_SHOWN])
    more = len(names) - CHANNELS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


async def _send(arguments: argparse.Namespace, streams: list[Any]) -> int:
    """All messages, and their certified receipts. Raises Rejected, Unavailable."""
    from field.mqtt_client import FieldClient  # noqa: PLC0415
    from field.pdc import FORMAT  # noqa: PLC0415

    client = FieldClient.from_folder(arguments.files, url=arguments.to)
    taken, unanswered = 0, 0
    refused: Counter[tuple[str, str]] = Counter()
    async with client:
        sent = [
            await client.publish(FORMAT, raw) for stream in streams for raw in stream.messages()
        ]
        with suppress(TimeoutError):
            await client.drain(DRAIN_S)
        for message in sent:
            try:
                receipt = await client.wait_certified(message, 10.0)
            except TimeoutError:
                unanswered += 1
                continue
            whole = receipt["type"] == "refused"
            taken += not whole
            for one in [receipt] if whole else receipt.get("refused", ()):
                refused[one["code"], one["text"]] += 1
    sys.stdout.write(
        f"sent {many(len(sent), 'message')}: {taken} certified, {unanswered} unanswered\n"
    )
    for (code, text), count in refused.most_common():
        sys.stdout.write(f"refused {many(count, 'time')}: {text} [{code}]\n")
    return int(bool(refused) or unanswered > 0)
