"""The log in a folder: entries and tiles as files, and a heads row (docs/spec/log.md).

Layout below the folder: `heads.db` unless that row is kept elsewhere, `published.db`, `headers.db`,
`staging/<version>-<root>`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. A tile file never
changes: a wider partial one is a new file, so a process that was paused and resumes does no harm.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from bal.certify.tiles import TILE_WIDTH, tile_index_path
from bal.errors import Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Clock, Commit, Heads
from infra.files import (
    look_at_sqlite,
    make_folder,
    open_sqlite,
    replace_file,
    sync_file,
    sync_folder,
    why,
)
from infra.heads_row import HeadsRow, SqliteHeads
from infra.sqlite_file import transaction, translated
from infra.staged_log import (
    ENTRIES,
    Redone,
    decode_commit,
    encode_commit,
    first_items,
    framed,
)

_PUBLISHED = """
CREATE TABLE IF NOT EXISTS published(
    id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER, note BLOB, root BLOB);
CREATE TABLE IF NOT EXISTS history(size INTEGER PRIMARY KEY, time_us INTEGER);
CREATE INDEX IF NOT EXISTS history_time ON history(time_us, size);
"""
# Both columns only ever grow, so the last of an instant is the largest.
SIZE_AT = "SELECT size FROM history WHERE time_us <= ? ORDER BY time_us DESC, size DESC LIMIT 1"
_HEADERS = """
CREATE TABLE IF NOT EXISTS header(version INTEGER, number INTEGER, header BLOB,
    PRIMARY KEY(version, number)) WITHOUT ROWID;
