"""`gridseal subject` beside a platform that answers what the tests say."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Stop
from infra import subject_cli

EPOCHS = [
    {"device": "A" * 43, "holder": "K-1", "identity": "name://1"},
    {"device": "B" * 43, "holder": "K-2", "identity": "name://1"},
]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """By command; an exception is raised."""
    said: dict[str, Any] = {
        "subject-show": EPOCHS[:1],
        "policy": "policy",
        "subject-page": {"items": [], "after": None, "size": 1},
        "subject-days": [["2026-01-15", "../../x/é"]],
        "subject-day": "{}",
    }

    def call(_data: Path, command: str, **given: Any) -> Any:
        if isinstance(said[command], Exception):
            raise said[command]
        return said[command](given) if callable(said[command]) else said[command]

    monkeypatch.setattr(subject_cli, "call", call)
    return said


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    subject_cli.add_commands(parser.add_subparsers())
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


def export(folder: Path) -> Path:
    file = folder / "all.zip"
    run("subject", "export", "K", "--why", "x", "--to", str(file), "--data", str(folder))
    return file


def test_names_in_the_file_lead_nowhere_else(answers: dict[str, Any], tmp_path: Path) -> None:
    """A register may be a device's own word."""
    with zipfile.ZipFile(export(tmp_path)) as made:
        (day,) = [name for name in made.namelist() if "/days/" in name]
    assert day == f"{'A' * 43}/days/2026-01-15-..%2F..%2Fx%2F%C3%A9.json"


def test_all_is_what_was_measured_and_what_was_found_of_it(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    """As of one size; of each page by page."""
    pages: dict[tuple[object, object], tuple[str, object]] = {
        (None, None): ("1", ["k"]), (None, "k"): ("2", None), ("finding", None): ("3", None),
    }  # fmt: skip

    def page(given: dict[str, Any]) -> dict[str, Any]:
        after = given["after"]
        if given["kind"] not in {None, "finding"}:
            return {"items": [], "after": None, "size": 7}
        index, then = pages[given["kind"], after and after[0]]
        assert given["size"] == (0 if index == "1" else 7)
        item = {"index": index, "record": f"{{{index}}}", "receipt": ""}
        return {"items": [item], "after": then, "size": 7}

    answers["subject-page"] = page
    with zipfile.ZipFile(export(tmp_path)) as made:
        assert made.read(f"{'A' * 43}/records.jsonl").split() == [b"{1}", b"{2}", b"{3}"]
        receipts = [name for name in made.namelist() if "/receipts/" in name]
    assert [name.rpartition("/")[2] for name in receipts] == [f"{n}.tlog-proof" for n in (1, 2, 3)]


def test_who_asked_and_where_it_belongs_stand_in_a_file_of_their_own(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    """With their proofs, beside those of what was measured."""

    def page(given: dict[str, Any]) -> dict[str, Any]:
        index = {None: "1", "finding": "2", "device": "3", "lookup": "4"}[given["kind"]]
        item = {"index": index, "record": f"{{{index}}}", "receipt": f"proof {index}"}
        return {"items": [item], "after": None, "size": 7}

    answers["subject-page"] = page
    with zipfile.ZipFile(export(tmp_path)) as made:
        own = "A" * 43
        assert made.read(f"{own}/records.jsonl").split() == [b"{1}", b"{2}"]
        assert made.read(f"{own}/platform.jsonl").split() == [b"{3}", b"{4}"]
        for index in "1234":
            assert made.read(f"{own}/receipts/{index}.tlog-proof") == b"proof " + index.encode()


def test_half_a_file_is_none(answers: dict[str, Any], tmp_path: Path) -> None:
    answers["subject-day"] = Stop("refused", "the platform failed")
    with pytest.raises(Stop, match="failed"):
        export(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_several_holders_is_said_to_be(
    answers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(tmp_path).unlink()
    assert "give nobody" not in capsys.readouterr().out
    answers["subject-show"] = EPOCHS
    export(tmp_path)
    assert "of 2 holders: give nobody what is another's" in capsys.readouterr().out


def test_a_user_without_a_name_has_a_command_line(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container, whose user id stands in no list."""

    def unnamed() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", unnamed)
    answers["subject-show"] = []
    assert run("subject", "show", "K", "--why", "x", "--data", "d") == 0
    assert capsys.readouterr().out == ""
