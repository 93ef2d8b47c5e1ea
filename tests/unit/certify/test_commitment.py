"""docs/spec/commitment.md: pseudonym, salt, commitment, and the two forms of an entry."""

from hashlib import sha256
from hmac import new as hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.certify.commitment import commitment, commitments, is_public, pseudonym, salt


def test_the_formulas_of_the_specification() -> None:
    key, record = bytes(range(32)), b'{"kind":"reading"}'
    expected = hmac(key, b"gridseal/salt/v1\x00" + b"\x01" + record, "sha256").digest()
    assert salt(key, b"\x01", record) == expected
    assert commitment(key, b"\x01", record) == sha256(b"\x02\x01" + expected + record).digest()


def test_a_pseudonym_is_43_characters_and_says_nothing_of_its_key() -> None:
    name = pseudonym(b"k" * 32)
    assert len(name) == 43
    assert pseudonym(b"l" * 32) != name


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_types_never_meet(key: bytes, data: bytes) -> None:
    kinds = {bytes([t]): commitment(key, bytes([t]), data) for t in range(1, 5)}
    assert len(set(kinds.values())) == 4


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=200))))
def test_many_are_as_one_by_one(items: list[tuple[bytes, bytes]]) -> None:
    found = commitments(b"\x03", [key for key, _ in items], [data for _, data in items])
    assert found == [commitment(key, b"\x03", data) for key, data in items]


def test_each_item_has_its_key() -> None:
    with pytest.raises(ValueError, match="longer"):
        commitments(b"\x01", [b"k" * 32], [b"one", b"two"])


@pytest.mark.parametrize("entry", [b"", b"x" * 31, b"x" * 33, b"{" * 65_536])
def test_any_other_form_of_entry_is_refused(entry: bytes) -> None:
    with pytest.raises(ValueError, match="neither"):
        is_public(entry)


def test_the_two_forms() -> None:
    assert is_public(b"{" + b" " * 32)
    assert not is_public(b"{" + b" " * 31)  # 32 bytes are a commitment, whatever they look like


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=3000))
def test_the_salt_is_the_library_s_hmac(key: bytes, data: bytes) -> None:
    """RFC 2104 §2."""
    expected = hmac(key, b"gridseal/salt/v1\x00\x03" + data, "sha256").digest()
    assert salt(key, b"\x03", data) == expected
    assert salt(key, b"\x03", data) == expected  # from what was kept
