"""The log on one host: heads row in SQLite, entries and tiles as files (docs/spec/log.md).

Layout below the folder: `heads.db`, `published.db`, `headers.db`, `staging/<version>-<root>`,
`tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. A tile file never changes: a wider partial tile
is a new file, so a process that was paused and resumes can do no harm.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock

from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_index_path
from bal.certify.tree import EMPTY_ROOT
from bal.errors import Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Clock, Commit, Heads
from infra.files import make_folder, open_sqlite, replace_file, sync_file, sync_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS heads(
    id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER, size INTEGER, root BLOB, taken TEXT);
"""
_PUBLISHED = """
CREATE TABLE IF NOT EXISTS published(
    id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER, note BLOB, root BLOB);
CREATE TABLE IF NOT EXISTS history(size INTEGER PRIMARY KEY, time_us INTEGER);
"""
_HEADERS = """
CREATE TABLE IF NOT EXISTS header(version INTEGER, number INTEGER, header BLOB,
    PRIMARY KEY(version, number)) WITHOUT ROWID;
"""
_LENGTHS = [length.to_bytes(2, "big") for length in range(65_536)]


class FileLog:
    """LogStore and TileReader (bal.ports) over one folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = make_folder(folder)
        self._staging = make_folder(folder / "staging")
        self._clock = clock
        self._db = open_sqlite(folder / "heads.db")
        self._db.executescript(_SCHEMA)
        # Headers are redone from staging after a power loss, so their commits need no fsync.
        self._headers = open_sqlite(folder / "headers.db", synchronous="NORMAL")
        self._headers.executescript(_HEADERS)
        # A checkpoint that a power cut takes back is followed by a larger one at the next start.
        self._published = open_sqlite(folder / "published.db", synchronous="NORMAL")
        self._published.executescript(_PUBLISHED)
        self._lock = Lock()
        self._edges: dict[str, tuple[int, bytes]] = {}  # by level or "entries": (n, content)
        self._dirty: set[Path] = set()
        self._last: dict[str, Path] = {}  # the file written last, by level or "entries"
        self._unsettled: list[Path] = []

    def close(self) -> None:
        """Settle and let go of the files."""
        self.settle()
        for database in (self._db, self._published, self._headers):
            database.close()

    # -- LogStore ---------------------------------------------------------------------------

    def heads(self) -> Heads:
        """The heads row; version 0 and an empty tree where there is none yet."""
        with self._lock:
            row = self._db.execute("SELECT version, size, root, taken FROM heads").fetchone()
        if row is None:
            return Heads(0, 0, EMPTY_ROOT, {})
        return Heads(row[0], row[1], Digest(row[2]), json.loads(row[3]))

    def stage(self, commit: Commit) -> None:
        """Write `staging/<v+1>-<root>`, durably. Raises Unavailable on a full disk."""
        path = self._staging / f"{commit.new.version:016d}-{commit.new.root.hex()}"
        try:
            replace_file(path, _encode_commit(commit))
        except OSError as error:
            raise Unavailable(f"the log's disk refuses: {error}", retry_after_s=5) from error
        self._unsettled.append(path)

    def swap(self, commit: Commit) -> None:
        """Replace the heads row, by version; Stop("lost-swap") when another was quicker."""
        new = commit.new
        values = (new.version, new.size, new.root, json.dumps(dict(new.taken)))
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                row = self._db.execute("SELECT version, root FROM heads").fetchone()
                if (row or (0, EMPTY_ROOT)) != (commit.old.version, commit.old.root):
                    raise Stop("lost-swap", f"version {new.version} is another sequencer's")
                self._db.execute("REPLACE INTO heads VALUES(1,?,?,?,?)", values)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def integrate(self, commit: Commit, hashes: Mapping[int, Sequence[Digest]]) -> None:
        """Write what became full, and the new right edge; files are fsynced by `settle`."""
        with self._lock:
            for level, added in hashes.items():
                self._extend(str(level), commit.old.size >> (8 * level), list(added))
            framed = [_LENGTHS[len(entry)] + entry for entry in commit.entries]
            self._extend("entries", commit.old.size, framed)
            rows = [(commit.new.version, i, header) for i, header in enumerate(commit.headers)]
            self._headers.execute("BEGIN")
            self._headers.executemany("INSERT OR REPLACE INTO header VALUES(?,?,?)", rows)
            self._headers.execute("COMMIT")

    def publish(self, head: TreeHead, note: bytes) -> None:
        """Serve `note` from now on, unless a checkpoint of at least its size is served."""
        with self._lock:
            self._published.execute("BEGIN IMMEDIATE")
            row = self._published.execute("SELECT size FROM published").fetchone()
            if row is None or row[0] < head.size:
                values = (head.size, note, head.root)
                self._published.execute("REPLACE INTO published VALUES(1,?,?,?)", values)
                now = self._clock.now_us()
                self._published.execute(
                    "INSERT OR IGNORE INTO history VALUES(?,?)", (head.size, now)
                )
            self._published.execute("COMMIT")

    def staged(self) -> list[Commit]:
        """The commits that led to the heads row and are not settled yet; others are removed."""
        found: dict[tuple[int, bytes], tuple[Path, Commit]] = {}
        for path in sorted(self._staging.iterdir()):
            commit = _decode_commit(path.read_bytes())
            if commit is not None:
                found[commit.new.version, commit.new.root] = (path, commit)
        heads, chain = self.heads(), list[Commit]()
        at = (heads.version, bytes(heads.root))
        while at in found:
            path, commit = found.pop(at)
            chain.append(commit)
            self._unsettled.insert(0, path)
            at = (commit.old.version, bytes(commit.old.root))
        for path, commit in found.values():
            if commit.new.version <= heads.version:
                path.unlink(missing_ok=True)  # a loser's: its version is somebody else's
        return chain[::-1]

    # -- TileReader -------------------------------------------------------------------------

    def tile(self, level: int, n: int, width: int) -> bytes:
        """`width` hashes of a tile, cut from the widest that is stored. Raises KeyError."""
        data = self._read(str(level), n, width)
        if len(data) < 32 * width:
            raise KeyError(f"tile {level}/{n} has fewer than {width} hashes")
        return data[: 32 * width]

    def bundle(self, n: int, width: int) -> bytes:
        """The first `width` entries of a bundle with their lengths. Raises KeyError."""
        data = self._read("entries", n, width)
        try:
            entries = split_bundle(data)
        except ValueError as error:
            raise KeyError(f"bundle {n}: {error}") from error
        if len(entries) < width:
            raise KeyError(f"bundle {n} has fewer than {width} entries")
        return data[: sum(2 + len(entry) for entry in entries[:width])]

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        """The published head and its note."""
        with self._lock:
            row = self._published.execute("SELECT size, root, note FROM published").fetchone()
        return None if row is None else (TreeHead(row[0], Digest(row[1])), row[2])

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        """Batch headers behind place `after`, which starts at (0, 0), in log order."""
        sql = (
            "SELECT version, number, header FROM header WHERE (version, number) > (?, ?)"
            " ORDER BY version, number LIMIT ?"
        )
        with self._lock:
            rows = self._headers.execute(sql, (*after, limit)).fetchall()
        return [((version, number), header) for version, number, header in rows]

    # -- beyond the ports -------------------------------------------------------------------

    def size_at(self, instant_us: int) -> int:
        """The largest size published by an instant."""
        with self._lock:
            sql = "SELECT max(size) FROM history WHERE time_us <= ?"
            return int(self._published.execute(sql, (instant_us,)).fetchone()[0] or 0)

    def settle(self) -> None:
        """fsync what `integrate` wrote, then drop the staging that could have redone it."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            settled, self._unsettled = self._unsettled, []
            if settled:
                self._headers.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        version = self.heads().version
        for path in dirty:
            sync_file(path)
        for folder in {path.parent for path in dirty}:
            sync_folder(folder)
        for path in settled:
            if int(path.name.split("-")[0]) > version:
                self._unsettled.append(path)  # staged, not swapped yet
            else:
                path.unlink(missing_ok=True)

    # -- files ------------------------------------------------------------------------------

    def _path(self, kind: str, n: int) -> Path:
        return self._folder / "tile" / kind / tile_index_path(n)

    def _read(self, kind: str, n: int, width: int) -> bytes:
        edge = self._edges.get(kind)
        if edge is not None and edge[0] == n:
            return edge[1]
        full = self._path(kind, n)
        for _ in range(2):  # a partial tile may become full between the two looks
            with suppress(FileNotFoundError):
                return full.read_bytes()
            with suppress(FileNotFoundError):
                partial = full.with_name(f"{full.name}.p")
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
        while items:
            room = TILE_WIDTH - width
            content += b"".join(items[:room])
            width += len(items[:room])
            items = items[room:]
            self._write(kind, n, width, content)
            if width == TILE_WIDTH:
                n, width, content = n + 1, 0, b""
                self._edges.pop(kind, None)
            else:
                self._edges[kind] = (n, content)

    def _content(self, kind: str, n: int, width: int) -> bytes:
        if width == 0:
            return b""
        self._edges_of_another_width(kind, n, width)
        return self.bundle(n, width) if kind == "entries" else self.tile(int(kind), n, width)

    def _edges_of_another_width(self, kind: str, n: int, width: int) -> None:
        edge = self._edges.get(kind)
        if edge is not None and (edge[0] != n or (kind != "entries" and len(edge[1]) < 32 * width)):
            del self._edges[kind]  # another process wrote further: read its files

    def _write(self, kind: str, n: int, width: int, content: bytes) -> None:
        full = self._path(kind, n)
        partial = full.with_name(f"{full.name}.p")
        path = full if width == TILE_WIDTH else partial / str(width)
        last = self._last.get(kind)
        if last is None or last.parent != path.parent:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, content, durable=False)
        self._dirty.add(path)
        if width < TILE_WIDTH and last is not None and last.parent == partial:
            self._remove(last)
        elif partial.is_dir():
            for old in partial.iterdir():
                if old.name.isdigit() and int(old.name) < width:
                    self._remove(old)
        if width == TILE_WIDTH:
            with suppress(OSError):
                partial.rmdir()
        self._last[kind] = path

    def _remove(self, old: Path) -> None:
        old.unlink(missing_ok=True)
        self._dirty.discard(old)


