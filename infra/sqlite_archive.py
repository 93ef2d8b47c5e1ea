"""RawArchive on SQLite: raw messages, encrypted so that erasing a subject's key erases its part
of each (docs/spec/store.md §archive).

Nothing in the file names a sender, a meter or the hash of a message: a bare SHA-256 of a short
message gives an eight-digit meter number away in minutes. No randomness is used: a nonce is a
function of the message, so putting it again makes the same bytes.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest as hmac_digest
from operator import le
from pathlib import Path

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
_TAG_BYTES = 16
_OPENING_ERRORS = (InvalidTag, ValueError, TypeError, IndexError, OverflowError, struct.error)
_OWNER = struct.Struct(f">{DEVICE_BYTES}sI")  # padded pseudonym, sealed bytes

_SCHEMA = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, lane INTEGER NOT NULL, place INTEGER NOT NULL,
    format TEXT NOT NULL, received_us INTEGER NOT NULL, tag BLOB NOT NULL, layout BLOB NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE(epoch, lane, place));
CREATE TABLE summary(tag BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
"""

StoredPart = tuple[int, int, Pseudonym, bytes | None]  # start, end, whose, bytes if the key exists


@dataclass(frozen=True, slots=True)
class _Clear:
    """All of a message that is stored in clear; every seal is bound to all of it."""

    epoch: str
    lane: int
    place: int
    format: str
    received_us: int
    tag: bytes  # HMAC over credential and SHA-256 of the message
    owners: Sequence[tuple[bytes, int]]  # padded pseudonym, sealed bytes; the first has the header
    ends: Sequence[int]  # of each part; the next one starts there
    owner_of: Sequence[int]  # of each part, its number in `owners`

    @property
    def layout(self) -> bytes:
        """owners u32 | parts u32 | owners | parts x u32 end | parts x u32 owner, big-endian."""
        table = b"".join(_OWNER.pack(*owner) for owner in self.owners)
        counts = struct.pack(">II", len(self.owners), len(self.ends))
        return counts + table + _numbers(self.ends) + _numbers(self.owner_of)

    def binding(self) -> bytes:
        """32 bytes that no other message has: `tag` stands for the content."""
        head = f"{self.epoch}/{self.lane}/{self.place} {self.format} {self.received_us}\n"
        return sha256(head.encode() + self.tag + self.layout).digest()


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
    ) -> None:
        self._file = SqliteFile(
            folder / "archive.db", _SCHEMA, form=_FORM, page_bytes=_PAGE_BYTES, wipe=True, lazy=True
        )
        self._archive_key = archive_key
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
        """Keep one message; `summary` as of `set_summary`, b"" where there is none yet."""
        self.put_many([ArchiveItem(message, message_id, parts, summary)])

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        """Keep several messages, all or none; one that is kept already stays as it is.

        The parts of each are consecutive and cover it; each subject's `salt_key` is K of the year
        of `received_us`. Raises ValueError where they do not, Stop("archive-differs") where
        another message has this place on the bus, Unavailable where the disk refuses.
        """
        rows = [self._seal(item) for item in items]
        summaries = [
            self._sealed_summary(item.message.credential, item.message_id, item.summary)
            for item in items
            if item.summary
        ]
        with self._file.writing() as db:
            for clear, sealed in rows:
                where = (clear.epoch, clear.lane, clear.place)
                cursor = db.execute(
                    "INSERT OR IGNORE INTO message(epoch, lane, place, format, received_us, tag,"
                    " layout, sealed) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                    (*where, clear.format, clear.received_us, clear.tag, clear.layout, sealed),
                )
                if cursor.rowcount == 0:
                    (tag,) = db.execute(
                        "SELECT tag FROM message WHERE epoch = ? AND lane = ? AND place = ?", where
                    ).fetchone()
                    if tag != clear.tag:
                        raise Stop(
                            "archive-differs",
                            f"another message was archived as {_place(*where)}: the bus went back.",
                        )
            db.executemany("INSERT OR IGNORE INTO summary VALUES(?, ?)", summaries)

    def set_summary(self, credential: str, message_id: bytes, summary: bytes) -> None:
        """Keep the certified summary of a message; the first one stays."""
        self.set_summaries([(credential, message_id, summary)])

    def set_summaries(self, summaries: Sequence[tuple[str, bytes, bytes]]) -> None:
        """Keep several (credential, message id, summary), all or none; the first of each stays."""
        rows = [self._sealed_summary(*summary) for summary in summaries]
        with self._file.writing() as db:
            db.executemany("INSERT OR IGNORE INTO summary VALUES(?, ?)", rows)

    # -- reading ----------------------------------------------------------------------------

    def sync(self) -> None:
        """Make what was put survive a power cut."""
        self._file.sync()

    def summary(self, credential: str, message_id: bytes) -> bytes | None:
        """The certified summary of a message already taken from this credential."""
        tag = self._tag(credential, message_id)
        with self._file.reading() as db:
            row = db.execute("SELECT sealed FROM summary WHERE tag = ?", (tag,)).fetchone()
        if row is None:
            return None
        try:
            nonce, sealed = row[0][:_NONCE_BYTES], row[0][_NONCE_BYTES:]
            return AESGCM(self._summary_key(credential, message_id)).decrypt(nonce, sealed, tag)
        except (InvalidTag, ValueError, TypeError) as error:
            raise self._file.damaged("a message's summary does not decrypt") from error

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
        format_, received_us, tag, layout, sealed = row
        try:
            clear = _Clear(
                epoch, partition, offset, format_, received_us, tag, *_decode_layout(layout)
            )
            texts = self._decrypt(clear, sealed)
            header_bytes = 0 if texts[0] is None else 2 + int.from_bytes(texts[0][:2], "big")
            credential = None if texts[0] is None else texts[0][2:header_bytes].decode()
            return clear, credential, _cut(clear, texts, header_bytes)
        except _OPENING_ERRORS as error:
            what = str(error) or "its bytes are not those that were sealed"
            where = _place(epoch, partition, offset)
            raise self._file.damaged(f"message {where}: {what}") from error

    def _decrypt(self, clear: _Clear, sealed: bytes) -> list[bytes | None]:
        """The text of each owner; None where its key is gone."""
        binding, year_ = clear.binding(), year(clear.received_us)
        texts: list[bytes | None] = []
        at = 0
        for number, (owner, size) in enumerate(clear.owners):
            name = Pseudonym(owner.rstrip(b"\0").decode())
            key = self._salt_key(name, year_) if name else self._archive_key
            if key is None:
                texts.append(None)
            else:
                nonce, bound = _nonce(binding, number), _bound(binding, number)
                texts.append(self._cipher(key).decrypt(nonce, sealed[at : at + size], bound))
            at += size
        if at != len(sealed):
            raise ValueError("sealed bytes are missing or too many")
        return texts

    # -- sealing ----------------------------------------------------------------------------

    def _seal(self, item: ArchiveItem) -> tuple[_Clear, bytes]:
        """One message: each subject's parts sealed together, the credential with the first.

        Together, because a message of a thousand meters has a thousand and one parts of the
        platform's; and AES-GCM takes 2^32 messages a key, which that would reach in a year.
        """
        message = item.message
        if sha256(message.raw).digest() != item.message_id:
            raise ValueError("a message id is the SHA-256 of the raw message")
        keys, texts = _texts(message.raw, item.parts)
        if not keys:  # an empty message has no part; its header is the platform's
            keys, texts = {"": self._archive_key}, {"": []}
        credential = message.credential.encode()
        next(iter(texts.values())).insert(0, struct.pack(">H", len(credential)) + credential)
        plain = [b"".join(pieces) for pieces in texts.values()]
        number = {name: at for at, name in enumerate(keys)}
        clear = _Clear(
            message.epoch,
            message.partition,
            message.offset,
            message.format,
            message.received_us,
            self._tag(message.credential, item.message_id),
            [
                (name.encode("ascii").ljust(DEVICE_BYTES, b"\0"), len(text) + _TAG_BYTES)
                for name, text in zip(keys, plain, strict=True)
            ],
            [end for _, end, _ in item.parts],
            [number[subject.pseudonym] for _, _, subject in item.parts],
        )
        binding = clear.binding()
        sealed = [
            self._cipher(key).encrypt(_nonce(binding, at), text, _bound(binding, at))
            for at, (key, text) in enumerate(zip(keys.values(), plain, strict=True))
        ]
        return clear, b"".join(sealed)

    def _sealed_summary(
        self, credential: str, message_id: bytes, summary: bytes
    ) -> tuple[bytes, bytes]:
        """One row of `summary`; who has not the message cannot read it, not even with all keys."""
        tag = self._tag(credential, message_id)
        key = self._summary_key(credential, message_id)
        nonce_label = b"gridseal/archive-summary-nonce/v1\0"
        nonce = hmac_digest(self._archive_key, nonce_label + tag + summary, "sha256")[:_NONCE_BYTES]
        return tag, nonce + AESGCM(key).encrypt(nonce, summary, tag)

    def _tag(self, credential: str, message_id: bytes) -> bytes:
        """How a message is known again: HMAC over sender and SHA-256, never the bare hash."""
        return hmac_digest(self._archive_key, _identity(credential, message_id), "sha256")

    def _summary_key(self, credential: str, message_id: bytes) -> bytes:
        label = b"gridseal/archive-summary/v1\0"
        return hmac_digest(self._archive_key, label + _identity(credential, message_id), "sha256")

    def _cipher(self, salt_key: bytes) -> AESGCM:
        cipher = self._ciphers.get(salt_key)
        if cipher is None:
            if len(self._ciphers) >= CIPHERS_CACHED_MAX:
                self._ciphers.clear()
            key = hmac_digest(salt_key, b"gridseal/archive/v1", "sha256")
            cipher = self._ciphers[salt_key] = AESGCM(key)
        return cipher


