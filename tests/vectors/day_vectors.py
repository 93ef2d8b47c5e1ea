"""book.json and device_days.json; docs/spec/completeness.md."""

import json
from datetime import date
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from day_log import DAY, ZONE, device, filled_log
from vector_log import LOG_KEY, REGISTER, seed

from bal.certify import device_day
from bal.certify.book import Book, day_key
from bal.derive.local_day import day_number, local_day
from bal.slots import EMPTY_SLOT, NO_INDEX, Slot

Json = dict[str, Any]


def book() -> Json:
    """Trees with their roots, proofs that hold, and proofs that do not."""
    value = {n: sha256(f"value {n}".encode()).digest() for n in range(64)}
    key = {n: sha256(f"key {n}".encode()).digest() for n in range(64)}
    near = bytes(31) + b"\x01"
    sets: dict[str, dict[bytes, bytes]] = {
        "no key": {},
        "one key": {key[0]: value[0]},
        "two keys": {key[n]: value[n] for n in range(2)},
        "64 keys": {key[n]: value[n] for n in range(64)},
        "two keys that differ in the last bit": {bytes(32): value[0], near: value[1]},
        "two keys that differ in the first bit": {bytes(32): value[0], b"\xff" * 32: value[1]},
        "a value of zeros": {key[0]: bytes(32), key[1]: value[1]},
    }
    asked = [key[0], key[1], sha256(b"no such key").digest(), bytes(32), near, b"\xff" * 32]
    trees, bad = [], []
    for name, items in sets.items():
        tree = Book(items)
        proofs = []
        deep = near in items  # a proof of 256 siblings is long: two will do
        some = [near, key[0]] if deep else asked
        for one in some:
            found = items.get(one)
            proofs.append({
                "key": one.hex(),
                **({"value": found.hex()} if found is not None else {}),
                "proof": tree.proof(one).as_json(),
            })  # fmt: skip
        members = [{"key": k.hex(), "value": v.hex()} for k, v in sorted(items.items())]
        trees.append({"name": name, "items": members, "root": tree.root().hex(), "proofs": proofs})
        bad += (
            _bad_proofs(name, tree, items, some[:1])[-3:]
            if deep
            else _bad_proofs(name, tree, items, some)
        )
    days = [0, 20468, 2**32 - 1]
    return {
        "day_keys": [{"day": str(day), "key": day_key(day).hex()} for day in days],
        "trees": trees,
        "bad": bad,
    }


def _bad_proofs(name: str, tree: Book, items: dict[bytes, bytes], asked: list[bytes]) -> list[Json]:
    """Of one tree: what neither presence nor absence may be concluded from."""
    bad: list[Json] = []

    def add(what: str, key: bytes, value: bytes | None, proof: Json) -> None:
        bad.append({
            "name": f"{name}: {what}",
            "root": tree.root().hex(),
            "key": key.hex(),
            **({"value": value.hex()} if value is not None else {}),
            "proof": proof,
        })  # fmt: skip

    for key in asked:
        proof: Json = json.loads(json.dumps(tree.proof(key).as_json()))
        terminal = proof.get("terminal")
        if key in items:
            add("present, claimed absent", key, None, proof)
            add("another value", key, sha256(b"another").digest(), proof)
            add("terminal left out", key, None, {"siblings": proof["siblings"]})
        elif terminal is not None:
            add("absent, claimed present", key, bytes.fromhex(terminal["value"]), proof)
        if proof["siblings"]:
            value = items.get(key)
            shorter = {**proof, "siblings": proof["siblings"][:-1]}
            add("a sibling too few", key, value, shorter)
            add(
                "a sibling too many",
                key,
                value,
                {**proof, "siblings": [*proof["siblings"], "00" * 32]},
            )
            turned = {
                **proof,
                "siblings": ["01" + proof["siblings"][0][2:], *proof["siblings"][1:]],
            }
            if turned != proof:
                add("a byte of a sibling", key, value, turned)
    return bad


