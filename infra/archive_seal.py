"""What the archive keeps of a message, sealed (docs/spec/store.md §archive): functions of the
message, of its parts and of their subjects' keys.

Whoever has those keys can seal: the platform, and the processes that work through bulk messages.
"""

import struct
from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import digest as hmac_digest
from itertools import count
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bal.model import Pseudonym, RawMessage, Sealed, Subject
from bal.ports import RawArchive
from bal.store.segment import DEVICE_BYTES

CIPHERS_CACHED_MAX = 1 << 16
NONCE_BYTES = 12
TAG_BYTES = 16

StoredPart = tuple[int, int, Pseudonym, bytes | None]  # start, end, whose, bytes if the key exists


class SealingArchive(RawArchive, Protocol):
    """An archive for which others may seal."""

    def tag(self, credential: str, message_id: bytes) -> bytes:
        """What others need to know for it of a message, besides the keys of its subjects."""
        ...


class Clear(NamedTuple):
    """All of a message that is stored in clear; every seal is bound to all of it."""

    epoch: str
    lane: int
    place: int
    format: str
    received_us: int
    tag: bytes  # made of credential and SHA-256 of the message, see `SqliteArchive`
    layout: bytes  # of `encode_layout`

    def binding(self) -> bytes:
        """32 bytes that no other message has: `tag` stands for the content."""
        head = f"{self.epoch}/{self.lane}/{self.place} {self.format} {self.received_us}\n"
        return sha256(head.encode() + self.tag + self.layout).digest()


class Layout(NamedTuple):
    """Whose bytes are where; the first owner has the header."""

    owners: Sequence[Pseudonym]
    sizes: Sequence[int]  # of what is sealed for each owner
    ends: Sequence[int]  # of each part; the next one starts there
    owner_of: Sequence[int]  # of each part, its number in `owners`


class Sealer:
    """Seals texts of subjects; keeps what it made of their keys."""

    def __init__(self) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}

    def forget(self) -> None:
        """Let go of the keys in memory."""
        self._ciphers.clear()

    def cipher(self, salt_key: bytes) -> AESGCM:
        """For what is a subject's, by K of the year."""
        cipher = self._ciphers.get(salt_key)
        if cipher is None:
            if len(self._ciphers) >= CIPHERS_CACHED_MAX:
                self._ciphers.clear()
            key = hmac_digest(salt_key, b"gridseal/archive/v1", "sha256")
            cipher = self._ciphers[salt_key] = AESGCM(key)
        return cipher

    def seal(
        self,
        message: RawMessage,
        tag: bytes,
        parts: Sequence[tuple[int, int, Subject]],
        archive_key: bytes = b"",
    ) -> Sealed:
        """What is sealed for each subject stands one after the other; the first has the credential.

        A subject's parts are sealed together, because a message of a thousand meters has a thousand
        and one of the platform's; and AES-GCM takes 2^32 messages a key, which that would reach in
        a year. archive_key: for a message without any part. Raises ValueError where the parts are
        not consecutive or do not cover the message.
        """
        keys, pieces, owner_of = _by_owner(message.raw, parts)
        if not keys:  # an empty message has no part; its header is the platform's
            keys, pieces = {Pseudonym(""): archive_key}, [[]]
        if len(set(keys.values())) < len(keys):  # would be one key and nonce for two texts
            raise ValueError("two subjects of a message have one key")
        credential = message.credential.encode()
        pieces[0].insert(0, struct.pack(">H", len(credential)) + credential)
        texts = list(map(b"".join, pieces))
        sizes = [len(text) + TAG_BYTES for text in texts]
        ends = [end for _, end, _ in parts]
        layout = encode_layout(Layout(list(keys), sizes, ends, owner_of))
        binding = clear_of(message, tag, layout).binding()
        nonce, cipher = binding[:NONCE_BYTES], self.cipher
        sealed = [
            cipher(key).encrypt(nonce, text, binding)
            for key, text in zip(keys.values(), texts, strict=True)
        ]
        return Sealed(tag, layout, b"".join(sealed))

    def open(
        self,
        clear: "Clear",
        layout: "Layout",
        sealed: bytes,
        keys: Mapping[Pseudonym, bytes | None],
    ) -> list[bytes | None]:
        """The text of each owner; None where its key is gone."""
        binding = clear.binding()
        texts: list[bytes | None] = []
        at = 0
        for name, size in zip(layout.owners, layout.sizes, strict=True):
            key = keys[name]
            if key is None:
                texts.append(None)
            else:
                text = sealed[at : at + size]
                texts.append(self.cipher(key).decrypt(binding[:NONCE_BYTES], text, binding))
            at += size
        if at != len(sealed):
            raise ValueError("sealed bytes are missing or too many")
        return texts


def clear_of(message: RawMessage, tag: bytes, layout: bytes) -> "Clear":
    """What stands in clear of a message."""
    return Clear(
        message.epoch,
        message.partition,
        message.offset,
        message.format,
        message.received_us,
        tag,
        layout,
    )


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


def encode_layout(layout: Layout) -> bytes:
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


def decode_layout(data: bytes) -> Layout:
    """What was encoded. Raises ValueError, TypeError or struct.error for other bytes."""
    owners, parts = struct.unpack_from(">II", data)
    at = 8 + DEVICE_BYTES * owners
    if len(data) != at + 4 * owners + 8 * parts:
        raise ValueError("the table of parts has another length")
    names = [data[i : i + DEVICE_BYTES] for i in range(8, at, DEVICE_BYTES)]
    numbers = struct.unpack_from(f">{owners + 2 * parts}I", data, at)
    return Layout(
        [Pseudonym(name.rstrip(b"\0").decode()) for name in names],
        numbers[:owners],
        numbers[owners : owners + parts],
        numbers[owners + parts :],
    )


def cut(layout: Layout, texts: Sequence[bytes | None], header_bytes: int) -> list[StoredPart]:
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
