"""A real German low-voltage grid to play: SimBench, read straight from its published wheel.

The wheel is fetched once, by name, version and hash, and its CSV files are read inside it;
pandapower, which the package would ask for, is not installed. Nothing of the data is copied into
this repository: it stays under the Open Database License, and `CREDIT` goes where it is shown.

Source: Meinecke et al., SimBench, scenario 1, grid LV3.101 (rural, one transformer, 145 loads).
"""

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zoneinfo import ZoneInfo

from bal.errors import Stop, Unavailable

CREDIT = (
    "Grid and profiles: SimBench (www.simbench.net) by University of Kassel, Fraunhofer IEE, RWTH "
    "Aachen University and TU Dortmund, made available under the Open Database License (ODbL) 1.0."
)
VERSION = "1.6.3"
WHEEL = f"simbench-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "8b48bdab2445286a96649eb18bb09476d000a0e212fd57fdba83399df54af4de"
SCENARIO = "simbench/networks/1-complete_data-mixed-all-1-sw"
GRID = "LV3.101"
ZONE = "Europe/Berlin"  # the profiles' wall-clock time, summer time included
PROFILE_START = datetime(2015, 12, 31, 23, 0, tzinfo=UTC)  # 2016-01-01T00:00 in ZONE
PROFILE_SLOTS = 366 * 96  # one row a quarter-hour of 2016
SLOT_S = 900
_WATT_PER_MEGAWATT = 1_000_000
_SLOTS_PER_HOUR = 4
_FETCH_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class GridMeter:
    """One load of the grid, as a meter would stand there."""

    name: str  # ten digits, as a German meter number may look; made from the load's number
    load: str  # SimBench's own id, e.g. "LV3.101 Load 31"
    node: str  # the bus it hangs on
    profile: str  # column `<profile>_pload` of LoadProfile.csv
    peak_w: Decimal  # pLoad: what the profile is a share of


@dataclass(frozen=True, slots=True)
class Quarter:
    """What every meter delivered to its customer in one quarter-hour."""

    begin: datetime  # UTC
    energy_wh: tuple[int, ...]  # in the order of the meters asked for

    @property
    def end(self) -> datetime:
        """When the quarter-hour is over, and the meter read; UTC."""
        return self.begin + timedelta(seconds=SLOT_S)


def fetch_wheel(cache: Path) -> Path:
    """The wheel in `cache`, downloaded there first if need be; its hash is checked every time.

    Raises Unavailable when it can't be downloaded, Stop("simbench-hash") when what is in the
    cache is not what was published.
    """
    path = cache / WHEEL
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _download(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise Stop("simbench-hash", f"{path} is not the published file: delete it and run again")
    return path


def _download(path: Path) -> None:
    """Let pip fetch the wheel beside its place, then move it there in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(f"simbench=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary=:all:"]
        command += ["--require-hashes", "--dest", folder, "--requirement", str(requirement)]
        try:
            done = subprocess.run(  # noqa: S603 - the command stands here
                command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"simbench {VERSION} did not arrive in {_FETCH_TIMEOUT_S} s"
            ) from error
        fetched = Path(folder) / WHEEL
        if done.returncode != 0 or not fetched.exists():
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise Unavailable(f"simbench {VERSION} could not be downloaded: {last}")
        fetched.replace(path)


@contextmanager
def _table(wheel: Path, name: str) -> Iterator[Iterator[list[str]]]:
    """Rows of one CSV file inside the wheel, header first; read as they are asked for."""
    try:
        with ZipFile(wheel) as archive, archive.open(f"{SCENARIO}/{name}.csv") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            yield csv.reader(text, delimiter=";")
    except (BadZipFile, KeyError) as error:
        raise Stop("simbench-layout", f"{wheel} has no {name}.csv of scenario 1") from error


def meters(wheel: Path, *, limit: int | None = None, grid: str = GRID) -> list[GridMeter]:
    """The loads of one grid in SimBench's order of number, at most `limit` of them."""
    with _table(wheel, "Load") as rows:
        header = next(rows)
        loads = [dict(zip(header, row, strict=True)) for row in rows]
    found = [_meter(load) for load in loads if load["subnet"] == grid]
    if not found:
        raise Stop("simbench-grid", f"SimBench {VERSION} has no loads in a grid {grid}")
    return sorted(found, key=lambda meter: meter.name)[:limit]


def _meter(load: dict[str, str]) -> GridMeter:
    number = int(load["id"].rsplit(" ", 1)[1])
    area = int("".join(sign for sign in load["subnet"] if sign.isdigit()) or "0")
    return GridMeter(
        name=f"{area % 1_000_000:06d}{number:04d}",
        load=load["id"],
        node=load["node"],
        profile=load["profile"],
        peak_w=Decimal(load["pLoad"]) * _WATT_PER_MEGAWATT,
    )


def slot_at(instant: datetime) -> int:
    """The row of the profiles for an instant: same day of the year and wall-clock time in 2016.

    instant: with an offset; it is cut down to its quarter-hour. 29 February exists in 2016; where
    the wall clock jumps on another day than in 2016 the row is an hour off, never outside.
    """
    local = instant.astimezone(ZoneInfo(ZONE))
    same = local.replace(year=2016, minute=local.minute // 15 * 15, second=0, microsecond=0)
    elapsed = same.astimezone(UTC) - PROFILE_START
    return int(elapsed.total_seconds()) // SLOT_S % PROFILE_SLOTS


def shares(wheel: Path, profiles: Iterable[str], first: int, count: int) -> list[list[Decimal]]:
    """`count` rows of the load profiles from row `first` on (after the last comes the first).

    Each row holds, in the order of `profiles`, the share of peak power in that quarter-hour.
    Only as much of the file is unpacked as lies before the last row asked for.
    """
    if not 0 <= first < PROFILE_SLOTS or not 0 <= count <= PROFILE_SLOTS:
        raise ValueError(f"row {first} and {count} more are outside {PROFILE_SLOTS} rows")
    before_end = min(count, PROFILE_SLOTS - first)
    taken = _rows(wheel, profiles, first, before_end)
    return taken + (_rows(wheel, profiles, 0, count - before_end) if before_end < count else [])


def _rows(wheel: Path, profiles: Iterable[str], first: int, count: int) -> list[list[Decimal]]:
    with _table(wheel, "LoadProfile") as rows:
        header = next(rows)
        columns = [header.index(f"{profile}_pload") for profile in profiles]
        taken = islice(rows, first, first + count)
        return [[Decimal(row[column]) for column in columns] for row in taken]


def play(
    wheel: Path, played: Sequence[GridMeter], begin: datetime, count: int
) -> Iterator[Quarter]:
    """`count` quarter-hours of these meters from `begin` on, as whole watt-hours.

    A meter adds up energy exactly and shows whole Wh, so what is cut from one quarter-hour shows
    in a later one and the sum is right to 1 Wh. begin: with an offset, on a quarter-hour.
    """
    begin = begin.astimezone(UTC)
    if begin.timestamp() % SLOT_S:
        raise ValueError(f"{begin.isoformat()} is not on a quarter-hour")
    register_wh = [Decimal(0)] * len(played)
    rows = shares(wheel, [meter.profile for meter in played], slot_at(begin), count)
    for number, row in enumerate(rows):
        before = [int(shown) for shown in register_wh]
        for index, (meter, share) in enumerate(zip(played, row, strict=True)):
            register_wh[index] += meter.peak_w * share / _SLOTS_PER_HOUR
        energy = tuple(int(now) - then for now, then in zip(register_wh, before, strict=True))
        yield Quarter(begin + timedelta(seconds=SLOT_S * number), energy)
