"""The demo's second half: the day closed and proved complete, a receipt verified, the drill."""

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from rich.markup import escape
from rich.table import Table

from field.profiles import SLOT_S, ZONE
from infra.demo_platform import Failure, Gateway, gridseal
from infra.demo_play import Background, send_late
from infra.demo_story import Story, ask, items, show_verdicts, verdicts
from infra.demo_tamper import changed_receipt, copy_folder

REGISTER = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"  # a quarter-hour's energy, without multiplier
_NOT_YET = 2  # exit code of `gridseal verify`: not decidable yet
_STORED_TIMEOUT_S = 30
_ANCHORED_TIMEOUT_S = 60
_DRILL_TIMEOUT_S = 600
_LOCAL = ZoneInfo(ZONE)
_SLOT = timedelta(seconds=SLOT_S)


# --- the day --------------------------------------------------------------------------------------


def close(story: Story, gateway: Gateway, policy: Path) -> None:
    """Step 5: the day is closed; whole and broken days are proved; a late reading; closed again."""
    story.head("The day is closed: now nobody can be shown another one")
    story.say(
        "For each meter a device-day says, slot by slot, which entry of the log proves the "
        "quarter-hour, or that it is missing. All of them make the day's book, and its root goes "
        "on chain."
    )
    _close(story)
    whole = _ordinary(story)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("meter", "what happened", "quarter-hours (local time)", "gridseal verify says"):
        table.add_column(head, overflow="fold")
    wanted = [(whole, "an ordinary household")]
    told = {"gap": "silent for two hours", "not-a-number": "said NaN once", "late": "one is late"}
    for kind, text in told.items():
        fault = story.fault(kind)
        if fault:
            wanted.append((fault.unit, text))
    for name, text in wanted:
        table.add_row(name, text, *_day_row(story, gateway, policy, name))
    story.show(table)
    story.say(
        "That root can't be replaced on chain: what is missing today can't be slipped in unseen "
        "tomorrow."
    )
    story.proved.append(f"the day of {whole}: each of its quarter-hours by a record of its own")
    for fault in (story.fault("gap"), story.fault("not-a-number")):
        if fault:
            story.missing.append(f"{fault.text}: {_hours(fault.begin, fault.end)}")
    late = story.fault("late")
    if late is None:
        return
    if _whole(story, late.unit):
        story.say(f"The late reading of {late.unit} came in an earlier run on this folder.")
        return
    story.say(f"\nThe late reading of {late.unit} arrives, and the day is closed again:")
    with story.waiting("sending it"):
        send_late(story)
    _close(story)
    slots, said = _day_row(story, gateway, policy, late.unit)
    story.say(f"{late.unit}: {slots}; {said}")
    previous = json.loads(_file(story, late.unit).read_bytes())["previous"]
    story.say(
        f"This is version {len(previous) + 1} of that day, and it names the one before: that the "
        "reading came late can't be hidden."
    )


def _whole(story: Story, name: str) -> bool:
    """Whether the document that was fetched last shows a day without gap."""
    return len(json.loads(_file(story, name).read_bytes())["slots"]) == story.day.slots


def _file(story: Story, name: str) -> Path:
    return story.work / f"day-{name}.json"


def _close(story: Story) -> None:
    day = str(story.day.day)
    story.line(f"$ gridseal day close {day}")
    with story.waiting("making a device-day for every meter"):
        data = str(story.platform.data)
        made = json.loads(gridseal("day", "close", day, "--json", "--data", data)[1])
    story.say(
        f"close {made['k']}, as of the log's first {int(made['prefix']):,} entries; the root of "
        f"the book of days is {made['book'][:16]}…"
    )


def _ordinary(story: Story) -> str:
    """The first meter with which nothing is wrong."""
    wrong = {fault.unit for fault in story.day.faults}
    meters = next(sender.units for sender in story.day.senders if sender.role == "headend")
    return next(unit.name for unit in meters if unit.name not in wrong)


