"""After a power cut a file may have more than the others: what counts as stored is what all have.

The files are put together by hand: of `progress.db` all that was written, of archive and rows what
was synced.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bal import jcs
from infra import progress_file
from infra.log_reader import batch_headers
from tests.adapters.roles.folder_kit import EPOCH, Played
from tests.adapters.roles.lane_kit import cim

LAZY = "archive", "scd"


def folder_after_a_cut(root: Path) -> Played:
    """One in which offset 1 is in the log, and its rows were on their way to the disk."""
    played = Played(root / "before", partitions=1)
    worker, sequencing = played.worker(), played.sequencing()
    storer, _ = played.storer()
    steps = worker.step, sequencing.step, storer.step
    played.enrol(played.stores("fsck"))
    played.settle(*steps)
    played.clock.pass_(6)
    played.settle(*steps)  # synced
    for name in LAZY:
        shutil.copytree(played.root / name, root / "synced" / name)
    seen = played.stores("seen").projector
    begun = seen.progress()
    played.send("cim", cim("m-1"), 0)
    played.settle(*steps)
    assert seen.progress() == begun
    assert seen.size() > begun.size
    worker.close()
    shutil.copytree(played.root, root / "after")
    for name in LAZY:
        for path in (root / "after" / name).iterdir():
            if not path.name.startswith("progress.db"):
                path.unlink() if path.is_file() else shutil.rmtree(path)
        ignored = shutil.ignore_patterns("progress.db*")
        synced, after = root / "synced" / name, root / "after" / name
        shutil.copytree(synced, after, ignore=ignored, dirs_exist_ok=True)
    clock = played.clock
    played.close()
    return Played(root / "after", partitions=1, clock=clock)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    made = folder_after_a_cut(tmp_path)
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(progress_file, "BOOT_ID", tmp_path / "boot_id")
    yield made
    made.close()


def test_what_is_not_there_does_not_count_as_stored(played: Played) -> None:
    """Else a day would be closed over rows that are missing, and no storer could make it again."""
    seen = played.stores("seen")
    assert seen.stored.size() <= seen.customer_db.size() < seen.log.heads().size
    storer, _ = played.storer()
    played.settle(storer.step)
    assert seen.stored.size() == seen.customer_db.size() == seen.log.heads().size
    storer.close()


def test_a_retry_behind_a_power_cut_is_one(played: Played) -> None:
    worker, sequencing = played.worker(), played.sequencing()
    played.send("cim", cim("m-1"), 0)  # its sender has no receipt
    played.settle(worker.step, sequencing.step)  # they are there before the storer is
    storer, _ = played.storer()
    played.settle(worker.step, sequencing.step, storer.step)
    log = played.stores("fsck").log
    found = [jcs.decode(header) for _, header in batch_headers(log)]
    again = {one["offset"]: one.get("again", "") for one in found if one["epoch"] == EPOCH}
    assert again == {"0": "", "1": "", "2": f"{EPOCH}/0/1"}
    storer.close()
    worker.close()
