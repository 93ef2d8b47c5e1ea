"""The verdict *complete* by the words of docs/spec/completeness.md, without Gridseal's verifier.

Written plainly, from the page alone, to hold documents, vectors and the page against each other.
Signature and chain are others' tests.
"""

import json
import re
from base64 import b64decode
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from hashlib import sha256
from typing import Any

Json = dict[str, Any]
NONE = 2**64 - 1


class Fails(Exception):
    """Its text is the code."""


def need(holds: object, code: str) -> None:
    if not holds:
        raise Fails(code)


def verdict(document: Json) -> str:
    """complete, complete-gaps or absent; raises Fails."""
    check_form(document)
    size, root = checkpoint(document["checkpoint"])
    close_text = document["close"]["record"]
    included(close_text.encode(), document["close"], size, root)
    versions = [document["device_day"]] if "device_day" in document else []
    versions += document["previous"]
    for version in versions:
        included(commitment(b"\2", version), version, size, root)
    for slot in document["slots"]:
        included(commitment(b"\1", slot), slot, size, root)
    close = json.loads(close_text)
    members = {"book", "date", "day_book", "device_days", "k", "prefix", "time", "type", "v"}
    need(close.keys() == members, "close-malformed")
    day = (date.fromisoformat(document["date"]) - date(1970, 1, 1)).days
    day_key = sha256(b"gridseal/day/v1\0" + day.to_bytes(4, "big")).digest()
    found = led_to(document["day_proof"], day_key, bytes.fromhex(close["book"]))
    if found is not None:
        if close["date"] == document["date"]:
            need(found.hex() == close["day_book"], "book-mismatch")
        need("key_proof" in document, "book-mismatch")
        found = led_to(document["key_proof"], key_of(document, day), found)
    else:
        need("key_proof" not in document, "book-mismatch")
    if found is None:
        need(not versions and not document["slots"], "book-mismatch")
        return "absent"
    need("device_day" in document, "book-mismatch")
    need(commitment(b"\2", versions[0]) == found, "book-mismatch")
    return day_holds(document, versions, day, close)


def day_holds(document: Json, versions: list[Json], day: int, close: Json) -> str:
    decoded = [decode(b64decode(version["data"])) for version in versions]
    newest = decoded[0]
    need(newest["key"] == key_of(document, day), "book-mismatch")
    need(abs(newest["start"] - 86_400 * day) <= 14 * 3600, "book-mismatch")
    length, slot_s = len(newest["slots"]) * newest["slot_s"], newest["slot_s"]
    need(22 * 3600 <= length < 26 * 3600 + slot_s, "book-mismatch")
    need(newest["prefix"] <= int(close["prefix"]), "book-mismatch")
    need(int(versions[0]["index"]) < int(document["close"]["index"]), "book-mismatch")
    need(newest["version"] == len(versions), "version-mismatch")
    for at in range(1, len(versions)):
        newer, older = decoded[at - 1], decoded[at]
        need(older["key"] == newest["key"], "version-mismatch")
        need(older["version"] == newer["version"] - 1, "version-mismatch")
        need(older["prefix"] <= newer["prefix"], "version-mismatch")
        need(int(versions[at]["index"]) < int(versions[at - 1]["index"]), "version-mismatch")
        need(newer["previous"] == commitment(b"\2", versions[at]), "version-mismatch")
    named = [(n, slot) for n, slot in enumerate(newest["slots"]) if slot[3] != NONE]
    need(len(named) == len(document["slots"]), "slot-mismatch")
    for (number, slot), shown in zip(named, document["slots"], strict=True):
        need((str(number), str(slot[3])) == (shown["slot"], shown["index"]), "slot-mismatch")
        slot_holds(
            document, json.loads(shown["record"]), slot, newest["start"] + number * slot_s, slot_s
        )
    return "complete" if all(slot[0] for slot in newest["slots"]) else "complete-gaps"


