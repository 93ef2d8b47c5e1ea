"""What fsck and replay have in common: differences, counts and the report."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bal.errors import GridsealError, Unavailable

if TYPE_CHECKING:
    from rich.progress import TaskID

DIFFERENCES_SHOWN_MAX = 100
DIFFERENCES_KEPT_MAX = 10_000  # of a store that is lost as a whole, each row would be one


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not what the rest says it must be."""

    check: str  # code of the check that caught it; docs/spec/limits-and-codes.md
    where: str  # entry 17, tile 0/3, checkpoint 120, …
    text: str


@dataclass(slots=True)
class Audit:
    """What was looked at and what differs."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    unchecked: Counter[str] = field(default_factory=Counter)  # what can't be re-derived, by reason
    other_rules: int = 0  # of those: messages that only another version makes again
    away: dict[str, str] = field(default_factory=dict)  # where a server did not answer, and why
    dropped: int = 0  # differences beyond DIFFERENCES_KEPT_MAX
    step: Callable[[str, int, int], None] = lambda what, done, total: None  # for `progress`

    def differ(self, check: str, where: str, text: str) -> None:
        """Note one difference."""
        if len(self.differences) < DIFFERENCES_KEPT_MAX:
            self.differences.append(Difference(check, where, text))
        else:
            self.dropped += 1

    def differ_at(self, check: str, indexes: Iterable[int], text: str) -> None:
        """Note one difference for each run of entries without a gap."""
        runs: list[list[int]] = []
        for index in sorted(indexes):
            if runs and runs[-1][1] == index - 1:
                runs[-1][1] = index
            else:
                runs.append([index, index])
        for first, last in runs:
            where = f"entry {first}" if first == last else f"entries {first} to {last}"
            self.differ(check, where, text)

    @contextmanager
    def guarded(self, where: str) -> Iterator[None]:
        """What a damaged store raises becomes a difference, and the audit goes on behind it.

        A server that is away is none: what it has is not checked.
        """
        try:
            yield
        except Unavailable as error:
            self.away.setdefault(where, str(error))
        except GridsealError as error:
            self.differ(str(getattr(error, "code", "store-damaged")), where, str(error))
        except Exception as error:  # noqa: BLE001 - damage makes any code of ours fail somewhere
            self.differ(
                "store-damaged", where, f"it can't be read: {type(error).__name__}: {error}"
            )


@contextmanager
def progress(audit: Audit) -> Iterator[None]:
    """Show on stderr how far the audit is, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich import console  # noqa: PLC0415 - 0.1 s, for people only
    from rich import progress as rich  # noqa: PLC0415

    columns = (
        rich.TextColumn("{task.description:<10}"),
        rich.BarColumn(),
        rich.TimeElapsedColumn(),
    )
    on_stderr = console.Console(stderr=True)
    with rich.Progress(*columns, console=on_stderr, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        audit.step = step
        try:
            yield
        finally:
            audit.step = lambda what, done, total: None


def chunks(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of at most `step`."""
    for at in range(start, stop, step):
        yield at, min(stop, at + step)


def report(what: str, audit: Audit, *, as_json: bool) -> int:
    """Print an audit; the exit code.

    0: nothing differs; 2: neither, but another version must look at some messages, or a server
    was away; 1: else.
    """
    if as_json:
        body: dict[str, object] = {
            "checked": dict(audit.counts),
            "not_checked": dict(audit.unchecked),
            "away": audit.away,
            "differences": [asdict(difference) for difference in audit.differences],
        }
        if audit.dropped:
            body["more_differences"] = audit.dropped
        sys.stdout.write(json.dumps(body, indent=1) + "\n")
        return 1 if audit.differences else 2 if audit.other_rules or audit.away else 0
    for name, count in audit.counts.items():
        sys.stdout.write(f"  {count:>9,} {name}\n")
    for name, count in audit.unchecked.items():
        sys.stdout.write(f"  {count:>9,} not checked: {name}\n")
    for where, text in audit.away.items():
        sys.stdout.write(f"? {where}: not checked: {text}\n")
    for difference in audit.differences[:DIFFERENCES_SHOWN_MAX]:
        sys.stdout.write(f"✘ {difference.check}: {difference.where}: {difference.text}\n")
    found = len(audit.differences) + audit.dropped
    more = found - DIFFERENCES_SHOWN_MAX
    if more > 0:
        sys.stdout.write(f"✘ and {more:,} more\n")
    if audit.differences:
        sys.stdout.write(f"{what}: {found:,} difference{'s' if found > 1 else ''}\n")
        return 1
    if audit.away:
        text = "nothing differs so far, but not everything could be looked at: run it again"
        sys.stdout.write(f"{what}: {text}\n")
        return 2
    if audit.other_rules:
        messages = f"{audit.other_rules:,} message{'s' if audit.other_rules > 1 else ''}"
        text = f"nothing differs, but {messages} must be looked at with the version that made them"
        sys.stdout.write(f"{what}: {text}\n")
        return 2
    sys.stdout.write(f"✔ {what}: everything agrees\n")
    return 0
