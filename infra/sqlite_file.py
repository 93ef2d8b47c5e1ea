"""One SQLite database file: who may read it, when it is durable, what its errors mean.

One writing connection behind a lock and as many reading ones as threads ask for. The mode is WAL,
so a reader sees the state at its start and neither waits for the writer nor holds it up.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock

from bal.errors import Stop, Unavailable
from infra.files import look_at_sqlite, make_folder, quoted, sync_file, sync_folder, why

BUSY_TIMEOUT_S = 10
READERS_IDLE_MAX = 8

# SQLITE_ERROR and 0 (raised by the module itself): a table, column or type is not as it was made.
_DAMAGED = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


class SqliteFile:
    """`path` with the tables of `schema`; made whole or not at all where it is absent.

    form: the number of this schema, kept in the file; another one in the file raises
    Stop("store-version"). page_bytes: taken when the file is made.
    Every method raises Unavailable where the disk refuses (full, I/O error, locked for long) and
    Stop("store-damaged") where the file is no database any more.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        form: int,
        page_bytes: int = 4096,
        wipe: bool = False,
        lazy: bool = False,
        read_only: bool = False,
    ) -> None:
        """wipe: overwrite with zeros what is deleted. read_only: as `look_at_sqlite`.

        lazy: a commit survives the end of the process, and a power cut only once `sync` returned;
        what is lost then is the newest, and the file stays whole (SQLite, WAL, synchronous=NORMAL).
        """
        self._path, self._wal = path, path.with_name(f"{path.name}-wal")
        self._wipe = wipe
        self._lazy = lazy
        self._read_only = read_only
        self._schema, self._made_form = schema, form
        self._lock = Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with self._translated():
            if not read_only:
                make_folder(path.parent).chmod(0o700)
                if not path.exists():
                    _create(path, schema, form, page_bytes)
            if path.exists() and path.stat().st_size == 0:
                raise Stop("store-damaged", f"{path.name} is empty: restore it from a backup.")
            self._writer = self._connect()
            found = self._form()
            if found != form:
                self._writer.close()
                raise Stop("store-version", f"{path.name} has form {found}, this program {form}.")
            self._journal = None if read_only else _identity(self._wal)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that alone may write: committed and durable at the end, or rolled back."""
        with self._lock, self._translated():
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # The connection rolls back by itself on some errors; then this one has no meaning.
                with suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads one unchanging state."""
        with self._translated():
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)

    def sync(self) -> None:
        """Make every commit so far survive a power cut.

        What a checkpoint took out of the WAL it has fsynced in the database before the WAL may be
        written over. The database itself must not be opened and closed here: this process would
        lose its locks on it, and the next one to close it would take the WAL from under us.
        """
        with self._translated():
            if _identity(self._wal) != self._journal:
                text = f"{self._wal.name} was taken away from the process that writes it. Start"
                raise Stop("disk-unsynced", f"{text} again: what may be missing is made again")
            sync_file(self._wal)

    def damaged(self, what: str) -> Stop:
        """The error to raise where a row's content is not what was written."""
        return _damaged(self._path.name, what)

    def close(self) -> None:
        """Let go of the file; a reading in progress ends first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in (*idle, self._writer):
                connection.close()

    def _reader(self) -> sqlite3.Connection:
        try:
            connection = self._idle.pop()
        except IndexError:
            self._check_open()
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed or len(self._idle) >= READERS_IDLE_MAX:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            return look_at_sqlite(self._path, self._schema, self._made_form)
        connection = sqlite3.connect(
            f"file:{quoted(self._path)}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
        )
        try:
            connection.execute(f"PRAGMA synchronous={'NORMAL' if self._lazy else 'FULL'}")
            if self._wipe:
                connection.execute("PRAGMA secure_delete=ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _form(self) -> int:
        """The number of the schema in the file; the first look at its content."""
        try:
            found: int = self._writer.execute("PRAGMA user_version").fetchone()[0]
        except BaseException:
            self._writer.close()
            raise
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._path.name} is closed")

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path.name)


@contextmanager
def transaction(db: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Committed at the end, or rolled back: what follows on this connection begins anew.

    On some errors (full, I/O) SQLite has rolled back by itself, and refuses to do it twice.
    """
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise


@contextmanager
def translated(name: str) -> Iterator[None]:
    """SQLite's errors as ours, about the file `name`; those of a wrong call stay as they are.

    Unavailable where the disk refuses, Stop("store-damaged") where the file is not what it was.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        exact = getattr(error, "sqlite_errorcode", 0)
        code = exact & 0xFF
        if exact == sqlite3.SQLITE_IOERR_SHMSIZE:  # SQLite says no more than "disk I/O error"
            text = f"{name}-shm can't grow: the disk is full"
            raise Unavailable(text, retry_after_s=5) from error
        if code == sqlite3.SQLITE_BUSY:  # the kernel keeps the lock of one that was stopped
            text = f"{name}: another process holds it; if one of them stands still, kill it"
            raise Unavailable(text, retry_after_s=5) from error
        if code in _PASSING:
            raise Unavailable(f"{name}: {error}", retry_after_s=5) from error
        if code in _DAMAGED:
            raise _damaged(name, str(error)) from error
        raise
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message
        raise _damaged(name, "its schema is no text") from error
    except OSError as error:
        raise Unavailable(f"{name}: {why(error)}", retry_after_s=5) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _damaged(name: str, what: str) -> Stop:
    return Stop("store-damaged", f"{name} is damaged: {what}.")


def _create(path: Path, schema: str, form: int, page_bytes: int) -> None:
    """Make the file under another name and link it in place.

    So it is whole whenever it is there, an empty one can only be a damaged one, and of two
    processes that start together one wins and both go on with the same file.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size={page_bytes}")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version={form}; COMMIT;")
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()  # leaves neither journal nor WAL behind
        with suppress(FileExistsError):
            path.hardlink_to(new)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)
