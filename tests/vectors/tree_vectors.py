"""trees.json: inclusion and consistency proofs of RFC 9162; docs/spec/receipt.md step 4."""

from collections.abc import Callable
from typing import Any

from bal.certify.tree import consistency_path, inclusion_path, leaf_hash, tree_head
from bal.model import Digest

Json = dict[str, Any]
ENTRIES = [f"entry {n}" for n in range(70)]
LEAVES = [leaf_hash(entry.encode()) for entry in ENTRIES]


def node(level: int, n: int) -> Digest:
    return tree_head(LEAVES[n << level : (n + 1) << level]).root


def root(size: int) -> str:
    return tree_head(LEAVES[:size]).root.hex()


def trees() -> Json:
    """`code`: what a verifier of receipts says, or `holds`; a contract says yes or no."""
    return {"inclusions": _inclusions(), "consistencies": _consistencies()}


def _inclusions() -> list[Json]:
    found: list[Json] = []

    def add(name: str, at: int, size: int, code: str = "holds", **changes: Any) -> None:
        path = [one.hex() for one in inclusion_path(min(at, size - 1), size, node)]
        case = {"name": name, "entry": ENTRIES[min(at, size - 1)], "index": str(at),
                "size": str(size), "root": root(size), "path": path}  # fmt: skip
        found.append(case | {key: act(case[key]) for key, act in changes.items()} | {"code": code})

    for size in (1, 2, 3, 5, 8, 64, 69, 70):
        for index in sorted({0, size // 2, size - 1}):
            add(f"entry {index} of {size}", index, size)
    for index, size in ((0, 5), (4, 5), (68, 69), (31, 64)):
        where = f"entry {index} of {size}, "
        add(f"{where}a hash too few", index, size, "path-wrong-length", path=lambda p: p[:-1])
        add(f"{where}a hash too many", index, size, "path-wrong-length",
            path=lambda p: [*p, "00" * 32])  # fmt: skip
        add(f"{where}a byte of a hash", index, size, "root-mismatch",
            path=lambda p: [f"{int(p[0][:2], 16) ^ 1:02x}{p[0][2:]}", *p[1:]])  # fmt: skip
        add(f"{where}another entry", index, size, "root-mismatch", entry=lambda one: one + "x")
        add(f"{where}another root", index, size, "root-mismatch", root=lambda _: root(7))
    add("entry 1 of 8 as 0", 1, 8, "root-mismatch", index=lambda _: "0")
    add("entry 5 of 5", 5, 5, "index-outside")
    add("entry 0 of 1, with a path", 0, 1, "path-wrong-length", path=lambda _: ["00" * 32])
    add("a path backwards", 3, 8, "root-mismatch", path=lambda p: p[::-1])
    return found


def _consistencies() -> list[Json]:
    found: list[Json] = []

    def add(name: str, old: int, new: int, *, holds: bool, **changes: Callable[[Any], Any]) -> None:
        proof = [one.hex() for one in consistency_path(old, new, node)]
        case: Json = {"name": name, "first": str(old), "second": str(new),
                      "first_root": root(old), "second_root": root(new),
                      "proof": proof}  # fmt: skip
        found.append(case | {key: act(case[key]) for key, act in changes.items()})
        found[-1]["holds"] = holds

    for first, second in ((1, 2), (1, 70), (2, 3), (3, 7), (4, 8), (6, 8), (64, 70), (69, 70)):
        where = f"{first} and {second}"
        add(where, first, second, holds=True)
        add(f"{where}, a hash too few", first, second, holds=False, proof=lambda p: p[:-1])
        add(f"{where}, a hash too many", first, second, holds=False, proof=lambda p: [*p, p[0]])
        add(f"{where}, another first root", first, second, holds=False,
            first_root=lambda _: "11" * 32)  # fmt: skip
        add(f"{where}, another second root", first, second, holds=False,
            second_root=lambda _: "11" * 32)  # fmt: skip
        add(f"{where}, first and second changed about", first, second, holds=False,
            first=lambda _, n=second: str(n), second=lambda _, n=first: str(n))  # fmt: skip
    return found
