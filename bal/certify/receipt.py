"""Receipts as C2SP tlog-proof texts (docs/spec/receipt.md)."""

from base64 import b64encode
from collections.abc import Mapping, Sequence

from bal import jcs
from bal.certify.commitment import commitments
from bal.certify.commitment import salt as salt_of
from bal.certify.tree import inclusion_path, leaf_hashes, parents
from bal.model import TYPE_FRAME, Anchor, Digest

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
    frame: Mapping[str, object] | None = None,
) -> str:
    """The certified receipt of one entry; with `anchor`, the anchored one.

    `extra` opens the commitment (record and salt) and says where to look on chain; it is never a
    root of trust. frame: of `frame_extra`, for one frame of a window.
    Raises ValueError when `record` is not UTF-8.
    """
    extra: dict[str, object] = {
        "v": RECEIPT_V1,
        "type": type_.hex(),
        "record": record.decode(),
        "salt": salt.hex(),
    }
    if anchor is not None:
        extra["anchor"] = anchor.as_json()
    if frame is not None:
        extra["frame"] = frame
    lines = [TLOG_PROOF_V1, f"extra {b64encode(jcs.encode(extra)).decode()}", f"index {index}"]
    lines += [b64encode(sibling).decode() for sibling in path]
    return "\n".join(lines) + "\n\n" + checkpoint.decode()


def frame_extra(salt_key: bytes, frames: Sequence[bytes], number: int) -> dict[str, object]:
    """What a receipt says of frame `number` of a window's (docs/spec/pmu.md).

    salt_key: of the window's row. Raises KeyError where there is no such frame.
    """
    if not 0 <= number < len(frames):
        raise KeyError(number)
    data = frames[number]
    levels = [leaf_hashes(commitments(TYPE_FRAME, [salt_key] * len(frames), frames))]
    while len(levels[-1]) > 1:
        levels.append(parents(levels[-1]))
    path = inclusion_path(number, len(frames), lambda level, n: levels[level][n])
    return {
        "count": str(len(frames)),
        "data": data.decode(),
        "index": str(number),
        "path": [b64encode(sibling).decode() for sibling in path],
        "salt": salt_of(salt_key, TYPE_FRAME, data).hex(),
    }
