"""Pseudonyms, salts and commitments (docs/spec/commitment.md, ARCHITECTURE §2)."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import TYPE_CHECKING, cast

from bal.certify.tree import leaf_hashes
from bal.model import TYPE_FRAME, TYPE_PART, Digest, Pseudonym

if TYPE_CHECKING:
    from _hashlib import HASH

COMMITMENT_BYTES = 32
PUBLIC_ENTRY_BYTES_MAX = 65_535  # an entry bundle's length prefix is a uint16

REPEATED_BYTES_MAX = 64  # of a part that may stand in a message again and again
REPEATED_MIN = 8  # of such parts, to look for equal ones
PIECE_BYTES = 2_047
BEGUN_KEPT_MAX = 200_000  # of 600 bytes each

_SALT_LABEL = b"gridseal/salt/v1\x00"
_begun: dict[bytes, tuple["HASH", "HASH"]] = {}


def pseudonym(pseudonym_key: bytes) -> Pseudonym:
    """The public name of a subject epoch: base64url(HMAC-SHA-256(P, label)), 43 characters."""
    tag = hmac_digest(pseudonym_key, b"gridseal/pseudonym/v1", "sha256")
    return Pseudonym(urlsafe_b64encode(tag).rstrip(b"=").decode())


def salt(salt_key: bytes, type_: bytes, data: bytes) -> bytes:
    """The 32-byte salt of one commitment: HMAC-SHA-256(K, label ‖ type ‖ data)."""
    begun_inner, begun_outer = _begun.get(salt_key) or _begin(salt_key)
    inner, outer = begun_inner.copy(), begun_outer.copy()
    inner.update(type_ + data)
    outer.update(inner.digest())
    return outer.digest()


def commitment(salt_key: bytes, type_: bytes, data: bytes) -> Digest:
    """SHA-256(0x02 ‖ type ‖ salt ‖ data); the 0x02 keeps it apart from leaf and node hashes."""
    return Digest(sha256(b"\x02" + type_ + salt(salt_key, type_, data) + data).digest())


def commitments(type_: bytes, salt_keys: Iterable[bytes], items: Iterable[bytes]) -> list[Digest]:
    """`commitment` of many, of one type; half the price of the calls.

    salt_keys: one an item, in the same order.
    """
    begun, kept, found = sha256(b"\x02" + type_), _begun, []
    for salt_key, data in zip(salt_keys, items, strict=True):
        inner, outer = kept.get(salt_key) or _begin(salt_key)
        inner, outer, whole = inner.copy(), outer.copy(), begun.copy()
        if len(data) < PIECE_BYTES:
            inner.update(type_ + data)
        else:
            update(inner, type_ + data)
        outer.update(inner.digest())
        whole.update(outer.digest())
        if len(data) < PIECE_BYTES:
            whole.update(data)
        else:
            update(whole, data)
        found.append(whole.digest())
    return cast("list[Digest]", found)


def part_commitments(salt_keys: Sequence[bytes], parts: Sequence[bytes]) -> list[Digest]:
    """`commitments` to the parts of a message; equal ones of one subject are made once.

    Mostly these are white space between the devices, as often as there are devices.
    """
    if sum([len(part) <= REPEATED_BYTES_MAX for part in parts]) < REPEATED_MIN:
        return commitments(TYPE_PART, salt_keys, parts)
    pairs = list(zip(salt_keys, parts, strict=True))
    different = dict.fromkeys(pairs)
    made = commitments(TYPE_PART, *zip(*different, strict=True))
    return list(map(dict(zip(different, made, strict=True)).__getitem__, pairs))


def frame_leaves(salt_keys: Iterable[bytes], frames: Iterable[bytes]) -> list[Digest]:
    """The leaf of each phasor frame in its window's tree (docs/spec/pmu.md)."""
    return leaf_hashes(commitments(TYPE_FRAME, salt_keys, frames))


def sha256_of(data: bytes) -> Digest:
    """SHA-256 of a message, in pieces; see `update`."""
    begun = sha256()
    update(begun, data)
    return Digest(begun.digest())


def update(begun: "HASH", data: bytes) -> None:
    """As `begun.update(data)`, in pieces.

    hashlib lets go of the interpreter's lock for 2,048 bytes or more, and has to wait for it then:
    where other threads are busy, for a millisecond, in which it could have hashed a megabyte.
    """
    whole = memoryview(data)
    for at in range(0, len(data), PIECE_BYTES):
        begun.update(whole[at : at + PIECE_BYTES])


def _begin(salt_key: bytes) -> tuple["HASH", "HASH"]:
    """The two hashes of RFC 2104 §2, begun with the padded key (and the inner one's label).

    They are kept for the next time and only ever copied: a reading's HMAC takes half of the time
    that OpenSSL needs to set one up, and a tenth less than from the padded keys' bytes.
    """
    key = salt_key.ljust(64, b"\0")
    if len(key) > 64:
        raise ValueError("a salt key has 32 bytes")
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + _SALT_LABEL)
    begun = inner, sha256(bytes(byte ^ 0x5C for byte in key))
    if len(_begun) >= BEGUN_KEPT_MAX:
        _begun.clear()
    _begun[salt_key] = begun
    return begun


def is_public(entry: bytes) -> bool:
    """Whether a log entry is a public record; False for a commitment.

    Raises ValueError for any other form: such an entry fails an audit (ARCHITECTURE §3).
    """
    if len(entry) == COMMITMENT_BYTES:
        return False
    if COMMITMENT_BYTES < len(entry) <= PUBLIC_ENTRY_BYTES_MAX and entry[:1] == b"{":
        return True
    raise ValueError(f"an entry of {len(entry)} bytes is neither a commitment nor a public record")
