"""`gridseal verify` over real wires: the own chain's JSON-RPC, a log's tiles, TLS."""

import functools
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bal.certify.tree import consistency_path
from bal.certify.verify import VerifyError, policy_text
from bal.certify.verify_proof import TiledTree
from contracts import load
from infra import certificates, verify_rpc
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain
from infra.rpc_face import RpcFace
from infra.system_clock import SystemClock
from infra.verify_cli import main
from infra.verify_rpc import HttpTiles, RpcChain, checked_url, keccak256, selector, tile_number

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_vectors_cli", ROOT / "tests/vectors/make.py")
assert spec is not None
assert spec.loader is not None
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

LOG = make.vector_log()
LOG_ID = keccak256(make.ORIGIN.encode())
ADMIN, ANCHORER = make.seed("admin"), make.seed("anchorer")
Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def serving(answer: Callable[[str, bytes | None], Answer], tls: ssl.SSLContext | None = None):
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
            "log_key": make.LOG_KEY.vkey,
            "intake_key": make.INTAKE_KEY.vkey,
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
    with serving(platform.answer) as found:
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


def test_flags_on_the_own_chain(platform, address, write, verify) -> None:
    receipt = write("r.tlog-proof", LOG.receipt(3, 7))
    trust = [receipt, "--log-key", make.LOG_KEY.vkey]
    chain = ["--rpc", f"{address}/rpc", "--contract", platform.contract.address]
    assert verify(*trust)[:2] == (0, "not-checked")
    assert verify(*trust, *chain)[:2] == (2, "own-chain")
    assert verify(*trust, *chain, "--accept-own-chain")[:2] == (0, "own-chain")


@pytest.mark.parametrize("depth", [None, 0])
def test_a_policy_with_real_code_and_roots(platform, address, write, verify, depth) -> None:
    receipt = write("r", LOG.receipt(3, 7))
    policy = write("p", platform.policy(f"{address}/rpc", depth=depth))
    code, anchored, found = verify(receipt, "--policy", policy)
    assert (code, anchored) == (0, "anchored")
    assert platform.contract.address in found["verdicts"]["anchored"]["text"]
    elsewhere = write("p", platform.policy("https://rpc.invalid/"))
    assert verify(receipt, "--policy", elsewhere, "--rpc", f"{address}/rpc")[0] == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chain_id": 1}, (1, "chain-id-differs")),
        ({"contracts": [("0x" + "12" * 20, "")]}, (1, "contract-code-differs")),
        ({"depth": 5000}, (2, "not-anchored-yet")),
    ],
)
def test_what_the_chain_must_be(wired, write, verify, changes, expected) -> None:
    platform, address = wired
    receipt = write("r", LOG.receipt(3, 7))
    policy = write("p", platform.policy(f"{address}/rpc", **changes))
    assert verify(receipt, "--policy", policy)[:2] == expected


def test_another_code_at_the_address(platform, address, write, verify) -> None:
    contracts = [(platform.contract.address, "0x" + "00" * 32)]
    policy = write("p", platform.policy(f"{address}/rpc", contracts=contracts))
    receipt = write("r", LOG.receipt(3, 7))
    assert verify(receipt, "--policy", policy)[:2] == (1, "contract-code-differs")


def test_a_fork_is_printed_with_its_evidence(platform, address, write, verify, capsys) -> None:
    other = make.VectorLog((*LOG.records[:6], LOG.records[40]))
    receipt = write("r", other.receipt(3, 7))
    policy = write("p", platform.policy(f"{address}/rpc"))
    code, anchored, found = verify(receipt, "--policy", policy)
    assert (code, anchored) == (1, "anchor-root-differs")
    assert found["evidence"]["checkpoint"] == other.checkpoint(7)
    assert found["evidence"]["root"] == LOG.root(7).hex()
    assert main([receipt, "--policy", policy]) == 1
    assert "evidence of the fork" in capsys.readouterr().out


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("way", ["flag", "policy"])
def test_brought_up_by_the_logs_tiles(wired, write, verify, way, partial) -> None:
    platform, address = wired
    platform.partial_tiles = partial
    receipt = write("r", LOG.receipt(3, 9))
    log = f"{address}/log"
    urls = {"log_url": log} if way == "policy" else {}
    policy = write("p", platform.policy(f"{address}/rpc", **urls))
    flags = ["--log", f"{log}/"] if way == "flag" else []
    assert verify(receipt, "--policy", policy, *flags)[:2] == (0, "anchored")
    if way == "flag":
        assert verify(receipt, "--policy", policy)[:2] == (2, "log-needed")
        assert verify(receipt, "--policy", policy, "--log", f"{address}/no")[:2] == (
            2,
            "log-unreachable",
        )


