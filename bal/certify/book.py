"""Books: sparse Merkle trees that give every key one place (docs/spec/completeness.md).

A key is 32 bytes and its bits lead to its place, the most significant first. A subtree of no key
is 32 zero bytes, one of a single key is that key's leaf, however high it stands. The checks are
pure and depend on nothing of the platform: the verifier uses them.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from bal.errors import ProofInvalid

KEY_BITS = 256
EMPTY = bytes(32)  # the root of no key
CODE = "book-mismatch"
PARTS = 256  # of a book, by the first byte of the keys

_PARTS_DEPTH = 8
_SUBTREE_KEPT_MIN = 64  # smaller subtrees are hashed again for each proof
_HEX_32 = re.compile(r"[0-9a-f]{64}")


def leaf(key: bytes, value: bytes) -> bytes:
    """SHA-256(0x04 ‖ key ‖ value), each 32 bytes; 0x04 keeps it apart from every other hash."""
    return sha256(b"\x04" + key + value).digest()


def node(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x05 ‖ left ‖ right)."""
    return sha256(b"\x05" + left + right).digest()


def day_key(day: int) -> bytes:
    """The key of a date in the book of days; day: of the civil date since 1970-01-01."""
    return sha256(b"gridseal/day/v1\x00" + day.to_bytes(4, "big")).digest()


@dataclass(frozen=True, slots=True)
class Proof:
    """What stands at a key's place: the siblings on the way there, from the root down."""

    siblings: tuple[bytes, ...]
    terminal: tuple[bytes, bytes] | None  # key and value; None where the place is empty

    def as_json(self) -> dict[str, object]:
        """The form in a document: hex, `terminal` left out where there is none."""
        found: dict[str, object] = {"siblings": [sibling.hex() for sibling in self.siblings]}
        if self.terminal is not None:
            key, value = self.terminal
            found["terminal"] = {"key": key.hex(), "value": value.hex()}
        return found


def parse_proof(members: Any) -> Proof:
    """The proof of a document's JSON value. Raises ValueError for any other form."""
    if not isinstance(members, dict) or members.keys() - {"terminal"} != {"siblings"}:
        raise ValueError("a proof has siblings and, at most, terminal")
    siblings = members["siblings"]
    if not isinstance(siblings, list) or len(siblings) > KEY_BITS:
        raise ValueError(f"siblings is not an array of at most {KEY_BITS}")
    terminal = members.get("terminal")
    pair = None
    if "terminal" in members:
        if not isinstance(terminal, dict) or terminal.keys() != {"key", "value"}:
            raise ValueError("terminal has not exactly key and value")
        pair = _digest(terminal["key"]), _digest(terminal["value"])
    return Proof(tuple(map(_digest, siblings)), pair)


def check_presence(key: bytes, value: bytes, proof: Proof, root: bytes) -> None:
    """Return only if the book of that `root` has `key` with `value`; else raise ProofInvalid."""
    if proof.terminal is None or proof.terminal[0] != key:
        raise ProofInvalid("the proof leads to another key, or to none", code=CODE)
    if proof.terminal[1] != value:
        raise ProofInvalid("the book has another value for this key", code=CODE)
    _check_root(key, proof, root)


def check_absence(key: bytes, proof: Proof, root: bytes) -> None:
    """Return only if the book of that `root` has no `key`; else raise ProofInvalid."""
    if proof.terminal is not None:
        other = proof.terminal[0]
        if other == key:
            raise ProofInvalid("the proof leads to the key itself", code=CODE)
        if _common_bits(_number(key), _number(other)) < len(proof.siblings):
            raise ProofInvalid("the other key does not stand in the way of this one", code=CODE)
    _check_root(key, proof, root)


def _check_root(key: bytes, proof: Proof, root: bytes) -> None:
    hashes = (key, root, *proof.siblings, *(proof.terminal or ()))
    if len(proof.siblings) > KEY_BITS or any(len(item) != 32 for item in hashes):
        raise ProofInvalid("a proof has at most 256 siblings of 32 bytes", code=CODE)
    found = EMPTY if proof.terminal is None else leaf(*proof.terminal)
    bits = _number(key)
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        found = node(sibling, found) if bits >> 255 - depth & 1 else node(found, sibling)
    if found != root:
        raise ProofInvalid(f"the proof leads to {found.hex()}, not to {root.hex()}", code=CODE)


