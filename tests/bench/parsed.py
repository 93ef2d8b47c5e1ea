"""CIM messages of 1,000 meters parsed and harmonised by one core, against the bound.

Guard and harmonise, as intake and worker call them: bytes to records. Commitments, keys and what
follows are left out; a constant stands for each part's.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bal.collect.guard import Limits, guard
from bal.harmonise import MeterNames, harmonise
from bal.model import Digest, Subject
from tests.bench.pipeline import METERS, bound, message
from tests.unit.harmonise.conftest import PLATFORM, SENDER, resolve

RECEIVED_US = 1_777_000_000_000_000  # behind all messages' times
_DIGEST = Digest(bytes(32))


def _no_commitments(_: Sequence[Subject], parts: Sequence[bytes]) -> list[Digest]:
    return [_DIGEST] * len(parts)


def main(messages: int = 40, rounds: int = 5) -> list[tuple[float, float]]:
    """(bound, parse and harmonise) in readings a second, in turn."""
    found = []
    limits = Limits()
    subjects: dict[MeterNames, Subject] = {}  # as the worker has them at hand

    def known(names: MeterNames) -> Subject:
        subject = subjects.get(names)
        if subject is None:
            subjects[names] = subject = resolve(names)
        return subject

    def read(raw: bytes) -> int:
        guard(raw, "cim", limits)
        return len(
            harmonise(
                raw, "cim", resolve=known, platform=PLATFORM, sender=SENDER,
                commit_parts=_no_commitments, received_us=RECEIVED_US,
            ).records
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as name:
        read(message(0))
        for turn in range(rounds):
            limit = bound(Path(name))
            raws = [message(1 + turn * messages + number) for number in range(messages)]
            started_s = time.perf_counter()
            records = sum(map(read, raws))
            took_s = time.perf_counter() - started_s
            assert records == messages * METERS, "some were refused"
            found.append((limit, records / took_s))
    return found


if __name__ == "__main__":
    for limit, rate in main():
        print(f"{limit:,.0f} {rate:,.0f} {rate / limit:.3f}")