def test_tiles_of_real_files_make_real_paths(address) -> None:
    tree = TiledTree(HttpTiles({"": f"{address}/log"}), make.ORIGIN, 300)
    assert tree.path(299) == LOG.path(299, 300)


def test_a_closed_port_is_not_decidable(platform, write, verify) -> None:
    with serving(platform.answer) as gone:
        pass
    receipt = write("r", LOG.receipt(3, 7))
    policy = write("p", platform.policy(f"{gone}/rpc"))
    assert verify(receipt, "--policy", policy)[:2] == (2, "rpc-unreachable")


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> tuple[ssl.SSLContext, Path]:
    folder = tmp_path_factory.mktemp("ca")
    ca = certificates.create_ca(folder, SystemClock())
    pem, key = certificates.issue_server(ca, [], SystemClock())
    (folder / "server.crt").write_bytes(pem)
    (folder / "server.key").write_bytes(key)
    context = certificates.server_context(folder / "server.crt", folder / "server.key")
    return context, folder / "ca.crt"


def test_https_needs_the_ca(platform, tls, write, verify) -> None:
    context, ca = tls
    receipt = write("r", LOG.receipt(3, 9))
    with serving(platform.answer, context) as address:
        changes = {"log_url": f"{address}/log", "chain_kind": "own"}
        policy = write("p", platform.policy(f"{address}/rpc", **changes))
        code, anchored, found = verify(receipt, "--policy", policy)
        assert (code, anchored) == (2, "rpc-unreachable")
        assert "certificate" in found["verdicts"]["anchored"]["text"]
        trusting = [receipt, "--policy", policy, "--ca", str(ca), "--accept-own-chain"]
        assert verify(*trusting)[:2] == (0, "own-chain")
        by_number = policy_with(policy, "localhost", "127.0.0.2")
        assert verify(receipt, "--policy", by_number, "--ca", str(ca))[:2] == (2, "rpc-unreachable")


def policy_with(path: str, old: str, new: str) -> str:
    changed = Path(path).with_suffix(".changed")
    changed.write_text(Path(path).read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return str(changed)


def test_the_platforms_ca_does_not_vouch_for_a_public_chain(platform, tls, write, verify) -> None:
    context, ca = tls
    receipt = write("r", LOG.receipt(3, 7))
    with serving(platform.answer, context) as address:
        policy = write("p", platform.policy(f"{address}/rpc", chain_kind="public"))
        assert verify(receipt, "--policy", policy, "--ca", str(ca))[:2] == (2, "rpc-unreachable")


def test_no_redirect_leads_to_another_host(address) -> None:
    asked: list[str] = []

    def away(path: str, _: bytes | None) -> Answer:
        asked.append(path)
        here = path.replace("/away", "/here")
        target = f"{address}{path}" if "/away" in path else here.replace("/near", "/log")
        return 302, b"", {"Location": target}

    with serving(away) as origin, pytest.raises(VerifyError, match="answers 302"):
        HttpTiles({"": f"{origin}/away"}).tile("", 0, 0, 8)
    assert len(asked) == 1
    with serving(away) as origin, pytest.raises(VerifyError, match="answers 302"):
        RpcChain(f"{origin}/near").chain_id()  # a POST is never sent on


def test_a_redirect_on_the_same_host_is_followed() -> None:
    def moved(path: str, _: bytes | None) -> Answer:
        if path.startswith("/old"):
            return 301, b"", {"Location": path.replace("/old", "/new")}
        return 200, LOG.tile(0, 0, 8), {}

    with serving(moved) as origin:
        assert HttpTiles({"": f"{origin}/old"}).tile("", 0, 0, 8) == LOG.tile(0, 0, 8)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"<html>", {}), "answers no JSON"),
        ((200, b"[" * 100_000, {}), "answers no JSON"),
        ((200, b"[]", {}), "speaks no JSON-RPC"),
        ((200, b'{"result":"0x01"}', {}), "for a number"),
        ((200, b'{"result":7}', {}), "for a number"),
        ((200, b'{"error":{"code":-32601,"message":"no\\u001b[31m"}}', {}), "the endpoint answers"),
        ((500, b"", {}), "answers 500"),
        ((404, b"", {}), "answers no JSON"),
        ((200, b"x" * (verify_rpc.ANSWER_BYTES_MAX + 1), {}), "bytes came"),
        ((200, b"x", {"Content-Length": "9"}), "answers no JSON"),
        ((200, b"", {"Transfer-Encoding": "chunked"}), "does not answer"),
    ],
)
def test_an_endpoint_that_talks_nonsense(answer, text) -> None:
    with serving(lambda *_: answer) as origin, pytest.raises(VerifyError, match=text) as caught:
        RpcChain(origin).chain_id()
    assert caught.value.code == "rpc-unreachable"
    assert "\x1b" not in caught.value.text


