"""docs/spec/completeness.md, Book: one place for every key, and proofs of what stands there."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.certify.book import (
    EMPTY,
    Book,
    Growing,
    Proof,
    check_absence,
    check_presence,
    day_key,
    leaf,
    node,
    parse_proof,
)
from bal.errors import ProofInvalid

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "book.json").read_text()
)
DIGESTS = st.binary(min_size=32, max_size=32)
# keys that share long prefixes are as likely as others
KEYS = st.one_of(
    DIGESTS,
    st.builds(
        lambda n, bit: (n << bit).to_bytes(32, "big"), st.integers(0, 255), st.integers(0, 248)
    ),
)
ITEMS = st.dictionaries(KEYS, DIGESTS, max_size=40)


def definition(items: Mapping[bytes, bytes], depth: int = 0) -> bytes:
    """The root by the words of the page."""
    if not items:
        return EMPTY
    if len(items) == 1:
        return leaf(*next(iter(items.items())))

    def half(bit: int) -> bytes:
        chosen = {k: v for k, v in items.items() if (k[depth // 8] >> 7 - depth % 8 & 1) == bit}
        return definition(chosen, depth + 1)

    return node(half(0), half(1))


def check(key: bytes, value: bytes | None, proof: Proof, root: bytes) -> None:
    if value is None:
        check_absence(key, proof, root)
    else:
        check_presence(key, value, proof, root)


@given(ITEMS)
def test_the_root_is_what_the_definition_says(items: dict[bytes, bytes]) -> None:
    assert Book(items).root() == definition(items)


def test_large_subtrees_are_kept_and_give_the_same() -> None:
    items = {sha256(b"%d" % n).digest(): sha256(b"v%d" % n).digest() for n in range(1_000)}
    book = Book(items)
    assert book.root() == definition(items)
    assert len(book) == 1_000
    for key, value in list(items.items())[:50]:
        check_presence(key, value, book.proof(key), book.root())


@given(ITEMS, st.lists(KEYS, max_size=4))
def test_proofs_by_parts_are_those_of_the_whole(
    items: dict[bytes, bytes], others: list[bytes]
) -> None:
    """What is kept of a large book is little; the rest is read for one key at a time."""
    book = Book(items)
    parts, read = book.parts(), list[int]()

    def part(number: int) -> dict[bytes, bytes]:
        read.append(number)
        return {key: value for key, value in items.items() if key[0] == number}

    for key in [*items, *others]:
        read.clear()
        assert parts.proof(key, part) == book.proof(key)
        assert len(read) <= 1
    assert parts.root() == book.root()


@given(ITEMS, st.randoms())
def test_the_order_in_which_keys_come_does_not_matter(
    items: dict[bytes, bytes], chance: Any
) -> None:
    shuffled = list(items.items())
    chance.shuffle(shuffled)
    assert Book(dict(shuffled)).root() == Book(items).root()


@given(ITEMS, KEYS)
def test_every_key_is_proved_present_or_absent_and_never_both(
    items: dict[bytes, bytes], other: bytes
) -> None:
    book = Book(items)
    root = book.root()
    for key in {*items, other}:
        proof = book.proof(key)
        if key in items:
            check_presence(key, items[key], proof, root)
            with pytest.raises(ProofInvalid):
                check_absence(key, proof, root)
        else:
            check_absence(key, proof, root)
            value = proof.terminal[1] if proof.terminal else bytes(32)
            with pytest.raises(ProofInvalid):
                check_presence(key, value, proof, root)


@given(st.dictionaries(KEYS, DIGESTS, min_size=1, max_size=20), KEYS, st.data())
def test_a_proof_with_any_bit_flipped_is_refused(
    items: dict[bytes, bytes], other: bytes, data: st.DataObject
) -> None:
    book = Book(items)
    key = data.draw(st.sampled_from([*items, other]))
    proof, root = book.proof(key), book.root()
    hashes = [*proof.siblings, *(proof.terminal or ())]
    if not hashes:
        return
    at, bit = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, 255))
    hashes[at] = (int.from_bytes(hashes[at], "big") ^ 1 << bit).to_bytes(32, "big")
    many = len(proof.siblings)
    terminal = (hashes[many], hashes[many + 1]) if proof.terminal else None
    flipped = Proof(tuple(hashes[:many]), terminal)
    with pytest.raises(ProofInvalid) as caught:
        check(key, items.get(key), flipped, root)
    assert caught.value.code == "book-mismatch"


@given(ITEMS, KEYS)
def test_a_proof_survives_its_json(items: dict[bytes, bytes], key: bytes) -> None:
    proof = Book(items).proof(key)
    assert parse_proof(json.loads(json.dumps(proof.as_json()))) == proof


@pytest.mark.parametrize(
    "members",
    [
        [],
        {},
        {"siblings": "ab"},
        {"siblings": [], "more": "1"},
        {"siblings": ["AB" * 32]},
        {"siblings": ["ab" * 31]},
        {"siblings": [1]},
        {"siblings": ["ab" * 32] * 257},
        {"siblings": [], "terminal": None},
        {"siblings": [], "terminal": {"key": "ab" * 32}},
        {"siblings": [], "terminal": {"key": "ab" * 32, "value": "ab" * 32, "more": "1"}},
    ],
)
def test_a_proof_of_another_form_is_refused(members: Any) -> None:
    with pytest.raises(ValueError, match=r"proof|siblings|terminal|hash"):
        parse_proof(members)


def test_hashes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Book({b"short": bytes(32)})
    key = bytes(32)
    proof = Book({key: bytes(32)}).proof(key)
    with pytest.raises(ProofInvalid):
        check_presence(key, bytes(32), replace(proof, siblings=(b"x",)), leaf(key, bytes(32)))


@pytest.mark.parametrize("tree", VECTORS["trees"], ids=lambda tree: tree["name"])
def test_published_trees(tree: dict[str, Any]) -> None:
    items = {bytes.fromhex(i["key"]): bytes.fromhex(i["value"]) for i in tree["items"]}
    root = bytes.fromhex(tree["root"])
    assert Book(items).root() == root == definition(items)
    for case in tree["proofs"]:
        key, proof = bytes.fromhex(case["key"]), parse_proof(case["proof"])
        if "value" in case:
            check_presence(key, bytes.fromhex(case["value"]), proof, root)
        else:
            check_absence(key, proof, root)


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["name"])
def test_published_bad_proofs(case: dict[str, Any]) -> None:
    root, key = bytes.fromhex(case["root"]), bytes.fromhex(case["key"])
    value = bytes.fromhex(case["value"]) if "value" in case else None
    with pytest.raises((ProofInvalid, ValueError)):
        check(key, value, parse_proof(case["proof"]), root)


def test_published_day_keys() -> None:
    for case in VECTORS["day_keys"]:
        assert day_key(int(case["day"])).hex() == case["key"]


@given(st.lists(st.tuples(KEYS, DIGESTS), max_size=60))
def test_a_book_that_grows_has_the_root_of_the_whole(items: list[tuple[bytes, bytes]]) -> None:
    growing = Growing()
    assert growing.root() == EMPTY
    for count, (key, value) in enumerate(items, 1):
        growing.put(key, value)
        assert growing.root() == Book(dict(items[:count])).root()
