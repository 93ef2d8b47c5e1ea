"""The DSO Data Server's one database: values of all centres, exports, clients, messages on the way.

A value is never overwritten: another one for its slot is a further version. SQLite, WAL, each
change durable when its call returns; for one process and any number of its threads.
"""

import hmac
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from bal.errors import Rejected, Stop, Unavailable
from field.dso_import import Export
from field.dso_value import Meter, Value

FORM = 2
PAGE_MAX = 10_000
_SCHEMA = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS meters(
    name TEXT PRIMARY KEY, mrid INTEGER NOT NULL, kind TEXT NOT NULL, authority TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files(
    id INTEGER PRIMARY KEY, centre TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    imported_us INTEGER NOT NULL, taken INTEGER NOT NULL, refused INTEGER NOT NULL,
    failure TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_name ON files(centre, name, id);
CREATE TABLE IF NOT EXISTS refused(
    file INTEGER NOT NULL, line INTEGER NOT NULL, code TEXT NOT NULL, field TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refused_by_file ON refused(file);
CREATE TABLE IF NOT EXISTS vals(
    id INTEGER PRIMARY KEY AUTOINCREMENT, meter TEXT NOT NULL, register TEXT NOT NULL,
    end_us INTEGER NOT NULL, version INTEGER NOT NULL, value TEXT NOT NULL,
    qualities TEXT NOT NULL, centre TEXT NOT NULL, file INTEGER NOT NULL,
    newest INTEGER NOT NULL, begin_us INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS vals_by_slot ON vals(meter, register, end_us, version);
CREATE INDEX IF NOT EXISTS vals_by_time ON vals(end_us, meter, register, version);
CREATE TABLE IF NOT EXISTS outbox(
    id INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT UNIQUE NOT NULL, made_us INTEGER NOT NULL,
    taken INTEGER NOT NULL, raw BLOB, state TEXT NOT NULL, receipt TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_by_state ON outbox(state, id);
CREATE TABLE IF NOT EXISTS clients(
    name TEXT PRIMARY KEY, token TEXT NOT NULL, revoked INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO marks VALUES('published', 0);
PRAGMA user_version={FORM};
COMMIT;
"""
_FROM_1 = "BEGIN; ALTER TABLE vals ADD COLUMN begin_us INTEGER; PRAGMA user_version=2; COMMIT;"
WAITING, CERTIFIED, REFUSED = "waiting", "certified", "refused"


class Stored(NamedTuple):
    """One value in the database."""

    id: int  # in the order of arrival
    value: Value
    version: int  # from 1
    centre: str


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks: values whose end is in (from_us, to_us], in the order of their end."""

    meter: str | None = None
    register: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    every_version: bool = False
    after: tuple[int, str, str, int] | None = None  # end, meter, register, version of the last one
    limit: int = 1_000


class DsoStore:
    """`path`, made where it is absent. Raises Unavailable where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with _translated(path.name):
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            [found] = self._db.execute("PRAGMA user_version").fetchone()
            if found == 1:  # without the begin of days
                self._db.executescript(_FROM_1)
            elif found not in (0, FORM):
                raise Stop("store-version", f"{path.name} has form {found}, this program {FORM}.")
            self._db.executescript(_SCHEMA)
        self._name = path.name

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    # --- exports ----------------------------------------------------------------------------

    def has_export(self, centre: str, name: str, digest: str) -> bool:
        """Whether a file's newest content was imported already."""
        query = "SELECT sha256 FROM files WHERE centre=? AND name=? ORDER BY id DESC LIMIT 1"
        with self._reading() as db:
            row = db.execute(query, (centre, name)).fetchone()
        return row is not None and row[0] == digest

    def take_export(
        self,
        centre: str,
        name: str,
        digest: str,
        export: Export,
        *,
        now_us: int,
        failure: Rejected | None = None,
    ) -> int:
        """Keep what an export says, all or nothing; how many of its values were new."""
        with self._writing() as db:
            told = "" if failure is None else f"{failure.code}: {failure.text}"
            file = db.execute(
                "INSERT INTO files(centre, name, sha256, imported_us, taken, refused, failure)"
                " VALUES(?, ?, ?, ?, 0, ?, ?)",
                (centre, name, digest, now_us, export.refused_count, told),
            ).lastrowid
            assert file is not None
            db.executemany(
                "INSERT INTO refused VALUES(?, ?, ?, ?, ?)",
                [(file, *one) for one in export.refused],
            )
            taken = sum(_take(db, value, centre, file) for value in export.values)
            db.execute("UPDATE files SET taken=? WHERE id=?", (taken, file))
        return taken

    def exports(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Exports by the order of their import, each with what was refused of it."""
        columns = ("id", "centre", "name", "sha256", "imported_us", "taken", "refused", "failure")
        with self._reading() as db:
            rows = db.execute(
                f"SELECT {', '.join(columns)} FROM files WHERE id>? ORDER BY id LIMIT ?",  # noqa: S608
                (after, limit),
            ).fetchall()
            found = [dict(zip(columns, row, strict=True)) for row in rows]
            for one in found:
                query = "SELECT line, code, field, text FROM refused WHERE file=? ORDER BY rowid"
                one["refusals"] = [
                    dict(zip(("line", "code", "field", "text"), row, strict=True))
                    for row in db.execute(query, (one["id"],))
                ]
        return found

    # --- values -----------------------------------------------------------------------------

    def values(self, query: Query) -> list[Stored]:
        """At most `query.limit` values in the order of end, meter, register and version."""
        where: list[str] = [] if query.every_version else ["newest=1"]
        given: list[object] = []
        for clause, one in (
            ("v.meter=?", query.meter),
            ("v.register=?", query.register),
            ("v.end_us>?", query.from_us),
            ("v.end_us<=?", query.to_us),
        ):
            if one is not None:
                where.append(clause)
                given.append(one)
        if query.after is not None:
            where.append("(v.end_us, v.meter, v.register, v.version) > (?, ?, ?, ?)")
            given += query.after
        return self._select(
            f"{' AND '.join(where) or '1'} ORDER BY v.end_us, v.meter, v.register, v.version"
            " LIMIT ?",
            [*given, min(query.limit, PAGE_MAX)],
        )

    def _select(self, where: str, given: Sequence[object]) -> list[Stored]:
        with self._reading() as db:
            return _stored(db, where, given)

    def meters(self) -> list[dict[str, Any]]:
        """Every meter with its registers, and the ends of the first and last value of each."""
        query = (
            "SELECT meter, register, min(end_us), max(end_us) FROM vals"
            " GROUP BY meter, register ORDER BY meter, register"
        )
        with self._reading() as db:
            rows = db.execute(query).fetchall()
        names = ("meter", "register", "first_us", "last_us")
        return [dict(zip(names, row, strict=True)) for row in rows]

    # --- messages to the platform -----------------------------------------------------------

    def newer(self, limit: int) -> tuple[int, list[tuple[Stored, Stored | None]]]:
        """What was not published yet: each slot's newest value, by meter, and the one before.

        Also the mark to hand to `queue`: the last value that was looked at. At most `limit` values
        are looked at. The second of each pair is what the platform was told of the slot before.
        """
        with self._reading() as db:
            [mark] = db.execute("SELECT value FROM marks WHERE name='published'").fetchone()
            found = _stored(db, "v.id>? ORDER BY v.id LIMIT ?", [mark, limit])
            if not found:
                return mark, []
            last = found[-1].id
            slots: dict[tuple[str, str, int], Stored] = {}
            for one in found:
                slots[one.value.meter.name, one.value.register, one.value.end_us] = one
            pairs = [(slots[key], _told(db, key, mark)) for key in sorted(slots)]
        return last, pairs

    def queue(
        self, mark: int, messages: Sequence[bytes], counts: Sequence[int], at_us: int
    ) -> None:
        """Put messages in the outbox and move the mark, both or neither."""
        with self._writing() as db:
            db.executemany(
                "INSERT INTO outbox(message, made_us, taken, raw, state, receipt)"
                " VALUES(?, ?, ?, ?, ?, '')",
                [
                    (sha256(raw).hexdigest(), at_us, count, raw, WAITING)
                    for raw, count in zip(messages, counts, strict=True)
                ],
            )
            db.execute("UPDATE marks SET value=? WHERE name='published'", (mark,))

    def next_number(self) -> int:
        """The number of the next message, which no other message had."""
        with self._reading() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def waiting(self) -> list[str]:
        """Messages without a certified receipt, in the order of their making."""
        query = "SELECT message FROM outbox WHERE state=? ORDER BY id"
        with self._reading() as db:
            return [row[0] for row in db.execute(query, (WAITING,))]

    def message(self, message: str) -> bytes:
        """The bytes of one that waits."""
        with self._reading() as db:
            row = db.execute("SELECT raw FROM outbox WHERE message=?", (message,)).fetchone()
        return bytes(row[0])

    def settle(self, message: str, receipt: Mapping[str, Any]) -> None:
        """A message has its last receipt. Certified: its bytes go; refused: they stay."""
        certified = receipt.get("type") == "certified"
        told = json.dumps({name: receipt.get(name) for name in _KEPT if name in receipt})
        with self._writing() as db:
            db.execute(
                "UPDATE outbox SET state=?, receipt=?, raw=CASE WHEN ? THEN NULL ELSE raw END"
                " WHERE message=? AND state=?",
                (CERTIFIED if certified else REFUSED, told, certified, message, WAITING),
            )

    def publications(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The messages by the order of their making, each with its state and receipt."""
        names = ("id", "message", "made_us", "taken", "state", "receipt")
        query = f"SELECT {', '.join(names)} FROM outbox WHERE id>? ORDER BY id LIMIT ?"  # noqa: S608
        with self._reading() as db:
            rows = db.execute(query, (after, limit)).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    # --- clients ----------------------------------------------------------------------------

    def add_client(self, name: str, token: str) -> None:
        """Let a client in by its token, of which only the hash is kept. An earlier one ends."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO clients VALUES(?, ?, 0)", (name, _hash(token)))

    def revoke_client(self, name: str) -> None:
        """Let a client in no more. Raises Rejected("name-unknown")."""
        with self._writing() as db:
            query = "UPDATE clients SET revoked=1 WHERE name=? AND revoked=0"
            if db.execute(query, (name,)).rowcount != 1:
                raise Rejected("name-unknown", "no active client has this name", field="name")

    def client(self, token: str) -> str | None:
        """The client that a token is of; None for nobody's."""
        wanted = _hash(token)
        with self._reading() as db:
            rows = db.execute("SELECT name, token FROM clients WHERE revoked=0").fetchall()
        found = [name for name, kept in rows if hmac.compare_digest(kept, wanted)]
        return found[0] if found else None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._name):
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._name):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise


_KEPT = ("type", "batch", "first_index", "count", "refused", "findings", "code", "text", "field")


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _take(db: sqlite3.Connection, value: Value, centre: str, file: int) -> int:
    """Keep one value, if it says anything new of its slot: 1, else 0."""
    meter = value.meter
    db.execute("INSERT OR IGNORE INTO meters VALUES(?, ?, ?, ?)", meter)
    slot = (meter.name, value.register, value.end_us)
    qualities = " ".join(value.qualities)
    row = db.execute(
        "SELECT id, version, value, qualities, begin_us FROM vals"
        " WHERE meter=? AND register=? AND end_us=? ORDER BY version DESC LIMIT 1",
        slot,
    ).fetchone()
    # a begin that only one of them has makes no correction of a value that is the same
    same_begin = row is not None and (None in {row[4], value.begin_us} or row[4] == value.begin_us)
    if row is not None and row[2:4] == (value.value, qualities) and same_begin:
        return 0
    version = 1
    if row is not None:
        version = row[1] + 1
        db.execute("UPDATE vals SET newest=0 WHERE id=?", (row[0],))
    db.execute(
        "INSERT INTO vals(meter, register, end_us, version, value, qualities, centre, file, newest,"
        " begin_us) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
        (*slot, version, value.value, qualities, centre, file, value.begin_us),
    )
    return 1


def _stored(db: sqlite3.Connection, where: str, given: Sequence[object]) -> list[Stored]:
    query = (
        "SELECT v.id, m.name, m.mrid, m.kind, m.authority, v.register, v.end_us, v.value,"  # noqa: S608
        " v.qualities, v.version, v.centre, v.begin_us"
        f" FROM vals v JOIN meters m ON m.name=v.meter WHERE {where}"
    )
    return [
        Stored(
            row[0],
            Value(
                Meter(row[1], bool(row[2]), row[3], row[4]),
                row[5],
                row[6],
                row[7],
                tuple(row[8].split()),
                row[11],
            ),
            row[9],
            row[10],
        )
        for row in db.execute(query, given)
    ]


def _told(db: sqlite3.Connection, slot: tuple[str, str, int], mark: int) -> Stored | None:
    """The version of a slot that was published last, `mark` being the last value looked at."""
    where = "v.meter=? AND v.register=? AND v.end_us=? AND v.id<=? ORDER BY v.version DESC LIMIT 1"
    found = _stored(db, where, [*slot, mark])
    return found[0] if found else None


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.OperationalError as error:  # full, locked, I/O
        raise Unavailable(f"{name}: {error}", retry_after_s=5) from error
    except sqlite3.DatabaseError as error:
        raise Stop("store-damaged", f"{name} is damaged: {error}.") from error
