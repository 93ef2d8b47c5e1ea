"""Vault on SQLite: the identity vault, in a folder of its own (docs/spec/store.md §vault).

The only place that knows who is behind a pseudonym, and the keys whose destruction erases a
subject. Deleted content is overwritten. Keys are never logged and leave only to be used.
"""

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from bal.certify.commitment import pseudonym as pseudonym_of
from bal.model import Identity, Pseudonym
from bal.ports import Clock
from infra.sqlite_file import SqliteFile

VAULT_FILE = "vault.db"
KEY_BYTES = 32
CACHED_MAX = 1 << 18  # identities and salt keys held in memory, each

_FORM = 2
_K = TypeVar("_K")
_V = TypeVar("_V")
_ARCHIVE_KEY = "archive"

# One open epoch an identity; closed ones stay for their readings' sake. holder: the operator's own
# word for whose it is, a customer's number; empty where nobody said.
# Erasing a subject deletes its rows in both tables.
_SCHEMA = """
CREATE TABLE subject(
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, pseudonym_key BLOB NOT NULL,
    pseudonym TEXT NOT NULL UNIQUE, opened_us INTEGER NOT NULL, closed_us INTEGER,
    holder TEXT NOT NULL DEFAULT '');
CREATE INDEX subject_holder ON subject(holder) WHERE holder != '';
CREATE INDEX subject_identity ON subject(identity);
CREATE UNIQUE INDEX subject_open ON subject(identity) WHERE closed_us IS NULL;
CREATE TABLE salt_key(
    subject INTEGER NOT NULL REFERENCES subject(id), year INTEGER NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY(subject, year)) WITHOUT ROWID;
CREATE TABLE secret(name TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
"""


class Epoch(NamedTuple):
    """A subject epoch as the vault has it."""

    identity: Identity
    pseudonym: Pseudonym
    holder: str
    key_years: tuple[int, ...]  # of which a salt key is there