def _day_row(story: Story, gateway: Gateway, policy: Path, name: str) -> tuple[str, str]:
    """How many quarter-hours of one meter's day are there, and what the verifier says."""
    path = f"/v1/device-days/{story.names[name]}/{story.day.day}?register={REGISTER}"
    document = gateway.get(path)
    file = _file(story, name)
    file.write_bytes(document)
    deadline = time.monotonic() + _ANCHORED_TIMEOUT_S
    with story.waiting("verifying, once the close stands on chain"):
        found = verdicts(story, file, policy)
        while found["exit"] == _NOT_YET and time.monotonic() < deadline:
            time.sleep(0.3)
            found = verdicts(story, file, policy)
    verdict = found["verdicts"]["complete"]
    if found["exit"] != 0:
        raise Failure(f"the day of {name} did not verify: {verdict['text']}")
    there = {int(slot["slot"]) for slot in json.loads(document)["slots"]}
    missing = sorted(set(range(story.day.slots)) - there)
    told = f"{len(there)} of {story.day.slots}"
    if missing:
        begin = story.day.begin
        first, last = (begin + _SLOT * slot for slot in (missing[0], missing[-1] + 1))
        told += f", {_hours(first, last)} missing"
    said = str(verdict["text"]).split("): ")[-1]  # the table names device and date already
    said = said.split(". ")[0].rstrip(".")
    return told, escape(f"{said[:1].upper()}{said[1:]}.")


def _hours(begin: datetime, end: datetime) -> str:
    """A stretch of time on the clock of the metering points."""
    return f"{begin.astimezone(_LOCAL):%H:%M} to {end.astimezone(_LOCAL):%H:%M}"


# --- one receipt ----------------------------------------------------------------------------------


def receive(story: Story, gateway: Gateway) -> tuple[dict[str, Any], Path]:
    """Step 6: one reading's receipt, once its checkpoint stands on chain."""
    story.head("One reading's receipt")
    path = story.work / "receipt.tlog-proof"
    with story.waiting("waiting until the checkpoint stands on chain"):
        item = _largest(story, gateway)
        deadline = time.monotonic() + _ANCHORED_TIMEOUT_S
        while item["state"] not in {"anchored", "final"}:
            if time.monotonic() > deadline:
                raise Failure(f"the log's head was not anchored within {_ANCHORED_TIMEOUT_S} s")
            time.sleep(0.2)
            item = _largest(story, gateway)
        path.write_bytes(gateway.get(str(item["receipt"])))
    record = item["record"]
    story.say(
        f"{record['value']} {record['unit']} of the meter {record['device'][:12]}… from "
        f"{record['begin']} to {record['end']}, entry {item['index']} of the log."
    )
    story.line(str(path))
    return item, path


def _largest(story: Story, gateway: Gateway) -> dict[str, Any]:
    """The largest reading of the ordinary household's day."""
    begin = story.day.begin
    query = {
        "device": story.names[_ordinary(story)],
        "kind": "reading",
        "from": f"{begin + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{begin + timedelta(minutes=15 * story.day.slots + 1):%Y-%m-%dT%H:%M:%SZ}",
        "limit": "1000",
    }
    deadline = time.monotonic() + _STORED_TIMEOUT_S
    while time.monotonic() < deadline:
        found = items(ask(gateway, f"/v1/readings?{urlencode(query)}"))
        if len(found) >= story.day.slots:
            return max(found, key=lambda one: int(one["record"]["value"]))
        time.sleep(0.1)
    raise Failure(f"the day of {_ordinary(story)} can't be read after {_STORED_TIMEOUT_S} s")


def verify(story: Story, item: Mapping[str, Any], receipt: Path, policy: Path) -> None:
    """Step 7: the verifier, with a policy and an RPC endpoint, and nothing of the platform."""
    story.head("gridseal verify, which trusts none of the above")
    found = verdicts(story, receipt, policy)
    show_verdicts(story, found)
    if found["exit"] != 0:
        raise Failure("the receipt did not verify; the verdicts above say why")
    story.say(
        "It would be exit 2 without --accept-own-chain: an operator could make his own chain anew."
    )
    changed, before, after = changed_receipt(receipt.read_text(encoding="utf-8"))
    forged = story.work / "forged.tlog-proof"
    forged.write_text(changed, encoding="utf-8")
    story.say(f"\nThe same receipt with one character changed, {before} Wh → {after} Wh:")
    found = verdicts(story, forged, policy)
    show_verdicts(story, found)
    if found["exit"] != 1:
        raise Failure("a forged receipt was not refused")
    story.proved.append(f"{before} Wh is entry {item['index']} of a log whose root is on a chain")
    story.caught.append(f"a receipt that says {after} Wh instead of {before} Wh")


# --- the phasors ----------------------------------------------------------------------------------


