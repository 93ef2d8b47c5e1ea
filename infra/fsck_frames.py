"""The part of fsck that looks at the phasor frames behind a window's record."""

from bal import jcs
from bal.certify.commitment import commitments
from bal.certify.tree import leaf_hashes, tree_head
from bal.errors import Rejected
from bal.harmonise.instant import parse
from bal.harmonise.phasors import missing
from bal.model import TYPE_FRAME, StoredRecord


def what_differs(row: StoredRecord, salt_key: bytes) -> str:
    """What of a window's frames is not what its record says, as a sentence; "" for nothing.

    The record itself was found to open its entry.
    """
    record, frames = jcs.decode(row.certified), row.frames
    if str(len(frames)) != record["frames"]:
        return f"the row has {len(frames)} frames, its record {record['frames']}"
    root = tree_head(leaf_hashes(commitments(TYPE_FRAME, [salt_key] * len(frames), frames))).root
    if root.hex() != record["root"]:
        return "the frames lead to another root than the record has"
    if str(missing(len(frames), int(record["rate"]))) != record["missing"]:
        return "the record counts other frames as missing than its rate leads to"
    try:
        times_us = [parse(jcs.decode(frame)["time"]).us for frame in frames]
    except (ValueError, TypeError, KeyError, Rejected):
        return "a frame is not in its canonical form"
    inside = all(row.begin_us <= time_us < row.end_us for time_us in times_us)
    if not inside or sorted(set(times_us)) != times_us:
        return "the frames are not in order of time, or not of this window"
    return ""
