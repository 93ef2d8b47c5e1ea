"""One-reading messages through Mosquitto: as many a second as go, and the times at half of it.

One device over TLS with a client certificate, the embedded platform behind the broker, all on the
same cores. `python -m tests.bench.mosquitto` starts both in a folder that it removes.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.servers import stack
from infra.servers.connect import MosquittoAt, read
from tests.bench.latency import connected
from tests.bench.local_profile import CACHE, SENDER, broker_of, play, tail
from tests.journey.conftest import Running, cim

WARM, MEASURED = 1_000, 10_000  # messages
LATENCY_S = 15
SINCE_S = 1_768_435_200  # 2026-01-15T00:00:00Z
SLOT_S = 900

Figures = tuple[float, dict[str, tuple[float, float]]]
"""Messages a second until all receipts are back; p50 and p99 in ms of each kind at half of it."""


def messages(first: int, count: int) -> list[bytes]:
    """One reading each, of the sender's own meter."""
    ends = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SINCE_S + SLOT_S * number))
        for number in range(first, first + count)
    )
    return [cim((SENDER, end, f"{number % 1000}.5")) for number, end in enumerate(ends)]


def config(at: MosquittoAt) -> str:
    """Of a platform that collects from that broker."""
    return f"""\
[anchor]
interval_s = 10
[mosquitto]
host = "{at.host}"
port = {at.port}
ca = "{at.ca}"
certificate = "{at.client.certificate}"
key = "{at.client.key}"
passwords = "{at.users["collector"].password_file.parent}"
accounts = "{at.password_file}"
pid_file = "{at.place.folder / "pid"}"
"""


@contextmanager
def platform() -> Iterator[Running]:
    """Broker and platform, running."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name).resolve() / "data"
        data.mkdir()
        (seen,) = stack.up(data, ["mosquitto"], CACHE, lambda *_: None)
        assert seen.is_up, seen.state
        try:
            at = read(data).mosquitto
            assert at is not None
            running = Running(Path(name), config(at), data=data)
            running.start()
            try:
                yield running
            finally:
                running.kill()
        finally:
            stack.down(data, ["mosquitto"], lambda *_: None)


async def measured(files: Path) -> Figures:
    """As fast as they are taken, then by the clock."""
    line = await connected(files, broker_of(files))
    await play(line, messages(0, WARM), None)
    took_s, _ = await play(line, messages(WARM, MEASURED), None)
    rate = MEASURED / took_s
    raws = messages(WARM + MEASURED, int(rate / 2 * LATENCY_S))
    _, times = await play(line, raws, rate / 2)
    line.transport.close()
    return rate, {kind: tail(values) for kind, values in times.items()}


def main() -> Figures:
    """See Figures."""
    with platform() as running:
        return asyncio.run(measured(running.enrol(SENDER)))


def rows(found: Figures) -> list[tuple[str, str, str]]:
    """What, figure and goal, as docs/benchmarks.md has them."""
    rate, times = found
    lines = [("one-reading messages by Mosquitto until certified", f"{rate:,.0f}/s", "")]
    for kind, (p50, p99) in times.items():
        lines.append((f"  {kind}, at half of it", f"p50 {p50:,.0f}, p99 {p99:,.0f} ms", ""))
    return lines


if __name__ == "__main__":
    for one in rows(main()):
        sys.stdout.write("{:<60} {:>28}   {}\n".format(*one))
