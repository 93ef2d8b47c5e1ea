"""What the closer has sent and has seen on chain; one SQLite file beside the anchorer's journal.

As there, an attempt is on disk before its transaction leaves the process. What stands on chain is
two numbers, since closes have no gaps: up to which k they are anchored, and up to which final.
"""

from dataclasses import astuple, dataclass
from pathlib import Path

from infra.sqlite_file import SqliteFile

FORMAT_VERSION = 1

_TABLES = """
CREATE TABLE attempt(
    tx TEXT PRIMARY KEY, k INTEGER NOT NULL, nonce INTEGER NOT NULL, raw BLOB NOT NULL,
    signed_us INTEGER NOT NULL
);
CREATE TABLE standing(anchored INTEGER NOT NULL, final INTEGER NOT NULL);
INSERT INTO standing VALUES(0, 0);
"""


@dataclass(frozen=True, slots=True)
class CloseAttempt:
    """One transaction that was to put a close on chain."""

    tx: str  # 0x…
    k: int
    nonce: int
    raw: bytes
    signed_us: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Up to which close the chain has them; a final one can't be taken back any more."""

    anchored: int = 0
    final: int = 0


class CloseJournal:
    """The file. Raises what SqliteFile does."""

    def __init__(self, path: Path) -> None:
        """Open or make it."""
        self._file = SqliteFile(path, _TABLES, form=FORMAT_VERSION)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def standing(self) -> Standing:
        """As it was last seen."""
        with self._file.reading() as db:
            return Standing(*db.execute("SELECT anchored, final FROM standing").fetchone())

    def stand(self, seen: Standing) -> None:
        """Remember what was seen; attempts for what is final are over."""
        with self._file.writing() as db:
            db.execute("UPDATE standing SET anchored=?, final=?", (seen.anchored, seen.final))
            db.execute("DELETE FROM attempt WHERE k<=?", (seen.final,))

    def intend(self, attempt: CloseAttempt) -> None:
        """Write an attempt down, before it is sent; nothing where that transaction is known."""
        with self._file.writing() as db:
            db.execute("INSERT OR IGNORE INTO attempt VALUES(?,?,?,?,?)", astuple(attempt))

    def withdraw(self, attempt: CloseAttempt) -> None:
        """It can't succeed any more."""
        with self._file.writing() as db:
            db.execute("DELETE FROM attempt WHERE tx=?", (attempt.tx,))

    def attempts(self, k: int) -> list[CloseAttempt]:
        """All for that close, oldest first; they share one nonce, so one at most succeeds."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT tx, k, nonce, raw, signed_us FROM attempt WHERE k=? ORDER BY rowid", (k,)
            )
            return [CloseAttempt(*row) for row in rows]
