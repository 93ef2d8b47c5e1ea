"""The verdict *complete*: a day of a device is all there, and all are shown the same day.

The document `gridseal.day/1` (docs/spec/completeness.md). Part of `bal/certify/verify.py`; pure.
`parse_day` and `check_included` are what makes a document authentic, `check_complete` is the rest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn

from bal.certify import book, device_day
from bal.certify.device_day import DeviceDay
from bal.certify.verify_chain import CloseClaim
from bal.certify.verify_note import Checkpoint, VerifyError, base64_bytes, decimal, parse_checkpoint
from bal.certify.verify_proof import (
    check_anchor_form,
    check_path,
    commitment,
    leaf_hash,
    parse_canonical,
    parse_path,
    parse_record,
)
from bal.errors import ProofInvalid
from bal.slots import DAY_S, MISSING, NO_INDEX, SAID_MISSING, TOO_LARGE, Slot, thousandfold

DAY_VERSION = "gridseal.day/1"
DAY_BYTES_MAX = 16 << 20
RECORD_TYPE, DAY_TYPE = b"\x01", b"\x02"

_MEMBERS = {"v", "device", "date", "register", "zone", "checkpoint", "close", "day_proof"}
_MEMBERS |= {"previous", "slots"}
_OPTIONAL = {"key_proof", "device_day", "anchor"}
_CLOSE = {"book", "date", "day_book", "device_days", "k", "prefix", "time", "type", "v"}
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{0,5}[1-9])?Z")
_REGISTER = re.compile(r"[!-~]{0,256}")
_SAID_MISSING = re.compile(r"[0-9]+\.5\.259")  # IEC 61968-9 annex D: known missing read
_UNITS = ("Wh", "varh", "VAh")
_EPOCH = date(1970, 1, 1)
_START_S_MAX = 14 * 3600  # between a date in UTC and in any zone
_DAY_S_MIN, _DAY_S_MAX = 22 * 3600, 26 * 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log that the document opens."""

    index: int
    path: tuple[bytes, ...]
    entry: bytes  # a commitment, or the bytes of a public record
    data: bytes = b""  # of a device-day
    record: str = ""
    slot: int = 0


@dataclass(frozen=True, slots=True)
class DayDocument:
    """A document as it was parsed; nothing in it is checked yet."""

    device: str
    date: str
    day: int  # since 1970-01-01
    register: str  # "" where no device-day is shown
    checkpoint: Checkpoint
    close: Entry
    day_proof: book.Proof
    key_proof: book.Proof | None
    newest: Entry | None
    previous: tuple[Entry, ...]
    slots: tuple[Entry, ...]
    anchor: Mapping[str, str] | None

    @property
    def index(self) -> int:
        """Of the close record, which is what a chain is asked about."""
        return self.close.index

    @property
    def entry(self) -> bytes:
        """The close record's bytes."""
        return self.close.entry


@dataclass(frozen=True, slots=True)
class Completeness:
    """What the book shows of one day: complete, complete-gaps or absent, and as of which close."""

    code: str
    text: str
    close: CloseClaim


def parse_day(members: Mapping[str, Any]) -> DayDocument:
    """Step 1: the parts of the document's JSON. Raises VerifyError receipt-malformed."""
    if members.keys() - _OPTIONAL != _MEMBERS or members["v"] != DAY_VERSION:
        _malformed(f"it has not the members of {DAY_VERSION}")
    texts = ("device", "date", "register", "zone", "checkpoint")
    if not all(isinstance(members[name], str) for name in texts):
        _malformed("a member is not a text")
    anchor = members.get("anchor")
    try:
        device_day.device_bytes(members["device"])
        if "anchor" in members:
            check_anchor_form(anchor)
        proofs = {
            name: book.parse_proof(members[name])
            for name in ("day_proof", "key_proof")
            if name in members
        }
    except (ValueError, VerifyError) as error:
        _malformed(str(error))
    day = _day_number(members["date"])
    if day is None or not _REGISTER.fullmatch(members["register"]):
        _malformed("the date or the register is none")
    close = _members(members["close"], {"record"})
    return DayDocument(
        members["device"],
        members["date"],
        day,
        members["register"],
        parse_checkpoint(members["checkpoint"]),
        Entry(*_place(close), close["record"].encode(), record=close["record"]),
        proofs["day_proof"],
        proofs.get("key_proof"),
        _version(members["device_day"]) if "device_day" in members else None,
        tuple(map(_version, _array(members["previous"]))),
        tuple(map(_slot, _array(members["slots"]))),
        anchor,
    )


def check_included(document: DayDocument) -> list[dict[str, Any]]:
    """Step 3: the close record, every version and every slot's record stand in the signed tree.

    Gives the slots' records. Raises VerifyError index-outside, path-wrong-length, root-mismatch,
    record-not-canonical.
    """
    versions = (() if document.newest is None else (document.newest,)) + document.previous
    for one in (document.close, *versions):
        _check_entry(one, document.checkpoint)
    records = []
    for one in document.slots:
        records.append(parse_record(one.record))
        _check_entry(one, document.checkpoint)
    return records


