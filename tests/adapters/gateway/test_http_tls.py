"""The gateway in a real server over TLS: what a user's client meets."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from time import sleep

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.http_api import create_app

SECRET = "b2f7c7d6c1d84d4fa7a1f6a1b6f9b6ce"


def certificate(folder):
    """A self-signed certificate for the loopback names, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def served(platform, tmp_path):
    """(base URL, TLS context) of the gateway on a free port of the loopback."""
    cert, key = certificate(tmp_path)
    here = socket.socket()
    here.bind(("127.0.0.1", 0))
    platform.issuer = f"https://localhost:{here.getsockname()[1]}"
    context = tmp_path / "context.jsonld"
    context.write_bytes((Path(__file__).parents[3] / "ontology" / "context-v1.jsonld").read_bytes())
    config = uvicorn.Config(
        create_app(platform, context=context),
        ssl_certfile=str(cert),
        ssl_keyfile=str(key),
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [here]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        sleep(0.01)
    yield platform.issuer, ssl.create_default_context(cafile=str(cert))
    server.should_exit = True
    thread.join(10)
    here.close()
    assert not thread.is_alive()


def test_from_the_token_to_the_receipt(served):
    base, trust = served
    with httpx.Client(base_url=base, verify=trust) as client:
        metadata = client.get("/.well-known/oauth-authorization-server").json()
        assert metadata["issuer"] == base
        form = {"grant_type": "client_credentials"}
        granted = client.post(metadata["token_endpoint"], data=form, auth=("all", SECRET)).json()
        client.headers["Authorization"] = f"Bearer {granted['access_token']}"
        message = client.post("/v1/messages?format=cim", content=b"<MeterReadings/>")
        assert message.json()["message"] == sha256(b"<MeterReadings/>").hexdigest()
        page = client.get("/v1/readings", params={"from": "2026-01-15T11:00:00+01:00"}).json()
        assert len(page["items"]) == 16
        receipt = client.get(page["items"][0]["receipt"])
        assert receipt.text.startswith("c2sp.org/tlog-proof@v1\n")
        head = client.head("/log/checkpoint")
        assert (head.status_code, head.content) == (200, b"")
        again = client.get("/log/checkpoint")  # on the same connection: HEAD left nothing behind
        assert again.text == "gridseal.invalid/test\n16\n"
        forged = client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
        assert forged.status_code == 200  # the peer is loopback, whatever a header says


def test_a_refused_body_does_not_cost_the_client_its_answer(served):
    base, trust = served

    def stream():
        for _ in range(100):
            yield b"x" * 65_536

    with httpx.Client(base_url=base, verify=trust) as client:
        auth = ("all", SECRET)
        granted = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)
        headers = {"Authorization": f"Bearer {granted.json()['access_token']}"}
        for path in ("/v1/messages?format=cim", "/v1/messages?format=cim", "/v1/messages", "/no"):
            answer = client.post(path, content=stream(), headers=headers)
            assert answer.status_code == (413 if "?" in path else 404 if path == "/no" else 400)
        for refused in ({"Authorization": "Bearer x"}, {**headers, "Content-Encoding": "gzip"}):
            answer = client.post("/v1/messages?format=cim", content=stream(), headers=refused)
            assert answer.status_code in (401, 415)
        path = "/v1/messages?format=cim"
        long = {**headers, "Content-Length": "6553600"}
        assert client.post(path, content=stream(), headers=long).status_code == 413
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/readings?device=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/readings HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/readings HTTP/1.1\r\nHost: x\r\nAuthorization: \x00\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"\x16\x03\x01",
        b"GET",
    ],
)
def test_raw_nonsense_is_4xx_or_a_closed_connection(served, request_):
    base, trust = served
    port = int(base.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(request_)
        if request_ in (b"\x16\x03\x01", b"GET"):
            return  # an unfinished request: closing it must not break the server
        answer = line.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 4")
    with httpx.Client(base_url=base, verify=trust) as client:
        assert client.get("/healthz").status_code == 200
