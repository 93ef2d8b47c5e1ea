"""`gridseal simulate`: a day of a real grid, sent to any platform by its wires alone."""

import argparse
import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from bal.errors import GridsealError, Stop, Unavailable
from field.day import Day, Sender, make_day, senders, units_of
from field.profiles import ZONE
from field.simbench import CREDIT, fetch_wheel
from field.simulator import Pace, folders, play_over_mqtt
from field.tally import Tally
from infra.simulate_view import View, came_in, refused

WINDOW_MAX = 1000
DAYS_MAX = 366


def speed(text: str) -> float | None:
    """How many times as fast as in life; None for max. Raises Stop("usage")."""
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < 1e9:
        raise Stop("usage", f"a speed is max or a number above 0, not {text}")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Play: 0 when every message was answered, 1 when one was not. Raises Stop, Rejected."""
    console = Console(highlight=False)
    meters_speed, pmu_speed = speed(arguments.speed), speed(arguments.pmu_speed)
    if not 1 <= arguments.days <= DAYS_MAX or not 1 <= arguments.window <= WINDOW_MAX:
        raise Stop("usage", f"--days is 1 to {DAYS_MAX}, --window 1 to {WINDOW_MAX}")
    wheel = wheel_of(console, arguments.cache)
    sending = sending_of(wheel, arguments)
    places = folders(arguments.files, sending)
    console.print(CREDIT)
    days = _days(console, wheel, arguments)
    messages = [message for day in days for message in day.messages]
    tally = Tally.of(sending, messages)
    paces = {"": Pace(days[0].begin, meters_speed)}
    phasors = [message.at for message in messages if message.form == "pmu"]
    if phasors:
        paces["pmu"] = Pace(min(phasors), pmu_speed)
    started = time.monotonic()

    async def play() -> None:
        async with View(console, tally):
            await play_over_mqtt(
                messages, places, tally, paces=paces, url=arguments.to, window=arguments.window
            )

    finish(play(), arguments.files)
    return _summary(console, days, tally, time.monotonic() - started)


def finish(playing: Coroutine[None, None, None], files: Path) -> None:
    """Run it to its end. Of what senders raise side by side the first is raised, by itself.

    files: where their spools are. Raises Unavailable where one can't be written.
    """
    try:
        asyncio.run(playing)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, sqlite3.Error):
            text = f"what is sent is kept in {files} first, which can't be written: {error}"
            raise Unavailable(text) from error
        if isinstance(error, GridsealError | OSError):
            raise error from group
        raise


def wheel_of(console: Console, cache: Path | None) -> Path:
    """SimBench's wheel, fetched if need be; in the user's cache unless another one is named."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with console.status("fetching SimBench's wheel (91 MB, the first time only)"):
        return fetch_wheel(cache or Path(home) / "gridseal")


def sending_of(wheel: Path, arguments: argparse.Namespace) -> list[Sender]:
    """The senders of the grid that was asked for."""
    found = senders(units_of(wheel, arguments.grid), arguments.grid)
    return [sender for sender in found if not (sender.role == "pmu" and arguments.no_pmu)]


def _days(console: Console, wheel: Path, arguments: argparse.Namespace) -> list[Day]:
    last = arguments.date or yesterday()
    days = []
    for back in reversed(range(arguments.days)):
        with console.status(f"making {last - timedelta(days=back)}"):
            days.append(
                made_day(
                    wheel,
                    last - timedelta(days=back),
                    grid=arguments.grid,
                    seed=arguments.seed,
                    faults=not arguments.no_faults,
                    pmu=back == 0 and not arguments.no_pmu,
                )
            )
    return days


def yesterday() -> date:
    """The last whole day in the profiles' zone."""
    return datetime.now(UTC).astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1)


def made_day(
    wheel: Path, day: date, *, grid: str, seed: int, faults: bool = True, pmu: bool = True
) -> Day:
    """One day; Stop("usage") where the power flows' library is missing."""
    try:
        return make_day(wheel, day, grid=grid, seed=seed, faults=faults, pmu=pmu)
    except ImportError as error:
        text = f"phasors need the extra 'sim' ({error.name} is missing); or give --no-pmu"
        raise Stop("usage", text) from error


def _summary(console: Console, days: Sequence[Day], tally: Tally, took_s: float) -> int:
    unanswered = sum(account.unanswered for account in tally.accounts.values())
    values = sum(account.values for account in tally.accounts.values())
    console.print(f"\n{values:,} readings and frames in {took_s:.1f} s")
    console.print(came_in(tally))
    if tally.refusals:
        console.print("\nrefused")
        console.print(refused(tally))
    for code, count in tally.findings.most_common():
        console.print(f"doubted {count:,} times: {tally.doubts[code]} [{code}]", markup=False)
    for day in days:
        if day.faults:
            console.print(f"\nwrong on purpose on {day.day}")
        for fault in day.faults:
            console.print(f"  {fault.begin:%H:%M} UTC  {fault.text}", markup=False)
        if day.event:
            console.print(f"\nseen by the PMU: {day.event}", markup=False)
    if unanswered:
        sys.stderr.write(f"gridseal: {unanswered} messages got no certified receipt\n")
    return int(unanswered > 0)
