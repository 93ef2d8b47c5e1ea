"""The first errors that a person meets: one sentence each, which says what to do."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.journey.conftest import REPOSITORY, Running, ssl_context


def told(*words: str | Path) -> tuple[int, str]:
    """Exit code and standard error of `gridseal …`."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *map(str, words)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def enrol(platform: Running, name: str, out: Path, *more: str | Path) -> tuple[int, str]:
    return told("device", "enrol", name, "--data", platform.data, "--out", out, *more)


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        (b"identity,group\nm-1,g\n\nm-2,g,Europe/Berlin,pump\n", "kind-unknown: line 4: "),
        (b"m-1,g,Mars/North\n", "zone-unknown: line 1: "),
        (b"m-1,g,,meter,more\n", "list-malformed: line 1: "),
        (b"x" * 200_000, "list-malformed: line 1: "),
        (b"identity\n", "list-empty: "),
        (b"\xff", "it is not UTF-8"),
    ],
)
def test_a_list_with_an_error_names_its_line(
    platform: Running, tmp_path: Path, listed: bytes, sentence: str
) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(listed)
    code, text = enrol(platform, "list-1", tmp_path / "out", "--subjects", file)
    assert code != 0
    assert sentence in text


def test_a_list_from_a_spreadsheet_is_taken(platform: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"\xef\xbb\xbfidentity,group,zone,kind\r\nsheet-1,g,Europe/Berlin,meter\r\n")
    assert enrol(platform, "list-2", tmp_path / "out", "--subjects", file) == (0, "")
    listed = platform.cli("device", "list", "--data", platform.data, "--json").splitlines()
    found = [(d["kind"], d["group"]) for d in map(json.loads, listed) if d["sender"] == "list-2"]
    assert found == [("meter", "g"), ("sender", "default")]


def test_nobody_is_enrolled_whose_key_could_not_be_kept(platform: Running, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert enrol(platform, "kept-1", file) == (1, f"gridseal: out: {file} is no folder\n")
    assert enrol(platform, "kept-1", tmp_path / "out")[0] == 0
    code, text = enrol(platform, "kept-1", tmp_path / "out")
    assert (code, "is there already" in text) == (1, True)
    code, text = enrol(platform, "kept-1", tmp_path / "other")
    assert (code, "name-taken" in text) == (1, True)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('[log]\norigin = "a b+c"\n', "log.origin"),
        ('[anchor]\nrpc_url = "https://127.0.0.1:1"\ncontract = "zz"\n', "anchor.contract"),
        ("[anchor]\nintervals = 1\n", "anchor.intervals"),
    ],
)
def test_a_wrong_configuration_names_its_key(tmp_path: Path, toml: str, sentence: str) -> None:
    file = tmp_path / "gridseal.toml"
    file.write_text(toml)
    code, text = told("up", "--data", tmp_path / "data", "--config", file)
    assert (code, sentence in text) == (3, True), text


def test_a_busy_port_a_busy_folder_and_no_folder(platform: Running, tmp_path: Path) -> None:
    busy = platform.ready["http"].removeprefix("https://")
    code, text = told("up", "--data", tmp_path, "--http", busy, "--mqtt", "127.0.0.1:0")
    assert (code, f"{busy} can't be listened on" in text) == (1, True), text
    code, text = told("up", "--data", platform.data)
    assert (code, "already runs" in text) == (1, True), text
    for words in (("policy",), ("fsck",), ("replay",), ("status",), ("device", "list")):
        code, text = told(*words, "--data", tmp_path / "nowhere")
        assert (code, "is no data folder" in text) == (1, True), text


def test_what_the_platform_writes_is_for_its_user_alone(platform: Running) -> None:
    found = [path for path in platform.data.rglob("*") if path.is_file()]
    open_to_others = {path.name for path in found if path.stat().st_mode & 0o077}
    assert open_to_others == {"ca.crt"}


def test_an_ipv6_address_stands_in_brackets(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    running = Running(tmp_path)
    running.http_at = running.mqtt_at = "[::1]:0"
    ready = running.start()
    try:
        assert ready["http"].startswith("https://[::1]:")
        assert ready["mqtt"].startswith("mqtts://[::1]:")
        assert ready["rpc"] == ready["http"] + "/rpc"
        where = ready["http"] + "/.well-known/oauth-authorization-server"
        answer = httpx.get(where, verify=ssl_context(ready["ca"]))
        assert answer.json()["issuer"] == ready["http"]
    finally:
        assert running.stop() == 0


def test_a_device_stays_in_its_group(platform: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("stays-1,north\n")
    assert enrol(platform, "list-3", tmp_path / "a", "--subjects", file) == (0, "")
    file.write_text("stays-1,south\n")
    code, text = enrol(platform, "list-4", tmp_path / "b", "--subjects", file)
    assert (code, "group-fixed: " in text) == (1, True)


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, text = told("up", "--data", tmp_path, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    assert (code, "holds other files" in text) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
