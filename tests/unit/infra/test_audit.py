"""What fsck and replay print, and the exit code."""

import pytest

from infra.audit import Audit, report


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
