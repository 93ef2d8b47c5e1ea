"""Exports of telemetering centres, CSV or JSON, to values; each row that is none is told.

A function of the bytes and the centre's mapping. One bad row never costs the others.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bal.errors import Rejected
from field import dso_cim_in
from field.dso_centre import Centre, Scale
from field.dso_cim_in import Refuse
from field.dso_value import (
    DAY_S,
    SECOND_US,
    TEXT_LENGTH_MAX,
    Meter,
    Value,
    check_name,
    decimal_text,
    qualities_of,
    us_of,
)

EXPORT_BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 2_000_000
REFUSED_MAX = 1_000  # told one by one; the rest is counted

_HAS_HOUR = re.compile("[T ][0-9]")
_HOUR_24 = re.compile("(?=(24))")  # at each place, also of 2424


class Refused(NamedTuple):
    """One row, or one cell of it, that was not taken, or not as it was sent."""

    line: int
    code: str
    field: str
    text: str


@dataclass(slots=True)
class Export:
    """What one export file says."""

    values: list[Value] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    refused_count: int = 0

    def refuse(self, error: Rejected, line: int) -> None:
        """Tell one row or cell that is not taken."""
        self.refused_count += 1
        self.doubt(error, line)

    def doubt(self, error: Rejected, line: int) -> None:
        """Tell what is taken, but otherwise than it was sent."""
        if len(self.refused) < REFUSED_MAX:
            told = error.line if error.line is not None else line
            self.refused.append(Refused(told, error.code, error.field, error.text))


class _Cell(NamedTuple):
    """One value with its time as the export has it."""

    line: int
    meter: Meter
    scale: Scale
    time: datetime
    value: str
    qualities: tuple[str, ...]


def read(raw: bytes, centre: Centre) -> Export:
    """Values and refusals of one file. Raises Rejected where it can't be read at all."""
    if len(raw) > EXPORT_BYTES_MAX:
        raise Rejected("export-too-large", f"an export has at most {EXPORT_BYTES_MAX} bytes")
    export = Export()
    found: Iterable[tuple[int, Value]]
    if centre.format == "cim":
        found = dso_cim_in.read(
            raw, centre.authority, centre.name_type, export.refuse, export.doubt
        )
    else:
        read_rows = _csv_rows if centre.format == "csv" else _json_rows
        rows = read_rows(raw, centre, export.refuse)
        cells: list[_Cell] = []
        for line, row in rows:
            _row(line, row, centre, cells, export)
        found = _timed(cells, centre, export)
    export.values = _once(found, export)
    return export


def _once(found: Iterable[tuple[int, Value]], export: Export) -> list[Value]:
    """Each slot once: what an export says again in other words is refused, the first counts."""
    seen: dict[tuple[str, str, int], Value] = {}
    for line, value in found:
        key = (value.meter.name, value.register, value.end_us)
        first = seen.setdefault(key, value)
        if replace(value, meter=first.meter) != first:
            text = "the same slot stands in this export with another value; the first counts"
            export.refuse(Rejected("slot-doubled", text, field="value"), line)
    return list(seen.values())


# --- rows ---------------------------------------------------------------------------------------


