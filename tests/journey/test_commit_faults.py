"""The commit protocol among real processes: killed at each step, or paused there and overtaken.

After each fault every file of the log is compared, byte for byte, with what its entries lead to.
"""

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from bal.certify.log import Frontier, Sequencer
from bal.certify.note import checkpoint_head
from bal.certify.tree import EMPTY_ROOT, leaf_hash, tree_head
from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import Stop
from infra.file_log import FileLog
from tests.bounded import line_of
from tests.journey import commit_child as child

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE_SWAP = ["stage", "staged-in-part", "swap"]
AFTER_SWAP = ["integrate", "tile:1", "headers", "sign", "publish", "settle"]
COUNTS = [1, 300]  # entries of the commit at fault: within a tile, and over the end of one
FIRST, LATER = 200, 10


def start(folder: Path, point: str, commits: int, count: int, tag: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, child.__file__, folder, point, str(commits), str(count), tag],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def told(process: subprocess.Popen[str]) -> str:
    return line_of(process, "a commit's next line")


def finish(process: subprocess.Popen[str]) -> str:
    """Let a process go on where it waits, and to its end; the last it said."""
    output, _ = process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
    return output.split()[-1]


def run(folder: Path, commits: int, count: int, tag: str) -> None:
    assert finish(start(folder, "none", commits, count, tag)) == "done"


def paused(folder: Path, point: str, count: int) -> subprocess.Popen[str]:
    """A process that waits at `point` of its first commit, behind a log of `FIRST` entries."""
    run(folder, 1, FIRST, "first")
    process = start(folder, point, 1, count, "fault")
    assert told(process) == "paused"
    return process


def made(*commits: tuple[int, int, str]) -> list[bytes]:
    return [entry for commit in commits for entry in child.entries(*commit)]


def check(folder: Path, expected: list[bytes]) -> None:
    """Heads row, every file of the tiles, every signed head, and the checkpoint."""
    log = FileLog(folder / "log", child.Still())
    signer = child.NotingSigner(folder)
    Sequencer(log, log, signer, child.ORIGIN)  # recovers, or stops
    leaves = [leaf_hash(entry) for entry in expected]
    heads = log.heads()
    assert (heads.size, heads.root) == (len(expected), tree_head(leaves).root)
    check_files(folder / "log" / "tile", log, expected)
    for line in (folder / "heads-signed").read_text().splitlines():
        size, root = line.split()
        assert tree_head(leaves[: int(size)]).root.hex() == root
    published = log.checkpoint()
    assert published is not None
    origin, head = checkpoint_head(published[1])
    assert (origin, head) == (child.ORIGIN, published[0])
    assert head == tree_head(leaves[: head.size])
    assert signed_by(parse_note(published[1].decode()), [parse_vkey(signer.vkey)])
    log.settle()
    log.close()
    check_staging(folder, expected)


