"""What the guard asks of a message of C37.118 frames: that it begins with a whole configuration."""

from bal.c37118.frame import CFG_2, CFG_3, CLAUSE, SIZE_MIN, SYNC, head
from bal.c37118.splitter import split
from bal.errors import Rejected


def check(raw: bytes) -> None:
    """Return only if the first frame of `raw` is a configuration 2 or 3, its CHK right.

    The frames behind it are judged one by one, later: what is wrong with one costs no other.
    Raises Rejected: sync-lost, frame-size-wrong, frame-incomplete, checksum-wrong, config-missing.
    """
    if raw[0] != SYNC or len(raw) < SIZE_MIN:
        text = "the first bytes are no SYNC: not a frame of IEEE C37.118.2"
        raise Rejected("sync-lost", text, field="/frames/0", clause=CLAUSE)
    size = raw[2] << 8 | raw[3]
    if size > len(raw):
        text = f"FRAMESIZE of the first frame is {size}, the message has {len(raw)} bytes"
        is_beyond = any(piece.frame for piece in split(raw))  # then it is no end that is missing
        code = "frame-size-wrong" if is_beyond else "frame-incomplete"
        raise Rejected(code, text, field="/frames/0", clause=CLAUSE)
    if size < SIZE_MIN:
        text = f"FRAMESIZE of the first frame is {size}; the shortest frame has {SIZE_MIN}"
        raise Rejected("frame-size-wrong", text, field="/frames/0", clause=CLAUSE)
    try:
        kind = head(raw[:size]).kind
    except Rejected as error:
        error.field = "/frames/0"
        raise
    if kind not in {CFG_2, CFG_3}:
        text = "the message does not begin with a configuration 2 or 3"
        raise Rejected("config-missing", text, field="/frames/0", clause=CLAUSE)
