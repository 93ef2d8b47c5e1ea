"""Pseudonyms, salts and commitments (docs/spec/commitment.md, DESIGN §2)."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest as hmac_digest

from bal.model import Digest, Pseudonym

COMMITMENT_BYTES = 32
PUBLIC_ENTRY_BYTES_MAX = 65_535  # an entry bundle's length prefix is a uint16

_SALT_LABEL = b"gridseal/salt/v1\x00"


def pseudonym(pseudonym_key: bytes) -> Pseudonym:
    """The public name of a subject epoch: base64url(HMAC-SHA-256(P, label)), 43 characters."""
    tag = hmac_digest(pseudonym_key, b"gridseal/pseudonym/v1", "sha256")
    return Pseudonym(urlsafe_b64encode(tag).rstrip(b"=").decode())


def salt(salt_key: bytes, type_: bytes, data: bytes) -> bytes:
    """The 32-byte salt of one commitment: HMAC-SHA-256(K, label ‖ type ‖ data)."""
    return hmac_digest(salt_key, _SALT_LABEL + type_ + data, "sha256")


def commitment(salt_key: bytes, type_: bytes, data: bytes) -> Digest:
    """SHA-256(0x02 ‖ type ‖ salt ‖ data); the 0x02 keeps it apart from leaf and node hashes."""
    return Digest(
        sha256(
            b"\x02" + type_ + hmac_digest(salt_key, _SALT_LABEL + type_ + data, "sha256") + data
        ).digest()
    )


def is_public(entry: bytes) -> bool:
    """Whether a log entry is a public record; False for a commitment.

    Raises ValueError for any other form: such an entry fails an audit (DESIGN §3).
    """
    if len(entry) == COMMITMENT_BYTES:
        return False
    if COMMITMENT_BYTES < len(entry) <= PUBLIC_ENTRY_BYTES_MAX and entry[:1] == b"{":
        return True
    raise ValueError(f"an entry of {len(entry)} bytes is neither a commitment nor a public record")
