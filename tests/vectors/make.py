"""Makes the vectors beside it: `python tests/vectors/make.py`; `--check` only compares.

The log that they are about is in vector_log.py.
"""

import json
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

from anchor_case_vectors import anchors
from case_vectors import NOW, calls, canonical, policy_cases, statuses
from day_case_vectors import days
from day_vectors import book, device_days
from phasor_vectors import add_frames, phasors
from tree_vectors import trees
from vector_log import (
    C2SP_NOTE,
    C2SP_VKEY,
    HERE,
    INTAKE_KEY,
    LOG_KEY,
    ORIGIN,
    WITNESSES,
    VectorLog,
    accepted_note,
    anchor_hint,
    keccak256,
    note_key,
    numbered_witnesses,
    policies,
    record,
    seed,
    vector_log,
)

from bal import jcs
from bal.certify.commitment import commitment, pseudonym, salt
from bal.certify.tree import leaf_hash


def commitments() -> dict[str, Any]:
    """docs/spec/commitment.md."""
    texts = ["{}", jcs.encode(record(0)).decode(), '{"name":"Zähler \\u0007 €"}']
    key = seed("K")
    cases = []
    for type_, data in [*((b"\x01", text.encode()) for text in texts), (b"\x03", b"\x00\xff<a/>")]:
        entry = commitment(key, type_, data)
        cases.append(
            {
                "salt_key": key.hex(),
                "type": type_.hex(),
                "data": data.hex(),
                "salt": salt(key, type_, data).hex(),
                "commitment": entry.hex(),
                "leaf": leaf_hash(entry).hex(),
            }
        )
    public = jcs.encode({"kind": "tick", "time": "2026-01-15T10:16:00Z", "v": "1"})
    return {
        "pseudonyms": [{"key": seed("P").hex(), "pseudonym": pseudonym(seed("P"))}],
        "commitments": cases,
        "public": [{"entry": public.decode(), "leaf": leaf_hash(public).hex()}],
    }


def notes() -> dict[str, Any]:
    """docs/spec/checkpoint.md §Signed notes."""
    good = accepted_note()
    spoilt = good.replace("/0/7", "/0/8")
    return {
        "good": [
            {"name": "c2sp.org/signed-note's example", "vkey": C2SP_VKEY, "note": C2SP_NOTE},
            {"name": "accepted note", "vkey": INTAKE_KEY.vkey, "note": good},
        ],
        "bad": [
            {"name": "text changed", "note": spoilt, "code": "signature-invalid"},
            {"name": "no signature", "note": good[: good.index("—")], "code": "receipt-malformed"},
            {"name": "no last newline", "note": good[:-1], "code": "receipt-malformed"},
            {"name": "tab", "note": good.replace("batch ", "batch\t"), "code": "receipt-malformed"},
            {"name": "hyphen", "note": good.replace("—", "-"), "code": "receipt-malformed"},
            {
                "name": "17 signatures",
                "note": good + 16 * good[good.index("—") :],
                "code": "receipt-malformed",
            },
        ],
    }


def checkpoints(log: VectorLog) -> dict[str, Any]:
    """docs/spec/checkpoint.md; the log's entries are those of receipts.json."""
    text = log.checkpoint_text(300)
    cosigned = log.checkpoint(
        300, *(key.line(text, 1768471200 + n) for n, key in numbered_witnesses())
    )
    return {
        "origin": ORIGIN,
        "log_id": "0x" + keccak256(ORIGIN.encode()).hex(),
        "vkey": LOG_KEY.vkey,
        "witnesses": [key.vkey for key in WITNESSES],
        "selectors": {
            name: "0x" + keccak256(name.encode())[:4].hex()
            for name in ("rootAt(bytes32,uint64)", "latest(bytes32)")
        },
        "good": [
            {"size": size, "root": log.root(size).hex(), "note": log.checkpoint(size)}
            for size in (1, 7, 256, 300)
        ]
        + [{"size": 300, "root": log.root(300).hex(), "note": cosigned}],
        "bad": [
            {"name": name, "note": _signed(bad), "code": "receipt-malformed"}
            for name, bad in {
                "leading zero": text.replace("\n300\n", "\n0300\n"),
                "plus sign": text.replace("\n300\n", "\n+300\n"),
                "extension line": text + "more\n",
                "two lines": f"{ORIGIN}\n300\n",
                "root of 31 bytes": f"{ORIGIN}\n300\n{b64encode(bytes(31)).decode()}\n",
                "size over 2^63-1": text.replace("\n300\n", "\n9223372036854775808\n"),
            }.items()
        ],
    }


