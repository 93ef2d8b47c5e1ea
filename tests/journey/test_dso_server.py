"""From a telemetering centre's CSV over the DSO Data Server to a certified reading, all processes.

Killed between import and receipt, the server goes on where it was; a later export is a correction.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from infra.certificates import client_context
from tests.bounded import killed, line_of
from tests.journey.conftest import REPOSITORY, Running

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
CENTRE = f"""
name = "north"
format = "csv"
decimal = ","
zone = "Europe/Athens"
time_format = "%d/%m/%Y %H:%M"
authority = "DEDDIE"
columns = {{ meter = "m", time = "t" }}
values."A+" = {{ register = "{ENERGY}", unit = "kWh" }}
"""


def wait_for(condition: Callable[[], Any], why: str) -> Any:
    until = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < until, why
        time.sleep(0.1)
    return found


class Server:
    """`gridseal dso-server` as a process of its own."""

    def __init__(self, folder: Path, enrolment: Path, to: str) -> None:
        self.data, self.exports = folder / "dso", folder / "north"
        self.exports.mkdir()
        (self.exports / "centre.toml").write_text(CENTRE)
        self._words = [
            "dso-server", "--data", self.data, "--import", self.exports, "--http", "127.0.0.1:0",
            "--platform", enrolment, "--to", to, "--every", "1", "--look", "1",
        ]  # fmt: skip
        self._log = folder / "dso.log"

    def kill(self) -> None:
        killed(self.process, "dso-server")
        self.close()

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.cli", *map(str, self._words)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY
            )
        self.url = json.loads(line_of(self.process, "the DSO Data Server"))["http"]

    def export(self, name: str, *rows: str) -> None:
        text = "m;t;A+\n" + "".join(f"{row}\n" for row in rows)
        (self.exports / f"{name}.part").write_text(text)
        (self.exports / f"{name}.part").rename(self.exports / name)

    def ask(self, path: str, token: str) -> dict[str, Any]:
        answer = httpx.get(
            f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"},
            verify=client_context(self.data / "ca.crt"),
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def test_from_export_to_certified_reading(platform: Running, tmp_path: Path) -> None:
    enrolment = platform.enrol("dso-1", "--subjects", "any", "--group", "athens")
    caller = platform.client("aggregator", "readings.read", "--all-devices")
    server = Server(tmp_path, enrolment, platform.ready["mqtt"])
    token = json.loads(platform.cli("dso-client", "retailer", "--data", server.data))["token"]
    server.start()
    server.export("1.csv", "M-17;15/01/2026 12:15;0,210", "M-18;15/01/2026 12:15;1,5")
    wait_for(lambda: server.ask("/v1/values", token)["values"], "the export is not imported")
    server.kill()
    server.start()
    try:
        found = wait_for(lambda: caller.readings(register=ENERGY), "no reading at the platform")
        told = [one["record"] for one in found]
        assert sorted((one["value"], one["unit"], one["end"]) for one in told) == [
            ("1500", "Wh", "2026-01-15T10:15:00Z"), ("210", "Wh", "2026-01-15T10:15:00Z"),
        ]  # fmt: skip
        server.export("2.csv", "M-17;15/01/2026 12:15;0,220")
        wait_for(
            lambda: "220" in {one["record"]["value"] for one in caller.readings(register=ENERGY)},
            "no correction at the platform",
        )
        every = [one["record"] for one in caller.readings(register=ENERGY, versions="all")]
        assert [one["quality"] for one in every if one["value"] == "220"] == [["3.7.0"]]
        assert len(every) == 3
        wait_for(
            lambda: (
                {one["state"] for one in server.ask("/v1/publications", token)["publications"]}
                == {"certified"}
            ),
            "a message without its certified receipt",
        )
    finally:
        server.process.terminate()
        assert server.process.wait(30) == 0
        server.close()


def test_a_wrong_mapping_and_an_unknown_client_are_refused(
    platform: Running, tmp_path: Path
) -> None:
    (tmp_path / "centre.toml").write_text("format = 'xlsx'")
    said = subprocess.run(
        [sys.executable, "-m", "infra.cli", "dso-server", "--data", str(tmp_path / "d"),
         "--import", str(tmp_path), "--http", "127.0.0.1:0"],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False,
    )  # fmt: skip
    assert (said.returncode, "format is one of csv, json, cim" in said.stderr) == (3, True)
    assert platform.refused("dso-client", "nobody", "--revoke", "--data", tmp_path / "d") == (
        "gridseal: name-unknown: no active client has this name\n"
    )
