"""RFC 8785 (JCS) for what Gridseal certifies: strings, objects and arrays of them, at most 4 deep.

Without numbers, booleans and null every language canonicalises alike (ARCHITECTURE §2).
"""

from typing import Any

import msgspec

DEPTH_MAX = 4

_encoder = msgspec.json.Encoder(order="sorted")


def encode(value: object) -> bytes:
    """The canonical bytes of `value`: str, dict with ASCII keys, or list, nested ≤ 4 deep.

    Raises ValueError for anything else, and for a lone surrogate, which has no UTF-8 form.
    RFC 8785 §3.2.3 sorts keys by UTF-16 code unit; on ASCII keys that is byte order.
    """
    _check(value, 1)
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate has no UTF-8 form") from error


def decode(data: bytes) -> Any:
    """The value of canonical bytes.

    Raises ValueError unless `data` is exactly what `encode` would write: this refuses doubled
    members, other spacing, other escapes, numbers, and depth.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if encode(value) != data:
        raise ValueError("not in RFC 8785 form")
    return value


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        return
    if depth > DEPTH_MAX:
        raise ValueError(f"nested more than {DEPTH_MAX} deep")
    if isinstance(value, dict):
        if not all(map(str.__instancecheck__, value)) or not "".join(value).isascii():
            raise ValueError("a member's name is not ASCII")
        for member in value.values():
            if type(member) is not str:
                _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)
    else:
        raise ValueError(f"{type(value).__name__} is not allowed, only strings, objects, arrays")
