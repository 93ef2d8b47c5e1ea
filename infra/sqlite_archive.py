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
from itertools import count
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bal.errors import Stop
from bal.model import Pseudonym, RawMessage, Subject
from bal.ports import ArchiveItem
from bal.store.segment import DEVICE_BYTES
from bal.times import year
from infra.sqlite_file import SqliteFile

CIPHERS_CACHED_MAX = 1 << 16

_FORM = 1
_PAGE_BYTES = 8192
_NONCE_BYTES = 12
_TAGS_ASKED_MAX = 256  # in one statement
_TAG_BYTES = 16
_OPENING_ERRORS = (InvalidTag, ValueError, TypeError, IndexError, OverflowError, struct.error)

_SCHEMA = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, lane INTEGER NOT NULL, place INTEGER NOT NULL,
    format TEXT NOT NULL, received_us INTEGER NOT NULL, tag BLOB NOT NULL, summary BLOB,
    layout BLOB NOT NULL, sealed BLOB NOT NULL,
    UNIQUE(epoch, lane, place));
CREATE INDEX message_tag ON message(tag);
"""

StoredPart = tuple[int, int, Pseudonym, bytes | None]  # start, end, whose, bytes if the key exists


class _Clear(NamedTuple):
    """All of a message that is stored in clear; every seal is bound to all of it."""

    epoch: str
    lane: int
    place: int
    format: str
    received_us: int
    tag: bytes  # made of credential and SHA-256 of the message, see `_tag_and_key`
    layout: bytes  # of `_layout`

    def binding(self) -> bytes:
        """32 bytes that no other message has: `tag` stands for the content."""
        head = f"{self.epoch}/{self.lane}/{self.place} {self.format} {self.received_us}\n"
        return sha256(head.encode() + self.tag + self.layout).digest()


class _Layout(NamedTuple):
    """Whose bytes are where; the first owner has the header."""

    owners: Sequence[Pseudonym]
    sizes: Sequence[int]  # of what is sealed for each owner
    ends: Sequence[int]  # of each part; the next one starts there
    owner_of: Sequence[int]  # of each part, its number in `owners`


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
            _SCHEMA,
            form=_FORM,
            page_bytes=_PAGE_BYTES,
            wipe=True,
            lazy=True,
            read_only=read_only,
        )
        self._archive_key = archive_key
        padded = archive_key.ljust(128, b"\0")
        self._begun = [sha512(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C)]
        self._salt_key = salt_key
        self._ciphers: dict[bytes, AESGCM] = {}

    def close(self) -> None:
        """Let go of the file and of the keys in memory."""
        self._ciphers.clear()
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
                found[key] = AESGCM(cipher).decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], tag
                )
            except (InvalidTag, ValueError, TypeError) as error:
                raise self._file.damaged("a message's summary does not decrypt") from error
        return found

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
        self, epoch: str, partition: int, offset: int
    ) -> tuple[_Clear, str | None, list[StoredPart]] | None:
        """What is stored in clear, the credential if its key exists, and the parts."""
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
            clear = _Clear(epoch, partition, offset, *head)
            layout = _decode_layout(clear.layout)
            texts = self._decrypt(clear, layout, sealed)
            header_bytes = 0 if texts[0] is None else 2 + int.from_bytes(texts[0][:2], "big")
            credential = None if texts[0] is None else texts[0][2:header_bytes].decode()
            return clear, credential, _cut(layout, texts, header_bytes)
        except _OPENING_ERRORS as error:
            what = str(error) or "its bytes are not those that were sealed"
            where = _place(epoch, partition, offset)
            raise self._file.damaged(f"message {where}: {what}") from error

    def _decrypt(self, clear: _Clear, layout: _Layout, sealed: bytes) -> list[bytes | None]:
        """The text of each owner; None where its key is gone."""
        binding, year_ = clear.binding(), year(clear.received_us)
        texts: list[bytes | None] = []
        at = 0
        for name, size in zip(layout.owners, layout.sizes, strict=True):
            key = self._salt_key(name, year_) if name else self._archive_key
            if key is None:
                texts.append(None)
            else:
                text = sealed[at : at + size]
                cipher = self._cipher(key)
                texts.append(cipher.decrypt(binding[:_NONCE_BYTES], text, binding))
            at += size
        if at != len(sealed):
            raise ValueError("sealed bytes are missing or too many")
        return texts

    # -- sealing ----------------------------------------------------------------------------

    def _seal(self, item: ArchiveItem) -> tuple[_Clear, bytes | None, bytes]:
        """What stands in clear, the summary, and the sealed texts; the first has the credential.

        A subject's parts are sealed together, because a message of a thousand meters has a thousand
        and one of the platform's; and AES-GCM takes 2^32 messages a key, which that would reach in
        a year.
        """
        message = item.message
        keys, pieces, owner_of = _by_owner(message.raw, item.parts)
        if not keys:  # an empty message has no part; its header is the platform's
            keys, pieces = {Pseudonym(""): self._archive_key}, [[]]
        if len(set(keys.values())) < len(keys):  # would be one key and nonce for two texts
            raise ValueError("two subjects of a message have one key")
        tag, summary_key = self._tag_and_key(message.credential, item.message_id)
        credential = message.credential.encode()
        pieces[0].insert(0, struct.pack(">H", len(credential)) + credential)
        texts = list(map(b"".join, pieces))
        sizes = [len(text) + _TAG_BYTES for text in texts]
        clear = _Clear(
            message.epoch,
            message.partition,
            message.offset,
            message.format,
            message.received_us,
            tag,
            _encode_layout(_Layout(list(keys), sizes, [end for _, end, _ in item.parts], owner_of)),
        )
        binding = clear.binding()
        nonce, cipher = binding[:_NONCE_BYTES], self._cipher
        sealed = [
            cipher(key).encrypt(nonce, text, binding)
            for key, text in zip(keys.values(), texts, strict=True)
        ]
        summary = self._sealed_summary(tag, summary_key, item.summary) if item.summary else None
        return clear, summary, b"".join(sealed)

    def _sealed_summary(self, tag: bytes, key: bytes, summary: bytes) -> bytes:
        """Behind its nonce. Who has not the message can't read it, not even with all keys."""
        label = b"gridseal/archive-summary-nonce/v1\0"
        nonce = hmac_digest(self._archive_key, label + tag + summary, "sha256")[:_NONCE_BYTES]
        return nonce + AESGCM(key).encrypt(nonce, summary, tag)

    def _tag_and_key(self, credential: str, message_id: bytes) -> tuple[bytes, bytes]:
        """How a message is known again, never by the bare hash, and the key of its summary."""
        if len(message_id) != 32:
            raise ValueError("a message id is the SHA-256 of the raw message")
        identity = b"gridseal/archive-message/v1\0" + credential.encode() + b"\0" + message_id
        # RFC 2104 §2 by hand: hmac.digest lets go of the interpreter's lock, and waits for it then
        inner, outer = (begun.copy() for begun in self._begun)
        inner.update(identity)
        outer.update(inner.digest())
        both = outer.digest()
        return both[:32], both[32:]

    def _cipher(self, salt_key: bytes) -> AESGCM:
        cipher = self._ciphers.get(salt_key)
        if cipher is None:
            if len(self._ciphers) >= CIPHERS_CACHED_MAX:
                self._ciphers.clear()
            key = hmac_digest(salt_key, b"gridseal/archive/v1", "sha256")
            cipher = self._ciphers[salt_key] = AESGCM(key)
        return cipher


