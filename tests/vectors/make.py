"""Makes the vectors beside it: `python tests/vectors/make.py`. Fixed keys, no clock, no chance.

The platform's own functions make the vectors (bal.jcs, bal.certify.commitment, bal.certify.tree);
the verifier, which shares nothing with them, is tested on them.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bal import jcs
from bal.certify.commitment import commitment, pseudonym, salt
from bal.certify.tree import inclusion_path, leaf_hash, tree_head
from bal.model import Digest

HERE = Path(__file__).resolve().parent
ORIGIN = "gridseal.invalid/0123456789abcdef"
LOG_SIZE = 300  # more than one tile
CONTRACT = "0x" + "c0" * 20
REGISTER = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (  # c2sp.org/signed-note, §Verifier keys, Example
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def seed(name: str) -> bytes:
    """32 bytes that stand for a secret in the vectors only."""
    return sha256(b"gridseal vector\0" + name.encode()).digest()


@dataclass(frozen=True)
class NoteKey:
    """A key that signs notes; type 0x01 plain, 0x04 cosignature."""

    name: str
    type: int
    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return bytes([self.type]) + self.private.public_key().public_bytes_raw()

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(self.public).decode()}"

    def line(self, text: str, time_s: int = 0) -> str:
        """The signature line over a note's text."""
        stamp, message = b"", text.encode()
        if self.type == 0x04:
            stamp = time_s.to_bytes(8, "big")
            message = f"cosignature/v1\ntime {time_s}\n".encode() + message
        signed = self.id + stamp + self.private.sign(message)
        return f"— {self.name} {b64encode(signed).decode()}\n"


def note_key(name: str, type_: int = 0x01, secret: str = "") -> NoteKey:
    return NoteKey(name, type_, Ed25519PrivateKey.from_private_bytes(seed(secret or name)))