def check_complete(document: DayDocument, records: Sequence[Mapping[str, Any]]) -> Completeness:
    """Steps 4 to 8, of an authentic document with the records of its slots.

    Raises VerifyError close-malformed, book-mismatch, version-mismatch, slot-mismatch.
    """
    claim, closed_date, day_book = _close(document)
    found = _value(document.day_proof, book.day_key(document.day), claim.book)
    if closed_date == document.date and found != day_book:
        _mismatch("the close names another book of its own date")
    surplus = document.newest is not None or document.previous or document.slots
    as_of, device = f"as of close {claim.k}", f"device {document.device}"
    if found is None:
        if surplus or document.key_proof is not None:
            _mismatch("a part of a day that is not in the book")
        text = f"Proved: {as_of} the book has no {document.date}, so nothing of {device}."
        return Completeness("absent", text, claim)
    if not document.register or document.key_proof is None:
        _mismatch("the date is in the book, and nothing shows its device-day")
    key = device_day.key(document.day, document.device, document.register)
    value = _value(document.key_proof, key, found)
    if value is None:
        if surplus:
            _mismatch("a device-day that is not in the book")
        text = f"the book of {document.date} has no {device} with register {document.register}."
        return Completeness("absent", f"Proved: {as_of} {text}", claim)
    if document.newest is None or document.newest.entry != value:
        _mismatch("the book names another device-day")
    day = _newest(document, document.newest, key, claim)
    _check_versions(document.newest, day, document.previous)
    _check_slots(document, day, records)
    missing = sum(slot.state == MISSING for slot in day.slots)
    text = f"{_told(document, day, missing)}, {as_of}."
    if missing:
        return Completeness("complete-gaps", text, claim)
    return Completeness("complete", text, claim)


def _told(document: DayDocument, day: DeviceDay, missing: int) -> str:
    """What was proved: the book's key holds all of the names, the bytes hold the times."""
    count = len(day.slots)
    said = f"{missing} of {count} slots are missing" if missing else f"all {count} slots are there"
    if missing == count:
        said = f"none of {count} slots has a value; {count} are missing"
    times = f"{_rfc3339(day.start_s)} to {_rfc3339(day.start_s + count * day.slot_s)}"
    what = f"Device {document.device}, register {document.register}, {document.date}"
    return f"{what} ({times}): {said}"


def _close(document: DayDocument) -> tuple[CloseClaim, str, bytes]:
    """Step 4: what the close record claims, its date and that date's book."""
    try:
        record = parse_canonical(document.close.record, 1)
        if not isinstance(record, dict) or record.keys() != _CLOSE:
            raise ValueError("it has not exactly the members of a close record")
        if (record["type"], record["v"]) != ("close", "gridseal/close/v1"):
            raise ValueError("it is no close record of this version")
        k, prefix, _ = (decimal(record[name], name) for name in ("k", "prefix", "device_days"))
        if not k or _day_number(record["date"]) is None or not _is_instant(record["time"]):
            raise ValueError("k, date or time is none")
        if not (_HEX_32.fullmatch(record["book"]) and _HEX_32.fullmatch(record["day_book"])):
            raise ValueError("a root is not 64 hex digits")
    except (ValueError, VerifyError) as error:
        text = error.text if isinstance(error, VerifyError) else str(error)
        raise VerifyError("close-malformed", f"the close record: {text}") from None
    claim = CloseClaim(document.checkpoint.origin, k, prefix, bytes.fromhex(record["book"]))
    return claim, record["date"], bytes.fromhex(record["day_book"])


def _value(proof: book.Proof, key: bytes, root: bytes) -> bytes | None:
    """Step 5: what the book of `root` has at `key`; None where it is proved to have nothing."""
    try:
        if proof.terminal is not None and proof.terminal[0] == key:
            book.check_presence(key, proof.terminal[1], proof, root)
            return proof.terminal[1]
        book.check_absence(key, proof, root)
    except ProofInvalid as error:
        raise VerifyError("book-mismatch", str(error)) from None
    return None


def _newest(document: DayDocument, newest: Entry, key: bytes, claim: CloseClaim) -> DeviceDay:
    """Step 6: the device-day that the book names."""
    try:
        day = device_day.decode(newest.data)
    except ValueError as error:
        _mismatch(f"the device-day: {error}")
    length_s = len(day.slots) * day.slot_s
    if day.key != key:
        _mismatch("the device-day is another's, or another date's")
    if abs(day.start_s - document.day * DAY_S) > _START_S_MAX:
        _mismatch("the device-day does not begin at its date")
    if not _DAY_S_MIN <= length_s < _DAY_S_MAX + day.slot_s:
        _mismatch("the device-day is not as long as a day")
    if day.prefix > claim.prefix or newest.index >= document.close.index:
        _mismatch("the device-day is newer than its close")
    return day