"""
_Edge = tuple[int, int, bytes]  # number of the tile at the right, its width, its content


class FileLog:
    """LogStore and TileReader (bal.ports) over one folder."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        heads: HeadsRow | None = None,
        reader: bool = False,
        read_only: bool = False,
    ) -> None:
        """heads: where the heads row is kept, `heads.db` in the folder if None; closed with it.

        reader: of who commits nothing. After a power cut the files lack what a sequencer makes
        again from the staging; a reader sees it as it will be. read_only: such a one for an audit,
        which makes no file.
        """
        self._folder = folder if read_only else make_folder(folder)
        self._staging = folder / "staging" if read_only else make_folder(folder / "staging")
        self._clock = clock
        self._reader, self._read_only = reader or read_only, read_only
        self._heads = heads or SqliteHeads(folder, read_only=read_only)
        # Headers are redone from staging after a power loss, so their commits need no fsync.
        self._headers = self._database("headers.db", _HEADERS, "NORMAL")
        # A checkpoint that a power cut takes back is followed by a larger one at the next start.
        self._published = self._database("published.db", _PUBLISHED, "NORMAL")
        self._lock = Lock()
        self._edges: dict[str, _Edge] = {}  # by level or ENTRIES
        self._dirty: set[Path] = set()  # written, not fsynced
        self._superseded: set[Path] = set()  # fsynced partial tiles of which there is a wider one
        self._last: dict[str, Path] = {}  # the file written last, by level or ENTRIES
        self._unsettled: list[Path] = []  # staging of what this process integrated
        nothing = Redone(self._stored, (), (0, 0))
        self._redone = None if self._reader else nothing  # of a reader, once it reads
        self._redoing = Lock()

    def close(self) -> None:
        """Settle and let go of the files, also where the disk takes nothing; then Unavailable."""
        try:
            if not self._read_only:
                self.settle()
        finally:
            for database in (self._heads, self._published, self._headers):
                database.close()

    # -- LogStore ---------------------------------------------------------------------------

    def heads(self) -> Heads:
        """The heads row; version 0 and an empty tree where there is none yet."""
        return self._heads.read()

    def stage(self, commit: Commit) -> None:
        """Write `staging/<v+1>-<root>`, durably. Raises Unavailable on a full disk."""
        try:
            replace_file(self._staged(commit.new), encode_commit(commit))
        except FileNotFoundError as error:  # `staged` of a later sequencer took it for a loser's
            raise Stop("lost-swap", f"version {commit.new.version} is another's") from error
        except OSError as error:
            raise Unavailable(f"the log's disk refuses: {why(error)}", retry_after_s=5) from error

    def swap(self, commit: Commit) -> None:
        """Replace the heads row, by version; Stop("lost-swap") when another was quicker."""
        self._heads.swap(commit.old, commit.new)

    def integrate(self, commit: Commit, hashes: Mapping[int, Sequence[Digest]]) -> None:
        """Write what became full, and the new right edge; files are fsynced by `settle`."""
        with self._lock, translated("the log's tiles or headers.db"):
            for level, added in hashes.items():
                self._extend(str(level), commit.old.size >> (8 * level), list(added))
            self._extend(ENTRIES, commit.old.size, framed(commit.entries))
            rows = [(commit.new.version, i, header) for i, header in enumerate(commit.headers)]
            # Who stands still between two lines must not hold the file for whoever takes over.
            with transaction(self._headers, "DEFERRED"):
                self._headers.executemany("INSERT OR REPLACE INTO header VALUES(?,?,?)", rows)
            self._unsettled.append(self._staged(commit.new))

    def publish(self, head: TreeHead, note: bytes) -> None:
        """Serve `note` from now on, unless a checkpoint of at least its size is served."""
        with self._lock, translated("published.db"), transaction(self._published):
            row = self._published.execute("SELECT size FROM published").fetchone()
            if row is None or row[0] < head.size:
                values = (head.size, note, head.root)
                self._published.execute("REPLACE INTO published VALUES(1,?,?,?)", values)
                sql = "SELECT time_us FROM history ORDER BY time_us DESC LIMIT 1"
                last = self._published.execute(sql).fetchone()
                # A clock that steps back must not give an instant another size than it had.
                now = max(self._clock.now_us(), last[0] if last else 0)
                self._published.execute(
                    "INSERT OR IGNORE INTO history VALUES(?,?)", (head.size, now)
                )

    def staged(self) -> list[Commit]:
        """The commits that led to the heads row and are not settled yet; others are removed."""
        heads, found = self.heads(), dict[Path, Commit | None]()  # the row first: files go behind
        for path in sorted(self._staging.iterdir()) if self._staging.is_dir() else ():
            with suppress(FileNotFoundError):  # a process that is still there finished or lost it
                found[path] = decode_commit(path.read_bytes())
        at, chain = heads, list[Commit]()
        while (commit := found.pop(self._staged(at), None)) is not None:
            chain.append(commit)
            at = commit.old
        for path in () if self._reader else found:
            version = path.name.lstrip(".").split("-")[0]
            if version.isdigit() and int(version) <= heads.version:
                path.unlink(missing_ok=True)  # a loser's: its version is somebody else's
        return chain[::-1]

    def _staged(self, new: Heads) -> Path:
        return self._staging / f"{new.version:016d}-{new.root.hex()}"

    # -- TileReader -------------------------------------------------------------------------

    def tile(self, level: int, n: int, width: int) -> bytes:
        """`width` hashes of a tile, cut from the widest that is stored. Raises KeyError."""
        return first_items(str(level), n, width, self._read(str(level), n, width))

    def bundle(self, n: int, width: int) -> bytes:
        """The first `width` entries of a bundle with their lengths. Raises KeyError."""
        return first_items(ENTRIES, n, width, self._read(ENTRIES, n, width))

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        """The published head and its note."""
        with self._lock, translated("published.db"):
            row = self._published.execute("SELECT size, root, note FROM published").fetchone()
        return None if row is None else (TreeHead(row[0], Digest(row[1])), row[2])

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        """Batch headers behind place `after`, which starts at (0, 0), in log order."""
        sql = (
            "SELECT version, number, header FROM header WHERE (version, number) > (?, ?)"
            " ORDER BY version, number LIMIT ?"
        )
        # First what is staged: what its look at the file found there is there at the next one.
        made = self._made_again()
        redone = made.headers
        with self._lock, translated("headers.db"):
            rows = self._headers.execute(sql, (*after, limit)).fetchall()
        found = {(version, number): header for version, number, header in rows}
        if redone and found and max(found) >= redone[-1][0]:
            made.headers = []  # written in order: whoever reads from now on has them of the file
        found |= {place: header for place, header in redone if place > after}
        return sorted(found.items())[:limit] if redone else list(found.items())

    # -- beyond the ports -------------------------------------------------------------------

    def size_at(self, instant_us: int) -> int:
        """The largest size published by an instant."""
        with self._lock, translated("published.db"):
            row = self._published.execute(SIZE_AT, (instant_us,)).fetchone()
        return int(row[0]) if row else 0

    def redone(self) -> int:
        """Of a reader: tiles, bundles and headers that were whole in the staging alone.

        Looked for once, when it first reads: no reader outlives what the kernel of its host kept.
        """
        return len(self._made_again())

    def settle(self) -> None:
        """fsync what `integrate` wrote, then drop what could have redone it.

        That is the staging, and the partial tiles from which the redo would have started: at any
        moment the files that are fsynced and the staging together make the whole log.
        Raises Unavailable where it may be tried again, Stop("disk-unsynced") where an fsync fails.
        """
        with self._lock, translated("headers.db"):
            if self._unsettled:
                # Waits for no reader: one that was stopped would hold up every commit.
                self._headers.execute("PRAGMA wal_checkpoint(PASSIVE)")
            dirty, self._dirty = self._dirty, set()
            superseded, self._superseded = self._superseded, set()
            settled, self._unsettled = self._unsettled, []
        try:
            with translated("the log's files"):
                sync_file(self._folder / "headers.db-wal")  # a reader may keep the checkpoint back
                for path in dirty:
                    sync_file(path)
                for folder in self._folders(dirty):
                    sync_folder(folder)
                for path in settled:
                    path.unlink(missing_ok=True)
                with self._lock:
                    for path in superseded:
                        path.unlink(missing_ok=True)
        except Unavailable:  # all of it is tried again
            with self._lock:
                self._dirty |= dirty
                self._superseded |= superseded
                self._unsettled = settled + self._unsettled
            raise
        with self._lock:
            for folder in {path.parent for path in superseded}:
                with suppress(OSError):
                    folder.rmdir()  # where the tile is full and no partial one is left

    def _folders(self, files: set[Path]) -> list[Path]:
        """Those that hold them, the innermost first: one that is new is a name in the next."""
        found = {one for path in files for one in path.parents if one.is_relative_to(self._folder)}
        return sorted(found, key=lambda folder: -len(folder.parts))

    # -- files ------------------------------------------------------------------------------

    def _database(self, name: str, schema: str, synchronous: str) -> sqlite3.Connection:
        with translated(name):
            if self._read_only:
                return look_at_sqlite(self._folder / name, schema)
            return open_sqlite(self._folder / name, schema, synchronous=synchronous)

    def _path(self, kind: str, n: int) -> Path:
        return self._folder / "tile" / kind / tile_index_path(n)

    def _made_again(self) -> Redone:
        with self._redoing:
            if self._redone is None:
                with translated("the log's staging"):
                    commits = self.staged()
                sql = "SELECT version, number FROM header ORDER BY version DESC, number DESC"
                with self._lock, translated("headers.db"):
                    last = self._headers.execute(f"{sql} LIMIT 1").fetchone()
                self._redone = Redone(self._stored, commits, last or (0, 0))
            return self._redone

    def _read(self, kind: str, n: int, width: int) -> bytes:
        made = self._made_again().content(kind, n, width)
        return self._stored(kind, n, width) if made is None else made

    def _stored(self, kind: str, n: int, width: int) -> bytes:
        edge = self._edges.get(kind)
        if edge is not None and edge[0] == n and edge[1] >= width:  # another may have gone on
            return edge[2]
        full = self._path(kind, n)
        partial = full.with_name(f"{full.name}.p")
        for _ in range(8):  # a partial tile may become wider or full between two looks
            if width < TILE_WIDTH:  # first: after a power cut only this one is sure to be whole
                with suppress(FileNotFoundError):
                    return (partial / str(width)).read_bytes()
            with suppress(FileNotFoundError):
                return full.read_bytes()
            with suppress(FileNotFoundError):
                widths = [int(p.name) for p in partial.iterdir() if p.name.isdigit()]
                wide = [w for w in widths if w >= width]
                if wide:
                    return (partial / str(min(wide))).read_bytes()
        raise KeyError(f"tile {kind}/{n} is not there, or narrower than {width}")

    def _extend(self, kind: str, start: int, items: list[bytes]) -> None:
        """Append items at position `start` of a level; on a redo they are there already."""
        if not items:
            return
        n, width = divmod(start, TILE_WIDTH)
        content = self._content(kind, n, width)
        begun = width > 0  # by an earlier commit
        for at in range(-width, len(items), TILE_WIDTH):
            added = items[max(0, at) : at + TILE_WIDTH]
            content += b"".join(added)
            width += len(added)
            self._write(kind, n, width, content, begun=begun)
            if width == TILE_WIDTH:
                n, width, content, begun = n + 1, 0, b"", False
                self._edges.pop(kind, None)
            else:
                self._edges[kind] = (n, width, content)

    def _content(self, kind: str, n: int, width: int) -> bytes:
        """The first `width` items of a tile."""
        if width == 0:
            return b""
        edge = self._edges.get(kind)
        if edge is not None and edge[:2] == (n, width):
            return edge[2]
        self._edges.pop(kind, None)  # another process wrote further: read its files
        return first_items(kind, n, width, self._stored(kind, n, width))

    def _write(self, kind: str, n: int, width: int, content: bytes, *, begun: bool) -> None:
        """begun: other commits wrote narrower ones; else there is none, whatever came between."""
        full = self._path(kind, n)
        partial = full.with_name(f"{full.name}.p")
        path = full if width == TILE_WIDTH else partial / str(width)
        if not _holds(path, content):  # on a redo it may be the one copy that is fsynced
            if width < TILE_WIDTH and not begun:
                partial.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                replace_file(path, content, durable=False)
            except FileNotFoundError:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(path, content, durable=False)
        self._dirty.add(path)
        if begun:
            self._supersede_in(partial, self._last.get(kind), width, path)
        self._last[kind] = path

    def _supersede_in(self, partial: Path, last: Path | None, width: int, by: Path) -> None:
        """Remove the narrower ones: the file written last, or all where the tile is full.

        All, too, where this process did not write the last; the folder goes where none is left.
        """
        if width < TILE_WIDTH and last is not None and last.parent == partial:
            self._supersede(last, by)
        elif partial.is_dir():
            for old in partial.iterdir():
                if old.name.isdigit() and int(old.name) < width:
                    self._supersede(old, by)
            with suppress(OSError):
                partial.rmdir()

    def _supersede(self, old: Path, by: Path) -> None:
        """Remove a narrower tile; one that is fsynced stays until the wider one is, too."""
        if old == by:
            return
        if old in self._dirty:
            old.unlink(missing_ok=True)
            self._dirty.discard(old)
        else:
            self._superseded.add(old)


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content
