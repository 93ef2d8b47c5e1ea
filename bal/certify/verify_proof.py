"""A receipt's proof: its form, the record's commitment, and paths in the log's tree.

Formats: c2sp.org/tlog-proof with our `extra` (docs/spec/receipt.md), docs/spec/commitment.md,
RFC 6962 §2.1, c2sp.org/tlog-tiles. Shares nothing with the platform's own tree on purpose.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NoReturn, Protocol

from bal.certify.verify_note import (
    SIZE_MAX,
    Checkpoint,
    VerifyError,
    base64_bytes,
    decimal,
    parse_checkpoint,
    parse_json,
)

PROOF_LINE = "c2sp.org/tlog-proof@v1"
EXTRA_VERSION = "gridseal.receipt/1"
RECORD_DEPTH_MAX = 4
PATH_MAX = 63

_HEX_32 = re.compile(r"[0-9a-f]{64}")
_ANCHOR_FORMS = {
    "block": re.compile(r"0|[1-9][0-9]{0,18}"),
    "chain_id": re.compile(r"0|[1-9][0-9]{0,18}"),
    "contract": re.compile(r"0x[0-9a-fA-F]{40}"),
    "log": re.compile(r"0x[0-9a-f]{64}"),
    "size": re.compile(r"0|[1-9][0-9]{0,18}"),
    "tx": re.compile(r"0x[0-9a-f]{64}"),
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """A certified receipt as it was parsed; nothing in it is checked yet."""

    index: int
    path: tuple[bytes, ...]  # the leaf's own sibling first
    checkpoint: Checkpoint
    type: bytes  # one byte; 0x01 = record
    record: str
    salt: bytes
    anchor: Mapping[str, str] | None  # a hint, signed by nobody
    frame: Any = None  # of a window: what verify_frame checks

    @property
    def entry(self) -> bytes:
        """The log's entry: the commitment to the record."""
        return commitment(self.type, self.salt, self.record.encode())


class TileSource(Protocol):
    """The log's tiles as somebody serves them; what they hold is checked, not trusted."""

    def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes (1…256) of tile `n` at `level`; 32·width bytes.

        Raises VerifyError log-unreachable, or log-needed where nobody said where the log is.
        """
        ...


def parse_receipt(text: str) -> Receipt:
    """Read a tlog-proof whose `extra` is ours; VerifyError receipt-malformed, extra-malformed."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != PROOF_LINE:
        raise VerifyError("receipt-malformed", f"no receipt: the first line is not {PROOF_LINE}")
    if not blank:
        raise VerifyError("receipt-malformed", "the receipt ends before its checkpoint")
    if len(lines) < 2 or not lines[1].startswith("extra "):
        raise VerifyError("extra-malformed", "the receipt has no extra line, so it names no record")
    if len(lines) < 3 or not lines[2].startswith("index "):
        raise VerifyError("receipt-malformed", "the third line is not the entry's index")
    index = decimal(lines[2].removeprefix("index "), "the index")
    path = parse_path(lines[3:])
    checkpoint = parse_checkpoint(note)
    try:
        extra = parse_canonical(base64_bytes(lines[1].removeprefix("extra ")).decode(), 3)
    except ValueError as error:
        raise VerifyError("extra-malformed", f"extra: {error}") from None
    return Receipt(index, path, checkpoint, *_parse_extra(extra))


def parse_canonical(text: str, depth_max: int) -> Any:
    """The value of an RFC 8785 text of strings, objects and arrays nested ≤ depth_max.

    Raises ValueError unless `text` is exactly how the value is written.
    """
    value = parse_json(text, depth_max, number=_refuse)
    _check_value(value)
    # RFC 8785 §3.2: with ASCII names and only strings as leaves this is its form. Doubled
    # members, other escapes, spaces and a lone surrogate come out otherwise than they came in.
    if json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")) != text:
        raise ValueError("not in RFC 8785 form")
    return value


def parse_record(text: str) -> dict[str, Any]:
    """The record's members; VerifyError record-not-canonical."""
    try:
        record = parse_canonical(text, RECORD_DEPTH_MAX)
    except ValueError as error:
        raise VerifyError("record-not-canonical", f"the record: {error}") from None
    if not isinstance(record, dict):
        raise VerifyError("record-not-canonical", "the record is not an object")
    return record


def commitment(type_: bytes, salt: bytes, data: bytes) -> bytes:
    """SHA-256(0x02 ‖ type ‖ salt ‖ data): the log entry, 32 bytes (docs/spec/commitment.md)."""
    return sha256(b"\x02" + type_ + salt + data).digest()


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 §2.1: a leaf is prefixed 0x00."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1: a node is prefixed 0x01."""
    return sha256(b"\x01" + left + right).digest()


def check_path(leaf: bytes, index: int, path: Sequence[bytes], size: int, root: bytes) -> None:
    """Return only if `leaf` is entry `index` (from 0) of the tree of `size` with that `root`.

    Raises VerifyError index-outside, path-wrong-length or root-mismatch (RFC 6962 §2.1.1).
    """
    if index >= size:
        raise VerifyError("index-outside", f"entry {index} cannot be in a log of {size} entries")
    inner = (index ^ (size - 1)).bit_length()  # levels below the tree's right border
    needed = inner + (index >> inner).bit_count()
    if len(path) != needed:
        raise VerifyError(
            "path-wrong-length",
            f"entry {index} of {size} needs a path of {needed} hashes, not {len(path)}",
        )
    found = leaf
    for level, sibling in enumerate(path):
        on_left = level >= inner or index >> level & 1
        found = node_hash(sibling, found) if on_left else node_hash(found, sibling)
    if found != root:
        raise VerifyError(
            "root-mismatch",
            f"record, salt, index and path lead to root {found.hex()}, not to {root.hex()}",
        )


