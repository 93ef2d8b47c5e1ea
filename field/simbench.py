"""A real German low-voltage grid to play: SimBench, read straight from its published wheel.

The wheel is fetched once, by name, version and hash, and its CSV files are read inside it;
pandapower, which the package would ask for, is not installed. Nothing of the data is copied into
this repository: it stays under the Open Database License, and `CREDIT` goes where it is shown.

Source: Meinecke et al., SimBench, scenario 1; grid LV3.101 is rural, with one transformer, 145
loads, 25 photovoltaic units and 14 photovoltaic units with a battery.
"""

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

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
_WATT_PER_MEGAWATT = 1_000_000
_FETCH_TIMEOUT_S = 600
Kind = Literal["load", "pv", "storage"]


@dataclass(frozen=True, slots=True)
class GridUnit:
    """One load, PV or storage unit of the grid, as a meter would stand there."""

    name: str  # ten digits, as a German meter number may look; or e.g. pv-0031010007
    kind: Kind
    element: str  # SimBench's own id, e.g. "LV3.101 Load 31"
    node: str  # the bus it hangs on
    profile: str  # its column in the profiles of its kind
    peak_w: Decimal  # what the profile is a share of: drawn by a load, fed in by the others
    peak_var: Decimal = Decimal(0)  # the same for reactive power, drawn

    @property
    def feeds_in(self) -> bool:
        """Whether its energy is measured towards the grid."""
        return self.kind != "load"


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
def _lines(wheel: Path, name: str) -> Iterator[Iterator[str]]:
    """Lines of one CSV file inside the wheel, read as they are asked for."""
    try:
        with ZipFile(wheel) as archive, archive.open(f"{SCENARIO}/{name}.csv") as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8", newline="")
    except (BadZipFile, KeyError) as error:
        raise Stop("simbench-layout", f"{wheel} has no {name}.csv of scenario 1") from error


def rows_of(wheel: Path, name: str, mentions: Collection[str] = ()) -> list[dict[str, str]]:
    """The rows of one table as column → text; only those that mention one of these, if any.

    A mention may stand in any column: whoever asks for a subnet compares the column.
    """
    with _lines(wheel, name) as lines:
        header = next(csv.reader(lines, delimiter=";"))
        chosen = (line for line in lines if not mentions or any(m in line for m in mentions))
        rows = csv.reader(chosen, delimiter=";")
        return [dict(zip(header, row, strict=True)) for row in rows]


def rows_in(wheel: Path, name: str, subnet: str) -> list[dict[str, str]]:
    """The rows of one table that belong to one subnet."""
    return [row for row in rows_of(wheel, name, {subnet}) if row["subnet"] == subnet]


def shares(
    wheel: Path, name: str, columns: Collection[str], first: int, count: int
) -> list[list[Decimal]]:
    """`count` rows of a table of profiles from row `first` on.

    Each row holds, in the order of `columns`, the share of peak power in that quarter-hour. Only
    as much of the file is unpacked as lies before the last row asked for, and no row before the
    first is parsed. Raises Stop("simbench-layout") where there is no such column.
    """
    with _lines(wheel, name) as lines:
        header = next(csv.reader(lines, delimiter=";"))
        missing = set(columns) - set(header)
        if missing:
            raise Stop("simbench-layout", f"{name}.csv has no column {min(missing)}")
        wanted = [header.index(column) for column in columns]
        rows = csv.reader(islice(lines, first, first + count), delimiter=";")
        return [[Decimal(row[column]) for column in wanted] for row in rows]


# --- what stands in the grid ----------------------------------------------------------------------


def meters(wheel: Path, *, limit: int | None = None, grid: str = GRID) -> list[GridUnit]:
    """The loads of one grid in SimBench's order of number, at most `limit` of them."""
    found = [_unit("load", "", row, "pLoad", "qLoad") for row in rows_in(wheel, "Load", grid)]
    if not found:
        raise Stop("simbench-grid", f"SimBench {VERSION} has no loads in a grid {grid}")
    return sorted(found, key=lambda unit: unit.name)[:limit]


def ders(wheel: Path, grid: str = GRID) -> list[GridUnit]:
    """The PV and then the storage units of one grid, each by number.

    Other renewables (wind, biomass, hydro) count as PV here. SimBench's storage units are homes
    with PV and a battery behind one meter: their power has a load's sign and is never positive, so
    they feed in.
    """
    pv = [_unit("pv", "pv-", row, "pRES", "qRES") for row in rows_in(wheel, "RES", grid)]
    stored = rows_in(wheel, "Storage", grid)
    storages = [_unit("storage", "storage-", row, "pStor", "qStor") for row in stored]
    return sorted(pv, key=lambda unit: unit.name) + sorted(storages, key=lambda unit: unit.name)


def _unit(kind: Kind, prefix: str, row: dict[str, str], power: str, reactive: str) -> GridUnit:
    number = int(row["id"].rsplit(" ", 1)[1])
    area = int("".join(sign for sign in row["subnet"] if sign.isdigit()) or "0")
    return GridUnit(
        name=f"{prefix}{area % 1_000_000:06d}{number:04d}",
        kind=kind,
        element=row["id"],
        node=row["node"],
        profile=row["profile"],
        peak_w=abs(Decimal(row[power])) * _WATT_PER_MEGAWATT,
        peak_var=Decimal(row[reactive]) * _WATT_PER_MEGAWATT,
    )
