"""A platform of one process per role, and a second worker, sequencer and storer, on one folder."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bounded import killed, line_of
from tests.journey.conftest import REPOSITORY, Running

PROCESSES = (
    "collector", "worker", "worker-2", "sequencer", "sequencer-2", "storer", "storer-2",
    "anchorer", "gateway",
)  # fmt: skip
STOP_S = 5.0
STARTS_MAX = 3
HELD = "another process holds it"


class RolesRunning(Running):
    """As Running; each process may also be killed and started alone."""

    def __init__(
        self, folder: Path, config: str = "", *, profile: str = "embedded", data: Path | None = None
    ) -> None:
        super().__init__(folder, config, profile=profile, data=data)
        self._logs = folder
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.told: dict[str, dict[str, Any]] = {}

    def start(self) -> dict[str, Any]:
        """All at once, as a supervisor would."""
        for name in PROCESSES:
            self.begin(name)
        for name in PROCESSES:
            self.wait_ready(name)
        return self.ready

    def begin(self, name: str) -> None:
        """Start one process."""
        command = [
            *self.prefix, sys.executable, "-m", "infra.cli", "run", name.partition("-")[0],
            "--data", str(self.data), "--config", str(self._config), "--profile", self._profile,
            "--http", self.http_at, "--mqtt", self.mqtt_at, "--status", "127.0.0.1:0",
        ]  # fmt: skip
        with self._log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY
            )

    def wait_ready(self, name: str) -> None:
        """Until its line of JSON has come; begun again as a supervisor would, where a file is held.

        Nine processes open the same files at once here, on disks that are slow on purpose.
        """
        line = line_of(self.processes[name], f"{name}, to be ready")
        for _ in range(STARTS_MAX - 1):
            if line or HELD not in self._log_of(name).read_text().rpartition("gridseal: ")[2]:
                break
            self._end(name, self.processes.pop(name))
            self.begin(name)
            line = line_of(self.processes[name], f"{name}, to be ready")
        assert line, f"{name} did not start: {self._log_of(name).read_text()[-3000:]}"
        told = self.told[name] = json.loads(line)
        self.ready |= {key: told[key] for key in ("http", "rpc", "mqtt", "ca") if key in told}
        if "http" in told:
            self.http_at = told["http"].removeprefix("https://")
        if "mqtt" in told:
            self.mqtt_at = told["mqtt"].removeprefix("mqtts://")

    def kill_one(self, name: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(name)
        assert process.poll() is None, f"{name} had ended: {self._log_of(name).read_text()[-3000:]}"
        self._end(name, process)

    def stop_one(self, name: str) -> None:
        """SIGTERM, as of a rolling restart."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        self._end(name, process)
        assert code == 0, f"{name} ended with {code}: {self._log_of(name).read_text()[-3000:]}"

    def kill(self) -> None:
        """SIGKILL, all at once."""
        for process in self.processes.values():
            process.kill()
        for name in list(self.processes):
            self._end(name, self.processes.pop(name))

    def stop_all(self) -> dict[str, tuple[int, float]]:
        """SIGTERM to all; by name the exit code, and after how many seconds it came."""
        for caller in self._callers:
            caller.forget()
        began = time.monotonic()
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        done = {}
        for name in list(self.processes):
            process = self.processes.pop(name)
            code = process.wait(30)
            done[name] = code, time.monotonic() - began
            self._end(name, process)
        return done

    def device_of(self, name: str) -> str:
        """The pseudonym of an enrolled sender."""
        listed = self.cli("device", "list", "--data", self.data, "--json").splitlines()
        found = {one["sender"]: one["device"] for one in map(json.loads, listed)}
        return str(found[name])

    def errors(self) -> str:
        """What the processes said that is worse than a warning."""
        found = []
        for name in PROCESSES:
            if self._log_of(name).exists():
                lines = self._log_of(name).read_text(errors="replace").splitlines()
                bad = [line for line in lines if '"error"' in line or '"critical"' in line]
                found += [f"{name}: {line}" for line in bad + _traces(lines)]
        return "\n".join(found)

    def tail(self, lines: int = 30) -> str:
        """The ends of the logs."""
        return "\n".join(
            f"--- {name}\n" + "\n".join(self._log_of(name).read_text().splitlines()[-lines:])
            for name in PROCESSES
            if self._log_of(name).exists()
        )

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    @staticmethod
    def _end(name: str, process: subprocess.Popen[str]) -> None:
        killed(process, name)
        assert process.stdout is not None
        process.stdout.close()


def _traces(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("{")]
