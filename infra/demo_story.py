"""What the demo's steps share: the console they tell their story on, and what they hand on."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from field.day import Day, Fault
from field.tally import Tally
from infra.demo_platform import Gateway, Platform, gridseal

_EXITS = {0: "[green]all that was asked holds[/]", 1: "[red]a proof fails[/]"}
_HOLDS = {"authentic", "anchored", "complete", "nothing-doubtful"}
_OPEN = {"own-chain", "not-anchored-yet", "not-checked", "complete-gaps"}  # no failure


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the environment asks for; docs/simulator.md has the table."""

    grid: str
    days: int
    speed: float | None  # times as fast as in life; None as fast as it goes
    pmu_speed: float | None
    seed: int
    last: date


@dataclass(slots=True)
class Story:
    """The console, and what the steps hand on to each other."""

    console: Console
    work: Path  # what the demo makes beside the data folder
    platform: Platform
    wishes: Wishes
    step: int = 0
    days: list[Day] = field(default_factory=list)
    tally: Tally | None = None
    names: dict[str, str] = field(default_factory=dict)  # a unit's or sender's name → pseudonym
    proved: list[str] = field(default_factory=list)  # for the end: one sentence each
    missing: list[str] = field(default_factory=list)
    caught: list[str] = field(default_factory=list)

    @property
    def group(self) -> str:
        """The group that all devices of the grid are in."""
        return self.wishes.grid.lower()

    @property
    def day(self) -> Day:
        """The last day that is played; the one that is closed."""
        return self.days[-1]

    def head(self, title: str) -> None:
        """Begin the next step."""
        self.step += 1
        self.console.print(f"\n[bold]{self.step}. {title}[/bold]")

    def say(self, text: str) -> None:
        """A sentence under the step, wrapped to the terminal."""
        self.console.print(Padding(text, (0, 0, 0, 3), expand=False))

    def line(self, text: str) -> None:
        """A line that may be copied: never wrapped, nothing in it is markup."""
        self.console.print(f"   {text}", markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        """A table under the step."""
        self.console.print(Padding(table, (0, 0, 0, 3), expand=False))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show that something is going on."""
        with self.console.status(what):
            yield

    def fault(self, kind: str) -> Fault | None:
        """What is wrong on purpose with the last day, of one kind."""
        return next((fault for fault in self.day.faults if fault.kind == kind), None)


def verdicts(story: Story, file: Path, policy: Path) -> dict[str, Any]:
    """What `gridseal verify` says of a receipt or of a day's document, as JSON."""
    ca = str(story.platform.facts["ca"])
    trust = ("--policy", str(policy), "--ca", ca, "--accept-own-chain")
    _, printed = gridseal("verify", str(file), *trust, "--json", allowed=(0, 1, 2))
    found: dict[str, Any] = json.loads(printed)
    return found


def show_verdicts(story: Story, found: Mapping[str, Any]) -> None:
    """Question by question, then the exit code."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for question, verdict in found["verdicts"].items():
        code = verdict["code"]
        if code == "not-checked":
            continue
        mark = "[green]✔[/]" if code in _HOLDS else "–" if code in _OPEN else "[red]✘[/]"
        table.add_row(mark, question, escape(f"{verdict['text']} [{code}]"))
    story.show(table)
    story.say(f"exit {found['exit']}: {_EXITS.get(found['exit'], 'not decidable yet')}")


def items(answer: Mapping[str, Any], name: str = "items") -> list[dict[str, Any]]:
    """A list in an answer; empty where there is none."""
    found = answer.get(name)
    return found if isinstance(found, list) else []


def ask(gateway: Gateway, path: str) -> dict[str, Any]:
    """One JSON document of the gateway."""
    found: dict[str, Any] = json.loads(gateway.get(path))
    return found