def device_days() -> Json:
    """Keys, bytes, local days, and whole documents with the verdicts they lead to."""
    place = device_day.key(day_number(DAY), device("gaps"), REGISTER)
    slots = (
        Slot(2, 0, 210_000, 12),
        Slot(1, 4, -12_346, 13),
        Slot(3, 0, -(2**63), 14),
        Slot(0, 2, 0, 15),
        Slot(0, 3, 0, 16),
        EMPTY_SLOT,
    )
    first = device_day.DeviceDay(place, 1, bytes(32), 300, 1_768_431_600, 14_400, slots)
    second = device_day.DeviceDay(place, 2, seed("a version"), 2**63, 2**63, 60, slots[:1] * 1)
    with TemporaryDirectory() as folder, filled_log(Path(folder)) as log:
        documents = {
            "whole": log.document("whole"),
            "gaps, as of close 2": log.document("gaps"),
            "gaps, as of close 1": log.document("gaps", k=1),
            "no such register": log.document("whole", register="no.such"),
            "no such date": log.document("whole", day=date(2026, 1, 14), register=""),
        }
    return {
        "vkey": LOG_KEY.vkey,
        "keys": [
            {"day": str(day), "device": one, "register": register,
             "key": device_day.key(day, one, register).hex()}
            for day, one, register in (
                (day_number(DAY), device("gaps"), REGISTER),
                (0, "A" * 43, "x"),
                (2**32 - 1, device("whole"), "activeEnergyImport.ABC"),
            )
        ],
        "encoded": [
            {"day": _as_json(day), "data": device_day.encode(day).hex()} for day in (first, second)
        ],
        "bad": [{"name": name, "data": data.hex()} for name, data in _bad_bytes(first).items()],
        "local_days": _local_days(),
        "documents": _verdicts(documents),
        "patched": _patched(),
    }  # fmt: skip


def _as_json(day: device_day.DeviceDay) -> Json:
    return {
        "key": day.key.hex(),
        "version": str(day.version),
        "previous": day.previous.hex(),
        "prefix": str(day.prefix),
        "start": str(day.start_s),
        "slot_s": str(day.slot_s),
        "slots": [
            [str(s.state), str(s.reason), str(s.energy_milli), str(s.log_index)] for s in day.slots
        ],
    }


def _bad_bytes(good: device_day.DeviceDay) -> dict[str, bytes]:
    data = device_day.encode(good)

    def at(place: int, change: bytes) -> bytes:
        return data[:place] + change + data[place + len(change) :]

    slot = 93
    return {
        "empty": b"",
        "another magic": at(0, b"GSDE"),
        "another form": at(4, b"\x02"),
        "a byte too few": data[:-1],
        "a byte too many": data + b"\0",
        "version 0": at(37, bytes(4)),
        "version 2 without a version before": at(37, bytes(3) + b"\x02"),
        "version 1 with a version before": at(41, b"\x01"),
        "slots of 7 s": at(89, (7).to_bytes(2, "big")),
        "slots of 30 s": at(89, (30).to_bytes(2, "big")),
        "slots of 50,000 s": at(89, (50_000).to_bytes(2, "big")),
        "no slot": data[:91] + bytes(2),
        "state 4": at(slot, b"\x04"),
        "reason 5": at(slot + 1, b"\x05"),
        "measured, nothing received": at(slot + 1, b"\x01"),
        "measured without an index": at(slot + 10, b"\xff" * 8),
        "an index at the prefix": at(slot + 10, (300).to_bytes(8, "big")),
        "two slots of one record": at(slot + 18 + 10, (12).to_bytes(8, "big")),
        "missing with an energy": at(slot + 3 * 18 + 2, (1).to_bytes(8, "big")),
        "nothing received, with an index": at(slot + 5 * 18 + 10, (17).to_bytes(8, "big")),
        "said missing, without an index": at(slot + 3 * 18 + 10, NO_INDEX.to_bytes(8, "big")),
    }


