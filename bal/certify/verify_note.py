"""What a verifier reads first: encodings, signed notes, keys and checkpoints.

Part of `bal/certify/verify.py`, which shares nothing with the platform: the standard library,
Ed25519 and ML-DSA-44 only. Everything is parsed strictly: what we would not print is refused.
"""

import json
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

FILE_BYTES_MAX = 4 << 20  # of a receipt or certified summary
SIGNATURES_MAX = 16  # c2sp.org/signed-note: verifiers MUST accept at least 16
SIZE_MAX = 2**63 - 1  # leaves of a log; a path then has at most 63 hashes

ED25519 = 0x01  # c2sp.org/signed-note, signature types
COSIGNATURE = 0x04  # c2sp.org/tlog-cosignature, timestamped Ed25519
ML_DSA_44 = 0x06  # c2sp.org/tlog-cosignature, timestamped ML-DSA-44 over size and root

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_WORD = re.compile(r"[a-z]+(?:[ ,]|: )")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}


class VerifyError(Exception):
    """A check that does not hold, or cannot be made.

    code: kebab-case, docs/spec/receipt.md §Codes; text: one sentence, which gets its full stop
    here, and its capital unless it begins with a name or a URL; evidence: what a third party needs
    to see the same fault by itself, or None.
    """

    def __init__(self, code: str, text: str, evidence: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        begin = text[:1].upper() if _WORD.match(text) else text[:1]
        self.text = f"{begin}{text[1:].removesuffix('.')}."
        self.evidence = evidence


def decimal(text: str, what: str) -> int:
    """An ASCII decimal without leading zeros, 0 … 2^63-1; else VerifyError receipt-malformed."""
    if _DECIMAL.fullmatch(text) and int(text) <= SIZE_MAX:
        return int(text)
    raise VerifyError("receipt-malformed", f"{what} is not a decimal as the format writes it")


def base64_bytes(text: str) -> bytes:
    """RFC 4648 §4 with padding; ValueError unless encoding the result gives `text` again."""
    data = b64decode(text.encode("ascii"), validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("unused bits are set")
    return data


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note."""

    name: str
    key_id: bytes  # 4 bytes
    data: bytes  # 64 bytes Ed25519; of a cosignature 8 + 64, or 8 + 2420 ML-DSA-44


@dataclass(frozen=True, slots=True)
class Note:
    """A c2sp.org/signed-note: what was signed, and by whom it claims to be."""

    text: str  # ends in newline
    signatures: tuple[Signature, ...]
    whole: str  # text, blank line, signature lines: as it came


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A vkey: name, 4-byte id, signature type and public key."""

    name: str
    key_id: bytes
    type: int
    public: bytes

    @property
    def vkey(self) -> str:
        """The text form, `<name>+<8 hex>+<base64>`."""
        public = b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{public}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A c2sp.org/tlog-checkpoint: one size and root of one log, with its signatures."""

    origin: str
    size: int
    root: bytes
    note: Note


def key_id(name: str, type_: int, public: bytes) -> bytes:
    """SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4] (c2sp.org/signed-note)."""
    return sha256(name_bytes(name) + b"\n" + bytes([type_]) + public).digest()[:4]


def name_bytes(name: str) -> bytes:
    """The octets of a name; a policy's octets that are no UTF-8 come back as they were."""
    return name.encode("utf-8", "surrogateescape")


def parse_vkey(text: str) -> VerifierKey:
    """Read a C2SP verifier key; VerifyError policy-malformed, also where its id is another's."""
    name, _, rest = text.partition("+")
    id_, _, public = rest.partition("+")
    try:
        material = base64_bytes(public)
    except ValueError:
        material = b""
    if not _is_key_name(name) or not _KEY_ID.fullmatch(id_) or not material:
        raise VerifyError(
            "policy-malformed", f"not a verifier key, <name>+<8 hex>+<base64>: {printable(text)}"
        )
    type_, raw = material[0], material[1:]
    if len(raw) != _KEY_BYTES.get(type_, -1):
        raise VerifyError(
            "policy-malformed",
            f"{printable(name)}: no key of signature type 0x{type_:02x} is known",
        )
    if key_id(name, type_, raw).hex() != id_:
        raise VerifyError("policy-malformed", f"{printable(name)}: the key id is another key's")
    return VerifierKey(name, bytes.fromhex(id_), type_, raw)


def parse_note(whole: str) -> Note:
    """Read a signed note; VerifyError receipt-malformed."""
    if any(sign < " " and sign != "\n" for sign in whole):
        raise VerifyError("receipt-malformed", "a signed note holds a control character")
    end = whole.rfind("\n\n")
    if end < 1 or not whole.endswith("\n"):
        raise VerifyError("receipt-malformed", "there is no signed note with signature lines")
    lines = whole[end + 2 : -1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise VerifyError("receipt-malformed", f"more than {SIGNATURES_MAX} signatures")
    return Note(whole[: end + 1], tuple(map(_parse_signature, lines)), whole)


def parse_checkpoint(whole: str) -> Checkpoint:
    """Read a checkpoint as Gridseal's logs write it, without extension lines."""
    note = parse_note(whole)
    lines = note.text[:-1].split("\n")
    if len(lines) != 3 or not lines[0]:
        raise VerifyError("receipt-malformed", "a checkpoint has three lines: origin, size, root")
    try:
        root = base64_bytes(lines[2])
    except ValueError:
        root = b""
    if len(root) != 32:
        raise VerifyError("receipt-malformed", "the checkpoint's root is not a hash in base64")
    return Checkpoint(lines[0], decimal(lines[1], "the checkpoint's size"), root, note)


def signed_by(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, int]:
    """The keys whose signature stands under the note and holds, with the cosignature's time.

    The time is in seconds since 1970, 0 for a plain signature. Unknown signatures are ignored.
    Raises VerifyError signature-invalid or
    cosignature-invalid: a known key's signature that fails spoils the note (c2sp.org/signed-note).
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, int] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            found[key] = _check_signature(note.text, signature, key)
    return found


def parse_json(
    text: str,
    depth_max: int,
    *,
    number: Callable[[str], Any] = int,
    members: Callable[[list[tuple[str, Any]]], dict[str, Any]] = dict,
) -> Any:
    """json.loads of at most `depth_max` objects and arrays in one another; else ValueError.

    The depth is counted first: the parser recurses, and how deep it may go is the process's
    affair, not the text's.
    """
    depth = 0
    for sign in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if sign in "[{" else -1
        if depth > depth_max:
            raise ValueError(f"nested more than {depth_max} deep")
    return json.loads(
        text, parse_int=number, parse_float=number, parse_constant=number, object_pairs_hook=members
    )


def printable(text: str) -> str:
    """`text` for a sentence or a terminal: no control characters, and not endless."""
    shown = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def check_verifiable(key: VerifierKey) -> None:
    """Return only if this machine can check the key's signatures; VerifyError policy-malformed."""
    if key.type != ML_DSA_44:
        return
    try:
        MLDSA44PublicKey.from_public_bytes(key.public)
    except UnsupportedAlgorithm:
        text = f"{printable(key.name)}: this machine's OpenSSL can't check ML-DSA-44 signatures"
        raise VerifyError("policy-malformed", text) from None
    except ValueError:
        text = f"{printable(key.name)}: not an ML-DSA-44 key"
        raise VerifyError("policy-malformed", text) from None


def _check_signature(text: str, signature: Signature, key: VerifierKey) -> int:
    code = "signature-invalid" if key.type == ED25519 else "cosignature-invalid"
    time_s, data, message = 0, signature.data, text.encode()
    if key.type != ED25519:
        time_s, data = int.from_bytes(data[:8], "big"), data[8:]
    try:
        if time_s > SIZE_MAX:  # c2sp.org/tlog-cosignature: MUST NOT exceed 2^63 - 1
            raise InvalidSignature
        if key.type == ML_DSA_44:
            post_quantum = MLDSA44PublicKey.from_public_bytes(key.public)
            post_quantum.verify(data, _cosigned_message(key.name, time_s, text))
            return time_s
        if key.type == COSIGNATURE:
            message = f"cosignature/v1\ntime {time_s}\n".encode() + message
        Ed25519PublicKey.from_public_bytes(key.public).verify(data, message)
    except (InvalidSignature, ValueError):
        raise VerifyError(code, f"the signature of {printable(key.name)} does not hold") from None
    return time_s


def _cosigned_message(name: str, time_s: int, text: str) -> bytes:
    """What ML-DSA-44 signs of a checkpoint: c2sp.org/tlog-cosignature, `cosigned_message`.

    Raises ValueError where the text is no checkpoint or a name is too long.
    """
    origin, size, root = text.split("\n")[:3]
    cosigner, log = name_bytes(name), origin.encode()
    if max(len(cosigner), len(log)) > 255:
        raise ValueError("a name is longer than 255 bytes")
    return b"".join(
        [
            b"subtree/v1\n\0",
            bytes([len(cosigner)]),
            cosigner,
            struct.pack(">Q", time_s),
            bytes([len(log)]),
            log,
            struct.pack(">QQ", 0, int(size)),  # of a checkpoint: all entries from the first
            base64_bytes(root),
        ]
    )


def _parse_signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        data = base64_bytes(encoded)
    except ValueError:
        data = b""
    if dash != "—" or not _is_key_name(name) or len(data) < 5:
        raise VerifyError(
            "receipt-malformed", "a signature line is not as c2sp.org/signed-note has it"
        )
    return Signature(name, data[:4], data[4:])


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(sign.isspace() for sign in name)


def find_key(keys: Sequence[VerifierKey], name: str) -> list[VerifierKey]:
    """The keys of that name; a name may have several, as keys are rotated."""
    return [key for key in keys if key.name == name]