def _check_same(db: sqlite3.Connection, clear: _Clear) -> None:
    """Raise Stop("archive-differs") where another message than this has its place."""
    where = (clear.epoch, clear.lane, clear.place)
    (tag,) = db.execute(
        "SELECT tag FROM message WHERE epoch = ? AND lane = ? AND place = ?", where
    ).fetchone()
    if tag != clear.tag:
        text = f"another message was archived as {_place(*where)}: the bus went back."
        raise Stop("archive-differs", text)


def _by_owner(
    raw: bytes, parts: Sequence[tuple[int, int, Subject]]
) -> tuple[dict[Pseudonym, bytes], list[list[bytes]], list[int]]:
    """Salt key by pseudonym, pieces of each in that order, and the number of each part's owner.

    Raises ValueError for gaps.
    """
    ends = [end for _, end, _ in parts]
    starts = [0, *ends]
    consecutive = [start for start, _, _ in parts] == starts[:-1] and sorted(ends) == ends
    if not consecutive or starts[-1] != len(raw):
        raise ValueError("the parts of a message are not consecutive or do not cover it")
    owners = [subject for _, _, subject in parts]
    keys = {owner.pseudonym: owner.salt_key for owner in reversed(owners)}
    names = [owner.pseudonym for owner in owners]
    numbers = dict(zip(dict.fromkeys(names), count(), strict=False))
    owner_of = list(map(numbers.__getitem__, names))
    pieces: list[list[bytes]] = [[] for _ in numbers]
    for number, start, end in zip(owner_of, starts, ends, strict=False):
        pieces[number].append(raw[start:end])
    return {name: keys[name] for name in numbers}, pieces, owner_of


def _place(epoch: str, partition: int, offset: int) -> str:
    return f"{epoch}/{partition}/{offset}"


def _encode_layout(layout: _Layout) -> bytes:
    """owners u32 | parts u32 | owners x pseudonym | owners x u32 sealed bytes | parts x u32 end |
    parts x u32 owner, big-endian.
    """
    owners, parts = len(layout.owners), len(layout.ends)
    names = "".join(layout.owners).encode("ascii")
    if set(map(len, layout.owners)) != {DEVICE_BYTES}:
        names = b"".join(
            [name.encode("ascii").ljust(DEVICE_BYTES, b"\0") for name in layout.owners]
        )
    numbers = struct.pack(f">{owners + 2 * parts}I", *layout.sizes, *layout.ends, *layout.owner_of)
    return struct.pack(">II", owners, parts) + names + numbers


def _decode_layout(data: bytes) -> _Layout:
    """What was encoded. Raises ValueError, TypeError or struct.error for other bytes."""
    owners, parts = struct.unpack_from(">II", data)
    at = 8 + DEVICE_BYTES * owners
    if len(data) != at + 4 * owners + 8 * parts:
        raise ValueError("the table of parts has another length")
    names = [data[i : i + DEVICE_BYTES] for i in range(8, at, DEVICE_BYTES)]
    numbers = struct.unpack_from(f">{owners + 2 * parts}I", data, at)
    return _Layout(
        [Pseudonym(name.rstrip(b"\0").decode()) for name in names],
        numbers[:owners],
        numbers[owners : owners + parts],
        numbers[owners + parts :],
    )


def _cut(layout: _Layout, texts: Sequence[bytes | None], header_bytes: int) -> list[StoredPart]:
    """The owners' texts as the parts they were joined from."""
    taken = [header_bytes, *[0] * (len(texts) - 1)]
    parts: list[StoredPart] = []
    start = 0
    for end, owner in zip(layout.ends, layout.owner_of, strict=True):
        text, at = texts[owner], taken[owner]
        piece = None if text is None else text[at : at + end - start]
        parts.append((start, end, layout.owners[owner], piece))
        taken[owner] = at + end - start
        start = end
    return parts