def _check_versions(newest: Entry, day: DeviceDay, previous: Sequence[Entry]) -> None:
    """Step 7: each version names the one before, down to the first."""
    if day.version != 1 + len(previous):
        _unlinked(f"version {day.version} is shown with {len(previous)} before it")
    newer = newest
    for one in previous:
        try:
            older = device_day.decode(one.data)
        except ValueError as error:
            _unlinked(str(error))
        if older.key != day.key or older.version != day.version - 1:
            _unlinked(f"before version {day.version} stands another's")
        if one.index >= newer.index or older.prefix > day.prefix:
            _unlinked(f"version {older.version} is newer than the one after it")
        if one.entry != day.previous:
            _unlinked(f"version {day.version} names another one before it")
        newer, day = one, older


def _check_slots(
    document: DayDocument, day: DeviceDay, records: Sequence[Mapping[str, Any]]
) -> None:
    """Step 8: every slot with an index shows the record that it was made from."""
    named = [n for n, slot in enumerate(day.slots) if slot.log_index != NO_INDEX]
    if [one.slot for one in document.slots] != named:
        raise VerifyError("slot-mismatch", "not one record for every slot that names one")
    for one, record in zip(document.slots, records, strict=True):
        slot = day.slots[one.slot]
        begin_s = day.start_s + one.slot * day.slot_s
        wanted = {
            "device": document.device,
            "register": document.register,
            "begin": _rfc3339(begin_s),
            "end": _rfc3339(begin_s + day.slot_s),
        }
        if one.index != slot.log_index:
            why = "its record is another entry"
        elif any(record.get(name) != value for name, value in wanted.items()):
            why = "its record is another's, or of another time"
        elif record.get("kind") not in ("reading", "telemetry"):
            why = "its record is neither reading nor telemetry"
        elif not _says(record, slot):
            why = "its record says something else"
        else:
            continue
        raise VerifyError("slot-mismatch", f"slot {one.slot}: {why}")


def _says(record: Mapping[str, Any], slot: Slot) -> bool:
    """Whether the record says what the slot does."""
    value, unit = record.get("value"), record.get("unit")
    if slot.reason == SAID_MISSING:
        codes = record.get("quality")
        said = isinstance(codes, list) and any(
            isinstance(code, str) and _SAID_MISSING.fullmatch(code) for code in codes
        )
        return ("value" not in record or said) and ("unit" not in record or unit in _UNITS)
    if not isinstance(value, str) or unit not in _UNITS:
        return False
    try:
        milli, exact = thousandfold(value)
    except ValueError:
        return False
    if slot.reason == TOO_LARGE:
        return not -(2**63) <= milli < 2**63
    return (milli, exact) == (slot.energy_milli, slot.reason == 0)


def _check_entry(one: Entry, checkpoint: Checkpoint) -> None:
    check_path(leaf_hash(one.entry), one.index, one.path, checkpoint.size, checkpoint.root)


def _members(found: Any, texts: set[str]) -> dict[str, Any]:
    """An object with exactly these texts, and index and path."""
    if not isinstance(found, dict) or found.keys() != texts | {"index", "path"}:
        _malformed("an entry has not its members")
    if not all(isinstance(found[name], str) for name in texts | {"index"}):
        _malformed("a member of an entry is not a text")
    return found


def _place(found: Mapping[str, Any]) -> tuple[int, tuple[bytes, ...]]:
    path = _array(found["path"])
    if not all(isinstance(line, str) for line in path):
        _malformed("a path is not of texts")
    return decimal(found["index"], "an index"), parse_path(path)


def _salt(found: Mapping[str, Any]) -> bytes:
    if not _HEX_32.fullmatch(found["salt"]):
        _malformed("a salt is not 64 hex digits")
    return bytes.fromhex(found["salt"])


def _version(found: Any) -> Entry:
    members = _members(found, {"data", "salt"})
    try:
        data = base64_bytes(members["data"])
    except ValueError:
        _malformed("data is not base64")
    return Entry(*_place(members), commitment(DAY_TYPE, _salt(members), data), data)


def _slot(found: Any) -> Entry:
    members = _members(found, {"slot", "record", "salt"})
    record: str = members["record"]
    entry = commitment(RECORD_TYPE, _salt(members), record.encode())
    return Entry(*_place(members), entry, record=record, slot=decimal(members["slot"], "the slot"))


def _array(found: Any) -> list[Any]:
    if not isinstance(found, list):
        _malformed("a member is not an array")
    return found


def _day_number(text: Any) -> int | None:
    """Days of a civil date since 1970-01-01, or None."""
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return None
    try:
        day = (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return None
    return day if day >= 0 else None


def _is_instant(text: Any) -> bool:
    try:
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _rfc3339(at_s: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


def _malformed(text: str) -> NoReturn:
    raise VerifyError("receipt-malformed", f"the document of a day: {text}")


def _mismatch(text: str) -> NoReturn:
    raise VerifyError("book-mismatch", text)


def _unlinked(text: str) -> NoReturn:
    raise VerifyError("version-mismatch", text)
