"""A whole day of a grid, as fast as it goes: every format, from the bus to a published checkpoint.

The same day as `make demo`'s: 145 households and businesses as CIM, PV and storage as IEEE 2030.5
and DER JSON, one PMU's minute; faults made on purpose included. Its rate is held against that of
CIM messages of 1,000 meters (tests/bench/pipeline.py).
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from bal.collect.guard import Limits, guard
from bal.errors import Rejected
from field.day import Day, make_day
from field.simbench import fetch_wheel
from infra.certificates import create_ca, load_ca
from infra.enrolment import Enrolment
from infra.interpreter import tune_interpreter
from infra.system_clock import SystemClock
from tests.bench.pipeline import Bench

CACHE = Path(__file__).resolve().parents[2] / ".cache"
DAY = date(2026, 1, 15)


class DayBench(Bench):
    """A platform that knows the day's senders."""

    def enrol(self) -> None:
        """The head-end of the other bench is not needed here."""

    def enrol_all(self, day: Day) -> None:
        """Enrol every sender of the day, as `gridseal device enrol` would."""
        create_ca(self.folder.keys, SystemClock())

        async def put(credential: str, form: str, raw: bytes) -> None:
            await asyncio.to_thread(self.play, credential, form, [raw])

        stores = self.stores
        enrolment = Enrolment(
            load_ca(self.folder.keys), stores.vault, stores.registry, SystemClock(), put
        )

        async def enrol() -> None:
            for sender in day.senders:
                listed = sender.subject_list("grid") if sender.subjects == "list" else ""
                await enrolment.enrol(
                    sender.name, sender.subjects, listed, "grid", "Europe/Berlin", bulk=False
                )

        asyncio.run(enrol())

    def play_days(self, days: Sequence[Day]) -> tuple[int, float]:
        """Values (readings and frames) taken and the seconds it took."""
        limits, values, good = Limits(), 0, []
        for message in [
            one for day in days for one in day.messages
        ]:  # the guard answers a few at once; they never reach the bus
            try:
                guard(message.raw, message.form, limits)
            except Rejected:
                continue
            good.append((message.sender, message.form, message.raw))
            values += message.values
        return values, self.take(good)


def main(rounds: int = 3, at_once: int = 4) -> float:
    """Values a second, the median of some rounds, each of other dates.

    at_once: days behind one another, so that a round takes as long as one of the CIM rate's; of a
    day alone, a fifth of the time is that of its last message, until the next checkpoint.
    """
    tune_interpreter()
    wheel = fetch_wheel(CACHE)
    rates = []
    with tempfile.TemporaryDirectory() as name:
        bench = DayBench(Path(name) / "platform")
        dates = [DAY + timedelta(days=number) for number in range(rounds * at_once + 1)]
        days = [make_day(wheel, one) for one in dates]
        bench.enrol_all(days[0])
        bench.play_days(days[:1])  # makes the subjects
        for first in range(1, len(days), at_once):
            values, took_s = bench.play_days(days[first : first + at_once])
            rates.append(values / took_s)
        bench.close()
    return statistics.median(rates)


if __name__ == "__main__":
    print(f"{main():,.0f} values/s")
