"""Log lines go to stderr and to a file that is rotated by size, for its owner's eyes only."""

import errno
import json
import logging
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from infra import log_output
from infra.cli import main


@pytest.fixture(autouse=True)
def kept_root() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    before, level = set(root.handlers), root.level
    yield
    for handler in set(root.handlers) - before:
        if isinstance(handler.formatter, log_output.JsonLines):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def test_lines_on_stderr_and_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.log"
    log_output.begin("info", file)
    logging.getLogger("gridseal").info("it says %d", 1)
    logging.getLogger("gridseal").debug("not this")
    line = json.loads(file.read_text())
    assert (line["level"], line["logger"], line["message"]) == ("info", "gridseal", "it says 1")
    assert json.loads(capsys.readouterr().err) == line
    assert file.stat().st_mode & 0o777 == 0o600


def test_packets_of_mqtt_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    log_output.begin("info")
    logging.getLogger("gmqtt.mqtt.package").info("[SEND SUB] 1 [b'receipts/pdc-1']")
    assert capsys.readouterr().err == ""


def test_it_is_rotated_by_size(tmp_path: Path) -> None:
    file = tmp_path / "g.log"
    log_output.begin("warning", file, log_output.FILE_BYTES_MIN)
    for number in range(9 * 70):
        logging.getLogger("gridseal").warning("%d %s", number, "x" * 1000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["g.log", *(f"g.log.{n}" for n in range(1, log_output.FILES_KEPT + 1))]
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= log_output.FILE_BYTES_MIN
        assert path.stat().st_mode & 0o777 == 0o600
        for line in path.read_text().splitlines():
            json.loads(line)


class _Full(StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line on stderr is JSON still, and one says that the file has no more."""
    log_output.begin("info", tmp_path / "g.log")
    [handler] = [h for h in logging.getLogger().handlers if isinstance(h, log_output._PrivateFile)]
    handler.close()
    handler.stream = _Full()  # type: ignore[assignment]
    for number in range(3):
        logging.getLogger("gridseal").info("line %d", number)
    told = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    lost = "--log-file lacks lines from here on: No space left on device"
    assert told == ["line 0", lost, "line 1", "line 2"]


def test_a_level_is_the_least_that_is_told(tmp_path: Path) -> None:
    file = tmp_path / "g.log"
    log_output.begin("error", file)
    logging.getLogger("gridseal").warning("no")
    logging.getLogger("web3").error("of a library")
    assert [json.loads(line)["logger"] for line in file.read_text().splitlines()] == ["web3"]


@pytest.mark.parametrize(
    "words", [["--log-level", "loud"], ["--log-file", "/absent/g.log"],
              ["--log-file", "g.log", "--log-file-bytes", "100"]],
)  # fmt: skip
def test_wrong_use(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up", "--data", str(tmp_path / "data"), *words]) == 3
