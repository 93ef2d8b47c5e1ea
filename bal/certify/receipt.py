"""Receipts as C2SP tlog-proof texts (docs/spec/receipt.md)."""

from base64 import b64encode
from collections.abc import Sequence

from bal import jcs
from bal.model import Anchor, Digest

RECEIPT_V1 = "gridseal.receipt/1"
TLOG_PROOF_V1 = "c2sp.org/tlog-proof@v1"


def receipt_text(
    *,
    type_: bytes,
    record: bytes,
    salt: bytes,
    index: int,
    path: Sequence[Digest],
    checkpoint: bytes,
    anchor: Anchor | None,
) -> str:
    """The certified receipt of one entry; with `anchor`, the anchored one.

    `extra` opens the commitment (record and salt) and says where to look on chain; it is never a
    root of trust. Raises ValueError when `record` is not UTF-8.
    """
    extra: dict[str, object] = {
        "v": RECEIPT_V1,
        "type": type_.hex(),
        "record": record.decode(),
        "salt": salt.hex(),
    }
    if anchor is not None:
        extra["anchor"] = anchor.as_json()
    lines = [TLOG_PROOF_V1, f"extra {b64encode(jcs.encode(extra)).decode()}", f"index {index}"]
    lines += [b64encode(sibling).decode() for sibling in path]
    return "\n".join(lines) + "\n\n" + checkpoint.decode()