LOG_KEY = note_key(ORIGIN)
INTAKE_KEY = note_key(f"{ORIGIN}/intake")
OTHER_KEY = note_key(ORIGIN, secret="another key of the same name")
WITNESSES = tuple(note_key(f"witness{n}.invalid", 0x04) for n in (1, 2, 3))


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def record(n: int, findings: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The n-th quarter-hour's reading of one meter: 210 + n Wh."""
    device = pseudonym(seed("P"))
    day, hour, quarter = 1 + n // 96, n % 96 // 4, n % 4 * 15
    begin = f"2026-01-{day:02d}T{hour:02d}:{quarter:02d}:00Z"
    day, hour, quarter = 1 + (n + 1) // 96, (n + 1) % 96 // 4, (n + 1) % 4 * 15
    end = f"2026-01-{day:02d}T{hour:02d}:{quarter:02d}:00Z"
    instant = {"type": "Instant"}
    return {
        "id": "",
        "v": "1",
        "kind": "reading",
        "type": "Observation",
        "device": device,
        "register": REGISTER,
        "begin": begin,
        "end": end,
        "value": str(210 + n),
        "unit": "Wh",
        "quality": ["1.0.0"],
        "evidence": sha256(b"a part of a message").hexdigest(),
        "hasResult": {
            "id": "#value",
            "type": "PropertyValue",
            "hasValue": str(210 + n),
            "isMeasuredIn": {"id": "qunit:W-HR", "type": "UnitOfMeasure"},
        },
        "hasPhenomenonTime": {
            "id": "#interval",
            "type": "ProperInterval",
            "hasBeginning": {"id": "#begin", "inXSDDateTimeStamp": begin, **instant},
            "hasEnd": {"id": "#end", "inXSDDateTimeStamp": end, **instant},
        },
        "madeBy": {"id": device, "type": ["GridMeter", "Power_meter"]},
        **({"findings": findings} if findings else {}),
    }


@dataclass(frozen=True)
class VectorLog:
    """A log with its records, from which notes and receipts of any size are made."""

    records: tuple[bytes, ...]
    key: NoteKey = LOG_KEY

    @property
    def entries(self) -> list[bytes]:
        return [commitment(seed("K"), b"\x01", data) for data in self.records]

    @cached_property
    def leaves(self) -> list[Digest]:
        return [leaf_hash(entry) for entry in self.entries]

    def root(self, size: int) -> bytes:
        return tree_head(self.leaves[:size]).root

    def node(self, level: int, n: int) -> Digest:
        return tree_head(self.leaves[n << level : (n + 1) << level]).root

    def tile(self, level: int, n: int, width: int) -> bytes:
        """c2sp.org/tlog-tiles."""
        return b"".join(self.node(8 * level, 256 * n + at) for at in range(width))

    def checkpoint(self, size: int, *lines: str) -> str:
        """The signed note; `lines`: further signature lines, or the only ones when key is not."""
        text = self.checkpoint_text(size)
        return f"{text}\n{self.key.line(text)}{''.join(lines)}"

    def checkpoint_text(self, size: int) -> str:
        return f"{ORIGIN}\n{size}\n{b64encode(self.root(size)).decode()}\n"

    def path(self, index: int, size: int) -> list[bytes]:
        return list(inclusion_path(index, size, self.node))

    def extra(self, index: int, anchor: Mapping[str, str] | None = None) -> dict[str, Any]:
        data = self.records[index]
        return {
            "v": "gridseal.receipt/1",
            "type": "01",
            "record": data.decode(),
            "salt": salt(seed("K"), b"\x01", data).hex(),
            **({"anchor": dict(anchor)} if anchor else {}),
        }

    def receipt(
        self,
        index: int,
        size: int,
        *,
        extra: bytes | None = None,
        path: list[bytes] | None = None,
        checkpoint: str = "",
        anchor: Mapping[str, str] | None = None,
    ) -> str:
        """A tlog-proof; what is given stands in the place of what is right."""
        extra = extra if extra is not None else jcs.encode(self.extra(index, anchor))
        hashes = self.path(index, size) if path is None else path
        lines = [
            "c2sp.org/tlog-proof@v1",
            f"extra {b64encode(extra).decode()}",
            f"index {index}",
            *(b64encode(item).decode() for item in hashes),
        ]
        return "\n".join(lines) + "\n\n" + (checkpoint or self.checkpoint(size))


FINDING = {
    "id": "#finding-1",
    "code": "reading-type-19-fields",
    "severity": "warning",
    "field": "ReadingType",
    "line": "12",
    "clause": "IEC 61968-9 Annex C",
    "text": "19 fields, one too many; the last was left out",
}


def vector_log() -> VectorLog:
    texts = [jcs.encode(record(n, [FINDING] if n == 5 else None)) for n in range(LOG_SIZE)]
    return VectorLog(tuple(texts))


def anchor_hint(size: int) -> dict[str, str]:
    return {
        "chain_id": "1337",
        "contract": CONTRACT,
        "log": "0x" + keccak256(ORIGIN.encode()).hex(),
        "size": str(size),
        "block": "42",
        "tx": "0x" + "ab" * 32,
    }


def accepted_note() -> str:
    text = (
        f"gridseal/accepted/v1\n{ORIGIN}\nmessage {sha256(b'raw').hexdigest()}\n"
        "batch 00112233445566ff/0/7\nreceived 2026-01-15T10:15:02.5Z\n"
        "include-by 2026-01-15T10:16:02.5Z\n"
    )
    return f"{text}\n{INTAKE_KEY.line(text)}"


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
    cosigned = log.checkpoint(300, *(key.line(text, 1768471200 + n) for n, key in _numbered()))
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


def policies() -> dict[str, str]:
    """Policies without a chain, for receipts.json; docs/spec/policy.md."""
    start = f"#gridseal/policy/v1\n#gridseal intake {INTAKE_KEY.vkey}\nlog {LOG_KEY.vkey}\n"
    names = "".join(f"witness w{n} {key.vkey}\n" for n, key in _numbered())
    two = f"{names}group two 2 w1 w2 w3\nquorum two\n"
    return {
        "plain": f"{start}quorum none\n",
        "two of three witnesses": start + two,
        "another log": f"log {note_key('example.com/log').vkey}\nquorum none\n",
        "another key": f"log {OTHER_KEY.vkey}\nquorum none\n",
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
        cases.append(
            {"name": name, "policy": policy, "codes": codes, "exit": exit_, "receipt": text}
        )

    for index, size in ((0, 1), (0, 7), (6, 7), (255, 256), (256, 257), (12, 300), (299, 300)):
        add(f"entry {index} of {size}", log.receipt(index, size))
    add("entry 5 of 7, with a finding", log.receipt(5, 7))
    cases[-1]["codes"]["plausible"] = "findings"
    add("with an anchor hint", log.receipt(3, 7, anchor=anchor_hint(7)))
    _add_bad(log, add)
    _add_quorum(log, add)
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
    return {"policies": policies(), "receipts": cases}


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


def _numbered() -> list[tuple[int, NoteKey]]:
    return list(enumerate(WITNESSES, 1))


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
    }
    return {
        name: json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, content in files.items()
    }


if __name__ == "__main__":
    for file_name, file_text in vectors().items():
        (HERE / file_name).write_text(file_text, encoding="utf-8")