def test_an_endpoint_that_never_answers(monkeypatch) -> None:
    monkeypatch.setattr(verify_rpc, "TIMEOUT_S", 0.05)
    answering = threading.Event()

    def slow(*_: object) -> Answer:
        answering.wait(10)
        return 200, b"", {}

    with serving(slow) as origin:
        with pytest.raises(VerifyError, match="does not answer"):
            RpcChain(origin).chain_id()
        answering.set()


def test_views_of_the_real_contract(platform, address) -> None:
    chain, contract = RpcChain(f"{address}/rpc"), platform.contract
    block = chain.block(0)
    assert chain.chain_id() == platform.chain.chain_id
    assert chain.block(None) == block == contract.head_number()
    code_hash = chain.code_hash(contract.address, block)
    assert "0x" + code_hash.hex() == contract.code_hash()
    assert chain.code_hash("0x" + "12" * 20, block) is None
    assert chain.latest_size(contract.address, make.ORIGIN, block) == 300
    assert chain.latest_size(contract.address, make.ORIGIN, block - 1) == 7
    assert chain.root_at(contract.address, make.ORIGIN, 300, block) == LOG.root(300)
    assert chain.root_at(contract.address, make.ORIGIN, 300, block - 1) == bytes(32)
    assert chain.root_at(contract.address, "another log", 300, block) == bytes(32)
    assert chain.root_at("0x" + "12" * 20, make.ORIGIN, 300, block) == bytes(32)


def test_a_call_that_reverts_holds_no_root() -> None:
    reverted = b'{"error":{"code":3,"message":"execution reverted","data":"0x"}}'
    with serving(lambda *_: (200, reverted, {})) as origin:
        assert RpcChain(origin).root_at("0x" + "12" * 20, "a", 1, 1) == bytes(32)


def test_selectors_are_those_of_the_committed_contract() -> None:
    functions = {
        f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"
        for item in load("CheckpointAnchor").abi
        if item["type"] == "function"
    }
    pinned = json.loads((ROOT / "tests/vectors/checkpoints.json").read_text(encoding="utf-8"))
    for name, value in pinned["selectors"].items():
        assert name in functions
        assert "0x" + selector(name).hex() == value
    assert selector("transfer(address,uint256)").hex() == "a9059cbb"  # known to everybody


@pytest.mark.parametrize(
    ("n", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_tile_numbers(n, path) -> None:
    """c2sp.org/tlog-tiles §Merkle Tree: index 1234067 is x001/x234/067."""
    assert tile_number(n) == path


@pytest.mark.parametrize("url", ["https://a.invalid/x", "http://127.0.0.7:1/", "http://[::1]:8545"])
def test_urls_that_are_taken(url) -> None:
    assert checked_url(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        *("http://a.invalid/", "ftp://a.invalid/", "file:///etc/hosts", "https://u:p@a.invalid/"),
        *("a.invalid", "https://", "https://a.invalid:x/", "http://localhost.a.invalid/"),
    ],
)
def test_urls_that_are_refused(url, write, verify) -> None:
    receipt = write("r", LOG.receipt(3, 7))
    code, _, found = verify(
        receipt, "--log-key", make.LOG_KEY.vkey, "--rpc", url, "--contract", "0x" + "12" * 20
    )
    assert (code, found["verdicts"]["authentic"]["code"]) == (3, "url-refused")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--rpc", "https://rpc.invalid"],
        ["--log-key", make.LOG_KEY.vkey, "--rpc", "https://rpc.invalid"],
        ["--log-key", make.LOG_KEY.vkey, "--contract", "0x" + "12" * 20],
        ["--log-key", make.LOG_KEY.vkey, "--policy", "p"],
        ["--log-key", "no key"],
        ["--policy", "not there"],
        ["--policy", "p"],
        ["--policy", "good", "--rpc", "https://rpc.invalid"],
        ["--policy", "good", "--contract", "0x" + "12" * 20],
        ["--log-key", make.LOG_KEY.vkey, "--rpc", "https://rpc.invalid", "--contract", "0x12"],
    ],
)
def test_wrong_use_ends_with_three(arguments, write, verify, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    receipt = write("r", LOG.receipt(3, 7))
    write("p", "quorum\n")
    write("good", make.policies()["plain"])
    code, anchored, _ = verify(receipt, *arguments)
    assert (code, anchored) == (3, "not-checked")


def test_a_ca_file_that_is_none(platform, address, write, verify) -> None:
    receipt, ca = write("r", LOG.receipt(3, 7)), write("ca", "none")
    policy = write("p", platform.policy(f"{address}/rpc"))
    code, _, found = verify(receipt, "--policy", policy, "--ca", ca)
    assert (code, found["verdicts"]["authentic"]["code"]) == (3, "file-unreadable")


def test_several_files_end_with_the_worst(write, capsys, tmp_path) -> None:
    policy = ["--policy", write("p", make.policies()["plain"])]
    good = write("good", LOG.receipt(3, 7))
    bad = write("bad", LOG.receipt(3, 7).replace("index 3", "index 2"))
    note = write("note", make.accepted_note())
    (tmp_path / "latin").write_bytes(b"\xe9")
    assert main([good, good, *policy]) == 0
    assert main([good, note, *policy]) == 2
    assert main([note, bad, good, *policy]) == 1
    assert main([bad, str(tmp_path / "absent"), *policy]) == 3
    assert main([str(tmp_path / "latin"), *policy]) == 1
    capsys.readouterr()
    assert main([good, bad, "--json", *policy]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["file"], line["exit"]) for line in lines] == [(good, 0), (bad, 1)]


