"""`gridseal pdc`: follows the stream of a PMU or a concentrator, and sends it to a platform."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bal.errors import Stop, Unavailable
from infra import capture_cli, log_output
from infra.capture_cli import many

log = logging.getLogger("gridseal.field")

DRAIN_S = 10.0  # at the end, for receipts
PAUSE_S = 5.0
EPILOG = """
first enrol the sender, with the right to speak for the stream's PMUs, where the platform runs:
  gridseal device enrol pdc-1 --subjects any --group grid --data DATA --out pdc-1
then:
  gridseal pdc --source tcp://pmu.example:4712 --idcode 60 --files pdc-1
docs/spec/c37118.md says who a PMU is, and what becomes of its frames
"""


def add_commands(commands: Any) -> None:
    """Add it to the command line, and what reads captures."""
    text = "follow a stream of IEEE C37.118.2 and send it to a platform"
    pdc = commands.add_parser(
        "pdc",
        help=text,
        description=f"{text}. Runs until it is ended; what has no receipt yet is kept on disk.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = pdc.add_argument
    add(
        "--source", required=True, metavar="URL",
        help="tcp://HOST:PORT, udp://HOST:PORT, or udp://:PORT to listen for one that sends",
    )  # fmt: skip
    add("--idcode", type=int, required=True, metavar="N", help="IDCODE of the stream, 1 to 65534")
    add("--files", type=Path, required=True, metavar="DIR", help="the sender's enrolment")
    add("--to", metavar="mqtts://HOST:PORT", help="the platform; else where it was at enrolment")
    add(
        "--config",
        type=int,
        choices=(2, 3),
        default=2,
        help="configuration to ask for: %(default)s",
    )
    add("--seconds", type=float, metavar="S", help="end after so long; else on SIGTERM or Ctrl-C")
    log_output.add_arguments(pdc)
    pdc.set_defaults(run=run)
    capture_cli.add_commands(commands)


def run(arguments: argparse.Namespace) -> int:
    """Follow the stream; 0 when all that came has a receipt, 1 when not. Raises Stop, Rejected."""
    from field.pdc_line import source_of  # noqa: PLC0415 - as infra/cli.py

    source = source_of(arguments.source)
    if not 0 < arguments.idcode < 0xFFFF:
        raise Stop("usage", "an IDCODE is 1 to 65534")
    log_output.begin(arguments.log_level, arguments.log_file, arguments.log_file_bytes)
    return asyncio.run(_follow(arguments, source))


async def _follow(arguments: argparse.Namespace, source: Any) -> int:
    from field.mqtt_client import FieldClient  # noqa: PLC0415
    from field.pdc import Concentrator  # noqa: PLC0415

    refused = 0

    def hear(receipt: dict[str, Any]) -> None:
        nonlocal refused
        for one in [receipt] if receipt["type"] == "refused" else receipt.get("refused", ()):
            refused += 1
            if refused <= 10:
                sys.stderr.write(f"gridseal: refused: {one['text']} [{one['code']}]\n")

    client = FieldClient.from_folder(arguments.files, url=arguments.to)
    client.on_receipt = hear
    following = Concentrator(
        source, arguments.idcode, client.publish, time.time, config=arguments.config
    )
    loop = asyncio.get_running_loop()
    connecting = asyncio.create_task(_connect(client))
    task = asyncio.create_task(following.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    if arguments.seconds is not None:
        loop.call_later(arguments.seconds, task.cancel)
    try:
        await asyncio.wait({connecting, task}, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()  # a refusal ends it
        await asyncio.wait({task})
        with suppress(TimeoutError):
            await client.drain(DRAIN_S if connecting.done() else 0)
    finally:
        connecting.cancel()
        task.cancel()
        await asyncio.wait({connecting, task})
        left = client.waiting
        await client.close()
    if not task.cancelled():
        task.result()  # what ended it by itself
    counts = following.counts
    damage = ", ".join(f"{code} {number}" for code, number in sorted(counts.damage.items()))
    sys.stdout.write(
        f"{many(counts.frames, 'frame')} in {many(counts.messages, 'message')},"
        f" {many(counts.sessions, 'session')};"
        f" damaged: {damage or 'none'}; refused: {refused}; without a receipt: {left}\n"
    )
    return int(left > 0)


async def _connect(client: Any) -> None:
    """Until it is connected: what comes meanwhile is kept on disk. Raises Rejected."""
    while True:
        try:
            await client.connect()
        except Unavailable as error:
            log.warning("the platform is away; what comes is kept: %s", error)
            await asyncio.sleep(PAUSE_S)
        else:
            return
