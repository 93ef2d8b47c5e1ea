"""What fsck and replay have in common: differences, counts and the report."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from bal.errors import GridsealError

DIFFERENCES_SHOWN_MAX = 100


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

    def differ(self, check: str, where: str, text: str) -> None:
        """Note one difference."""
        self.differences.append(Difference(check, where, text))

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
        """What a damaged store raises becomes a difference, and the audit goes on behind it."""
        try:
            yield
        except GridsealError as error:
            self.differ(str(getattr(error, "code", "store-unavailable")), where, str(error))
        except Exception as error:  # noqa: BLE001 - damage makes any code of ours fail somewhere
            self.differ(
                "store-damaged", where, f"it can't be read: {type(error).__name__}: {error}"
            )


def chunks(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of at most `step`."""
    for at in range(start, stop, step):
        yield at, min(stop, at + step)


def report(what: str, audit: Audit, *, as_json: bool) -> int:
    """Print an audit; exit code 0 when nothing differs, else 1."""
    if as_json:
        body = {
            "checked": dict(audit.counts),
            "not_checked": dict(audit.unchecked),
            "differences": [asdict(difference) for difference in audit.differences],
        }
        sys.stdout.write(json.dumps(body, indent=1) + "\n")
        return 1 if audit.differences else 0
    for name, count in audit.counts.items():
        sys.stdout.write(f"  {count:>9,} {name}\n")
    for name, count in audit.unchecked.items():
        sys.stdout.write(f"  {count:>9,} not checked: {name}\n")
    for difference in audit.differences[:DIFFERENCES_SHOWN_MAX]:
        sys.stdout.write(f"✘ {difference.check}: {difference.where}: {difference.text}\n")
    more = len(audit.differences) - DIFFERENCES_SHOWN_MAX
    if more > 0:
        sys.stdout.write(f"✘ and {more:,} more\n")
    if audit.differences:
        count = len(audit.differences)
        sys.stdout.write(f"{what}: {count:,} difference{'s' if count > 1 else ''}\n")
        return 1
    sys.stdout.write(f"✔ {what}: everything agrees\n")
    return 0