def _encode_commit(commit: Commit) -> bytes:
    def row(heads: Heads) -> list[object]:
        return [heads.version, heads.size, heads.root.hex(), dict(heads.taken)]

    meta = json.dumps(
        {
            "old": row(commit.old),
            "new": row(commit.new),
            "entries": [len(entry) for entry in commit.entries],
            "headers": [len(header) for header in commit.headers],
        }
    ).encode()
    body = b"".join([len(meta).to_bytes(4, "big"), meta, *commit.entries, *commit.headers])
    return body + sha256(body).digest()


def _decode_commit(data: bytes) -> Commit | None:
    """A staged commit; None where the file is not whole: then its swap never happened."""
    body = data[:-32]
    if len(data) < 36 or sha256(body).digest() != data[-32:]:
        return None
    at = 4 + int.from_bytes(body[:4], "big")
    meta = json.loads(body[4:at])
    pieces: dict[str, list[bytes]] = {"entries": [], "headers": []}
    for kind, found in pieces.items():
        for length in meta[kind]:
            found.append(body[at : at + length])
            at += length

    def heads(row: list[object]) -> Heads:
        version, size, root, taken = row
        assert isinstance(version, int)
        assert isinstance(size, int)
        assert isinstance(taken, dict)
        return Heads(version, size, Digest(bytes.fromhex(str(root))), taken)

    return Commit(heads(meta["old"]), heads(meta["new"]), pieces["entries"], pieces["headers"])
