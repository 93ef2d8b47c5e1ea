"""The demo's hands: what it says when the command line, the platform or the gateway does not."""

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.demo_platform import Failure, Gateway, Platform, gridseal


def test_a_command_that_fails_is_said_in_its_own_words() -> None:
    with pytest.raises(Failure, match=r"gridseal policy --data failed: .*no data folder"):
        gridseal("policy", "--data", "/nonexistent")


def test_other_exit_codes_may_be_allowed() -> None:
    code, printed = gridseal("verify", "/nonexistent", "--log-key", "x", allowed=(3,))
    assert code == 3
    assert "Not a verifier key" in printed


def test_a_platform_that_does_not_start_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file")
    platform = Platform(blocked, tmp_path / "log", None)
    with pytest.raises(Failure, match=r"the platform did not start: .*can't be used"):
        platform.start()
    assert not platform.running()
    platform.stop()  # may be called whatever came before


class Answers(BaseHTTPRequestHandler):
    """Gives one token, echoes it, refuses everything else with a problem document."""

    asked: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self._answer(200, {"access_token": "T", "expires_in": 600, "token_type": "Bearer"})

    def do_GET(self) -> None:
        if self.headers["Authorization"] == "Bearer T" and self.path == "/v1/devices":
            self._answer(200, {"items": []})
        elif self.path == "/broken":
            self.send_error(500, "broken")
        else:
            self._answer(404, {"title": "Not found", "detail": "There is no such thing."})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "crt", folder / "key"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    crt, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"https://127.0.0.1:{server.server_port}"
        yield Gateway(url, str(crt), "client", "secret:with colon")
        server.shutdown()
        thread.join()


def test_a_token_and_what_it_opens(gateway: Gateway) -> None:
    answer = gateway.authorize("readings.read devices.read")
    assert answer == {"expires_in": 600, "token_type": "Bearer"}  # not the token itself
    assert json.loads(gateway.get("/v1/devices")) == {"items": []}
    path, basic, form = Answers.asked[-1]
    assert path == "/oauth/token"
    assert basic == "Basic Y2xpZW50OnNlY3JldDp3aXRoIGNvbG9u"
    assert form == b"grant_type=client_credentials&scope=readings.read+devices.read"


def test_a_refusal_is_said_in_the_problems_own_sentence(gateway: Gateway) -> None:
    with pytest.raises(Failure, match=r"GET /v1/x was refused with 404: There is no such thing\."):
        gateway.get("/v1/x")
    with pytest.raises(Failure, match="GET /broken was refused with 500: "):
        gateway.get("/broken")


def test_no_answer_is_said(gateway: Gateway, tmp_path: Path) -> None:
    gone = Gateway("https://127.0.0.1:1", str(tmp_path / "crt"), "client", "secret")
    with pytest.raises(Failure, match=r"GET /v1/x got no answer: .*refused"):
        gone.get("/v1/x")
