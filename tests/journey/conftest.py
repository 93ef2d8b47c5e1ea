"""A real platform as a child process, reached only by what is outside: CLI, MQTT, REST, RPC."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.servers.place import kept_ports
from tests.bounded import END_S, killed, line_of

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_S = END_S
CLI_S = 240


class Running:
    """One `gridseal up`, started anew on the same data folder and ports as often as one likes."""

    def __init__(
        self, folder: Path, config: str = "", *, profile: str = "embedded", data: Path | None = None
    ) -> None:
        self.data = data or folder / "data"
        self._folder, self._profile = folder, profile
        self._config = folder / "gridseal.toml"
        self._config.write_text(config or "[anchor]\ninterval_s = 1\n")
        self._log = folder / "stderr"
        # Kept from one start to the next: none that the kernel gives a client in between, as it
        # does to a sender that tries this very port over and over (and then talks to itself).
        ports = kept_ports({}, ("http", "mqtt"), set())
        self.http_at, self.mqtt_at = (f"127.0.0.1:{ports[name]}" for name in ("http", "mqtt"))
        self.prefix: list[str] = []  # comes before the command
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self._callers: list[Caller] = []

    def start(self) -> dict[str, Any]:
        """Start and wait for the line of JSON; it is this very process that answers."""
        command = [
            *self.prefix, sys.executable, "-m", "infra.cli", "up", "--data", str(self.data),
            "--http", self.http_at, "--mqtt", self.mqtt_at, "--config", str(self._config),
            "--profile", self._profile,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY
            )
        line = line_of(self.process, "gridseal up, to be ready")
        assert line, f"it did not start: {self.tail()}"
        self.ready = json.loads(line)
        self.http_at = self.ready["http"].removeprefix("https://")
        self.mqtt_at = self.ready["mqtt"].removeprefix("mqtts://")
        return self.ready

    def kill(self) -> None:
        """SIGKILL: what is not on disk is gone."""
        assert self.process is not None
        killed(self.process, "gridseal up")
        self._close()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            killed(self.process, "gridseal up")
            raise
        self._close()
        return code

    def _close(self) -> None:
        assert self.process is not None
        for caller in self._callers:
            caller.forget()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def cli(self, *words: str | Path, code: int | None = 0) -> str:
        """Run `gridseal …`; its standard output. `code` None takes any exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *map(str, words)],
            capture_output=True, text=True, cwd=REPOSITORY, timeout=CLI_S, check=False,
        )  # fmt: skip
        if code is not None:
            assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}{self.tail()}"
        return done.stdout

    def refused(self, *words: str | Path) -> str:
        """What `gridseal …` says on standard error as it ends with code 1."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *map(str, words)],
            capture_output=True, text=True, cwd=REPOSITORY, timeout=CLI_S, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout
        return done.stderr

    def enrol(self, name: str, *more: str) -> Path:
        """Enrol a sender; the folder with its files."""
        out = self._folder / f"client-{name}"
        self.cli("device", "enrol", name, "--data", self.data, "--out", out, *more)
        return out

    def client(self, name: str, scope: str, *more: str) -> "Caller":
        """Add a client of the gateway."""
        made = json.loads(
            self.cli("client", "add", name, "--scope", scope, "--data", self.data, *more)
        )
        return self.caller(made["client_id"], made["client_secret"])

    def caller(self, client_id: str, secret: str) -> "Caller":
        """One that was added."""
        self._callers.append(Caller(self, client_id, secret))
        return self._callers[-1]

    def check(self) -> None:
        """fsck and replay, as an operator would after a fault."""
        self.cli("fsck", "--data", self.data)
        self.cli("replay", "--data", self.data)


class Caller:
    """A client of the REST gateway."""

    def __init__(self, running: Running, client_id: str, secret: str) -> None:
        self._running, self.auth = running, (client_id, secret)
        self._http: httpx.Client | None = None
        self._token = ""

    @property
    def http(self) -> httpx.Client:
        """A connection that trusts the platform's CA alone."""
        if self._http is None:
            ready = self._running.ready
            self._http = httpx.Client(
                base_url=ready["http"], verify=ssl_context(ready["ca"]), timeout=30
            )
        return self._http

    def token(self) -> str:
        """An access token with all of the client's scopes."""
        form = {"grant_type": "client_credentials"}
        answer = self.http.post("/oauth/token", data=form, auth=self.auth)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request with a token."""
        if not self._token:
            self._token = self.token()
        headers = {"Authorization": f"Bearer {self._token}", **more.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **more)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a successful GET."""
        answer = self.request("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def readings(self, **params: Any) -> list[dict[str, Any]]:
        """Every item, page by page."""
        items: list[dict[str, Any]] = []
        while True:
            page = self.get("/v1/readings", **params)
            items += page["items"]
            if page["next"] is None:
                return items
            params["cursor"] = page["next"]

    def forget(self) -> None:
        """After a restart: new connections, new token."""
        if self._http is not None:
            self._http.close()
        self._http, self._token = None, ""


def ssl_context(ca: str) -> Any:
    """Trust one CA."""
    import ssl

    return ssl.create_default_context(cafile=ca)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A platform that the test may kill and start as it likes."""
    platform = Running(tmp_path)
    platform.start()
    yield platform
    if platform.process is not None:
        platform.kill()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A platform that the tests of one module share and leave running."""
    shared = Running(tmp_path_factory.mktemp("platform"))
    shared.start()
    yield shared
    assert shared.process is not None
    shared.kill()


READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
Reading = tuple[str, str, str]  # meter, end of the interval, kWh


def cim(*readings: Reading, reading_type: str = READING_TYPE) -> bytes:
    """A MeterReadings message of the 2011 schema, one MeterReading a meter."""
    parts = [
        "<MeterReading><Meter><Names><name>" + meter + "</name></Names></Meter>"
        f"<Readings><timeStamp>{end}</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{reading_type}"/></Readings></MeterReading>'
        for meter, end, value in readings
    ]
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return f'<MeterReadings xmlns="{namespace}">{"".join(parts)}</MeterReadings>'.encode()
