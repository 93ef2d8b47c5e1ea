"""RawArchive on SQLite: raw messages, encrypted so that erasing a subject's key erases its part
of each (docs/spec/store.md §archive).

Nothing in the file names a sender, a meter or the hash of a message: a bare SHA-256 of a short
message gives an eight-digit meter number away in minutes. No randomness is used: a nonce is a
function of the message, so putting it again makes the same bytes.
"""

import sqlite3
import struct
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256, sha512
from hmac import digest as hmac_digest
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bal.errors import Stop
from bal.found import FindingsQuery, StoredFinding, VeeFindings
from bal.model import Pseudonym, RawMessage, Subject
from bal.ports import ArchiveItem
from bal.times import year
from infra import archive_findings
from infra.archive_seal import (
    NONCE_BYTES,
    Clear,
    Sealer,
    StoredPart,
    clear_of,
    cut,
    decode_layout,
)
from infra.sqlite_file import SqliteFile

_FORM = 1
_PAGE_BYTES = 8192
_TAGS_KEPT_MAX = 2_048
_TAGS_ASKED_MAX = 256  # in one statement
_OPENING_ERRORS = (InvalidTag, ValueError, TypeError, IndexError, OverflowError, struct.error)

_SCHEMA = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, lane INTEGER NOT NULL, place INTEGER NOT NULL,
    format TEXT NOT NULL, received_us INTEGER NOT NULL, tag BLOB NOT NULL, summary BLOB,
    layout BLOB NOT NULL, sealed BLOB NOT NULL,
    UNIQUE(epoch, lane, place));
