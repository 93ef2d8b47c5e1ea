"""RFC 6962 §2.1 and RFC 9162 §2.1: hashes, roots, paths. The known roots are those that Certificate
Transparency's own tests use for the eight leaves below."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.certify.tree import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    leaf_hashes,
    node_hash,
    parents,
    right_edge,
    root_of,
    tree_head,
)
from bal.errors import ProofInvalid
from bal.model import Digest, TreeHead

CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(leaves: list[Digest]) -> Digest:
    """MTH of RFC 6962 §2.1, word for word: the independent definition."""
    if not leaves:
        return Digest(sha256().digest())
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def leaves_of(size: int) -> list[Digest]:
    return [leaf_hash(index.to_bytes(4, "big")) for index in range(size)]


LEAVES = leaves_of(130)


def node(level: int, n: int) -> Digest:
    return mth(LEAVES[n << level : (n + 1) << level])


def head(size: int) -> TreeHead:
    return TreeHead(size, mth(LEAVES[:size]))


@pytest.mark.parametrize("size", range(9))
def test_root_is_that_of_certificate_transparency(size: int) -> None:
    assert tree_head([leaf_hash(d) for d in CT_LEAVES[:size]]).root.hex() == CT_ROOTS[size]


def test_many_hashes_are_as_one_by_one() -> None:
    assert leaf_hashes(CT_LEAVES) == [leaf_hash(entry) for entry in CT_LEAVES]
    assert parents(LEAVES[:1]) == []
    for odd in (0, 1):
        assert parents(LEAVES[: 6 + odd]) == [node_hash(*LEAVES[i : i + 2]) for i in (0, 2, 4)]


def test_a_leaf_is_not_a_node() -> None:
    left, right = LEAVES[0], LEAVES[1]
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("size", range(1, 130))
def test_every_entry_of_every_small_tree_is_provable(size: int) -> None:
    """RFC 6962 §2.1.1."""
    assert root_of(size, node) == head(size).root == tree_head(LEAVES[:size]).root
    for index in range(size):
        check_inclusion(LEAVES[index], index, inclusion_path(index, size, node), head(size))


@pytest.mark.parametrize("second", range(65))
def test_every_prefix_of_every_small_tree_is_provable(second: int) -> None:
    """RFC 6962 §2.1.2; verified as RFC 9162 §2.1.4.2 says."""
    for first in range(second + 1):
        path = consistency_path(first, second, node)
        check_consistency(head(first), head(second), path)


@given(st.integers(1, 129), st.data())
def test_a_path_of_the_wrong_length_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node)
    with pytest.raises(ProofInvalid, match="needs"):
        check_inclusion(LEAVES[index], index, [*path, LEAVES[0]], head(size))
    if path:
        with pytest.raises(ProofInvalid, match="needs"):
            check_inclusion(LEAVES[index], index, path[:-1], head(size))


@given(st.integers(1, 129), st.integers(0, 255), st.data())
def test_one_flipped_bit_is_refused(size: int, bit: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node)
    for place in range(len(path)):
        bad = bytearray(path[place])
        bad[bit // 8] ^= 1 << bit % 8
        altered = [*path[:place], Digest(bytes(bad)), *path[place + 1 :]]
        with pytest.raises(ProofInvalid, match="found root"):
            check_inclusion(LEAVES[index], index, altered, head(size))


@given(st.integers(0, 129), st.integers(0, 129), st.data())
def test_another_entry_or_place_is_refused(index: int, size: int, data: st.DataObject) -> None:
    if index >= size:
        with pytest.raises(ProofInvalid, match="outside"):
            check_inclusion(LEAVES[0], index, [], head(size))
        return
    other = data.draw(st.integers(0, 129).filter(lambda i: i != index))
    with pytest.raises(ProofInvalid):
        check_inclusion(LEAVES[other], index, inclusion_path(index, size, node), head(size))


@given(st.integers(1, 128), st.integers(1, 129), st.integers(0, 255), st.data())
def test_an_altered_consistency_path_is_refused(
    first: int, second: int, bit: int, data: st.DataObject
) -> None:
    """RFC 9162 §2.1.4.2: the proof fails."""
    first, second = sorted((first, second))
    path = consistency_path(first, second, node)
    with pytest.raises(ProofInvalid):
        check_consistency(head(first), head(second), [*path, LEAVES[0]])
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        bad = bytearray(path[place])
        bad[bit // 8] ^= 1 << bit % 8
        altered = [*path[:place], Digest(bytes(bad)), *path[place + 1 :]]
        with pytest.raises(ProofInvalid):
            check_consistency(head(first), head(second), altered)
        with pytest.raises(ProofInvalid):
            check_consistency(head(first), head(second), path[:-1])


def test_two_roots_at_one_size_are_a_fork() -> None:
    with pytest.raises(ProofInvalid) as caught:
        check_consistency(TreeHead(3, LEAVES[0]), head(3), [])
    assert caught.value.code == "fork"


def test_a_log_never_shrinks() -> None:
    with pytest.raises(ProofInvalid, match="cannot continue"):
        check_consistency(head(4), head(3), [])
    with pytest.raises(ValueError, match="no consistency"):
        consistency_path(4, 3, node)


def test_the_empty_log() -> None:
    assert root_of(0, node) == EMPTY_ROOT
    assert right_edge(0) == []
    with pytest.raises(ValueError, match="outside"):
        inclusion_path(0, 0, node)
