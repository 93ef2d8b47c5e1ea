"""A disk that fills: an alarm first, then an end of accepting, and on again once there is room."""

import subprocess
import sys
from pathlib import Path

import pytest

from bal.errors import Unavailable
from infra.disk_watch import DiskWatch, free_bytes
from infra.intake_writer import IntakeWriter, on_bus
from infra.key_signer import KeySigner
from tests.journey.small_platform import ORIGIN, Hand, Small, cim

WARN, STOP = 800, 400


class Disk:
    """As much room as the test says."""

    def __init__(self) -> None:
        self.free, self.said = 1_000, list[str]()
        self.watch = DiskWatch(
            warn_bytes=WARN, stop_bytes=STOP, free=lambda: self.free, hold=self.said.append
        )

    def at(self, free: int) -> str:
        self.free = free
        self.watch.look()
        return self.watch.alarm


def test_alarm_then_stop_then_on_again(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    assert (disk.at(1_000), disk.watch.health()) == ("", "ok")
    assert disk.at(799) == "disk-low"
    assert disk.watch.health().startswith("disk-low: ")
    assert (disk.at(400), disk.said) == ("disk-low", [])
    assert (disk.at(399), len(disk.said)) == ("disk-full", 1)
    assert disk.at(449) == "disk-full"  # an eighth more than the stop, or it would flap
    assert (disk.at(450), disk.said[1:]) == ("disk-low", [""])
    assert (disk.at(800), len(disk.said)) == ("", 2)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "disk-low", "disk-full", "disk-low",
    ]  # fmt: skip


def test_what_was_accepted_is_committed_and_nothing_more_is_taken(tmp_path: Path) -> None:
    small, disk = Small(tmp_path), Disk()
    small.start()
    small.enrol("headend")
    signer = KeySigner(f"{ORIGIN}/intake", bytes(32))
    append = on_bus(small.stores.bus)
    writer = IntakeWriter(append, signer, ORIGIN, Hand(), small.engine.wake)
    disk.watch._hold = writer.hold
    writer.start()
    before = len(small.certified)
    accepted = writer.submit("headend", "cim", cim(1, range(3)))
    disk.at(STOP - 1)
    with pytest.raises(Unavailable, match="disk is full") as caught:
        writer.submit("headend", "cim", cim(2, range(3)))
    assert caught.value.retry_after_s == 30
    assert accepted.result(timeout=30).message
    small.wait(before + 1)
    disk.at(WARN)
    assert writer.submit("headend", "cim", cim(3, range(3))).result(timeout=30).message
    small.wait(before + 2)
    writer.stop()
    small.close()


def test_the_thread_looks_at_once_and_ends() -> None:
    disk = Disk()
    disk.free = 1
    disk.watch.start()
    assert disk.watch.alarm == "disk-full"
    disk.watch.stop()
    assert not disk.watch._thread.is_alive()


def test_the_folder_with_the_least_room_counts(tmp_path: Path) -> None:
    assert free_bytes([tmp_path, tmp_path / "absent"]) == free_bytes([tmp_path]) > 0


CHILD = """
import sys
from pathlib import Path
from infra.disk_watch import DiskWatch, free_bytes

folder, said = Path(sys.argv[1]), []
watch = DiskWatch(warn_bytes=5 << 20, stop_bytes=2 << 20,
                  free=lambda: free_bytes([folder]), hold=said.append)
seen = []
for megabytes in (1, 4, 7):
    (folder / "fill").write_bytes(bytes(megabytes << 20))
    watch.look()
    seen.append(watch.alarm)
(folder / "fill").unlink()
watch.look()
print(*filter(None, seen), repr(watch.alarm), len(said))
"""


def test_a_real_file_system_that_fills(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mounted, "sh", tmp_path, sys.executable, CHILD],
            capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("optional: there is no unshare(1) here")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"optional: no file system can be mounted here: {done.stderr.strip()}")
    assert done.stdout.split() == ["disk-low", "disk-full", "''", "2"], done.stderr
