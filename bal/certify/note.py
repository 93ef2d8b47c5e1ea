"""Signed notes (C2SP signed-note, tlog-checkpoint): the texts that Gridseal's keys sign."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from hashlib import sha256

from bal.errors import ProofInvalid
from bal.model import Digest, TreeHead
from bal.times import rfc3339

ED25519 = b"\x01"  # signature type of signed-note
ACCEPTED_V1 = "gridseal/accepted/v1"


@lru_cache(maxsize=64)
def key_id(name: str, public_key: bytes) -> bytes:
    """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), signed-note §Signatures."""
    return sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:4]


def vkey(name: str, public_key: bytes) -> str:
    """The verifier key of an Ed25519 note key: <name>+<8 hex>+<base64(0x01 ‖ public key)>."""
    encoded = b64encode(ED25519 + public_key).decode()
    return f"{name}+{key_id(name, public_key).hex()}+{encoded}"


def signature_line(name: str, public_key: bytes, signature: bytes) -> bytes:
    """`— <name> <base64(key id ‖ signature)>`, with its newline."""
    encoded = b64encode(key_id(name, public_key) + signature).decode()
    return f"— {name} {encoded}\n".encode()


def checkpoint_text(origin: str, head: TreeHead) -> bytes:
    """The note text of a checkpoint: origin, size, root (tlog-checkpoint §Note text)."""
    return f"{origin}\n{head.size}\n{b64encode(head.root).decode()}\n".encode()


def checkpoint_head(note: bytes) -> tuple[str, TreeHead]:
    """Origin and head of one of our own checkpoints, signed or not; no signature is checked.

    Raises ProofInvalid when the text is not what `checkpoint_text` would print.
    """
    text = note.split(b"\n\n", 1)[0].rstrip(b"\n") + b"\n"
    try:
        origin, size, root = text.decode().splitlines()[:3]
        head = TreeHead(int(size), Digest(b64decode(root, validate=True)))
    except (ValueError, Base64Error) as error:
        raise ProofInvalid("this is no checkpoint", code="checkpoint-malformed") from error
    if checkpoint_text(origin, head) != text or len(head.root) != 32:
        raise ProofInvalid("this is no checkpoint", code="checkpoint-malformed")
    return origin, head


def accepted_text(
    origin: str, message: Digest, batch: str, received_us: int, include_by_us: int
) -> bytes:
    """The promise that the intake key signs: this message will be in the log by then (§5)."""
    return (
        f"{ACCEPTED_V1}\n{origin}\nmessage {message.hex()}\nbatch {batch}\n"
        f"received {rfc3339(received_us)}\ninclude-by {rfc3339(include_by_us)}\n"
    ).encode()
