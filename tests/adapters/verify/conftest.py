"""What the verifier is tested against: the own chain's JSON-RPC and a log's tiles, over HTTP."""

import functools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bal.certify.tree import consistency_path
from bal.certify.verify import policy_text
from infra import certificates
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain
from infra.rpc_face import RpcFace
from infra.system_clock import SystemClock
from infra.verify_cli import main
from infra.verify_rpc import keccak256
from tests.vectors import vector_log as vector

LOG = vector.vector_log()
LOG_ID = keccak256(vector.ORIGIN.encode())
ADMIN, ANCHORER = vector.seed("admin"), vector.seed("anchorer")
Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def _serving(answer: Callable[[str, bytes | None], Answer], tls: ssl.SSLContext | None = None):
    """A loopback server; yields its address. answer(path, body or None) → status, body, headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(self.rfile.read(int(self.headers["Content-Length"])))

        def reply(self, body: bytes | None) -> None:
            status, data, headers = answer(self.path, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Platform:
    """The own chain with heads of the vector log at 7 and 300, its RPC face, and the tiles."""

    def __init__(self, path: Path) -> None:
        self.chain = EmbeddedChain(path, [address_of(ADMIN), address_of(ANCHORER)])
        self.contract = AnchorContract.deploy(self.chain.web3(), ADMIN)
        self.contract.open(LOG_ID, address_of(ANCHORER), ADMIN)
        self.contract.send_anchor(LOG_ID, 7, LOG.root(7), [], ANCHORER)
        proof = list(consistency_path(7, 300, LOG.node))
        self.contract.send_anchor(LOG_ID, 300, LOG.root(300), proof, ANCHORER)
        self.face = RpcFace(self.chain)
        self.partial_tiles = True

    def answer(self, path: str, body: bytes | None) -> Answer:
        if path == "/rpc" and body is not None:
            return 200, self.face.handle(body), {}
        if path.startswith("/log/tile/"):
            level, number, *_ = path.removeprefix("/log/tile/").removesuffix("/").split("/")
            n, _, width = number.partition(".p")
            wanted = int(path.rsplit("/", 1)[1]) if width or ".p/" in path else 256
            if ".p/" in path and not self.partial_tiles:
                return 404, b"", {}
            stop = min(wanted, (300 >> 8 * int(level)) - 256 * int(n))
            return 200, LOG.tile(int(level), int(n), stop), {}
        return 404, b"", {}

    def policy(self, rpc: str, **changes: object) -> str:
        facts = {
            "log_key": vector.LOG_KEY.vkey,
            "intake_key": vector.INTAKE_KEY.vkey,
            "chain_id": self.chain.chain_id,
            "chain_kind": "consortium",
            "contracts": [(self.contract.address, self.contract.code_hash())],
            "rpc_url": rpc,
        }
        return policy_text(**(facts | changes))


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("chain") / "chain.sqlite")
    yield found
    found.chain.close()


@pytest.fixture(scope="module")
def address(platform) -> Iterator[str]:
    with _serving(platform.answer) as found:
        yield found


@pytest.fixture
def wired(platform, address) -> tuple[Platform, str]:
    return platform, address


@pytest.fixture
def write(tmp_path) -> Callable[[str, str], str]:
    def to(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return str(tmp_path / name)

    return to


@pytest.fixture
def verify(capsys):
    """Runs the command with --json; gives exit code, code of *anchored*, and all of the JSON."""

    def run(*arguments: str) -> tuple[int, str, dict]:
        code = main([*arguments, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["exit"] == code
        return code, found["verdicts"]["anchored"]["code"], found

    return run


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> tuple[ssl.SSLContext, Path]:
    folder = tmp_path_factory.mktemp("ca")
    ca = certificates.create_ca(folder, SystemClock())
    pem, key = certificates.issue_server(ca, [], SystemClock())
    (folder / "server.crt").write_bytes(pem)
    (folder / "server.key").write_bytes(key)
    context = certificates.server_context(folder / "server.crt", folder / "server.key")
    return context, folder / "ca.crt"


@pytest.fixture(scope="session")
def serving():
    """A loopback server as a context; serving(answer, tls) yields its address."""
    return _serving
