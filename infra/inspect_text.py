"""What `gridseal inspect` prints for people (docs/inspect.md)."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bal.harmonise import FORMATS
from bal.inspected import (
    LEFT_OUT,
    NOBODY,
    NOT_READ,
    Device,
    Inspected,
    Place,
    Seen,
    names_of,
    quality_of,
)
from bal.inspection import is_text
from bal.model import Finding
from bal.wording import period

DEVICES_SHOWN = 10
REGISTERS_SHOWN = 12  # of a device
READINGS_SHOWN = 8  # of a register
PLACES_SHOWN = 4  # of a device
TEXTS_SHOWN = 4  # of an event
FINDINGS_SHOWN = 20  # different ones
LINES_SHOWN = 6  # of findings that say the same
QUALITY_WIDTH_MIN = 46  # a finding's code, or a ReadingType as sent, fits beside a reading
_ALL = "--all shows them"
_STYLES = {"refused": "bold red", "warning": "yellow", "info": "cyan"}


def show(
    name: str,
    raw: bytes,
    told: Inspected,
    advice: Mapping[str, str],
    *,
    guessed: bool,
    everything: bool,
) -> None:
    """Print what a message means; `everything`: all of it, not the beginning of each list."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        _show(console, printable(name), raw, told, advice, guessed=guessed, everything=everything)
    # a table fills its lines with spaces; nobody wants them in a file
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))


def _show(
    console: Console,
    name: str,
    raw: bytes,
    told: Inspected,
    advice: Mapping[str, str],
    *,
    guessed: bool,
    everything: bool,
) -> None:
    lines = raw.count(b"\n") + bool(raw and not raw.endswith(b"\n"))
    how = "as told" if not guessed else "guessed from its content"
    console.print(Text(name, "bold"), soft_wrap=True)
    size = f"{len(raw):,} bytes" + (f" in {_many(lines, 'line')}" if raw and is_text(raw) else "")
    if told.form:
        console.print(f"  format {told.form}, {how}: {FORMATS[told.form]}; {size}")
    else:
        console.print(Text(f"  no known format: {printable(told.known)}; {size}"), soft_wrap=True)
    shown = len(told.devices) if everything else DEVICES_SHOWN
    for device in told.devices[:shown]:
        _device(console, device, everything=everything, lines=lines > 1)
    if len(told.devices) > shown:
        more = len(told.devices) - shown
        console.print(f"\n… and {_many(more, 'more device')} ({_ALL})")
    doubtful = [one for one in told.findings if one.code not in LEFT_OUT | NOT_READ]
    for title, found in (
        ("Doubtful, taken all the same", doubtful),
        ("Not read, kept as evidence", [one for one in told.findings if one.code in NOT_READ]),
        ("Left out", told.left_out),
        ("Refused as a whole" if told.whole else "Refused", told.refused),
    ):
        _findings(console, name, title, found, advice, everything=everything)
    console.print()
    console.print(Text(name, "bold") + Text(f": {_summary(told)}", "not bold"), soft_wrap=True)