class SqliteVault:
    """Vault (bal.ports) over one file `vault.db`; several processes may share it.

    random_bytes: gives as many bytes as asked for, unpredictable; a simulation hands in its own.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        *,
        read_only: bool = False,
    ) -> None:
        """read_only: look at it and make neither subject nor key, for an audit."""
        self._file = SqliteFile(
            folder / VAULT_FILE, _SCHEMA, form=_FORM, wipe=True, read_only=read_only
        )
        self._clock, self._read_only = clock, read_only
        self._random_bytes = random_bytes
        self._pseudonyms: dict[Identity, Pseudonym] = {}
        self._salt_keys: dict[tuple[Pseudonym, int], bytes] = {}

    def close(self) -> None:
        """Let go of the file and of what is held in memory."""
        self._pseudonyms.clear()
        self._salt_keys.clear()
        self._file.close()

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """Get or create the open subject epoch of each identity; atomic, durable.

        Raises Unavailable where the disk refuses; none of them is created then.
        """
        found = self.find(wanted)
        missing = dict.fromkeys(identity for identity in wanted if identity not in found)
        if missing:
            with self._file.writing() as db:
                # Another process may have been quicker: the row that stands is the one that counts.
                created = {identity: self._open_epoch(db, identity) for identity in missing}
            _remember(self._pseudonyms, created)
            found |= created
        return {identity: found[identity] for identity in wanted}

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        """Get or create K of each subject for a calendar year (UTC); atomic, durable.

        Raises KeyError for a pseudonym that the vault does not know, or no longer; none of them
        is created then. Opened to look at only, also where there is no key.
        """
        cache = self._salt_keys
        found = {name: cache[name, year] for name in wanted if (name, year) in cache}
        missing = dict.fromkeys(name for name in wanted if name not in found)
        if missing:
            with self._file.reading() as db:
                read = {name: _read_salt_key(db, name, year) for name in missing}
            new = {name: key for name, key in read.items() if key is not None}
            if len(new) < len(missing):
                if self._read_only:
                    raise KeyError(next(name for name in missing if name not in new))
                with self._file.writing() as db:
                    for name in missing:
                        if name not in new:
                            new[name] = self._make_salt_key(db, name, year)
            _remember(cache, {(name, year): key for name, key in new.items()})
            found |= new
        return {name: found[name] for name in wanted}

    def salt_key(self, pseudonym: Pseudonym, year: int) -> bytes | None:
        """K of a subject and calendar year (UTC); None where there is none, or no longer."""
        key = self._salt_keys.get((pseudonym, year))
        if key is None:
            with self._file.reading() as db:
                key = _read_salt_key(db, pseudonym, year)
            if key is not None:
                _remember(self._salt_keys, {(pseudonym, year): key})
        return key

    def find(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """The open epochs of those that are known; creates nothing."""
        cache = self._pseudonyms
        found = {identity: cache[identity] for identity in identities if identity in cache}
        unread = dict.fromkeys(identity for identity in identities if identity not in found)
        if unread:
            read: dict[Identity, Pseudonym] = {}
            with self._file.reading() as db:
                for identity in unread:
                    row = _open_row(db, identity)
                    if row is not None:
                        read[identity] = row
            _remember(cache, read)
            found |= read
        return found

    def identity(self, pseudonym: Pseudonym) -> Identity | None:
        """Who it is, in an open epoch or a closed one; None when unknown or erased."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT identity FROM subject WHERE pseudonym = ?", (pseudonym,)
            ).fetchone()
        return None if row is None else Identity(row[0])

    def epochs(self, identity: Identity) -> list[Pseudonym]:
        """All epochs of an identity, the newest first; the first of them is the open one."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT pseudonym FROM subject WHERE identity = ? ORDER BY id DESC", (identity,)
            ).fetchall()
        return [Pseudonym(name) for (name,) in rows]

    def begin(self, identity: Identity, holder: str) -> Pseudonym:
        """End the open epoch of an identity, and open one that is `holder`'s; atomic, durable."""
        with self._file.writing() as db:
            db.execute(
                "UPDATE subject SET closed_us = ? WHERE identity = ? AND closed_us IS NULL",
                (self._clock.now_us(), identity),
            )
            made = self._open_epoch(db, identity)
            db.execute("UPDATE subject SET holder = ? WHERE pseudonym = ?", (holder, made))
        _remember(self._pseudonyms, {identity: made})
        return made

    def hold(self, pseudonym: Pseudonym, holder: str) -> None:
        """Say whose an epoch is. Raises KeyError for one that the vault does not know."""
        with self._file.writing() as db:
            found = db.execute(
                "UPDATE subject SET holder = ? WHERE pseudonym = ?", (holder, pseudonym)
            )
            if not found.rowcount:
                raise KeyError(pseudonym)

    def who(self, asked: str) -> list["Epoch"]:
        """The epochs of a pseudonym, an identity or a holder, the oldest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, identity, pseudonym, holder FROM subject"
                " WHERE pseudonym = ?1 OR identity = ?1 OR (holder = ?1 AND holder != '')"
                " ORDER BY id",
                (asked,),
            ).fetchall()
            return [
                Epoch(Identity(identity), Pseudonym(name), holder, _years(db, number))
                for number, identity, name, holder in rows
            ]

    def archive_key(self) -> bytes:
        """The key under which the raw archive knows a message again; made when first asked for."""
        wanted = "SELECT key FROM secret WHERE name = ?", (_ARCHIVE_KEY,)
        with self._file.reading() as db:
            row = db.execute(*wanted).fetchone()
        if row is None:
            with self._file.writing() as db:
                db.execute(
                    "INSERT OR IGNORE INTO secret VALUES(?, ?)",
                    (_ARCHIVE_KEY, self._random_bytes(KEY_BYTES)),
                )
                row = db.execute(*wanted).fetchone()
        key: bytes = row[0]
        return key

    def misnamed(self) -> list[Pseudonym]:
        """The pseudonyms that are not those of their key P, for an audit."""
        with self._file.reading() as db:
            rows = db.execute("SELECT pseudonym, pseudonym_key FROM subject ORDER BY id")
            return [Pseudonym(name) for name, key in rows if pseudonym_of(key) != name]

    def _open_epoch(self, db: sqlite3.Connection, identity: Identity) -> Pseudonym:
        key = self._random_bytes(KEY_BYTES)
        db.execute(
            "INSERT OR IGNORE INTO subject(identity, pseudonym_key, pseudonym, opened_us)"
            " VALUES(?, ?, ?, ?)",
            (identity, key, pseudonym_of(key), self._clock.now_us()),
        )
        row = _open_row(db, identity)
        # IGNORE also passes over a second use of a key, which a sound source never gives.
        assert row is not None, "the random source repeats itself"
        return row

    def _make_salt_key(self, db: sqlite3.Connection, pseudonym: Pseudonym, year: int) -> bytes:
        db.execute(
            "INSERT OR IGNORE INTO salt_key SELECT id, ?, ? FROM subject WHERE pseudonym = ?",
            (year, self._random_bytes(KEY_BYTES), pseudonym),
        )
        key = _read_salt_key(db, pseudonym, year)
        if key is None:
            raise KeyError(pseudonym)
        return key


def _years(db: sqlite3.Connection, subject: int) -> tuple[int, ...]:
    found = db.execute("SELECT year FROM salt_key WHERE subject = ? ORDER BY year", (subject,))
    return tuple(year for (year,) in found)


def _open_row(db: sqlite3.Connection, identity: Identity) -> Pseudonym | None:
    row = db.execute(
        "SELECT pseudonym FROM subject WHERE identity = ? AND closed_us IS NULL", (identity,)
    ).fetchone()
    return None if row is None else Pseudonym(row[0])


def _read_salt_key(db: sqlite3.Connection, pseudonym: Pseudonym, year: int) -> bytes | None:
    row = db.execute(
        "SELECT key FROM salt_key JOIN subject ON subject = id WHERE pseudonym = ? AND year = ?",
        (pseudonym, year),
    ).fetchone()
    return None if row is None else row[0]


def _remember(cache: dict[_K, _V], new: dict[_K, _V]) -> None:
    if len(cache) + len(new) > CACHED_MAX:
        cache.clear()
    cache.update(new)
