"""Book (bal.ports) on SQLite: the closes of the book of days, and which dates have records."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from bal.model import Close, Digest, Pseudonym
from bal.ports import BookEntry
from infra.sqlite_file import SqliteFile

_FORM = 1
_KEY_LAST = b"\xff" * 32
_SCHEMA = """
CREATE TABLE close(
    k INTEGER PRIMARY KEY, date TEXT NOT NULL, prefix INTEGER NOT NULL, log_index INTEGER NOT NULL,
    day_book BLOB NOT NULL, book BLOB NOT NULL);
CREATE TABLE entry(
    date TEXT, key BLOB, k INTEGER, device TEXT NOT NULL, register TEXT NOT NULL,
    slot_s INTEGER NOT NULL, version INTEGER NOT NULL, commitment BLOB NOT NULL,
    content BLOB NOT NULL, log_index INTEGER NOT NULL, PRIMARY KEY(date, key, k)) WITHOUT ROWID;
CREATE TABLE touched(date TEXT PRIMARY KEY, log_index INTEGER NOT NULL) WITHOUT ROWID;
"""


class SqliteBook:
    """Book over one file `book.db`; a commit survives a power cut once `sync` returned."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Raises Stop where the file is damaged."""
        self._file = SqliteFile(
            folder / "book.db", _SCHEMA, form=_FORM, lazy=True, read_only=read_only
        )
        self._closes: list[Close] = []  # in order of k; one that was read once stays as it is
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, close: Close, entries: Sequence[BookEntry] = ()) -> None:
        """Keep the next close and the versions that it made, all or none; idempotent.

        Raises ValueError where k is not the last one's plus 1, or is another close already.
        """
        row = (close.k, close.date, close.prefix, close.index, close.day_book, close.book)
        with self._file.writing() as db:
            last = db.execute("SELECT max(k) FROM close").fetchone()[0] or 0
            if close.k > last + 1:
                raise ValueError(f"close {close.k} does not follow {last}")
            if close.k == last + 1:
                db.execute("INSERT INTO close VALUES(?, ?, ?, ?, ?, ?)", row)
                db.executemany(
                    "INSERT INTO entry VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(close.date, entry.key, close.k, *entry[1:]) for entry in entries],
                )
                return
            kept = db.execute("SELECT * FROM close WHERE k = ?", (close.k,)).fetchone()
            if tuple(kept) != row:
                raise ValueError(f"close {close.k} is another one already")

    def entries(
        self, date: str, k: int, *, first_byte: int | None = None, device: Pseudonym | None = None
    ) -> list[BookEntry]:
        """The newest version of every key of a date (YYYY-MM-DD) as of close k, by key.

        first_byte: only of keys that begin with it; device: only of that device.
        """
        low, high = (b"", _KEY_LAST)
        if first_byte is not None:
            low, high = bytes([first_byte]), bytes([first_byte]) + _KEY_LAST[1:]
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT key, device, register, slot_s, version, commitment, content, log_index,"
                " max(k) FROM entry WHERE date = ? AND key BETWEEN ? AND ? AND k <= ?"
                " AND device = coalesce(?, device) GROUP BY key ORDER BY key",
                (date, low, high, k, device),
            ).fetchall()  # SQLite: beside max() the other columns are those of its row
        return [
            BookEntry(key, Pseudonym(device), register, slot_s, version, Digest(made), content, at)
            for key, device, register, slot_s, version, made, content, at, _ in rows
        ]

    def count(self) -> int:
        """Versions of device-days, of all dates."""
        with self._file.reading() as db:
            found: int = db.execute("SELECT count(*) FROM entry").fetchone()[0]
        return found

    def closes(self, after: int = 0) -> list[Close]:
        """All closes with k > `after`, in order of k."""
        with self._lock:
            last = self._closes[-1].k if self._closes else 0
            with self._file.reading() as db:
                rows = db.execute("SELECT * FROM close WHERE k > ? ORDER BY k", (last,)).fetchall()
            self._closes += [
                Close(k, date, prefix, index, Digest(bytes(day_book)), Digest(bytes(book)))
                for k, date, prefix, index, day_book, book in rows
            ]
            start = bisect_right(self._closes, after, key=_number)
            return self._closes[start:]

    def touch(self, dates: Mapping[str, int]) -> None:
        """Note the highest log index of a slot's record by local date (YYYY-MM-DD)."""
        with self._file.writing() as db:
            db.executemany(
                "INSERT INTO touched VALUES(?, ?) ON CONFLICT(date) DO UPDATE SET"
                " log_index = max(log_index, excluded.log_index)",
                dates.items(),
            )

    def touched(self) -> dict[str, int]:
        """By date the highest index that was noted."""
        with self._file.reading() as db:
            return dict(db.execute("SELECT date, log_index FROM touched"))

    def sync(self) -> None:
        """Make what was noted survive a power cut."""
        self._file.sync()


def _number(close: Close) -> int:
    return close.k