def _texts(
    raw: bytes, parts: Sequence[tuple[int, int, Subject]]
) -> tuple[dict[str, bytes], dict[str, list[bytes]]]:
    """Salt key and pieces by pseudonym, in order of first part. Raises ValueError for gaps."""
    starts = [start for start, _, _ in parts]
    ends = [end for _, end, _ in parts]
    if [*starts, len(raw)] != [0, *ends] or not all(map(le, starts, ends)):
        raise ValueError("the parts of a message are not consecutive or do not cover it")
    keys: dict[str, bytes] = {}
    texts: dict[str, list[bytes]] = defaultdict(list)
    for start, end, subject in parts:
        keys[subject.pseudonym] = subject.salt_key
        texts[subject.pseudonym].append(raw[start:end])
    return keys, texts


def _nonce(binding: bytes, number: int) -> bytes:
    """96 bits of the binding, XOR the owner's number, as RFC 8446 §5.3 makes its nonces."""
    seed = int.from_bytes(binding[:_NONCE_BYTES], "big")
    return (seed ^ number).to_bytes(_NONCE_BYTES, "big")


def _bound(binding: bytes, number: int) -> bytes:
    """Associated data of one owner's seal."""
    return binding + number.to_bytes(4, "big")


def _identity(credential: str, message_id: bytes) -> bytes:
    if len(message_id) != 32:
        raise ValueError("a message id is the SHA-256 of the raw message")
    return credential.encode() + b"\0" + message_id


