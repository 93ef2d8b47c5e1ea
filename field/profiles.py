"""What the units of a grid do in time: SimBench's year of profiles, as energies and as powers.

The profiles are a share of peak power for each quarter-hour of 2016, wall-clock time in Berlin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from field.simbench import GridUnit, Kind, shares

ZONE = "Europe/Berlin"  # the profiles' wall-clock time, summer time included
PROFILE_START = datetime(2015, 12, 31, 23, 0, tzinfo=UTC)  # 2016-01-01T00:00 in ZONE
PROFILE_SLOTS = 366 * 96  # one row a quarter-hour of 2016
SLOT_S = 900
_SLOTS_PER_HOUR = 4
_TABLES: dict[Kind, str] = {
    "load": "LoadProfile",
    "pv": "RESProfile",
    "storage": "StorageProfile",
}


@dataclass(frozen=True, slots=True)
class Quarter:
    """What every unit delivered to its customer, or fed in, in one quarter-hour."""

    begin: datetime  # UTC
    energy_wh: tuple[int, ...]  # in the order of the units asked for

    @property
    def end(self) -> datetime:
        """When the quarter-hour is over, and the meter read; UTC."""
        return self.begin + timedelta(seconds=SLOT_S)


def local_day(day: date) -> tuple[datetime, int]:
    """When a day of ZONE begins, in UTC, and how many quarter-hours it has: 92, 96 or 100."""
    zone = ZoneInfo(ZONE)
    begin, end = (
        datetime.combine(midnight, time(), zone).astimezone(UTC)
        for midnight in (day, day + timedelta(days=1))
    )
    return begin, int((end - begin).total_seconds()) // SLOT_S


def slot_at(instant: datetime) -> int:
    """The row of the profiles for an instant: same day of the year and wall-clock time in 2016.

    instant: with an offset; it is cut down to its quarter-hour. 29 February exists in 2016; where
    the wall clock jumps on another day than in 2016 the row is an hour off, never outside.
    """
    local = instant.astimezone(ZoneInfo(ZONE))
    same = local.replace(year=2016, minute=local.minute // 15 * 15, second=0, microsecond=0)
    elapsed = same.astimezone(UTC) - PROFILE_START
    return int(elapsed.total_seconds()) // SLOT_S % PROFILE_SLOTS


def active_shares(
    wheel: Path, units: Sequence[GridUnit], first: int, count: int
) -> list[list[Decimal]]:
    """`count` rows from row `first` of the year on: each unit's share of its peak active power.

    After the last row of the year comes the first.
    """
    return _rows(wheel, [(unit.kind, _column(unit, "_pload")) for unit in units], first, count)


def both_shares(
    wheel: Path, units: Sequence[GridUnit], first: int, count: int
) -> tuple[list[list[Decimal]], list[list[Decimal]]]:
    """The same, and the shares of peak reactive power; a unit that feeds in has one profile."""
    wanted = [
        (unit.kind, _column(unit, suffix)) for suffix in ("_pload", "_qload") for unit in units
    ]
    rows = _rows(wheel, wanted, first, count)
    return [row[: len(units)] for row in rows], [row[len(units) :] for row in rows]


def _column(unit: GridUnit, suffix: str) -> str:
    return unit.profile + (suffix if unit.kind == "load" else "")


def _rows(
    wheel: Path, wanted: Sequence[tuple[Kind, str]], first: int, count: int
) -> list[list[Decimal]]:
    """Each table is unpacked once, or twice where the rows go round the end of the year."""
    if not 0 <= first < PROFILE_SLOTS or not 0 <= count <= PROFILE_SLOTS:
        raise ValueError(f"row {first} and {count} more are outside {PROFILE_SLOTS} rows")
    found: list[list[Decimal]] = [[Decimal(0)] * len(wanted) for _ in range(count)]
    before_end = min(count, PROFILE_SLOTS - first)
    for kind, table in _TABLES.items():
        places = [place for place, (of, _) in enumerate(wanted) if of == kind]
        if not places:
            continue
        columns = [wanted[place][1] for place in places]
        rows = shares(wheel, table, columns, first, before_end)
        if before_end < count:
            rows += shares(wheel, table, columns, 0, count - before_end)
        for into, row in zip(found, rows, strict=True):
            for place, share in zip(places, row, strict=True):
                into[place] = share
    return found


def play(wheel: Path, played: Sequence[GridUnit], begin: datetime, count: int) -> Iterator[Quarter]:
    """`count` quarter-hours of these units from `begin` on, as whole watt-hours.

    A meter adds up energy exactly and shows whole Wh, so what is cut from one quarter-hour shows
    in a later one and the sum is right to 1 Wh. begin: with an offset, on a quarter-hour.
    """
    begin = begin.astimezone(UTC)
    if begin.timestamp() % SLOT_S:
        raise ValueError(f"{begin.isoformat()} is not on a quarter-hour")
    register_wh = [Decimal(0)] * len(played)
    for number, row in enumerate(active_shares(wheel, played, slot_at(begin), count)):
        before = [int(shown) for shown in register_wh]
        for index, (unit, share) in enumerate(zip(played, row, strict=True)):
            register_wh[index] += unit.peak_w * share / _SLOTS_PER_HOUR
        energy = tuple(int(now) - then for now, then in zip(register_wh, before, strict=True))
        yield Quarter(begin + timedelta(seconds=SLOT_S * number), energy)
