"""What the anchorer has sent, is sending, and has seen on chain; one SQLite file.

An attempt is written, synchronously to disk, before its transaction leaves the process. So after a
crash at any line the same bytes can be sent again, and one nonce makes them happen once.
"""

import sqlite3
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bal.errors import Stop, Unavailable
from bal.model import Anchor, Digest, TreeHead
from infra.files import look_at_sqlite

FORMAT_VERSION = 1  # PRAGMA user_version of the file

State = Literal["pending", "anchored", "final", "dropped"]

_TABLES = """
CREATE TABLE IF NOT EXISTS target(
    chain_id INTEGER NOT NULL, contract TEXT NOT NULL, log BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS attempt(
    tx TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL,
    nonce INTEGER, raw BLOB, state TEXT NOT NULL, block INTEGER, gas INTEGER,
    signed_us INTEGER NOT NULL, seen_us INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS attempt_covered ON attempt(size)
    WHERE state IN ('anchored', 'final');
CREATE INDEX IF NOT EXISTS attempt_open ON attempt(state) WHERE state IN ('pending', 'anchored');
"""
_COLUMNS = "tx, size, root, note, nonce, raw, state, block, gas, signed_us, seen_us"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction that anchors, anchored or was to anchor a head."""

    tx: str  # 0x…
    size: int
    root: bytes
    note: bytes  # the checkpoint, signatures included
    nonce: int | None  # None, like raw, for a head found on chain without an attempt of ours
    raw: bytes | None
    state: State
    block: int | None
    gas: int | None
    signed_us: int
    seen_us: int | None  # when it was first seen on chain


def kept_heads(path: Path) -> Iterator[tuple[TreeHead, State, bytes]]:
    """The heads of a journal that are anchored or final, with their notes, by size.

    For an audit: nothing is made or written. Raises sqlite3.Error where it can't be read.
    """
    with closing(look_at_sqlite(path, _TABLES)) as db:
        rows = db.execute(
            "SELECT size, root, state, note FROM attempt WHERE state IN ('anchored', 'final')"
            " ORDER BY size"
        )
        for size, root, state, note in rows:
            yield TreeHead(size, Digest(root)), state, note


class AnchorJournal:
    """The file. One thread writes; `covering` may be called from any."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises Stop("anchor-journal") for a file of another format."""
        self._path = path
        self._reading = threading.Lock()
        self._writer, self._reader = self._connection(), self._connection()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        self._target: tuple[int, str, bytes] | None = self._writer.execute(
            "SELECT chain_id, contract, log FROM target"
        ).fetchone()
        # sizes of all heads that are anchored or final, ascending; guarded by _reading
        rows = self._writer.execute(
            "SELECT size FROM attempt WHERE state IN ('anchored', 'final') ORDER BY size"
        )
        self._sizes: list[int] = [row[0] for row in rows]

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._writer.execute(f"PRAGMA {pragma}")
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT_VERSION):
                text = f"{self._path} has format {version}, not {FORMAT_VERSION}"
                raise Stop("anchor-journal", text)
            self._writer.executescript(
                f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={FORMAT_VERSION};COMMIT;"
            )
        except sqlite3.DatabaseError as error:
            raise Stop("anchor-journal", f"{self._path} is no journal: {error}") from error

    def close(self) -> None:
        """Release the file."""
        with self._reading:
            self._reader.close()
        self._writer.close()

    def bind(self, chain_id: int, contract: str, log: bytes) -> None:
        """Say, the first time, what this journal is about.

        Raises Stop("anchor-target") when it is about another chain, contract or log: its heads
        would be given out as standing where they never stood.
        """
        target = (chain_id, contract, log)
        if self._target is None:
            with self._writing():
                self._writer.execute("INSERT INTO target VALUES(?,?,?)", target)
            self._target = target
        elif self._target != target:
            text = f"{self._path} is about contract {self._target[1]} on chain {self._target[0]}"
            raise Stop("anchor-target", f"{text}, not {contract} on {chain_id}")

    def is_about(self, contract: str) -> bool:
        """Whether it was bound to that contract, now or at an earlier start."""
        return self._target is not None and self._target[1] == contract

    def intend(self, attempt: Attempt) -> None:
        """Write an attempt down, before it is sent; nothing where that transaction is known."""
        marks = ",".join("?" * len(Attempt.__slots__))
        with self._writing():
            self._writer.execute(
                f"INSERT OR IGNORE INTO attempt({_COLUMNS}) VALUES({marks})",
                tuple(getattr(attempt, name) for name in Attempt.__slots__),
            )

    def seen(self, tx: str, block: int, gas: int, now_us: int) -> None:
        """The transaction is in that block; others for the same size are over."""
        with self._writing():
            (size,) = self._writer.execute("SELECT size FROM attempt WHERE tx=?", (tx,)).fetchone()
            self._writer.execute(
                "UPDATE attempt SET state='dropped'"
                " WHERE size=? AND tx!=? AND state IN ('pending', 'anchored')",
                (size, tx),
            )
            self._writer.execute(
                "UPDATE attempt SET state='anchored', block=?, gas=?, seen_us=coalesce(seen_us, ?)"
                " WHERE tx=?",
                (block, gas, now_us, tx),
            )
        with self._reading:
            if self._place(size) is None:
                insort(self._sizes, size)

    def finish(self, tx: str) -> None:
        """anchored → final."""
        with self._writing():
            self._writer.execute("UPDATE attempt SET state='final' WHERE tx=?", (tx,))

    def drop(self, attempt: Attempt) -> None:
        """It is not on chain and never will be."""
        self._withdraw(attempt, "dropped", attempt.signed_us)

    def await_again(self, attempt: Attempt, now_us: int) -> None:
        """A reorg took it: to be sent again, and waited for from now on."""
        self._withdraw(attempt, "pending", now_us)

    def _withdraw(
        self, attempt: Attempt, state: Literal["pending", "dropped"], signed_us: int
    ) -> None:
        with self._writing():
            self._writer.execute(
                "UPDATE attempt SET state=?, signed_us=? WHERE tx=?", (state, signed_us, attempt.tx)
            )
        with self._reading:
            place = self._place(attempt.size)
            if attempt.state in ("anchored", "final") and place is not None:
                del self._sizes[place]

    def of_state(self, state: State) -> list[Attempt]:
        """All attempts in that state, by size, oldest first within one."""
        with self._reading:
            return self._select("state=? ORDER BY size, signed_us, rowid", state)

    def newest(self) -> Attempt | None:
        """The largest head that is anchored or final."""
        with self._reading:
            return self._of_size(self._sizes[-1]) if self._sizes else None

    def final_size(self) -> int:
        """The largest head that is final; 0 where there is none."""
        with self._reading:
            sql = "SELECT max(size) FROM attempt WHERE state='final'"
            return int(self._reader.execute(sql).fetchone()[0] or 0)

    def covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        """The smallest anchored head that contains entry `index`: anchor, note, state."""
        with self._reading:
            place = bisect_right(self._sizes, index)
            found = self._of_size(self._sizes[place]) if place < len(self._sizes) else None
        return (self.anchor(found), found.note, found.state) if found else None

    def anchor(self, attempt: Attempt) -> Anchor:
        """Where a head stands that a block has."""
        assert self._target is not None
        assert attempt.block is not None
        chain_id, contract, log = self._target
        return Anchor(chain_id, contract, "0x" + log.hex(), attempt.size, attempt.block, attempt.tx)

    def _place(self, size: int) -> int | None:
        place = bisect_left(self._sizes, size)
        return place if self._sizes[place : place + 1] == [size] else None

    def _of_size(self, size: int) -> Attempt | None:
        found = self._select("size=? AND state IN ('anchored', 'final')", size)
        return found[0] if found else None

    def _select(self, where: str, value: object) -> list[Attempt]:
        try:
            statement = f"SELECT {_COLUMNS} FROM attempt WHERE {where}"  # noqa: S608  no value in it
            return [Attempt(*row) for row in self._reader.execute(statement, (value,))]
        except sqlite3.Error as error:
            raise Unavailable(f"the anchorer's journal: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"the anchorer's journal: {error}") from error
        finally:
            with suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
