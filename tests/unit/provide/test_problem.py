import json
from pathlib import Path

import pytest

from bal.errors import Rejected
from bal.model import Finding
from bal.provide.problem import TITLES, Problem, of_refused_message, of_rejected

LIMITS = Path(__file__).resolve().parents[3] / "docs" / "spec" / "limits-and-codes.md"


def test_a_problem_document_has_the_members_of_rfc_9457() -> None:
    """RFC 9457 §3.1.3: the title is one for the type."""
    problem = Problem(400, "time-malformed", "Wrong.", "from", "RFC 3339 §5.6", {"line": "3"})
    assert json.loads(problem.as_json()) == {
        "type": "urn:gridseal:problem:time-malformed",
        "title": TITLES["time-malformed"],
        "status": 400,
        "detail": "Wrong.",
        "field": "from",
        "clause": "RFC 3339 §5.6",
        "line": "3",
    }


def test_a_refusal_of_the_core_keeps_all_that_it_says() -> None:
    error = Rejected("dtd-forbidden", "No DTD.", field="x", line=2, clause="XML 1.0 §2.8")
    document = json.loads(of_rejected(error, 422).as_json())
    assert document["type"] == "urn:gridseal:problem:dtd-forbidden"
    assert document["title"] == "Refused"
    assert (document["field"], document["line"]) == ("x", "2")


def test_a_refused_message_lists_why() -> None:
    finding = Finding("value-invalid", "refused", "NaN.", "value", 7, "IEC 61968-9").as_json()
    summary = {"type": "refused", "refused": [finding, finding], "findings": [], "count": 1}
    document = json.loads(of_refused_message("ab" * 32, summary).as_json())
    assert document["status"] == 422
    assert document["type"] == "urn:gridseal:problem:value-invalid"
    assert document["refused"] == [finding, finding]
    assert document["message"] == "ab" * 32
    assert document["count"] == 1


def test_a_refused_message_with_one_finding_in_place() -> None:
    finding = Finding("dtd-forbidden", "refused", "No DTD.").as_json()
    problem = of_refused_message("ab" * 32, {"type": "refused", **finding})
    assert problem.extra["refused"] == [finding]


def test_a_refused_message_without_a_reason_is_refused_all_the_same() -> None:
    assert of_refused_message("ab" * 32, {"type": "refused"}).code == "refused"


@pytest.mark.parametrize("code", sorted(TITLES))
def test_every_code_is_documented(code: str) -> None:
    assert f"`{code}`" in LIMITS.read_text(encoding="utf-8")