class TiledTree:
    """A log's tree at one size, from tiles that nobody vouches for; each tile is read once."""

    def __init__(self, tiles: TileSource, origin: str, size: int) -> None:
        self._tiles = tiles
        self._origin = origin
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}

    def path(self, index: int) -> list[bytes]:
        """PATH(index, D[size]) of RFC 6962 §2.1.1, the leaf's own sibling first."""
        path, start, end = [], 0, self._size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range_hash(middle, end))
                end = middle
            else:
                path.append(self._range_hash(start, middle))
                start = middle
        return path[::-1]

    def prefix(self, size: int) -> tuple[bytes, bytes, list[dict[str, object]]]:
        """(root at `size`, root at the tree's own size, hashes that both are made of).

        1 <= size <= the tree's. By RFC 9162 §2.1.4: whoever holds the second root for true holds
        the first for true as well. The hashes are those of [from, to) ranges, in log order.
        """
        used: list[dict[str, object]] = []
        first, second = self._prefix(0, self._size, size, used)
        return first, second, used

    def _prefix(
        self, start: int, end: int, size: int, used: list[dict[str, object]]
    ) -> tuple[bytes, bytes]:
        if end <= size or start >= size:
            found = self._range_hash(start, end)
            used.append({"from": str(start), "to": str(end), "hash": found.hex()})
            return (found if end <= size else b""), found
        middle = start + _split(end - start)
        left = self._prefix(start, middle, size, used)
        right = self._prefix(middle, end, size, used)
        first = node_hash(left[0], right[0]) if right[0] else left[0]
        return first, node_hash(left[1], right[1])

    def _range_hash(self, start: int, end: int) -> bytes:
        count = end - start
        if count & (count - 1):  # not a power of two: an incomplete subtree at the right border
            middle = start + _split(count)
            return node_hash(self._range_hash(start, middle), self._range_hash(middle, end))
        return self._node(count.bit_length() - 1, start)

    def _node(self, height: int, start: int) -> bytes:
        """The complete subtree of 2^height leaves from `start`, out of one tile."""
        level, rows = divmod(height, 8)  # c2sp.org/tlog-tiles: a tile is 8 levels high
        first = start >> 8 * level
        n, at = first // 256, first % 256
        if (level, n) not in self._read:
            width = min(256, (self._size >> 8 * level) - 256 * n)
            tile = self._tiles.tile(self._origin, level, n, width)
            if len(tile) != 32 * width:
                raise VerifyError(
                    "tiles-mismatch", f"a tile of {len(tile)} bytes, not {32 * width}"
                )
            self._read[level, n] = tile
        tile = self._read[level, n]
        hashes = [tile[32 * i : 32 * i + 32] for i in range(at, at + (1 << rows))]
        while len(hashes) > 1:
            hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]


def _split(count: int) -> int:
    """The largest power of two below `count` (RFC 6962 §2.1)."""
    return 1 << ((count - 1).bit_length() - 1)


def parse_path(lines: Sequence[str]) -> tuple[bytes, ...]:
    """The hashes of an inclusion path, 63 at most; VerifyError receipt-malformed."""
    if len(lines) > PATH_MAX:
        raise VerifyError("receipt-malformed", f"the path has more than {PATH_MAX} hashes")
    return tuple(map(_hash, lines))


def _hash(line: str) -> bytes:
    try:
        found = base64_bytes(line)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise VerifyError("receipt-malformed", "a line of the path is not a hash in base64")
    return found


def _parse_extra(extra: Any) -> tuple[bytes, str, bytes, Mapping[str, str] | None, Any]:
    members = extra if isinstance(extra, dict) else {}
    wanted = {"v", "type", "record", "salt"}
    if members.keys() - {"anchor", "frame"} != wanted:
        text = "extra has not exactly v, type, record, salt, anchor, frame"
        raise VerifyError("extra-malformed", text)
    anchor, frame = members.pop("anchor", None), members.pop("frame", None)
    if not all(isinstance(value, str) for value in members.values()):
        raise VerifyError("extra-malformed", "a member of extra is not a string")
    if members["v"] != EXTRA_VERSION:
        raise VerifyError("extra-malformed", f"extra is not of version {EXTRA_VERSION}")
    if members["type"] != "01":
        raise VerifyError("extra-malformed", "extra's type is not 01, a record")
    if not _HEX_32.fullmatch(members["salt"]):
        raise VerifyError("extra-malformed", "the salt is not 64 hex digits")
    if anchor is not None:
        check_anchor_form(anchor)
    return b"\x01", members["record"], bytes.fromhex(members["salt"]), anchor, frame


def check_anchor_form(anchor: Any) -> None:
    """Return only if `anchor` is a hint as a receipt has it; VerifyError extra-malformed."""
    if not isinstance(anchor, dict) or anchor.keys() != _ANCHOR_FORMS.keys():
        raise VerifyError("extra-malformed", "anchor has not exactly " + ", ".join(_ANCHOR_FORMS))
    for name, form in _ANCHOR_FORMS.items():
        if not isinstance(anchor[name], str) or not form.fullmatch(anchor[name]):
            raise VerifyError("extra-malformed", f"anchor.{name} is not as the format writes it")
    if int(anchor["size"]) > SIZE_MAX:
        raise VerifyError("extra-malformed", "anchor.size is too large")


def _check_value(value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, dict | list):
        raise ValueError("only strings, objects and arrays are allowed")
    if isinstance(value, dict):
        if not all(key.isascii() for key in value):
            raise ValueError("a member's name is not ASCII")
        value = list(value.values())
    for member in value:
        _check_value(member)


def _refuse(_: str) -> NoReturn:
    raise ValueError("numbers are not allowed")
