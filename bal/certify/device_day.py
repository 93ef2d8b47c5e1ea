"""Device-days: all slots of one device, register and local day, packed (docs/spec/completeness.md).

Pure, and depends on nothing of the platform: the verifier uses it.
"""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain

from bal.slots import (
    EXACT,
    MISSING,
    NO_INDEX,
    NOT_RECEIVED,
    ROUNDED,
    SAID_MISSING,
    TOO_LARGE,
    Slot,
    is_slot_length,
)

MAGIC = b"GSDD\x01"
SLOTS_MAX = 1_560  # 26 h of minutes
NO_VERSION = bytes(32)  # the commitment before the first

_HEADER = struct.Struct(">5s32sI32sQQHH")
_SLOT = struct.Struct(">BBqQ")
_FIXED = struct.calcsize(">5s32sI32sQ")  # up to the start: what a version alone can change
_PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{43}")
_REGISTER = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """What the bytes say; `encode` writes them."""

    key: bytes  # 32
    version: int  # from 1
    previous: bytes  # commitment of the version before, 32; zeros in version 1
    prefix: int  # log size up to which records were read
    start_s: int  # seconds since 1970-01-01T00:00:00Z
    slot_s: int
    slots: tuple[Slot, ...]


def key(day: int, device: str, register: str) -> bytes:
    """The place of a device-day in its date's book.

    day: of the civil date since 1970-01-01; device: its pseudonym. Raises ValueError where one of
    them can't be written down.
    """
    place = b"gridseal/book/v1\x00" + day.to_bytes(4, "big") + device_bytes(device)
    if _REGISTER.fullmatch(register) is None:
        raise ValueError("a register is 1 to 256 characters of ASCII")
    return sha256(place + register.encode("ascii")).digest()


def device_bytes(pseudonym: str) -> bytes:
    """The 32 bytes of a pseudonym. Raises ValueError where it is none."""
    if _PSEUDONYM.fullmatch(pseudonym) is None:
        raise ValueError("a pseudonym is 43 characters of base64url")
    found = urlsafe_b64decode(f"{pseudonym}=")
    if urlsafe_b64encode(found)[:43].decode() != pseudonym:
        raise ValueError("the pseudonym's last character has bits too many")
    return found


def encode(day: DeviceDay) -> bytes:
    """93 + 18 bytes a slot. Raises ValueError for what `decode` would refuse."""
    _check(day)
    return encode_checked(day)


def encode_checked(day: DeviceDay) -> bytes:
    """As `encode`, of what is known to be right: a third of the time."""
    count = len(day.slots)
    header = _HEADER.pack(
        MAGIC, day.key, day.version, day.previous, day.prefix, day.start_s, day.slot_s, count
    )
    return header + struct.pack(">" + "BBqQ" * count, *chain.from_iterable(day.slots))


def decode(data: bytes) -> DeviceDay:
    """The device-day of its bytes. Raises ValueError for any that `encode` does not write."""
    if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise ValueError("not a device-day of this version")
    _, place, version, previous, prefix, start_s, slot_s, count = _HEADER.unpack_from(data)
    if len(data) != _HEADER.size + _SLOT.size * count:
        raise ValueError(f"a device-day of {count} slots has not {len(data)} bytes")
    slots = tuple(map(Slot._make, _SLOT.iter_unpack(data[_HEADER.size :])))
    found = DeviceDay(place, version, previous, prefix, start_s, slot_s, slots)
    _check(found)
    return found


def content(data: bytes) -> bytes:
    """SHA-256 of the encoded device-day without version, previous and prefix: what it says."""
    return sha256(data[_FIXED:]).digest()


def _check(day: DeviceDay) -> None:
    if len(day.key) != 32 or len(day.previous) != 32:
        raise ValueError("key and previous have 32 bytes")
    if day.version < 1 or (day.version == 1) != (day.previous == NO_VERSION):
        raise ValueError("version 1 has no version before it, and every other has one")
    if not is_slot_length(day.slot_s):
        raise ValueError(f"a day is not cut into slots of {day.slot_s} s")
    if not 1 <= len(day.slots) <= SLOTS_MAX:
        raise ValueError(f"a device-day has 1 to {SLOTS_MAX} slots")
    for number, slot in enumerate(day.slots):
        if not _is_sound(slot):
            raise ValueError(f"slot {number}: its state, reason, energy and index do not agree")
        if slot.log_index != NO_INDEX and slot.log_index >= day.prefix:
            raise ValueError(f"slot {number}: its record is not below the prefix")
    named = [slot.log_index for slot in day.slots if slot.log_index != NO_INDEX]
    if len(set(named)) != len(named):
        raise ValueError("two slots name one record")


def _is_sound(slot: Slot) -> bool:
    state, reason, energy, index = slot
    if state == MISSING:
        if reason == NOT_RECEIVED:
            return energy == 0 and index == NO_INDEX
        return reason in {SAID_MISSING, TOO_LARGE} and energy == 0 and index != NO_INDEX
    return state <= 3 and reason in {EXACT, ROUNDED} and index != NO_INDEX
