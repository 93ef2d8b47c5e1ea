"""What a watcher of a simulated day sees: bars, what came in, what was refused and why."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from field.tally import Account, Refusal, Tally

_REFRESH_S = 0.2
_CODES_SHOWN = 12


class View:
    """Bars that follow a tally while it grows; `async with View(console, tally): …`."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._tally = tally
        self._bars = Progress(
            TextColumn("   {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Show the bars."""
        for role, account in self._tally.accounts.items():
            if account.messages:
                title = f"{account.title:<12}"
                self._tasks[role] = self._bars.add_task(title, total=account.messages, said="")
        self._bars.start()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bars as they are."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        self.update()
        self._bars.stop()

    def update(self) -> None:
        """Bring the bars up to date."""
        for role, task in self._tasks.items():
            account = self._tally.accounts[role]
            said = f"{account.answered:,} of {account.messages:,} messages certified"
            said += f", {account.refused:,} refused" if account.refused else ""
            self._bars.update(task, completed=account.answered, said=said)

    async def _follow(self) -> None:
        while True:
            self.update()
            await asyncio.sleep(_REFRESH_S)


def came_in(tally: Tally) -> Table:
    """Who sent how much, and how much of it is in the log."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("from")
    table.add_column("as")
    for head in ("messages", "readings, frames", "entries in the log", "refused", "sent twice"):
        table.add_column(head, justify="right")
    for account in tally.accounts.values():
        if account.messages:
            table.add_row(*_row(account))
    return table


def _row(account: Account) -> tuple[str, ...]:
    count = f"{account.senders} {account.title}" if account.senders > 1 else account.title
    numbers = (account.messages, account.values, account.entries, account.refused, account.repeated)
    return (count, account.form, *(f"{number:,}" if number else "–" for number in numbers))


def refused(tally: Tally) -> Table:
    """What was refused and why: a line a code and kind of sender, with one example."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("how often", justify="right")
    table.add_column("from")
    table.add_column("code", style="yellow")
    table.add_column("why", overflow="fold")
    for (role, code), count in tally.refusals.most_common(_CODES_SHOWN):
        first = tally.examples[role, code][0]
        title = tally.accounts[role].title
        table.add_row(f"{count:,}", title, code, escape(_why(first)))
    return table


def _why(refusal: Refusal) -> str:
    """The platform's sentence, and where in the message and in which standard."""
    named = ("field", refusal.field), ("line", refusal.line), ("", refusal.clause)
    place = ", ".join(f"{what} {which}".strip() for what, which in named if which)
    return f"{refusal.text} ({place})" if place else refusal.text
