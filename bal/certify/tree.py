"""The Merkle tree of RFC 6962 §2.1 / RFC 9162 §2.1 over SHA-256: hashes, roots, proof checks.

Pure functions; `check_*` return None or raise ProofInvalid, so no result can be forgotten.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import cast

from bal.errors import ProofInvalid
from bal.model import Digest, TreeHead

EMPTY_ROOT = Digest(sha256().digest())

# The complete subtree at (level, n): hash of leaves n·2^level … (n+1)·2^level - 1.
Node = Callable[[int, int], Digest]


def leaf_hash(entry: bytes) -> Digest:
    """Hash one log entry; the 0x00 prefix keeps a leaf from posing as a node."""
    return Digest(sha256(b"\x00" + entry).digest())


def node_hash(left: Digest, right: Digest) -> Digest:
    """Hash two children in tree order, 0x01 first."""
    return Digest(sha256(b"\x01" + left + right).digest())


def leaf_hashes(entries: Iterable[bytes]) -> list[Digest]:
    """`leaf_hash` of many; to copy a begun hash takes a tenth less than to begin one."""
    begun, found = sha256(b"\x00"), []
    for entry in entries:
        leaf = begun.copy()
        leaf.update(entry)
        found.append(leaf.digest())
    return cast("list[Digest]", found)


def parents(nodes: Iterable[Digest]) -> list[Digest]:
    """`node_hash` of the first two, the next two and so on; an odd one at the end has none."""
    begun, found = sha256(b"\x01"), []
    children = iter(nodes)
    for left, right in zip(children, children, strict=False):
        node = begun.copy()
        node.update(left + right)
        found.append(node.digest())
    return cast("list[Digest]", found)


def tree_head(leaves: Sequence[Digest]) -> TreeHead:
    """Head over all leaf hashes, in log order. O(size): for audits, not for appending."""
    level = list(leaves)
    while len(level) > 1:
        level = parents(level) + level[len(level) & ~1 :]  # an odd one moves up
    return TreeHead(len(leaves), level[0] if level else EMPTY_ROOT)


def right_edge(size: int) -> list[tuple[int, int]]:
    """(level, n) of the complete subtrees that make up a tree of `size`, largest first."""
    edge, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append((level, start >> level))
            start += 1 << level
    return edge


def root_of(size: int, node: Node) -> Digest:
    """The root of the tree of `size` leaves, from its complete subtrees."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def _range_hash(start: int, end: int, node: Node) -> Digest:
    """MTH(D[start:end]) where start is a multiple of the largest power of two in the range."""
    parts: list[Digest] = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(node(level, start >> level))
        start += 1 << level
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found


def inclusion_path(index: int, size: int, node: Node) -> list[Digest]:
    """PATH(index, D[size]) of RFC 6962 §2.1.1, the leaf's own sibling first.

    Raises ValueError when index is not below size.
    """
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside a log of {size} leaves")
    path = []
    inner = (index ^ (size - 1)).bit_length()
    for level in range(inner):
        sibling = (index >> level) ^ 1
        if (sibling + 1) << level <= size:
            path.append(node(level, sibling))
        elif sibling << level < size:  # the right border, an incomplete subtree
            path.append(_range_hash(sibling << level, size, node))
    above = (level for level in range(inner, index.bit_length()) if index >> level & 1)
    path.extend(node(level, (index >> level) - 1) for level in above)
    return path


def consistency_path(first: int, second: int, node: Node) -> list[Digest]:
    """PROOF(first, D[second]) of RFC 6962 §2.1.2; empty where the sizes are equal or first is 0.

    Raises ValueError when first is above second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"no consistency from {first} to {second}")
    if first in (0, second):
        return []
    path: list[Digest] = []
    start, end, keep = 0, second, True
    while first != end:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        if first <= split:
            path.append(_range_hash(split, end, node))
            end = split
        else:
            path.append(_range_hash(start, split, node))
            start, keep = split, False
    if not keep:
        path.append(_range_hash(start, end, node))
    return path[::-1]


def check_inclusion(leaf: Digest, index: int, path: Sequence[Digest], head: TreeHead) -> None:
    """Return only if `leaf` is entry `index` (from 0) of the log that `head` describes.

    path: sibling hashes, the leaf's own sibling first (RFC 6962 §2.1.1). Raises ProofInvalid.
    """
    if not 0 <= index < head.size:
        raise ProofInvalid(f"index {index} is outside a log of {head.size} leaves")
    inner = (index ^ (head.size - 1)).bit_length()  # levels below the tree's right border
    needed = inner + (index >> inner).bit_count()
    if len(path) != needed:  # also bounds the work before any hashing
        raise ProofInvalid(f"entry {index} of {head.size} needs {needed} hashes, not {len(path)}")
    found = leaf
    for level, sibling in enumerate(path):
        on_left = level >= inner or (index >> level) & 1
        found = node_hash(sibling, found) if on_left else node_hash(found, sibling)
    if found != head.root:
        raise ProofInvalid(f"entry {index}: found root {found.hex()}, head has {head.root.hex()}")


def check_consistency(old: TreeHead, new: TreeHead, path: Sequence[Digest]) -> None:
    """Return only if the log of `old` is a prefix of that of `new` (RFC 9162 §2.1.4.2).

    Raises ProofInvalid. An old size of 0 is a prefix of everything and takes no path.
    """
    if old.size > new.size:
        raise ProofInvalid(f"a log of {new.size} cannot continue one of {old.size}")
    if old.size in (0, new.size):
        if path:
            raise ProofInvalid(f"{len(path)} hashes where none is needed")
        if old.root != (new.root if old.size else EMPTY_ROOT):
            raise ProofInvalid(f"two roots at size {old.size}", code="fork")
        return
    fn, sn = old.size - 1, new.size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    rest = list(path)
    if fn and not rest:
        raise ProofInvalid("the path is empty")
    seed = rest.pop(0) if fn else old.root  # a power of two is its own first node
    fr = sr = seed
    for sibling in rest:
        if sn == 0:
            raise ProofInvalid(f"the path is longer than {old.size} to {new.size} needs")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(sibling, fr), node_hash(sibling, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofInvalid(f"the path is shorter than {old.size} to {new.size} needs")
    if fr != old.root or sr != new.root:
        raise ProofInvalid(f"the roots at {old.size} and {new.size} do not belong together")