def slot_holds(document: Json, record: Json, slot: Any, begin_s: int, slot_s: int) -> None:
    need(record.get("device") == document["device"], "slot-mismatch")
    need(record.get("register") == document["register"], "slot-mismatch")
    need(record.get("kind") in {"reading", "telemetry"}, "slot-mismatch")
    need(record.get("begin") == instant(begin_s), "slot-mismatch")
    need(record.get("end") == instant(begin_s + slot_s), "slot-mismatch")
    _, reason, energy, _ = slot
    if reason == 2:
        missing = any(re.fullmatch(r"\d+\.0*5\.0*259", q) for q in record.get("quality", []))
        need("value" not in record or missing, "slot-mismatch")
        return
    with localcontext() as context:
        context.prec = 200
        exact = Decimal(record["value"]) * 1000
        rounded = int(exact.to_integral_value(ROUND_HALF_EVEN))
    if reason == 3:
        need(not -(2**63) <= rounded < 2**63, "slot-mismatch")
    else:
        need((rounded, reason) == (energy, 0 if exact == rounded else 4), "slot-mismatch")


def check_form(document: Json) -> None:
    wanted = {"v", "device", "date", "register", "zone", "checkpoint", "close", "day_proof"}
    wanted |= {"previous", "slots"}
    optional = {"key_proof", "device_day", "anchor"}
    need(document.keys() - optional == wanted, "receipt-malformed")
    need(document["v"] == "gridseal.day/1", "receipt-malformed")
    need(strings(document), "receipt-malformed")


def strings(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(strings, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str)


def checkpoint(note: str) -> tuple[int, bytes]:
    _, size, root, *_ = note.split("\n")
    return int(size), b64decode(root)


def commitment(type_: bytes, opened: Json) -> bytes:
    data = b64decode(opened["data"]) if type_ == b"\2" else opened["record"].encode()
    return sha256(b"\2" + type_ + bytes.fromhex(opened["salt"]) + data).digest()


def included(entry: bytes, place: Json, size: int, root: bytes) -> None:
    index, path = int(place["index"]), [b64decode(node) for node in place["path"]]
    need(index < size, "index-outside")
    k = (index ^ (size - 1)).bit_length()
    need(len(path) == k + (index >> k).bit_count(), "path-wrong-length")
    found = sha256(b"\0" + entry).digest()
    for j, node in enumerate(path):
        left = j >= k or index >> j & 1
        found = sha256(b"\1" + (node + found if left else found + node)).digest()
    need(found == root, "root-mismatch")


def key_of(document: Json, day: int) -> bytes:
    device = b64decode(document["device"].replace("-", "+").replace("_", "/") + "=")
    text = b"gridseal/book/v1\0" + day.to_bytes(4, "big") + device
    return sha256(text + document["register"].encode()).digest()


def led_to(proof: Json, key: bytes, root: bytes) -> bytes | None:
    """The value that the proof shows under the key, None where it shows that there is none."""
    siblings, terminal = [bytes.fromhex(s) for s in proof["siblings"]], proof.get("terminal")
    node = bytes(32)
    if terminal is not None:
        other, value = bytes.fromhex(terminal["key"]), bytes.fromhex(terminal["value"])
        node = sha256(b"\4" + other + value).digest()
    for i in range(len(siblings) - 1, -1, -1):
        right = key[i // 8] >> 7 - i % 8 & 1
        node = sha256(b"\5" + (siblings[i] + node if right else node + siblings[i])).digest()
    need(node == root, "book-mismatch")
    if terminal is None:
        return None
    if other == key:
        return value
    bits, others = (format(int.from_bytes(k, "big"), "0256b") for k in (key, other))
    need(bits[: len(siblings)] == others[: len(siblings)], "book-mismatch")
    return None


def decode(data: bytes) -> Json:
    def number(at: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(data[at : at + size], "big", signed=signed)

    need(data[:5] == b"GSDD\1" and len(data) == 93 + 18 * number(91, 2), "book-mismatch")
    return {
        "key": data[5:37],
        "version": number(37, 4),
        "previous": data[41:73],
        "prefix": number(73, 8),
        "start": number(81, 8),
        "slot_s": number(89, 2),
        "slots": [
            (data[at], data[at + 1], number(at + 2, 8, signed=True), number(at + 10, 8))
            for at in range(93, len(data), 18)
        ],
    }


def instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