def phasors(story: Story, gateway: Gateway, policy: Path, background: Background) -> None:
    """Step 8: the substation's minute, in windows of a second."""
    story.head("The substation's phasors: 60 s around an event, 50 frames a second")
    if background.running_s > 1:
        story.say(f"The PMU sends at real speed, for another {background.running_s:.0f} s:")
    background.watch(story.console)
    account = background.tally.accounts["pmu"]
    story.say(escape(story.day.event[:1].upper() + story.day.event[1:]) + ".")
    if account.refused:
        first = next(iter(background.tally.examples.values()))[0]
        story.say(f"{account.refused} messages were refused: {escape(first.text)} [{first.code}]")
        return
    query = {"device": story.names[story.day.senders[-1].name], "kind": "phasors", "limit": "1000"}
    with story.waiting("waiting for the windows"):
        windows = _windows(story, gateway, query)
    frames = sum(int(window["record"]["frames"]) for window in windows)
    gone = [window["record"] for window in windows if int(window["record"]["missing"])]
    story.say(
        f"{account.values:,} frames came in; {len(windows)} windows of one second hold {frames:,}. "
        "Each is one entry in the log with the root over its frames, so each frame is provable."
    )
    _frame(story, gateway, policy, windows)
    for record in gone:
        text = f"{record['missing']} frames of the window {record['begin']}"
        story.say(f"Missing, and said so by the record itself: {text}")
        story.missing.append(f"the PMU: {text}")


def _frame(story: Story, gateway: Gateway, policy: Path, windows: list[dict[str, Any]]) -> None:
    """One frame of the middle window, proved by itself."""
    window = windows[len(windows) // 2]
    number = int(window["record"]["frames"]) // 2
    file = story.work / "frame.tlog-proof"
    deadline = time.monotonic() + _ANCHORED_TIMEOUT_S
    with story.waiting("verifying one frame, once its window stands on chain"):
        file.write_bytes(gateway.get(f"{window['receipt']}?frame={number}"))
        while (found := verdicts(story, file, policy))["exit"] == _NOT_YET:
            if time.monotonic() > deadline:
                raise Failure(f"the frame was not anchored within {_ANCHORED_TIMEOUT_S} s")
            time.sleep(0.3)
            file.write_bytes(gateway.get(f"{window['receipt']}?frame={number}"))
    if found["exit"] != 0:
        show_verdicts(story, found)
        raise Failure("the receipt of one frame did not verify")
    story.say(
        f"gridseal verify, of one frame alone: {escape(found['verdicts']['authentic']['text'])}"
    )
    story.proved.append(f"frame {number} of the second {window['record']['begin']}, by itself")


def _windows(story: Story, gateway: Gateway, query: dict[str, str]) -> list[dict[str, Any]]:
    """All windows of the minute, once they are closed and stored."""
    wanted = len({message.at.replace(microsecond=0) for message in story.day.messages
                  if message.form == "pmu"})  # fmt: skip
    deadline, found = time.monotonic() + _STORED_TIMEOUT_S, list[dict[str, Any]]()
    while time.monotonic() < deadline:
        found = items(ask(gateway, f"/v1/readings?{urlencode(query)}"))
        if len(found) >= wanted:
            return found
        time.sleep(0.2)
    raise Failure(f"only {len(found)} of {wanted} windows can be read")


# --- tampering ------------------------------------------------------------------------------------


def drill(story: Story) -> None:
    """Step 9: ten attacks on a copy of the data folder, each caught by the check that should."""
    story.head("What tampering looks like: gridseal drill")
    copy = story.work / "copy"
    with story.waiting("copying the data folder and checking the copy"):
        copy_folder(story.platform.data, copy)
    story.say("gridseal fsck on an untouched copy of the data folder: everything re-derives.")
    story.say("Then somebody with access to the disk alters the copy, in ten ways:")
    command = ("drill", "--json", "--data", str(copy))
    with story.waiting("attacking and checking, ten times"):
        _, printed = gridseal(*command, allowed=(0, 1), timeout_s=_DRILL_TIMEOUT_S)
    try:
        found = json.loads(printed)
    except ValueError:
        raise Failure("gridseal drill broke off") from None
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("", "attack", "what was done", "caught by", "as"):
        table.add_column(head, overflow="fold")
    for row in found["attacks"]:
        mark = "[green]✔[/]" if row["caught"] else "[red]✘[/]"
        what = (row["attack"], escape(row["done"]), row["by"], f"[yellow]{escape(row['code'])}[/]")
        table.add_row(mark, *what)
    story.show(table)
    if not found["passed"]:
        faults = [
            f"{row['attack']} was not caught" for row in found["attacks"] if not row["caught"]
        ]
        raise Failure(
            f"the drill did not pass: {', '.join([*found['differences'], *faults])[:300]}"
        )
    attacks = len(found["attacks"])
    story.say("Each check needs the data folder only; the real one was not written.")
    story.caught.append(f"{attacks} of {attacks} attacks on a copy of the data folder")
