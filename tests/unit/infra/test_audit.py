"""What fsck and replay print, and the exit code."""

import json

import pytest

from bal.errors import Stop, Unavailable
from infra.audit import Audit, report


def test_what_only_another_version_can_make_again_is_no_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit = Audit(other_rules=1)
    assert report("replay", audit, as_json=False) == 2
    assert "1 message must be looked at" in capsys.readouterr().out
    assert report("replay", audit, as_json=True) == 2
    audit.differ("root-differs", "size 1", "the entries lead to another")
    assert [report("replay", audit, as_json=as_json) for as_json in (True, False)] == [1, 1]


@pytest.mark.parametrize(
    ("count", "last", "code"),
    [
        (0, "✔ replay: everything agrees", 0),
        (1, "replay: 1 difference", 1),
        (2, "replay: 2 differences", 1),
    ],
)
def test_the_last_line(
    count: int, last: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = Audit()
    for index in range(count):
        audit.differ("root-differs", f"size {index}", "the entries lead to another")
    assert report("replay", audit, as_json=False) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_a_server_that_is_away_is_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    audit = Audit()
    with audit.guarded("customer database"):
        raise Unavailable("Cassandra does not answer")
    assert audit.differences == []
    assert report("fsck", audit, as_json=False) == 2
    said = capsys.readouterr().out
    assert "? customer database: not checked: Cassandra does not answer" in said
    assert "everything agrees" not in said
    assert report("fsck", audit, as_json=True) == 2
    away = json.loads(capsys.readouterr().out)["away"]
    assert away == {"customer database": "Cassandra does not answer"}
    with audit.guarded("log"):
        raise Stop("log-damaged", "a tile is missing")
    assert [report("fsck", audit, as_json=as_json) for as_json in (True, False)] == [1, 1]
    assert audit.differences[0].check == "log-damaged"
