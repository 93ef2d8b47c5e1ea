"""Cursors: where the next page starts, sealed so that nobody can hand in another place.

A cursor is good for one client and one query. It carries no right: those are looked up anew.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from bal.errors import Rejected

CURSOR_LENGTH_MAX = 2048
_MAC_LENGTH = 16


def seal(key: bytes, query: Sequence[str], place: Sequence[object]) -> str:
    """base64url(MAC ‖ JSON of `place`), the MAC also over `query`.

    key: 32 bytes; query: whatever must be the same on the next page, client included;
    place: strings, integers, null and lists of them.
    """
    body = msgspec.json.encode(place)
    return _text(_mac(key, query, body) + body)


def unseal(keys: Sequence[bytes], query: Sequence[str], cursor: str) -> list[object]:
    """The place that `seal` was given under one of `keys`; else Rejected("cursor-invalid")."""
    refused = Rejected(
        "cursor-invalid", "Repeat the query that gave this cursor, unchanged.", field="cursor"
    )
    if len(cursor) > CURSOR_LENGTH_MAX or not cursor.isascii():
        raise refused
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raise refused from None
    if _text(data) != cursor:  # the decoder skips what is no base64url
        raise refused
    mac, body = data[:_MAC_LENGTH], data[_MAC_LENGTH:]
    if not any(hmac.compare_digest(mac, _mac(key, query, body)) for key in keys):
        raise refused
    return msgspec.json.decode(body, type=list[object])


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _mac(key: bytes, query: Sequence[str], body: bytes) -> bytes:
    # JSON of the list of strings: no two queries write the same bytes
    text = b"gridseal/cursor/v1\0" + msgspec.json.encode(list(query)) + b"\0" + body
    return hmac.new(key, text, sha256).digest()[:_MAC_LENGTH]