def _place(epoch: str, partition: int, offset: int) -> str:
    return f"{epoch}/{partition}/{offset}"


def _numbers(values: Sequence[int]) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def _decode_layout(
    data: bytes,
) -> tuple[list[tuple[bytes, int]], tuple[int, ...], tuple[int, ...]]:
    """Owners, ends and owner of each part. Raises ValueError or struct.error for other bytes."""
    owner_count, part_count = struct.unpack_from(">II", data)
    at = 8 + _OWNER.size * owner_count
    if len(data) != at + 8 * part_count:
        raise ValueError("the table of parts has another length")
    return (
        list(_OWNER.iter_unpack(data[8:at])),
        struct.unpack_from(f">{part_count}I", data, at),
        struct.unpack_from(f">{part_count}I", data, at + 4 * part_count),
    )


def _cut(clear: _Clear, texts: Sequence[bytes | None], header_bytes: int) -> list[StoredPart]:
    """The owners' texts as the parts they were joined from."""
    names = [Pseudonym(owner.rstrip(b"\0").decode()) for owner, _ in clear.owners]
    taken = [header_bytes, *[0] * (len(texts) - 1)]
    parts: list[StoredPart] = []
    start = 0
    for end, owner in zip(clear.ends, clear.owner_of, strict=True):
        text, at = texts[owner], taken[owner]
        piece = None if text is None else text[at : at + end - start]
        parts.append((start, end, names[owner], piece))
        taken[owner] = at + end - start
        start = end
    return parts