class Book:
    """One book in memory: 100 bytes a key beside the keys and values. Not to be changed."""

    def __init__(self, items: Mapping[bytes, bytes]) -> None:
        """items: key → value, 32 bytes each; ValueError for any other length."""
        self._keys = sorted(items)
        self._values = [items[key] for key in self._keys]
        if any(len(item) != 32 for column in (self._keys, self._values) for item in column):
            raise ValueError("keys and values of a book have 32 bytes")
        self._numbers = [_number(key) for key in self._keys]
        self._kept: dict[tuple[int, int], bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def root(self) -> bytes:
        """The root; 32 zero bytes of an empty book. 100,000 keys take half a second."""
        return self._subtree(0, len(self._keys), 0)

    def proof(self, key: bytes, depth: int = 0) -> Proof:
        """What stands at the place of `key`, be it there or not; fast once the root was asked.

        depth: of the book in a larger one; all keys share so many first bits with `key`, and the
        proof begins there.
        """
        siblings: list[bytes] = []
        wanted, start, stop, above = _number(key), 0, len(self._keys), depth
        while stop - start > 1:
            depth = above + len(siblings)
            middle = self._middle(start, stop, depth)
            if wanted >> 255 - depth & 1:
                siblings.append(self._subtree(start, middle, depth + 1))
                start = middle
            else:
                siblings.append(self._subtree(middle, stop, depth + 1))
                stop = middle
        terminal = (self._keys[start], self._values[start]) if start < stop else None
        return Proof(tuple(siblings), terminal)

    def parts(self) -> "Parts":
        """The roots under each first byte of a key: what `Parts.proof` needs of the whole."""
        cuts = [bisect_left(self._numbers, n << 248) for n in range(PARTS + 1)]
        pairs = list(pairwise(cuts))
        roots = [self._subtree(start, stop, _PARTS_DEPTH) for start, stop in pairs]
        return Parts([stop - start for start, stop in pairs], roots)

    def part_root(self) -> bytes:
        """The root under the one first byte that all keys have, as `Parts` takes it."""
        return self._subtree(0, len(self._keys), _PARTS_DEPTH)

    def _subtree(self, start: int, stop: int, depth: int) -> bytes:
        """The node at `depth` over the keys [start, stop); recursion ends after 256 levels."""
        if stop - start < _SUBTREE_KEPT_MIN:
            return self._fold(start, stop, depth)
        found = self._kept.get((start, depth))
        if found is None:
            middle = self._middle(start, stop, depth)
            found = self._kept[start, depth] = node(
                self._subtree(start, middle, depth + 1), self._subtree(middle, stop, depth + 1)
            )
        return found

    def _fold(self, start: int, stop: int, depth: int) -> bytes:
        """As `_subtree`, in one pass that keeps nothing.

        `waiting` holds left siblings whose right ones are still to come, each deeper than the last.
        """
        if start == stop:
            return EMPTY
        numbers, waiting = self._numbers, list[tuple[int, bytes]]()  # depth and hash
        before = depth - 1
        for at in range(start, stop):
            number = numbers[at]
            after = _common_bits(number, numbers[at + 1]) if at + 1 < stop else depth - 1
            height = max(before, after) + 1  # where the key is alone
            found = leaf(self._keys[at], self._values[at])
            while height > after + 1:  # whatever follows lies outside: close what is deeper
                if number >> 256 - height & 1:
                    left = waiting.pop()[1] if waiting and waiting[-1][0] == height else EMPTY
                    found = node(left, found)
                else:
                    found = node(found, EMPTY)
                height -= 1
            waiting.append((height, found))
            before = after
        return waiting[0][1]

    def _middle(self, start: int, stop: int, depth: int) -> int:
        """Where, among keys that share their first `depth` bits, the next bit becomes 1."""
        below = 255 - depth
        bound = self._numbers[start] >> below + 1 << below + 1 | 1 << below
        return bisect_left(self._numbers, bound, start, stop)


class Parts:
    """A book of which only the roots under each first byte are in memory: 20 kB. Not to be changed.

    A subtree of one key has that key's leaf as its root at whatever depth, so counts and roots are
    enough to put the upper levels together.
    """

    def __init__(self, counts: Sequence[int], roots: Sequence[bytes]) -> None:
        """Keys under each first byte, and the root over them at depth 8; 256 each."""
        self._counts, self._roots = counts, roots

    def root(self) -> bytes:
        """The root of the whole book."""
        return self._joined(0, PARTS)

    def proof(self, key: bytes, part: Callable[[int], Mapping[bytes, bytes]]) -> Proof:
        """As `Book.proof`; part: the items of the book under a first byte, asked for once."""
        siblings: list[bytes] = []
        start, stop = 0, PARTS
        while stop - start > 1 and sum(self._counts[start:stop]) > 1:
            middle = (start + stop) // 2
            if key[0] >= middle:
                siblings.append(self._joined(start, middle))
                start = middle
            else:
                siblings.append(self._joined(middle, stop))
                stop = middle
        held = next((n for n in range(start, stop) if self._counts[n]), None)
        if held is None:
            return Proof(tuple(siblings), None)
        below = Book(part(held)).proof(key, len(siblings))
        return Proof((*siblings, *below.siblings), below.terminal)

    def _joined(self, start: int, stop: int) -> bytes:
        if stop - start == 1:
            return self._roots[start]
        if sum(self._counts[start:stop]) <= 1:
            return next((self._roots[n] for n in range(start, stop) if self._counts[n]), EMPTY)
        middle = (start + stop) // 2
        return node(self._joined(start, middle), self._joined(middle, stop))


class Growing:
    """A book that grows key by key, and is asked for its root each time: 0.3 ms at 3,000 keys."""

    def __init__(self) -> None:
        self._items: list[dict[bytes, bytes]] = [{} for _ in range(PARTS)]
        self._counts, self._roots = [0] * PARTS, [EMPTY] * PARTS

    def put(self, key: bytes, value: bytes) -> None:
        """Add a key, or give it another value; 32 bytes each, else ValueError."""
        first, book = key[0], Book({**self._items[key[0]], key: value})
        self._items[first][key] = value
        self._counts[first], self._roots[first] = len(book), book.part_root()

    def root(self) -> bytes:
        """The root of all that was put."""
        return Parts(self._counts, self._roots).root()


def _common_bits(one: int, other: int) -> int:
    return KEY_BITS - (one ^ other).bit_length()


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")


def _digest(text: Any) -> bytes:
    if not isinstance(text, str) or _HEX_32.fullmatch(text) is None:
        raise ValueError("a hash is not 64 hex digits, lower case")
    return bytes.fromhex(text)
