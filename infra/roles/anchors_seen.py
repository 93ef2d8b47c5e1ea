"""What the anchorer has on chain, as other processes see it: its journal, read only."""

import sqlite3
from pathlib import Path
from threading import Lock

from bal.errors import Unavailable
from bal.model import Anchor
from infra.data_folder import DataFolder, Facts

_COVERING = (
    "SELECT t.chain_id, t.contract, t.log, a.size, a.block, a.tx, a.note, a.state"
    " FROM attempt AS a, target AS t WHERE a.size > ? AND a.state IN ('anchored', 'final')"
    " ORDER BY a.size LIMIT 1"
)


def journal_of(folder: DataFolder, facts: Facts) -> Path:
    """The anchorer's journal; one a contract."""
    return folder.chain / f"anchors-{facts.contract[2:10]}.db"


class AnchorsSeen:
    """Anchored (infra/receipts.py) over the journal of an anchorer that may not have begun yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._db: sqlite3.Connection | None = None

    def covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        """The smallest anchored checkpoint that contains an entry, its note and its state."""
        with self._lock:
            try:
                db = self._opened()
                found = None if db is None else db.execute(_COVERING, (index,)).fetchone()
            except sqlite3.Error as error:
                raise Unavailable(f"the anchorer's journal: {error}") from error
        if found is None:
            return None
        chain_id, contract, log, size, block, tx, note, state = found
        return Anchor(chain_id, contract, "0x" + log.hex(), size, block, tx), note, state

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _opened(self) -> sqlite3.Connection | None:
        if self._db is None and self._path.exists() and self._path.stat().st_size:
            db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=10
            )
            db.execute("PRAGMA query_only = ON")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempt'").fetchone():
                db.close()
                return None
            self._db = db
        return self._db
