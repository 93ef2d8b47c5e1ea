"""JSON messages in which there is nothing to look at, told at a tenth to a third of the price.

They have the usual members, each once, and no more braces and brackets than their items and
readings need, so that no object hides in a value; and, written anew, they are as long as they came,
so that no member was passed over because it stands twice. Whatever else comes, escapes and
non-ASCII characters too, is the long way's to judge (bal/collect/guard.py).
"""

from typing import TypeVar

import msgspec

_SPACE = b" \t\r\n"
_DEPTH = 4  # an array of objects with an array of objects


class _FrameReading(msgspec.Struct, forbid_unknown_fields=True):
    component: str
    measurand: str
    phase: str
    data: msgspec.Raw


class _Frame(msgspec.Struct, forbid_unknown_fields=True):
    device: str
    timestamp: str
    readings: list[_FrameReading]


class _DerReading(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A value that is a number may be written in two ways: not here."""

    measurand: str | msgspec.UnsetType = msgspec.UNSET
    value: str | msgspec.UnsetType = msgspec.UNSET
    unit: str | msgspec.UnsetType = msgspec.UNSET
    begin: str | msgspec.UnsetType = msgspec.UNSET
    end: str | msgspec.UnsetType = msgspec.UNSET
    time: str | msgspec.UnsetType = msgspec.UNSET
    phase: str | msgspec.UnsetType = msgspec.UNSET


class _Der(msgspec.Struct, forbid_unknown_fields=True):
    device: str
    readings: list[_DerReading]


_frame, _frames = msgspec.json.Decoder(_Frame), msgspec.json.Decoder(list[_Frame])
_der, _ders = msgspec.json.Decoder(_Der), msgspec.json.Decoder(list[_Der])
_Item = TypeVar("_Item", _Frame, _Der)


def is_frames(raw: bytes, depth_max: int, items_max: int) -> bool:
    """Whether these are phasor frames of the published members."""
    return depth_max >= _DEPTH and _is_plain(raw, items_max, _frame, _frames)


def is_der(raw: bytes, depth_max: int, items_max: int) -> bool:
    """Whether this is DER telemetry whose devices are named by one string each."""
    return depth_max >= _DEPTH and _is_plain(raw, items_max, _der, _ders)


def _is_plain(
    raw: bytes,
    items_max: int,
    one: msgspec.json.Decoder[_Item],
    many: msgspec.json.Decoder[list[_Item]],
) -> bool:
    if b"\\" in raw or not raw.isascii():
        return False
    begun = raw.lstrip(_SPACE)
    try:
        found = many.decode(raw) if begun.startswith(b"[") else [one.decode(raw)]
    except msgspec.DecodeError:
        return False
    readings = sum([len(item.readings) for item in found])
    again = msgspec.json.encode(found)
    arrays, commas = again.count(b"["), again.count(b",")
    if arrays != len(found) + 1 or again.count(b"{") != len(found) + readings:
        return False
    written, came = len(again.translate(None, _SPACE)), len(raw.translate(None, _SPACE))
    if not begun.startswith(b"["):
        came += 2  # `found` is a list all the same
    return written == came and arrays + commas + len(found) + readings <= items_max