CREATE INDEX message_tag ON message(tag);
"""


class SqliteArchive:
    """RawArchive (bal.ports) over one file `archive.db` in a folder of its own.

    archive_key: 32 bytes that the vault keeps; without it no message is known again.
    salt_key: K of a subject and calendar year, None where there is none, or no longer.
    """

    def __init__(
        self,
        folder: Path,
        archive_key: bytes,
        salt_key: Callable[[Pseudonym, int], bytes | None],
        *,
        read_only: bool = False,
    ) -> None:
        """read_only: look at it and keep nothing, for an audit."""
        self._file = SqliteFile(
            folder / "archive.db",
            _SCHEMA + archive_findings.SCHEMA,
            form=_FORM,
            page_bytes=_PAGE_BYTES,
            wipe=True,
            lazy=True,
            read_only=read_only,
        )
        self._with_findings(read_only=read_only)
        self._archive_key = archive_key
        padded = archive_key.ljust(128, b"\0")
        self._begun = [sha512(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C)]
        self._salt_key = salt_key
        self._sealer = Sealer()
        self._tags: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}  # asked for of late

    def close(self) -> None:
        """Let go of the file and of the keys in memory."""
        self._sealer.forget()
        self._tags.clear()
        self._file.close()

    # -- writing ----------------------------------------------------------------------------

    def put(
        self,
        message: RawMessage,
        message_id: bytes,
        parts: Sequence[tuple[int, int, Subject]],
        summary: bytes = b"",
    ) -> None:
        """Keep one message; `summary` is given again on a retry, b"" where there is none."""
        self.put_many([ArchiveItem(message, message_id, parts, summary)])

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        """Keep several messages, all or none; one that is kept already stays as it is.

        The parts of each are consecutive and cover it; each subject's `salt_key` is K of the year
        of `received_us`. Raises ValueError where they do not, Stop("archive-differs") where
        another message has this place on the bus, Unavailable where the disk refuses.
        """
        rows = [self._seal(item) for item in items]
        with self._file.writing() as db:
            cursor = db.executemany(
                "INSERT OR IGNORE INTO message(epoch, lane, place, format, received_us, tag,"
                " layout, summary, sealed) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*clear, *sealed) for clear, *sealed in rows],
            )
            if cursor.rowcount < len(rows):
                for clear, _, _ in rows:
                    _check_same(db, clear)
            archive_findings.put(db, items)

    def put_vee(self, found: VeeFindings) -> None:
        """Put what closes of days found into the list of findings."""
        with self._file.writing() as db:
            archive_findings.put_vee(db, found)

    def note_turned_away(self, items: Sequence[StoredFinding]) -> None:
        """Put what was refused before the bus into the list of findings."""
        with self._file.writing() as db:
            archive_findings.put_turned_away(db, items)

    def _with_findings(self, *, read_only: bool) -> None:
        """The list of findings is there: made empty in a file that has none, of before it was."""
        with self._file.reading() as db:
            self._listed = archive_findings.has_table(db)
        if not self._listed and not read_only:
            with self._file.writing() as db:
                if not archive_findings.has_table(db):  # several processes may begin at once
                    for statement in archive_findings.SCHEMA.split(";")[:-1]:
                        db.execute(statement)
            self._listed = True

    # -- reading ----------------------------------------------------------------------------

    def sync(self) -> None:
        """Make what was put survive a power cut."""
        self._file.sync()

    def summary(self, credential: str, message_id: bytes) -> bytes | None:
        """The certified summary of a message already taken from this credential; of the first."""
        key = credential, message_id
        return self.summaries([key]).get(key)

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        """The summaries of those (credential, message id) that were taken, each of its first."""
        asked = {tag: (key, cipher) for key in keys for tag, cipher in [self._tag_and_key(*key)]}
        tags = list(asked)
        rows: list[tuple[bytes, bytes]] = []
        with self._file.reading() as db:
            for at in range(0, len(tags), _TAGS_ASKED_MAX):
                some = tags[at : at + _TAGS_ASKED_MAX]
                marks = ",".join("?" * len(some))
                sql = f"SELECT tag, summary FROM message WHERE tag IN ({marks})"  # noqa: S608  no value in it
                rows += db.execute(f"{sql} AND summary IS NOT NULL ORDER BY id DESC", some)
        found: dict[tuple[str, bytes], bytes] = {}
        for tag, sealed in rows:  # the first one of a message comes last, and stays
            key, cipher = asked[tag]
            try:
                found[key] = AESGCM(cipher).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], tag)
            except (InvalidTag, ValueError, TypeError) as error:
                raise self._file.damaged("a message's summary does not decrypt") from error
        return found

    def findings(self, query: FindingsQuery) -> list[StoredFinding]:
        """What was refused or doubtful, as `query` asks for it (docs/spec/rest.md)."""
        if not self._listed or (query.groups is not None and not query.groups):
            return []
        with self._file.reading() as db:
            try:
                return archive_findings.select(db, query)
            except (ValueError, TypeError) as error:
                raise self._file.damaged("an item of the findings is none") from error

    def raw(self, epoch: str, partition: int, offset: int) -> RawMessage | None:
        """The message as it came, decrypted; None where a key is gone or it never was.

        Raises Stop("store-damaged") where it does not decrypt.
        """
        opened = self._open(epoch, partition, offset)
        if opened is None:
            return None
        clear, credential, parts = opened
        pieces = [data for _, _, _, data in parts if data is not None]
        if credential is None or len(pieces) < len(parts):
            return None
        raw = b"".join(pieces)
        return RawMessage(
            epoch, partition, offset, credential, clear.format, clear.received_us, raw
        )

    def sender(self, epoch: str, partition: int, offset: int) -> str | None:
        """Credential of a message, of which no more is opened than that; None as `raw`."""
        opened = self._open(epoch, partition, offset, whole=False)
        return None if opened is None else opened[1]

    def certified(self, epoch: str, partition: int, offset: int) -> tuple[str, bytes, bytes] | None:
        """Credential, message id and summary of a message; None as `raw`, or without a summary."""
        message = self.raw(epoch, partition, offset)
        if message is None:
            return None
        key = message.credential, sha256(message.raw).digest()
        summary = self.summary(*key)
        return None if summary is None else (*key, summary)

    def parts(self, epoch: str, partition: int, offset: int) -> list[StoredPart] | None:
        """(start, end, pseudonym, bytes or None where the key is gone) of each part, in order.

        None where the message never was. Raises Stop("store-damaged") where one does not decrypt.
        """
        opened = self._open(epoch, partition, offset)
        return None if opened is None else opened[2]

    def _open(
        self, epoch: str, partition: int, offset: int, *, whole: bool = True
    ) -> tuple[Clear, str | None, list[StoredPart]] | None:
        """What is stored in clear, the credential if its key exists, and the parts.

        whole: else only what the first owner's key opens, which has the credential.
        """
        with self._file.reading() as db:
            row = db.execute(
                "SELECT format, received_us, tag, layout, sealed FROM message"
                " WHERE epoch = ? AND lane = ? AND place = ?",
                (epoch, partition, offset),
            ).fetchone()
        if row is None:
            return None
        *head, sealed = row
        try:
            clear = Clear(epoch, partition, offset, *head)
            layout = decode_layout(clear.layout)
            of_year, owners = year(clear.received_us), layout.owners
            keys = dict.fromkeys(owners) | {
                name: self._key(name, of_year) for name in (owners if whole else owners[:1])
            }
            texts = self._sealer.open(clear, layout, sealed, keys)
            header_bytes = 0 if texts[0] is None else 2 + int.from_bytes(texts[0][:2], "big")
            credential = None if texts[0] is None else texts[0][2:header_bytes].decode()
            return clear, credential, cut(layout, texts, header_bytes)
        except _OPENING_ERRORS as error:
            what = str(error) or "its bytes are not those that were sealed"
            where = _place(epoch, partition, offset)
            raise self._file.damaged(f"message {where}: {what}") from error

    def _key(self, name: Pseudonym, year_: int) -> bytes | None:
        return self._salt_key(name, year_) if name else self._archive_key

    # -- sealing ----------------------------------------------------------------------------

    def _seal(self, item: ArchiveItem) -> tuple[Clear, bytes | None, bytes]:
        """What stands in clear, the summary, and what is sealed for the subjects."""
        message = item.message
        tag, summary_key = self._tag_and_key(message.credential, item.message_id)
        sealed = item.sealed
        if sealed is None or sealed.tag != tag:
            sealed = self._sealer.seal(message, tag, item.parts, self._archive_key)
        summary = self._sealed_summary(tag, summary_key, item.summary) if item.summary else None
        return clear_of(message, tag, sealed.layout), summary, sealed.texts

    def _sealed_summary(self, tag: bytes, key: bytes, summary: bytes) -> bytes:
        """Behind its nonce. Who has not the message can't read it, not even with all keys."""
        label = b"gridseal/archive-summary-nonce/v1\0"
        nonce = hmac_digest(self._archive_key, label + tag + summary, "sha256")[:NONCE_BYTES]
        return nonce + AESGCM(key).encrypt(nonce, summary, tag)

    def tag(self, credential: str, message_id: bytes) -> bytes:
        """How a message is known again, never by the bare hash."""
        return self._tag_and_key(credential, message_id)[0]

    def _tag_and_key(self, credential: str, message_id: bytes) -> tuple[bytes, bytes]:
        """How a message is known again, and the key of its summary."""
        found = self._tags.get((credential, message_id))
        if found is None:
            if len(self._tags) >= _TAGS_KEPT_MAX:
                self._tags.clear()
            found = self._tags[credential, message_id] = self._made_tag(credential, message_id)
        return found

    def _made_tag(self, credential: str, message_id: bytes) -> tuple[bytes, bytes]:
        if len(message_id) != 32:
            raise ValueError("a message id is the SHA-256 of the raw message")
        identity = b"gridseal/archive-message/v1\0" + credential.encode() + b"\0" + message_id
        # RFC 2104 §2 by hand: hmac.digest lets go of the interpreter's lock, and waits for it then
        inner, outer = (begun.copy() for begun in self._begun)
        inner.update(identity)
        outer.update(inner.digest())
        both = outer.digest()
        return both[:32], both[32:]


def _check_same(db: sqlite3.Connection, clear: Clear) -> None:
    """Raise Stop("archive-differs") where another message than this has its place."""
    where = (clear.epoch, clear.lane, clear.place)
    (tag,) = db.execute(
        "SELECT tag FROM message WHERE epoch = ? AND lane = ? AND place = ?", where
    ).fetchone()
    if tag != clear.tag:
        text = f"another message was archived as {_place(*where)}: the bus went back."
        raise Stop("archive-differs", text)


def _place(epoch: str, partition: int, offset: int) -> str:
    return f"{epoch}/{partition}/{offset}"
