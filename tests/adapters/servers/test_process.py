"""A child is found again by pid and start time, and nothing else is ever signalled."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bal.errors import Stop
from infra.servers import place as places
from infra.servers import process
from infra.servers.place import Place, kept_ports, read_state, write_state
from infra.system_clock import SystemClock
from tests.bounded import until

SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(60)"]
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
STUBBORN = [*SLEEPER[:2], _DEAF + SLEEPER[2]]


def spawn(folder: Path, command: list[str]) -> process.Child:
    child = process.spawn(folder, folder / "one.log", command)

    def awake() -> None:
        if "awake" not in (folder / "one.log").read_text():
            raise OSError("asleep")

    process.wait_ready(child, awake, folder / "one.log", 20)
    return child


def test_a_child_is_found_again_and_stopped(tmp_path: Path) -> None:
    child = spawn(tmp_path, SLEEPER)
    assert process.found(tmp_path) == child
    assert process.memory_bytes(child) > 0
    assert os.getsid(child.pid) == child.pid  # no Ctrl-C of ours reaches it
    assert process.stop(child, 10) == "stopped"
    assert process.found(tmp_path) is None
    assert process.stop(child, 10) == "not running"


def test_how_late_a_child_may_wake_is_its_own_matter(tmp_path: Path) -> None:
    """proc_pid_timerslack_ns(5); what we start behind it has the usual one."""
    usual = Path("/proc/self/timerslack_ns").read_text()
    code = "from pathlib import Path; print(Path('/proc/self/timerslack_ns').read_text())"
    said = []
    for slack_us in (400, 0):
        log = tmp_path / f"{slack_us}.log"
        command = [sys.executable, "-c", code]
        child = process.spawn(tmp_path, log, command, timer_slack_us=slack_us)
        until(lambda child=child: not process.running(child), "it prints one line")
        said.append(log.read_text().strip())
    assert said == ["400000", usual.strip()]
    assert Path("/proc/self/timerslack_ns").read_text() == usual


def test_one_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    assert process.stop(spawn(tmp_path, STUBBORN), 0.2) == "killed"


def test_a_pid_that_came_to_mean_another_process_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL) as bystander:
        real = process.of_pid(bystander.pid)
        assert real is not None
        for stale in (replace(real, started=real.started - 1), replace(real, boot="another")):
            (tmp_path / "pid").write_text(json.dumps(asdict(stale)))
            assert process.found(tmp_path) is None
            assert process.stop(stale, 1) == "not running"
            with pytest.raises(Stop, match="servers-down"):
                process.send(stale, signal.SIGHUP)
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", '{"pid": 1}'])
def test_a_damaged_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert process.found(tmp_path) is None


def test_one_that_ends_by_itself_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no room for the log')"]
    child = process.spawn(tmp_path, tmp_path / "one.log", command)

    def never() -> None:
        raise OSError("not yet")

    with pytest.raises(Stop, match="no room for the log"):
        process.wait_ready(child, never, tmp_path / "one.log", 20)


def test_what_can_not_be_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="servers-start"):
        process.spawn(tmp_path, tmp_path / "one.log", [str(tmp_path / "absent")])


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 3)
    (tmp_path / "one.log").write_text("long")
    child = spawn(tmp_path, SLEEPER)
    process.stop(child, 10)
    assert (tmp_path / "one.log.1").read_text() == "long"


def test_the_state_is_private_and_of_one_form(tmp_path: Path) -> None:
    assert read_state(tmp_path) == {}
    (tmp_path / "servers").mkdir()
    write_state(tmp_path, {"kafka": {"port": 1}})
    path = tmp_path / "servers" / "servers.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_state(tmp_path) == {"kafka": {"port": 1}}
    for damaged in ("{", "[]", '{"form": 2, "servers": {}}'):
        path.write_text(damaged)
        with pytest.raises(Stop, match="servers-state"):
            read_state(tmp_path)


def test_ports_are_kept_and_a_taken_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_LET_GO_S", 0.2)
    taken: set[int] = set()
    ports = kept_ports({}, ("port", "other"), taken)
    assert len({*ports.values()}) == 2
    assert taken == set(ports.values())
    assert kept_ports(dict(ports), ("port", "other"), taken) == ports
    with socket.socket() as somebody:
        somebody.bind((places.LOOPBACK, ports["port"]))
        somebody.listen()
        with pytest.raises(Stop, match="servers-port"):
            kept_ports(dict(ports), ("port",), taken)


def test_passwords_and_certificates_are_made_once_and_private(tmp_path: Path) -> None:
    one = Place(tmp_path, "kafka")
    password = one.password("writer")
    one.client("worker")
    one.node("broker")
    pem = (one.certificates / "worker.pem").read_bytes()
    one.client("worker")
    assert one.password("writer") == password
    assert (one.certificates / "worker.pem").read_bytes() == pem
    assert pem.count(b"-----BEGIN CERTIFICATE-----") == 2
    for path in (*one.certificates.glob("*.key"), *one.certificates.glob("*.pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(one.password_file("writer").stat().st_mode) == 0o600


def test_a_certificate_is_renewed_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Place(tmp_path, "kafka")
    one.client("worker")
    first = (one.certificates / "worker.crt").read_bytes()
    later_us = SystemClock().now_us() + 800 * 24 * 3600 * 1_000_000  # it is good for 825 days
    monkeypatch.setattr(SystemClock, "now_us", lambda _: later_us)
    one.client("worker")
    assert (one.certificates / "worker.crt").read_bytes() != first
    second = (one.certificates / "worker.crt").read_bytes()
    one.client("worker")
    assert (one.certificates / "worker.crt").read_bytes() == second
