"""RFC 8785 for strings, objects and arrays: the same bytes as the reference, and nothing else."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(max_codepoint=127))
VALUES = st.recursive(
    TEXTS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20
)


def depth(value: object) -> int:
    if isinstance(value, str):
        return 0
    children = value.values() if isinstance(value, dict) else value
    assert isinstance(children, list | type({}.values()))
    return 1 + max((depth(child) for child in children), default=0)


@given(VALUES)
def test_the_bytes_are_those_of_the_reference(value: object) -> None:
    """RFC 8785 §3.2.3: so are the members in the order that it sorts them in."""
    if depth(value) > jcs.DEPTH_MAX:
        with pytest.raises(ValueError, match="deep"):
            jcs.encode(value)
        return
    assert jcs.encode(value) == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert jcs.decode(jcs.encode(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}', '{"a":null}', '{"a":true}', '{"a": "1"}', '{"b":"1","a":"2"}',
        '{"a":"1","a":"1"}', '{"a":"\\u0041"}', '{"a":"1"} ', "[[[[[]]]]]", '{"é":"1"}', "", "nul",
    ],
)  # fmt: skip
def test_what_encode_would_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        jcs.decode(text.encode())


@pytest.mark.parametrize("value", [1, None, True, 1.5, b"x", {"a": 1}, {1: "a"}, ("a",)])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        jcs.encode(value)


def test_a_lone_surrogate_has_no_form() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        jcs.encode("\ud800")


def test_the_example_of_the_rfc_for_strings() -> None:
    """RFC 8785 §3.2.2.2: the string of the appendix, escaped as there."""
    value = json.loads('"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"')
    assert jcs.encode(value).decode() == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