def printable(text: str) -> str:
    """`text` without what a terminal might obey."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _summary(told: Inspected) -> str:
    if told.whole:
        return "would be refused as a whole: nothing of it is taken."
    left_out = f", {_many(len(told.left_out), 'finding')} on what is left out"
    left_out = left_out if told.left_out else ""
    if not told.taken:
        return f"nothing would be taken, {len(told.refused):,} refused{left_out}."
    events = told.taken - told.values
    kept = f" and {_many(events, 'event')} without a value" if events else ""
    return (
        f"{_many(told.values, 'value')}{kept} of {_many(len(told.devices), 'device')} would be"
        f" taken, {len(told.refused):,} refused{left_out}; {_many(len(told.findings), 'finding')}."
    )


# -- devices ----------------------------------------------------------------------------------


def _device(console: Console, device: Device, *, everything: bool, lines: bool) -> None:
    """lines: whether the message has several."""
    places = list(dict.fromkeys(one.place for one in device.seen if one.place))
    where = f"  ({_lines(places, everything=everything)})" if places else ""
    console.print()
    console.print(Text("Device ", "bold") + Text(_names(device), "bold cyan") + Text(where, "dim"))
    registers: dict[tuple[str, str], list[Seen]] = {}
    for one in device.seen:
        registers.setdefault((one.meaning, one.code), []).append(one)
    shown = len(registers) if everything else REGISTERS_SHOWN
    for (meaning, code), several in islice(registers.items(), shown):
        _register(console, meaning, code, several, everything=everything, lines=lines)
    if len(registers) > shown:
        more = len(registers) - shown
        console.print(f"\n  … and {_many(more, 'more register')} ({_ALL})")


def _names(of: Device) -> str:
    if of.names == NOBODY:
        return "the sender itself: the message names no other"
    return printable(names_of(of))


def _lines(places: Sequence[Place], *, everything: bool) -> str:
    shown = places if everything else places[:PLACES_SHOWN]
    told = [str(one.first) if one.first == one.last else f"{one.first}–{one.last}" for one in shown]
    one_line = len(places) == 1 and places[0].first == places[0].last
    return f"line{'' if one_line else 's'} {', '.join(told)}{_dots(places, shown)}"


def _standing(one: Seen, *, lines: bool) -> str:
    """Where in the message it stands."""
    line = f"line {one.line}" if lines and one.line is not None else ""
    return " ".join(filter(None, (line, one.pointer)))


def _register(
    console: Console,
    meaning: str,
    code: str,
    several: Sequence[Seen],
    *,
    everything: bool,
    lines: bool,
) -> None:
    console.print()
    console.print(Padding(Text(printable(meaning), "bold"), (0, 0, 0, 2)))
    if code:
        console.print(Padding(Text(printable(code), "dim"), (0, 0, 0, 2)))
    shown = len(several) if everything else READINGS_SHOWN
    _rows(console, [_row(one, everything=everything, lines=lines) for one in several[:shown]])
    if len(several) > shown:
        console.print(f"    … and {len(several) - shown:,} more ({_ALL})")


def _row(one: Seen, *, everything: bool, lines: bool) -> list[Text]:
    when = f"{period(one.begin_us, one.end_us)}Z"
    told = _quality(one, everything=everything)
    return [
        Text(printable(cell)) for cell in (_standing(one, lines=lines), when, _value(one), told)
    ]


def _rows(console: Console, rows: Sequence[Sequence[Text]]) -> None:
    """Readings, each with its quality beside it, or below where words would be cut there."""
    widths = [max(row[column].cell_len for row in rows) for column in range(3)]
    room = console.width - 4 - sum(widths) - 6
    if room < QUALITY_WIDTH_MIN and any(row[3].cell_len > room for row in rows):
        for where, when, value, told in rows:
            where.pad_right(widths[0] - where.cell_len)
            when.pad_right(widths[1] - when.cell_len)
            value.pad_left(widths[2] - value.cell_len)
            where.stylize("dim")
            console.print(Text("    ") + Text("  ").join([where, when, value]), soft_wrap=True)
            console.print(Padding(told, (0, 0, 0, 8)))
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("where", no_wrap=True, style="dim")
    table.add_column("time", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("quality", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(Padding(table, (0, 0, 0, 4)))


def _value(one: Seen) -> str:
    if one.value:
        return f"{one.value} {one.unit if one.unit != '1' else ''}".rstrip()
    return "–"


def _quality(one: Seen, *, everything: bool) -> str:
    told = [quality_of(one)]
    sent = [f"{name} “{text}”" for name, text in one.verbatim if text != one.code]
    shown = sent if everything else sent[:TEXTS_SHOWN]
    more = [f"and {len(sent) - len(shown)} more texts"] if len(sent) > len(shown) else []
    told.append(f"sent: {', '.join([*shown, *more])}" if sent else "")
    told += [f"see {code}" for code in dict.fromkeys(one.findings)]
    return "; ".join(filter(None, told))


# -- findings ---------------------------------------------------------------------------------


def _findings(
    console: Console,
    name: str,
    title: str,
    found: Sequence[Finding],
    advice: Mapping[str, str],
    *,
    everything: bool,
) -> None:
    if not found:
        return
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for one in found:
        alike.setdefault((one.code, one.text, one.clause), []).append(one)
    console.print()
    console.print(Text(f"{title}: {len(found):,}", "bold"))
    shown = len(alike) if everything else FINDINGS_SHOWN
    for several in islice(alike.values(), shown):
        _finding(console, name, several, advice, everything=everything)
    if len(alike) > shown:
        console.print(f"\n  … and {len(alike) - shown:,} different ones more ({_ALL})")


def _finding(
    console: Console,
    name: str,
    several: Sequence[Finding],
    advice: Mapping[str, str],
    *,
    everything: bool,
) -> None:
    first = several[0]
    at = name if first.line is None else f"{name}:{first.line}"
    others = _others(several[1:], everything=everything)
    console.print()
    head = Text(printable(f"  {at}  "), "bold") + Text(first.code, _STYLES[first.severity])
    console.print(head + Text(f"  {others}" if others else "", "dim"), soft_wrap=True)
    wrong = f"{first.field}: {first.text}" if first.field else first.text
    rows = [("", printable(wrong)), ("clause", printable(first.clause))]
    rows.append(("do", advice.get(first.code, "")))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, text in rows:
        if text:
            table.add_row(label, Text(text))
    console.print(Padding(table, (0, 0, 0, 4)))


def _others(several: Sequence[Finding], *, everything: bool) -> str:
    """Where the same is wrong, too."""
    if not several:
        return ""
    lines = dict.fromkeys(one.line for one in several if one.line is not None)
    shown = list(lines if everything else islice(lines, LINES_SHOWN))
    told = f"and {_many(len(several), 'time')} more"
    if not shown:
        return told
    return f"{told}: line{_s(shown)} {', '.join(map(str, shown))}{_dots(lines, shown)}"


def _s(several: Sequence[object]) -> str:
    return "" if len(several) == 1 else "s"


def _dots(all_of: Iterable[object], shown: Sequence[object]) -> str:
    return ", …" if len(list(all_of)) > len(shown) else ""
