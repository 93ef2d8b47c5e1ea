"""Which form of a page an Accept header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.provide.accept import BY_NAME, BY_RANGE, CIM, JSON, JSON_LD, TURTLE, XML, choose


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", TURTLE),
        (JSON, JSON),
        (JSON_LD, JSON_LD),
        ("Application/LD+JSON; profile=x", JSON_LD),
        (TURTLE, TURTLE),
        ("text/turtle;charset=utf-8", TURTLE),
        (CIM, CIM),
        (XML, XML),
        ("application/json, application/ld+json", JSON_LD),
        ("application/json, application/ld+json;q=0.9", JSON),
        ("application/json;q=0.5, application/ld+json; q=0.9", JSON_LD),
        ("text/turtle;q=0.5, application/xml;q=0.8", XML),
        ("*/*, text/turtle", TURTLE),
        ("*/*;q=0.8, text/turtle;q=0.5", JSON),
        ("application/json;q=0, */*", JSON_LD),
        ("application/*;q=0, */*;q=0.1", TURTLE),
        ("application/ld+json;q=0", None),
        ("application/ld+json;q=nonsense", None),
        ("application/ld+json;q=1.001", None),
        ("text/html", None),
        ("*/*;q=0", None),
        (",;,", None),
    ],
)
def test_the_form_that_is_asked_for(accept: str, form: str | None) -> None:
    """RFC 9110 §12.5.1, and its weights (RFC 9110 §12.4.2)."""
    assert choose(accept) == form


@given(st.text())
def test_any_header_has_an_answer(accept: str) -> None:
    assert choose(accept) in {*BY_RANGE, None}
    assert set(BY_NAME) == set(BY_RANGE)
