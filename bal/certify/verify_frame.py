"""The frame that a receipt opens beside its record (docs/spec/pmu.md, the receipt of one frame).

Shares nothing with the platform's own tree on purpose.
"""

import re
from collections.abc import Mapping
from typing import Any

from bal.certify.verify_note import VerifyError, decimal
from bal.certify.verify_proof import (
    check_path,
    commitment,
    leaf_hash,
    parse_canonical,
    parse_path,
)

FRAME_TYPE = b"\x04"
FRAME_DEPTH_MAX = 4

_MEMBERS = {"count", "data", "index", "path", "salt"}
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{0,5}[1-9])?Z")


def check_frame(frame: Any, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the frame's members only if `record`, which is proved itself, has the frame's root.

    frame: the member `frame` of a receipt's extra. Raises VerifyError frame-malformed or
    frame-mismatch.
    """
    if not isinstance(frame, dict) or frame.keys() != _MEMBERS:
        raise _malformed("frame has not exactly " + ", ".join(sorted(_MEMBERS)))
    path, texts = frame["path"], [frame[name] for name in sorted(_MEMBERS - {"path"})]
    if not isinstance(path, list) or not all(isinstance(text, str) for text in [*texts, *path]):
        raise _malformed("a member of frame is not a string, or path is no array of them")
    if not _HEX_32.fullmatch(frame["salt"]):
        raise _malformed("the frame's salt is not 64 hex digits")
    try:
        index, count = (decimal(frame[name], f"frame.{name}") for name in ("index", "count"))
        hashes = parse_path(path)
        data = parse_canonical(frame["data"], FRAME_DEPTH_MAX)
    except (ValueError, VerifyError) as error:
        raise _malformed(f"frame: {error}") from None
    if not isinstance(data, dict):
        raise _malformed("data is not an object")
    _check_window(data, count, record)
    entry = commitment(FRAME_TYPE, bytes.fromhex(frame["salt"]), frame["data"].encode())
    try:
        check_path(leaf_hash(entry), index, hashes, count, bytes.fromhex(record["root"]))
    except VerifyError as error:
        raise _mismatch(f"frame {index} of {count}: {error.text}") from None
    return data


def _check_window(data: Mapping[str, Any], count: int, record: Mapping[str, Any]) -> None:
    """The record must be of a window, of as many frames, and the frame's time must lie in it."""
    names = ("kind", "frames", "root", "begin", "end")
    kind, frames, root, begin, end = (record.get(name) for name in names)
    if kind != "phasors" or not isinstance(root, str) or not _HEX_32.fullmatch(root):
        raise _mismatch("the record is not that of a window of frames")
    if frames != str(count):
        raise _mismatch(f"the record has other than {count} frames")
    times = begin, data.get("time"), end
    if not all(isinstance(one, str) and _TIME.fullmatch(one) for one in times):
        raise _mismatch("frame or record has no time")
    first, at, last = (str(one).removesuffix("Z") for one in times)  # so that a fraction is later
    if not first <= at < last:
        raise _mismatch("the frame's time is not in the record's window")


def _malformed(text: str) -> VerifyError:
    return VerifyError("frame-malformed", text)


def _mismatch(text: str) -> VerifyError:
    return VerifyError("frame-mismatch", text)