def receipts(log: VectorLog) -> dict[str, Any]:
    """docs/spec/receipt.md: whole receipts and the codes they lead to."""
    ok = {"authentic": "authentic", "plausible": "nothing-doubtful"}
    cases: list[dict[str, Any]] = []

    def add(
        name: str, text: str, authentic: str = "", policy: str = "plain", exit_: int = 1
    ) -> None:
        codes = {"authentic": authentic, "plausible": "not-checked"} if authentic else dict(ok)
        codes |= {"anchored": "not-checked", "complete": "not-checked"}
        exit_ = exit_ if authentic else 0
        expected = {"codes": codes, "exit": exit_}
        cases.append(
            {"name": name, "policy": policy, "now": NOW, "expect": expected, "input": text}
        )

    for index, size in ((0, 1), (0, 7), (6, 7), (255, 256), (256, 257), (12, 300), (299, 300)):
        add(f"entry {index} of {size}", log.receipt(index, size))
    add("entry 5 of 7, with a finding", log.receipt(5, 7))
    cases[-1]["expect"]["codes"]["plausible"] = "findings"
    add("with an anchor hint", log.receipt(3, 7, anchor=anchor_hint(7)))
    _add_bad(log, add)
    _add_quorum(log, add)
    add_frames(add)
    summary = {
        "type": "certified",
        "message": sha256(b"raw").hexdigest(),
        "first_index": 3,
        "batch": "00112233445566ff/0/7",
        "count": 1,
        "checkpoint": log.checkpoint(7),
        "findings": [],
        "refused": [],
    }
    add("certified summary with its receipt", json.dumps(summary | {"receipt": log.receipt(3, 7)}))
    several = json.dumps(summary | {"count": 2})
    add("certified summary of several readings", several, "no-receipt", exit_=2)
    wrong = json.dumps(summary | {"receipt": log.receipt(4, 7)})
    add("certified summary with another's receipt", wrong, "receipt-malformed")
    add("accepted note", accepted_note(), "promise", exit_=2)
    add("accepted note, changed", accepted_note().replace("/0/7", "/0/8"), "signature-invalid")
    return {"policies": policies(), "cases": cases}


