"""Who only reads the log behind a power cut sees it as the next sequencer makes it again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from threading import Thread

import pytest
import store_child as child

from bal.certify.log import Batch, Frontier, Sequencer
from bal.certify.tree import leaf_hashes, tree_head
from bal.errors import Stop
from bal.ports import Commit
from infra.file_log import FileLog
from infra.key_signer import KeySigner
from infra.log_reader import batch_headers
from infra.staged_log import framed

ORIGIN = "gridseal.invalid/0123456789abcdef"
SIGNER = KeySigner(ORIGIN, b"s" * 32)


def open_log(folder: Path, *, reader: bool = False, read_only: bool = False) -> FileLog:
    return FileLog(folder / "log", child.FixedClock(), reader=reader, read_only=read_only)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Log:
    """Commits of random size, settled up to some point; what was not is damaged."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self._chance = folder, Random(seed)
        self.entries: list[bytes] = []
        self.headers: list[bytes] = []
        self._seen: dict[Path, bytes] = {}
        self.commits(self._chance.randint(0, 8), settle=True)
        self.settled()

    def settled(self) -> None:
        """All that is there was fsynced."""
        self.whole = files(self.folder / "log" / "tile")
        self._seen.clear()
        self.version = len(self.headers)

    def commits(self, count: int, size: int = 0, *, settle: bool) -> None:
        """size: of each, in entries; 0: any."""
        log = open_log(self.folder)
        sequencer = Sequencer(log, log, SIGNER, ORIGIN)
        for _ in range(count):
            offset = len(self.headers)
            number = size or self._chance.choice((1, 3, 200, 700))
            found = [self._chance.randbytes(32) for _ in range(number)]
            one = Batch("e" * 16, 0, offset, offset - 1, found, {"rules": "r"})
            self.headers.append(one.header(len(self.entries)))
            sequencer.commit([one])
            self.entries += found
            self._seen |= files(self.folder / "log" / "tile")
        if settle:
            log.close()
        else:  # as of a process that is killed
            for database in (log._heads, log._published, log._headers):
                database.close()

    def cut(self) -> None:
        """More commits; then the power, which leaves any part of what was not fsynced."""
        self.commits(self._chance.randint(1, 12), settle=False)
        left = files(self.folder / "log" / "tile")
        gone = {path: one for path, one in self._seen.items() if path not in left}
        for path in self._chance.sample(sorted(gone), len(gone) // 3):  # its removal is undone
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gone[path])
            left[path] = gone[path]
        for path, content in left.items():
            if path in self.whole:
                continue
            how = self._chance.choice(("gone", "short", "zeros", "some", "kept"))
            if how == "gone":
                path.unlink()
            elif how != "kept":
                path.write_bytes(self._damaged(how, content))
        self.take_headers(self._chance.randint(self.version, len(self.headers)))

    def take_headers(self, behind: int) -> list[tuple[object, ...]]:
        """Takes those behind a version away; their rows."""
        with self._headers() as db:
            sql = "SELECT * FROM header WHERE version > ? ORDER BY version, number"
            rows = db.execute(sql, (behind,)).fetchall()
            db.execute("DELETE FROM header WHERE version > ?", (behind,))
        return rows

    def give_headers(self, rows: list[tuple[object, ...]]) -> None:
        """As a sequencer writes them."""
        with self._headers() as db:
            db.executemany("INSERT INTO header VALUES(?, ?, ?)", rows)

    @contextmanager
    def _headers(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "log" / "headers.db")) as db, db:
            yield db

    def _damaged(self, how: str, content: bytes) -> bytes:
        at = self._chance.randrange(len(content))
        if how == "short":
            return content[:at]
        return bytes(len(content)) if how == "zeros" else content[:at] + bytes(len(content) - at)