def test_what_people_see(write, capsys) -> None:
    policy = write("p", make.policies()["plain"])
    name = write("r", LOG.receipt(5, 7))
    assert main([name, "--policy", policy]) == 0
    shown = capsys.readouterr().out
    for part in (
        f"{name}\n  ✔ authentic  The record is entry 5 of 7 of {make.ORIGIN}",
        "  – anchored   Not checked",
        "  – complete   Not checked",
        "  – plausible  The record itself says reading-type-19-fields",
        "    certified  reading: 215 Wh, 2026-01-01T01:15:00Z – 2026-01-01T01:30:00Z",
        f"    device     {make.record(5)['device']}",
        f"    register   {make.REGISTER}",
        "    quality    1.0.0",
        "  exit 0\n",
    ):
        assert part in shown
    assert main([write("r", LOG.receipt(5, 7)[:-9]), "--policy", policy]) == 1
    assert "  ✘ authentic  " in capsys.readouterr().out


def test_a_record_cannot_command_the_terminal(write, capsys) -> None:
    data = make.jcs.encode({"kind": "reading", "value": "1\u009b31m", "unit": "\u202eWh"})
    log = make.VectorLog((data,))
    policy = write("p", make.policies()["plain"])
    assert main([write("r", log.receipt(0, 1)), "--policy", policy]) == 0
    shown = capsys.readouterr().out
    assert "reading: 1\\u009b31m \\u202eWh" in shown


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=60,
    )


def test_the_command_loads_nothing_heavy() -> None:
    heavy = {"web3", "fastapi", "lxml", "rdflib", "httpx", "msgspec", "Crypto", "urllib.request"}
    code = f"import infra.verify_cli, sys; print({heavy!r} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"
    wired = "import infra.verify_rpc, sys; print({'web3', 'httpx', 'requests'} & set(sys.modules))"
    assert python("-c", wired).stdout == "set()\n"


def test_the_verifier_shares_nothing_with_the_platform() -> None:
    code = "import infra.verify_cli, sys; print(sorted(m for m in sys.modules if m[:4] == 'bal.'))"
    own = ["verify", "verify_chain", "verify_note", "verify_policy", "verify_proof"]
    expected = ["bal.certify", *(f"bal.certify.{name}" for name in own)]
    assert python("-c", code).stdout == f"{expected}\n"


def test_as_a_command(write) -> None:
    policy = write("p", make.policies()["plain"])
    receipt = write("r", LOG.receipt(3, 7))
    command = ["-m", "infra.verify_cli"]
    done = python(*command, receipt, "--policy", policy, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2714 authentic" in done.stdout
    for wrong in ([], [receipt, "--no-such"]):
        done = python(*command, *wrong)
        assert done.returncode == 3
        assert "usage: gridseal verify" in done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_forty_lines_of_javascript_find_the_root_on_chain(platform, address, write) -> None:
    script = str(ROOT / "tests/journey/verify.mjs")
    log = "0x" + LOG_ID.hex()
    chain = [f"{address}/rpc", platform.contract.address, log]
    for index, size, text in ((3, 7, "authentic anchored 213"), (3, 9, "anchor-root-differs")):
        receipt = write("r", LOG.receipt(index, size))
        command = [shutil.which("node"), script, receipt, make.LOG_KEY.vkey, *chain]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout.startswith(text), done.stderr