def _add_bad(log: VectorLog, add: Any) -> None:
    good, path = log.receipt(3, 7), log.path(3, 7)
    extra, note = log.extra(3), log.checkpoint(7)
    data = extra["record"]

    def bad_extra(**changes: object) -> str:
        members = {key: value for key, value in (extra | changes).items() if value is not None}
        text = json.dumps(members, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return log.receipt(3, 7, extra=text.encode())

    add("record of another value", bad_extra(record=data.replace("213", "214")), "root-mismatch")
    for name, text in {
        "spaces": data.replace('":"', '": "', 1),
        "members in another order": "{" + ",".join(data[1:-1].split(",", 2)[::-1]) + "}",
        "a number": data.replace('"value":"213"', '"value":213'),
        "a member twice": data.replace('"v":"1"', '"v":"1","v":"1"'),
        "an escape too many": data.replace('"Wh"', '"\\u0057h"'),
        "five deep": '{"a":{"b":{"c":{"d":{}}}}}',
        "a list": "[]",
        "null": '{"a":null}',
    }.items():
        add(f"record with {name}", bad_extra(record=text), "record-not-canonical")
    add("another salt", bad_extra(salt="00" * 32), "root-mismatch")
    for name, changes in {
        "salt in capitals": {"salt": extra["salt"].upper()},
        "salt too short": {"salt": "00"},
        "another version": {"v": "gridseal.receipt/2"},
        "another type": {"type": "02"},
        "a member more": {"root": "00" * 32},
        "a member less": {"salt": None},
        "an anchor without size": {"anchor": {"chain_id": "1"}},
        "a record that is no string": {"record": {"v": "1"}},
    }.items():
        add(f"extra with {name}", bad_extra(**changes), "extra-malformed")
    add("no extra", "\n".join(_without(good, 1)), "extra-malformed")
    add("path one short", log.receipt(3, 7, path=path[:-1]), "path-wrong-length")
    add("path one long", log.receipt(3, 7, path=[*path, bytes(32)]), "path-wrong-length")
    add("path swapped", log.receipt(3, 7, path=path[::-1]), "root-mismatch")
    add("path of 64", log.receipt(3, 7, path=[bytes(32)] * 64), "receipt-malformed")
    add("another index", good.replace("index 3\n", "index 2\n"), "root-mismatch")
    add("index outside", good.replace("index 3\n", "index 7\n"), "index-outside")
    add("index with leading zero", good.replace("index 3\n", "index 03\n"), "receipt-malformed")
    add("another size", good.replace("\n7\n", "\n8\n"), "signature-invalid")
    add("another version of the format", good.replace("proof@v1", "proof@v2"), "receipt-malformed")
    add("no checkpoint", good[: good.index("\n\n") + 2], "receipt-malformed")
    add("carriage returns", good.replace("\n", "\r\n"), "receipt-malformed")
    add("empty file", "", "receipt-malformed")
    add("JSON of something else", '{"type":"reading"}', "receipt-malformed")
    add("under a policy of another log", good, "log-key-unknown", "another log")
    add("under a policy of another key", good, "log-key-unknown", "another key")
    stranger = note.replace(ORIGIN, "example.com/log")
    add("origin changed", log.receipt(3, 7, checkpoint=stranger), "log-key-unknown", "another log")
    blob = bytearray(b64decode(note.split(" ")[-1]))
    blob[-1] ^= 1
    spoilt = f"{note[: note.rindex(' ')]} {b64encode(blob).decode()}\n"
    add("signature spoilt", log.receipt(3, 7, checkpoint=spoilt), "signature-invalid")


def _add_quorum(log: VectorLog, add: Any) -> None:
    text, policy = log.checkpoint_text(7), "two of three witnesses"
    lines = [key.line(text, 1768471200) for key in WITNESSES]
    other = WITNESSES[2].line(log.checkpoint_text(6), 1768471200)
    unknown = note_key("stranger.invalid", 0x04).line(text, 1)

    def cosigned(*chosen: str) -> str:
        return log.receipt(3, 7, checkpoint=log.checkpoint(7, *chosen))

    add("cosigned by three", cosigned(*lines), policy=policy)
    add("cosigned by two and a stranger", cosigned(*lines[1:], unknown), policy=policy)
    add("cosigned by one", cosigned(lines[1]), "quorum-missing", policy)
    add("cosigned by one, twice", cosigned(lines[1], lines[1]), "quorum-missing", policy)
    add("cosigned by one and a stranger", cosigned(lines[0], unknown), "quorum-missing", policy)
    add("a cosignature of another head", cosigned(*lines[:2], other), "cosignature-invalid", policy)


def _signed(text: str) -> str:
    return f"{text}\n{LOG_KEY.line(text)}"


def _without(text: str, line: int) -> list[str]:
    lines = text.split("\n")
    return lines[:line] + lines[line + 1 :]


def vectors() -> dict[str, str]:
    """File name → text of every vector file."""
    log = vector_log()
    files = {
        "commitments.json": commitments(),
        "notes.json": notes(),
        "checkpoints.json": checkpoints(log),
        "receipts.json": receipts(log),
        "canonical.json": canonical(log),
        "statuses.json": statuses(log),
        "policies.json": policy_cases(),
        "calls.json": calls(log),
        "anchors.json": anchors(log),
        "days.json": days(),
        "trees.json": trees(),
        "book.json": book(),
        "device_days.json": device_days(),
        "phasors.json": phasors(),
    }
    return {
        name: json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, content in files.items()
    }


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them; 1 where one differs."""
    made = vectors()
    if arguments != ["--check"]:
        for name, text in made.items():
            (HERE / name).write_text(text, encoding="utf-8")
        return 0
    old = [name for name in made if (HERE / name).read_text(encoding="utf-8") != made[name]]
    for name in old:
        sys.stdout.write(f"{name} is not what make.py makes\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