def _csv_rows(
    raw: bytes, centre: Centre, refuse: Refuse
) -> Iterable[tuple[int, Mapping[str, str]]]:
    try:
        text = raw.decode(centre.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        sentence = f"not {centre.encoding}, as {centre.name} has it"
        raise Rejected("not-utf8", sentence, line=line) from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=centre.delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header([cell.strip() for cell in cells], centre)
                continue
            number += 1
            if number > ROWS_MAX:
                raise Rejected("export-too-large", f"an export has at most {ROWS_MAX} rows")
            while len(cells) > len(header) and not cells[-1].strip():
                cells.pop()  # many writers end each row with the delimiter
            if len(cells) != len(header):
                # 0,210 between commas is two cells: what stands where is not known any more
                text = f"the row has {len(cells)} cells and the header {len(header)}"
                refuse(Rejected("csv-malformed", text), reader.line_num)
                continue
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise Rejected("csv-malformed", f"not CSV: {error}", line=reader.line_num) from None
    if header is None:
        raise Rejected("no-reading", "the export has no header", line=1)


def _header(header: list[str], centre: Centre) -> list[str]:
    wanted = {*centre.columns.values(), *centre.values}
    missing = sorted(wanted - set(header))
    if missing:
        text = f"{len(missing)} of the columns in centre.toml are not in the header"
        raise Rejected("csv-malformed", text, field=missing[0], line=1)
    doubled = [name for name in wanted if header.count(name) > 1]
    if doubled:
        raise Rejected("csv-malformed", "a column stands twice", field=doubled[0], line=1)
    return header


class _Doubled(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Doubled
    return members


def _json_rows(
    raw: bytes, centre: Centre, refuse: Refuse
) -> Iterable[tuple[int, Mapping[str, str]]]:
    """Line is the number of the row, from 1; a number stays the text that was sent."""
    try:
        data = json.loads(
            raw.decode(centre.encoding), parse_float=str, parse_int=str, parse_constant=str,
            object_pairs_hook=_unique,
        )  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise Rejected("json-malformed", f"not JSON: {type(error).__name__}") from None
    except _Doubled:
        text = "a member's name stands twice in one object"
        raise Rejected("json-duplicate-key", text) from None
    if centre.items:
        data = data.get(centre.items) if isinstance(data, dict) else None
    if not isinstance(data, list):
        raise Rejected("member-type", "the readings are not an array", field=centre.items)
    if len(data) > ROWS_MAX:
        raise Rejected("export-too-large", f"an export has at most {ROWS_MAX} rows")
    wanted = set(centre.values) or {centre.columns["value"]}
    for number, row in enumerate(data, 1):
        if not isinstance(row, dict):
            yield number, {}
            continue
        for name in wanted:
            if not isinstance(row.get(name), str | None):
                text = "the value is neither a number nor a text"
                refuse(Rejected("member-type", text, field=name), number)
        if wanted.isdisjoint(row):
            text = "the row has none of the values that centre.toml names; null is a gap"
            refuse(Rejected("member-missing", text, field=min(wanted)), number)
        yield number, {name: cell for name, cell in row.items() if isinstance(cell, str)}


def _row(
    line: int, row: Mapping[str, str], centre: Centre, cells: list[_Cell], export: Export
) -> None:
    """The values of one row, whose times have no offset yet."""
    try:
        meter = Meter(
            check_name(_cell(row, centre, "meter")), False, centre.name_type, centre.authority
        )
        time = _time(row, centre)
        qualities = _qualities(row, centre, lambda error: export.doubt(error, line))
        scales = _scales(row, centre)
    except Rejected as error:
        export.refuse(error, line)
        return
    for name, scale in scales:
        sent = row.get(name)
        if sent is None or not sent.strip():
            continue  # no value: a gap, which whoever asks sees
        try:
            value = decimal_text(_number(sent, centre), scale.shift)
            cells.append(_Cell(line, meter, scale, time, value, qualities))
        except Rejected as error:
            export.refuse(error, line)


def _cell(row: Mapping[str, str], centre: Centre, column: str) -> str:
    text = row.get(centre.columns[column])
    if text is None:
        raise Rejected("member-missing", "a column is absent or no text", field=column)
    if len(text) > TEXT_LENGTH_MAX:
        raise Rejected("text-too-long", f"over {TEXT_LENGTH_MAX} characters", field=column)
    return text.strip()


def _scales(row: Mapping[str, str], centre: Centre) -> list[tuple[str, Scale]]:
    if centre.values:
        return list(centre.values.items())
    scale = centre.registers.get(_cell(row, centre, "register"))
    if scale is None:
        text = "the register is none of those in centre.toml"
        raise Rejected("register-unknown", text, field="register")
    return [(centre.columns["value"], scale)]


def _number(text: str, centre: Centre) -> str:
    number = text.strip()
    if centre.decimal == ",":
        if "." in number:  # 1.234 may be a thousand or a bit over one: nobody guesses
            sentence = "a point in a number of a centre that writes a decimal comma"
            raise Rejected("value-not-decimal", sentence, field="value")
        number = number.replace(",", ".")
    return number


def _qualities(
    row: Mapping[str, str], centre: Centre, doubt: Callable[[Rejected], None]
) -> tuple[str, ...]:
    if "quality" not in centre.columns:
        return ()
    text = _cell(row, centre, "quality")
    if text in centre.qualities:
        return qualities_of([centre.qualities[text]], doubt)
    return qualities_of(text.split(), doubt)


# --- times --------------------------------------------------------------------------------------


def _time(row: Mapping[str, str], centre: Centre) -> datetime:
    text = _cell(row, centre, "time")
    if "date" in centre.columns:
        text = f"{_cell(row, centre, 'date')} {text}"
    time = _parsed(text, centre) or _end_of_day(text, centre)
    if time is None:
        sentence = "the time is not of the form that centre.toml has"
        raise Rejected("time-malformed", sentence, field="time")
    if time.tzinfo is None and centre.zone is None:
        text = "the time has no offset from UTC, and the centre no zone"
        raise Rejected("time-without-offset", text, field="time")
    return time


def _parsed(text: str, centre: Centre) -> datetime | None:
    with suppress(ValueError):
        if centre.time_format:
            return datetime.strptime(text, centre.time_format)  # noqa: DTZ007 - its zone follows
        time = datetime.fromisoformat(text)
        # A date alone is the day's beginning, and no end of what was measured on it.
        return time if centre.stamps == "begin" or _HAS_HOUR.search(text) else None
    return None


def _end_of_day(text: str, centre: Centre) -> datetime | None:
    """The midnight at the end of a date whose hour is 24 (ISO 8601-1 §4.3.8.1); None: it has none.

    Where the hour stands in the text the centre's own form says: it is the 24 that reads as hour
    23 of a day when 23 stands there, and as hour 0 of the same day when 00 does.
    """
    for found in _HOUR_24.finditer(text):
        last, first = (
            _parsed(text[: found.start()] + hour + text[found.end(1) :], centre)
            for hour in ("23", "00")
        )
        if (
            first is None
            or last != first + timedelta(hours=23)
            or (first.hour, first.minute, first.second, first.microsecond) != (0, 0, 0, 0)
        ):
            continue
        try:
            end = first + timedelta(days=1)
            # Where the clocks are put back at midnight, that day's end is the earlier of the two.
            return end if end.tzinfo or centre.zone is None else _utc(end, centre)
        except OverflowError:
            raise Rejected("time-out-of-range", "the time is out of range", field="time") from None
    return None


def _utc(local: datetime, centre: Centre) -> datetime:
    return local.replace(tzinfo=centre.zone, fold=0).astimezone(UTC)


def _timed(cells: list[_Cell], centre: Centre, export: Export) -> Iterable[tuple[int, Value]]:
    """The cells with their instants.

    Of a local time that a day in autumn has twice the export has to have both: the first is the
    earlier one. Where it has one it says nothing about which, and is refused.
    """
    twice: dict[tuple[str, str, datetime], int] = {}
    for cell in cells:
        if _ambiguous(cell.time, centre):
            key = (cell.meter.name, cell.scale.register, cell.time)
            twice[key] = twice.get(key, 0) + 1
    met: dict[tuple[str, str, datetime], int] = {}
    for cell in cells:
        time = cell.time
        key = (cell.meter.name, cell.scale.register, time)
        try:
            if key in twice:
                if twice[key] != 2:
                    sentence = "the clock showed this time twice, and the export has it once"
                    raise Rejected("time-ambiguous", sentence, field="time")
                met[key] = met.get(key, -1) + 1
                time = time.replace(fold=met[key])
            begin_us, end_us = _period_us(time, centre, cell.scale.interval_s)
            value = Value(
                cell.meter, cell.scale.register, end_us, cell.value, cell.qualities, begin_us
            )
        except Rejected as error:
            export.refuse(error, cell.line)
            continue
        yield cell.line, value


def _period_us(time: datetime, centre: Centre, interval_s: int) -> tuple[int | None, int]:
    """Begin, of a day, and end. A day goes to the same hour of the next one: 23 to 25 h."""
    at_us, is_begin = _instant_us(time, centre), centre.stamps == "begin"
    if interval_s != DAY_S:
        return None, at_us + interval_s * SECOND_US * is_begin
    day = timedelta(days=1 if is_begin else -1)
    local = time if time.tzinfo is None else time.astimezone(centre.zone).replace(tzinfo=None)
    if time.tzinfo is None or (centre.zone is not None and local.time() == datetime.min.time()):
        other_us = us_of(_utc(local + day, centre))
    else:
        other_us = us_of(time + day)  # of an offset, or UTC: always 24 h
    return (at_us, other_us) if is_begin else (other_us, at_us)


def _ambiguous(time: datetime, centre: Centre) -> bool:
    if time.tzinfo is not None:
        return False
    first, second = (time.replace(tzinfo=centre.zone, fold=fold) for fold in (0, 1))
    return first.utcoffset() != second.utcoffset() and _real(first)


def _real(time: datetime) -> bool:
    """Whether the clocks of its zone ever show it: one hour in spring is left out."""
    again = time.astimezone(UTC).astimezone(time.tzinfo)
    return again.replace(tzinfo=None) == time.replace(tzinfo=None)


def _instant_us(time: datetime, centre: Centre) -> int:
    try:
        if time.tzinfo is None:
            time = time.replace(tzinfo=centre.zone)
            if not _real(time):
                text = "the clocks were put forward over this time"
                raise Rejected("time-malformed", text, field="time")
        return us_of(time)
    except OverflowError:
        raise Rejected("time-out-of-range", "the time is out of range", field="time") from None
