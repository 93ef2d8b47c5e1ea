"""The log that the vectors are about: fixed keys, no clock, no chance.

The platform's own functions make it (bal.jcs, bal.certify.commitment, bal.certify.tree); the
verifier, which shares nothing with them, is tested on it.
"""

from base64 import b64encode
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


def policies() -> dict[str, str]:
    """Policies without a chain, for receipts.json; docs/spec/policy.md."""
    start = f"#gridseal/policy/v1\n#gridseal intake {INTAKE_KEY.vkey}\nlog {LOG_KEY.vkey}\n"
    names = "".join(f"witness w{n} {key.vkey}\n" for n, key in numbered_witnesses())
    two = f"{names}group two 2 w1 w2 w3\nquorum two\n"
    return {
        "plain": f"{start}quorum none\n",
        "two of three witnesses": start + two,
        "another log": f"log {note_key('example.com/log').vkey}\nquorum none\n",
        "another key": f"log {OTHER_KEY.vkey}\nquorum none\n",
    }


def numbered_witnesses() -> list[tuple[int, NoteKey]]:
    return list(enumerate(WITNESSES, 1))
