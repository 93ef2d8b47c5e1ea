"""`gridseal drill`: ten attacks on a copy of a data folder, each caught by the check that should.

The original is never written. The copy is looked at first (fsck and replay), so that what a check
finds later is the attack's doing. docs/operations.md.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bal.errors import GridsealError
from infra.audit import Audit
from infra.copy_projection import redo
from infra.data_copy import check_outside, copy_data
from infra.data_folder import DataFolder
from infra.drill_attacks import ATTACKS, Attack
from infra.drill_victim import NothingToAttack, find_victim
from infra.fsck import fsck
from infra.replay import replay

DIFFERENCES_SHOWN_MAX = 20
ALONE_BYTES = 8 * 1024 * 1024  # of a copy; below, a process would take longer to begin
PROCESSES_MAX = 4  # each has an attack's copy of the databases on disk
OPENED_TO_WRITE = ("bus/", "roles.db")  # also by who only looks at them

Said = Callable[["Row"], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One attack and its end."""

    attack: str
    done: str  # what was altered; why nothing was, where nothing could be
    by: str  # fsck, replay, verify or signer: the check that must catch it
    code: str  # that it must catch it by
    where: str  # where it was found; "" where it was not
    caught: bool
    made: bool = True  # False: there was nothing to make it on


@dataclass(frozen=True, slots=True)
class Drill:
    """A whole drill."""

    clean: Sequence[str]  # what differs in the untouched copy: nothing, if all is well
    rows: Sequence[Row]

    @property
    def passed(self) -> bool:
        """Whether the untouched copy is clean and every attack was caught as it should be."""
        return not self.clean and all(row.caught for row in self.rows)


def drill(data: Path, temp: Path | None = None, on_row: Said = lambda _: None) -> Drill:
    """Run the drill on a copy of `data`, below `temp` (the system's folder for such things).

    on_row: told of each attack as it ends. Raises Stop("data-folder") where `data` is none, and
    OSError where there is no room for some copies of its databases.
    """
    if temp is not None:
        check_outside(data, temp)
    work = Path(tempfile.mkdtemp(prefix="gridseal-drill-", dir=temp))
    try:
        copy_data(data, work / "copy")
        with _side_by_side(work / "copy") as each:
            clean = [text for texts in each(_differences, (fsck, replay), work) for text in texts]
            rows: list[Row] = []
            if not clean:
                redo(DataFolder(work / "copy"))  # nobody alters for good what a start makes again
                for row in each(_attacked, ATTACKS, work):
                    rows.append(row)
                    on_row(row)
        return Drill(clean, rows)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _side_by_side(copy: Path) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over things to look at, in processes of their own where there is much to look at."""
    size = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    if size < ALONE_BYTES:
        yield lambda call, items, work: map(call, items, repeat(work))
        return
    processes = min(PROCESSES_MAX, os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield lambda call, items, work: pool.map(call, items, repeat(work))


def _differences(audit: Callable[[Path], Audit], work: Path) -> list[str]:
    """What differs in the untouched copy."""
    found = audit(work / "copy").differences
    return [f"{one.check}: {one.where}: {one.text}" for one in found]


def _attacked(attack: Attack, work: Path) -> Row:
    copy = work / attack.name.replace(" ", "-")
    _fresh(work / "copy", copy, attack.alters)
    folder = DataFolder(copy)
    try:
        attempt = attack.run(folder, find_victim(folder))
    except NothingToAttack as nothing:
        text = f"nothing: {nothing}"
        return Row(attack.name, text, attack.by, attack.code, "", caught=False, made=False)
    except GridsealError as error:
        text = f"it could not be made: {error}"
        return Row(attack.name, text, attack.by, attack.code, "", caught=False)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    found = [where for code, where in attempt.found if code == attack.code]
    caught = attempt.where in found if attempt.where else bool(found)
    where = (attempt.where or found[0]) if caught else ""
    return Row(attack.name, attempt.done, attack.by, attack.code, where, caught)


def _fresh(base: Path, to: Path, alters: Sequence[str]) -> None:
    """A copy of the copy: what will be altered is copied, the rest are further names of it.

    Tiles and the like are never written in place, so a further name is as good as a copy.
    """
    for path in sorted(base.rglob("*")):
        name = path.relative_to(base)
        if path.is_dir():
            (to / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        (to / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        altered = (*alters, *OPENED_TO_WRITE)
        own = any(name.as_posix().startswith(a) or name.name.endswith(a) for a in altered)
        if path.name.endswith(("-wal", "-shm")):
            continue  # of a look at it; every database is whole without
        if own:
            shutil.copy2(path, to / name)
        else:
            os.link(path, to / name)


def report(done: Drill, *, as_json: bool) -> int:
    """Print a drill; the exit code: 0 where it passed."""
    if as_json:
        body = {"clean": not done.clean, "differences": list(done.clean),
                "attacks": [asdict(row) for row in done.rows], "passed": done.passed}  # fmt: skip
        sys.stdout.write(json.dumps(body, ensure_ascii=False, indent=1) + "\n")
        return 0 if done.passed else 1
    for text in done.clean[:DIFFERENCES_SHOWN_MAX]:
        sys.stdout.write(f"✘ the untouched copy: {text}\n")
    if done.clean:
        sys.stdout.write("drill: no attack was made: first see to these, with `gridseal fsck`\n")
        return 1
    sys.stdout.write(table(done.rows) + "\n")
    caught = sum(row.caught for row in done.rows)
    idle = sum(not row.made for row in done.rows)
    none = f", {idle} not made for want of something to attack" if idle else ""
    sys.stdout.write(
        f"{'✔' if done.passed else '✘'} drill: {caught} of {len(done.rows)} attacks caught{none};"
        " the untouched copy is clean, and the data folder was not written\n"
    )
    return 0 if done.passed else 1


def table(rows: Sequence[Row]) -> str:
    """The rows for people: attack, what was done, caught by, code, row."""
    cells = [("", "attack", "what was done", "caught by", "code", "row")]
    for row in rows:
        mark, by = ("✔", row.by) if row.caught else ("✘", "nobody") if row.made else ("–", "–")
        cells.append((mark, row.attack, row.done, by, row.code, row.where or "–"))
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