def _local_days() -> list[Json]:
    found = []
    for zone, days in {
        ZONE: ("2026-01-15", "2026-03-29", "2026-10-25"),
        "America/New_York": ("2026-03-08", "2026-11-01"),
        "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
        "Pacific/Kiritimati": ("2026-01-15",),
        "Pacific/Apia": ("2011-12-29", "2011-12-30", "2011-12-31"),
        "America/Sao_Paulo": ("2018-11-04",),  # midnight is skipped
        "Etc/GMT+12": ("2026-01-15",),
    }.items():
        for text in days:
            begin_us, end_us = local_day(date.fromisoformat(text), zone)
            start, length = begin_us // 1_000_000, (end_us - begin_us) // 1_000_000
            found.append({"zone": zone, "date": text, "start": str(start), "length_s": str(length)})
    return found


def _verdicts(documents: dict[str, str]) -> list[Json]:
    codes = {
        "whole": "complete",
        "gaps, as of close 2": "complete-gaps",
        "gaps, as of close 1": "complete-gaps",
        "no such register": "absent",
        "no such date": "absent",
    }
    return [
        {"name": name, "complete": codes[name], "exit": 0, "document": json.loads(text)}
        for name, text in documents.items()
    ]


def _patched() -> list[Json]:
    """Documents that fail, as RFC 6902 patches of those above, with the code of what fails."""
    gaps, old, none = "gaps, as of close 2", "gaps, as of close 1", "no such register"
    found: list[Json] = []

    def add(name: str, base: str, code: str, *operations: Json) -> None:
        found.append({"name": name, "document": base, "code": code, "patch": list(operations)})

    def swap(path: str, source: str) -> Json:
        return {"op": "copy", "from": source, "path": path}

    def put(path: str, value: object) -> Json:
        return {"op": "replace", "path": path, "value": value}

    def cut(path: str) -> Json:
        return {"op": "remove", "path": path}

    add("another version", "whole", "receipt-malformed", put("/v", "gridseal.day/2"))
    add("a member more", "whole", "receipt-malformed", {"op": "add", "path": "/x", "value": "1"})
    add("a member less", "whole", "receipt-malformed", cut("/slots"))
    add("a number", "whole", "receipt-malformed", put("/slots/0/slot", 0))
    add("another value", "whole", "root-mismatch", swap("/slots/0/record", "/slots/1/record"))
    add("another salt", "whole", "root-mismatch", put("/device_day/salt", "00" * 32))
    add("another index", "whole", "root-mismatch", swap("/slots/0/index", "/slots/1/index"))
    add("another device", "whole", "book-mismatch", put("/device", device("gaps")))
    add("another date", "whole", "book-mismatch", put("/date", "2026-01-16"))
    add("another register", "whole", "book-mismatch", put("/register", "no.such"))
    add("no key proof", "whole", "book-mismatch", cut("/key_proof"))
    add("no device-day", "whole", "book-mismatch", cut("/device_day"))
    add("no terminal", "whole", "book-mismatch", cut("/key_proof/terminal"))
    add("day proof of another root", "whole", "book-mismatch",
        put("/day_proof/terminal/value", "00" * 32))  # fmt: skip
    add("an old version for the newest", gaps, "book-mismatch",
        swap("/device_day", "/previous/0"), cut("/previous/0"))  # fmt: skip
    add("no version before", gaps, "version-mismatch", cut("/previous/0"))
    add("a version before too many", gaps, "version-mismatch",
        {"op": "add", "path": "/previous/1", "value": None}, swap("/previous/1", "/previous/0"),
        cut("/previous/2"))  # fmt: skip
    add(
        "the newest as the one before", gaps, "version-mismatch", swap("/previous/0", "/device_day")
    )
    add("a slot hidden", "whole", "slot-mismatch", cut("/slots/5"))
    add("a slot of the device-day's own making", gaps, "slot-mismatch", put("/slots/0/slot", "1"))
    add("two slots changed about", "whole", "slot-mismatch",
        swap("/slots/0", "/slots/1"), cut("/slots/1"), put("/slots/0/slot", "0"))  # fmt: skip
    add("present where absence was proved", none, "book-mismatch", put("/register", REGISTER))
    add("close record without a member", old, "root-mismatch",
        put("/close/record", '{"k":"1","type":"close","v":"gridseal/close/v1"}'))  # fmt: skip
    return found