def check_files(tiles: Path, log: FileLog, expected: list[bytes]) -> None:
    levels = Frontier(0, lambda _, __: EMPTY_ROOT).extend([leaf_hash(e) for e in expected])
    items = {str(level): [bytes(one) for one in hashes] for level, hashes in levels.items()}
    items["entries"] = [len(entry).to_bytes(2, "big") + entry for entry in expected]
    for kind, all_of in items.items():
        for n in range(-(-len(all_of) // 256)):
            wanted = all_of[256 * n : 256 * n + 256]
            read = log.bundle(n, len(wanted)) if kind == "entries" else None
            read = read or log.tile(int(kind), n, len(wanted))
            assert read == b"".join(wanted)
    for path in tiles.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue  # a temporary file of a killed process is nobody's tile
        kind, *rest = path.relative_to(tiles).parts
        partial = len(rest) == 2
        n, width = int(rest[0].removesuffix(".p")), int(rest[1]) if partial else 256
        wanted = items[kind][256 * n : 256 * n + width]
        assert len(wanted) == width, f"{path} is wider than the log"
        assert path.read_bytes() == b"".join(wanted), path


def check_staging(folder: Path, expected: list[bytes]) -> None:
    """The next start leaves nothing behind that is not its own."""
    log = FileLog(folder / "log", child.Still())
    sequencer = Sequencer(log, log, child.NotingSigner(folder), child.ORIGIN)
    assert sequencer.heads.size == len(expected)
    log.close()
    left = [path.name.lstrip(".") for path in (folder / "log" / "staging").iterdir()]
    assert all(int(name.split("-")[0]) > sequencer.heads.version for name in left)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("point", BEFORE_SWAP + AFTER_SWAP)
def test_killed_at_a_step(tmp_path: Path, point: str, count: int) -> None:
    process = paused(tmp_path, point, count)
    process.kill()
    process.communicate(timeout=60)
    won = point in AFTER_SWAP
    fault = [(1, count, "fault")] if won else []
    expected = made((0, FIRST, "first"), *fault)
    check(tmp_path, expected)
    run(tmp_path, 3, 90, "later")
    later = [(1 + won + at, 90, "later") for at in range(3)]
    check(tmp_path, expected + made(*later))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("point", BEFORE_SWAP + AFTER_SWAP)
def test_paused_at_a_step_and_overtaken(tmp_path: Path, point: str, count: int) -> None:
    process = paused(tmp_path, point, count)
    process.send_signal(signal.SIGSTOP)
    run(tmp_path, LATER, 90, "later")
    process.send_signal(signal.SIGCONT)
    said = finish(process)
    won = point in AFTER_SWAP
    fault = [(1, count, "fault")] if won else []
    later = [(1 + won + at, 90, "later") for at in range(LATER)]
    expected = made((0, FIRST, "first"), *fault, *later)
    # What was signed or published by then is true all the same: it may end in peace.
    refused = {"sign": {"signer-refuses"}, "publish": {"done"}, "settle": {"done"}}
    assert said in refused.get(point, {"lost-swap"})
    check(tmp_path, expected)
    run(tmp_path, 1, 5, "last")
    check(tmp_path, expected + made((1 + won + LATER, 5, "last")))


def test_two_that_start_together_make_one_order(tmp_path: Path) -> None:
    """Without any pause: each stops when it loses, and is started again."""
    run(tmp_path, 1, 1, "first")
    for _ in range(5):
        racers = [start(tmp_path, "none", 5, 70, tag) for tag in ("a", "b")]
        assert {finish(racer) for racer in racers} <= {"done", "lost-swap", "signer-refuses"}
    log = FileLog(tmp_path / "log", child.Still())
    sequencer = Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    last = sequencer.heads.taken[child.SOURCE]
    assert last >= 10
    headers = [header for _, header in log.headers((0, -1), 1000)]
    expected = made((0, 1, "first"))
    for offset, header in enumerate(headers[1:], 1):
        ours = [made((offset, 70, tag)) for tag in ("a", "b")]
        (found,) = [e for e in ours if sha256(b"".join(e)).hexdigest().encode() in header]
        expected += found
    log.close()
    assert len(headers) == last + 1
    check(tmp_path, expected)


def test_a_heads_row_that_was_restored_stops_the_start(tmp_path: Path) -> None:
    run(tmp_path, 2, 10, "first")
    heads = tmp_path / "log" / "heads.db"
    old = heads.read_bytes()
    run(tmp_path, 1, 10, "later")
    heads.write_bytes(old)
    log = FileLog(tmp_path / "log", child.Still())
    with pytest.raises(Stop, match="log-ahead"):
        Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    log.close()
    for file in (tmp_path / "log").glob("heads.db*"):
        file.unlink()
    log = FileLog(tmp_path / "log", child.Still())
    with pytest.raises(Stop, match="log-ahead"):
        Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    log.close()


def test_staging_is_kept_until_its_tiles_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settler's second may fall between swap and tiles."""
    run(tmp_path, 1, FIRST, "first")
    log = FileLog(tmp_path / "log", child.Still())
    sequencer = Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    monkeypatch.setattr(log, "integrate", lambda *_: log.settle())
    from bal.certify.log import Batch

    found = child.entries(1, 80, "fault")
    sequencer.commit([Batch(child.EPOCH, 0, 1, 0, found, {"rules": "r"})])
    check(tmp_path, made((0, FIRST, "first"), (1, 80, "fault")))


def test_files_that_are_fsynced_and_staging_make_the_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a power cut leaves it: what was never fsynced is gone, whatever it replaced."""
    from infra import file_log

    synced: dict[Path, bytes] = {}
    sync = file_log.sync_file

    def noting(path: Path) -> None:
        sync(path)
        if path.is_file():
            synced[path] = path.read_bytes()

    monkeypatch.setattr(file_log, "sync_file", noting)
    log = FileLog(tmp_path / "log", child.Still())
    sequencer = Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    from bal.certify.log import Batch

    expected: list[bytes] = []
    for offset, count in enumerate((3, 5, 7, 11, 300, 2, 900, 4)):
        found = child.entries(offset, count, "a")
        sequencer.commit([Batch(child.EPOCH, 0, offset, offset - 1, found, {"rules": "r"})])
        sequencer.publish()
        expected += found
        if offset in {2, 5}:
            log.settle()
    tiles = tmp_path / "log" / "tile"
    for path in list(tiles.rglob("*")):
        if path.is_file() and synced.get(path) != path.read_bytes():
            path.write_bytes(b"")  # its name survived, its content did not
    check(tmp_path, expected)


def test_the_names_of_new_folders_are_fsynced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of a file promises its content: a name is kept by fsync of the folder that has it."""
    from bal.certify.log import Batch
    from infra import file_log

    kept: dict[Path, set[str]] = {}
    sync = file_log.sync_folder

    def noting(path: Path) -> None:
        sync(path)
        kept[path] = {one.name for one in path.iterdir()}

    monkeypatch.setattr(file_log, "sync_folder", noting)
    folder = tmp_path / "log"
    log = FileLog(folder, child.Still())
    sequencer = Sequencer(log, log, child.NotingSigner(tmp_path), child.ORIGIN)
    for offset, count in enumerate((3, 300, 2, 900, 4)):
        found = child.entries(offset, count, "a")
        sequencer.commit([Batch(child.EPOCH, 0, offset, offset - 1, found, {"rules": "r"})])
        log.settle()
        for path in (folder / "tile").rglob("*"):
            assert path.name in kept[path.parent], path
        assert "tile" in kept[folder]
    log.close()