@pytest.fixture(params=range(40))
def cut(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    made = Log(tmp_path, request.param)
    made.cut()
    return made


def tiles(entries: list[bytes]) -> Iterator[tuple[str, int, list[bytes]]]:
    levels = Frontier.empty().extend(leaf_hashes(entries))
    kinds: dict[str, list[bytes]] = {str(level): [*hashes] for level, hashes in levels.items()}
    kinds["entries"] = framed(entries)
    for kind, items in kinds.items():
        for n in range(-(-len(items) // 256)):
            yield kind, n, items[256 * n : 256 * n + 256]


def check(log: FileLog, expected: Log) -> None:
    """Every tile and bundle, whole and in part, and every header."""
    for kind, n, items in tiles(expected.entries):
        for width in {1, len(items) // 2 or 1, len(items)}:
            found = log.bundle(n, width) if kind == "entries" else log.tile(int(kind), n, width)
            assert found == b"".join(items[:width]), f"{kind}/{n}.{width}"
    assert [header for _, header in batch_headers(log)] == expected.headers
    pages = [log.headers((version, 0), 2) for version in range(len(expected.headers))]
    assert [page[0][1] for page in pages] == expected.headers


@pytest.mark.parametrize("read_only", [False, True])
def test_a_reader_sees_all_that_was_committed(cut: Log, read_only: bool) -> None:
    before = files(cut.folder / "log" / "tile"), files(cut.folder / "log" / "staging")
    with closing(open_log(cut.folder, reader=True, read_only=read_only)) as log:
        check(log, cut)
        assert log.heads().root == tree_head(leaf_hashes(cut.entries)).root
    assert (files(cut.folder / "log" / "tile"), files(cut.folder / "log" / "staging")) == before


def test_a_reader_that_stays_goes_on_with_the_files(cut: Log) -> None:
    with closing(open_log(cut.folder, reader=True)) as log:
        check(log, cut)
        cut.commits(9, settle=False)
        check(log, cut)
        cut.commits(2, settle=True)
        check(log, cut)
    with closing(open_log(cut.folder, read_only=True)) as later:
        check(later, cut)
        assert later.redone() == 0


def test_headers_have_no_gap_while_a_sequencer_makes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has got as far as the middle when a reader looks at the staging for the first time."""
    made = Log(tmp_path, 0)
    made.commits(8, 3, settle=False)
    rows = made.take_headers(made.version)
    with closing(open_log(tmp_path, reader=True)) as log:
        staged = log.staged

        def meanwhile() -> list[Commit]:
            found = staged()
            made.give_headers(rows[:4])
            return found

        monkeypatch.setattr(log, "staged", meanwhile)
        assert [header for _, header in batch_headers(log)] == made.headers


def test_who_has_begun_to_read_keeps_the_headers_that_others_forget(tmp_path: Path) -> None:
    """They go once the file has them all; another thread may have read the file before."""
    made = Log(tmp_path, 0)
    made.commits(8, 3, settle=False)
    rows = made.take_headers(made.version)
    with closing(open_log(tmp_path, reader=True)) as log:
        assert [header for _, header in batch_headers(log)] == made.headers
        begun = log._made_again().headers
        made.give_headers(rows)
        assert [header for _, header in batch_headers(log)] == made.headers
        assert log._made_again().headers == []
        assert [header for _, header in begun] == made.headers[made.version :]


@pytest.mark.parametrize("seed", range(6))
def test_readers_beside_a_sequencer_that_redoes_and_settles(tmp_path: Path, seed: int) -> None:
    made = Log(tmp_path, seed)
    for _ in range(3):
        made.cut()
        with closing(open_log(tmp_path)) as log:
            done: list[object] = []

            def redo(log: FileLog = log, done: list[object] = done) -> None:
                Sequencer(log, log, SIGNER, ORIGIN)
                log.settle()
                done.append(None)

            redoing = Thread(target=redo)
            redoing.start()
            try:
                while True:
                    with closing(open_log(tmp_path, reader=True)) as reader:
                        check(reader, made)
                    if not redoing.is_alive():
                        break
            finally:
                redoing.join()
        assert done
        made.settled()


def test_what_is_lost_below_the_staging_is_missed(tmp_path: Path) -> None:
    """That a reader makes nothing up: what was fsynced and is gone is an error as ever."""
    made = Log(tmp_path, 0)
    made.commits(3, 200, settle=True)
    made.commits(2, 200, settle=False)
    edge = len(made.entries) - 400
    for path in (tmp_path / "log" / "tile").glob(f"0/*.p/{edge % 256}"):
        path.write_bytes(path.read_bytes()[:-1])
    for path in (tmp_path / "log" / "tile" / "entries").glob("*"):
        if path.is_file():
            path.unlink()
    with closing(open_log(tmp_path, reader=True)) as log:
        with pytest.raises(KeyError):
            log.bundle(0, 1)
        with pytest.raises(KeyError):
            log.tile(0, edge // 256, edge % 256)
        assert log.redone() == 0
    with closing(open_log(tmp_path)) as log, pytest.raises(Stop, match="log-damaged"):
        Sequencer(log, log, SIGNER, ORIGIN)


def test_a_torn_staging_of_no_swap_is_nobodys(tmp_path: Path) -> None:
    made = Log(tmp_path, 1)
    (tmp_path / "log" / "staging" / f"{made.version + 1:016d}-{'00' * 32}").write_bytes(b"torn")
    with closing(open_log(tmp_path, reader=True)) as log:
        check(log, made)
        assert log.redone() == 0
    assert list((tmp_path / "log" / "staging").iterdir())  # it may be one that is being written
