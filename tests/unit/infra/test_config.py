"""The configuration: everything has a default, nothing unknown is taken."""

from pathlib import Path

import pytest

from bal.errors import Stop
from infra.config import Config, load


def test_no_file_is_all_defaults() -> None:
    assert load(None) == Config()


def test_what_stands_in_the_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "gridseal.toml"
    path.write_text('[anchor]\ninterval_s = 900\n[log]\norigin = "log.example/a"\n')
    config = load(path)
    assert (config.anchor.interval_s, config.log.origin) == (900, "log.example/a")
    assert config.limits == Config().limits


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[anchors]\n", r"\[anchors\]"),
        ("[anchor]\ninterval = 1\n", "anchor.interval"),
        ('[anchor]\ninterval_s = "1"\n', "anchor.interval_s must be int"),
        ("[anchor]\ninterval_s = true\n", "anchor.interval_s must be int"),
        ("[anchor]\ninterval_s = 0\n", "must not be 0"),
        ("[anchor]\ndepth = -1\n", "must not be -1"),
        ("anchor = 3\n", "must be a table"),
        ("[anchor\n", "gridseal.toml"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "gridseal.toml"
    path.write_text(text)
    with pytest.raises(Stop, match=named):
        load(path)


def test_no_process_for_bulk_messages_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "gridseal.toml"
    path.write_text("[limits]\nbulk_processes = 0\n")
    assert load(path).limits.bulk_processes == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop, match=r"absent\.toml"):
        load(tmp_path / "absent.toml")
