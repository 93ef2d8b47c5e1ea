"""`gridseal verify` over real wires: the own chain's JSON-RPC, a log's tiles, TLS."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from infra.verify_cli import main
from infra.verify_rpc import keccak256
from tests.vectors import vector_log as vector

ROOT = Path(__file__).resolve().parents[3]
LOG = vector.vector_log()
LOG_ID = keccak256(vector.ORIGIN.encode())


def test_flags_on_the_own_chain(platform, address, write, verify) -> None:
    receipt = write("r.tlog-proof", LOG.receipt(3, 7))
    trust = [receipt, "--log-key", vector.LOG_KEY.vkey]
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


def test_who_was_believed_stands_in_the_sentence(platform, address, write, verify) -> None:
    """Without the path: it may hold a key of whoever pays for the endpoint."""
    receipt = write("r", LOG.receipt(3, 7))
    policy = write("p", platform.policy(f"{address}/rpc"))
    said = f"; the RPC endpoint at {address} says so."
    _, _, found = verify(receipt, "--policy", policy)
    assert found["verdicts"]["anchored"]["text"].endswith(said)
    too_deep = write("p", platform.policy(f"{address}/rpc", depth=5000))
    _, code, found = verify(receipt, "--policy", too_deep)
    assert code == "not-anchored-yet"
    assert found["verdicts"]["anchored"]["text"].endswith(said)


def lying(platform, method: str, lie: Callable[[Any], Any]):
    """The platform's answers, but that of one method is another."""

    def answer(path: str, body: bytes | None):
        status, data, headers = platform.answer(path, body)
        if body is not None and json.loads(body)["method"] == method:
            message = json.loads(data)
            message["result"] = lie(message["result"])
            data = json.dumps(message).encode()
        return status, data, headers

    return answer


def test_endpoints_that_agree(platform, address, serving, write, verify) -> None:
    receipt = write("r", LOG.receipt(3, 7))
    with serving(platform.answer) as second:
        more = platform.policy(f"{address}/rpc", more_rpc_urls=[f"{second}/rpc"])
        policy = write("p", more)
        _, code, found = verify(receipt, "--policy", policy)
        assert code == "anchored"
        text = found["verdicts"]["anchored"]["text"]
        assert text.endswith(f"the RPC endpoints at {address} and {second} say so.")
        flags = ["--rpc", f"{address}/rpc", "--rpc", f"{second}/rpc"]
        assert verify(receipt, "--policy", policy, *flags)[1] == "anchored"
    assert verify(receipt, "--policy", policy)[:2] == (2, "rpc-unreachable")  # one is down


LIES = {
    "the chain id": ("eth_chainId", lambda _: "0x1"),
    "the root at size 7": ("eth_call", lambda _: "0x" + "ab" * 32),
    "the code at 0x": ("eth_getCode", lambda _: "0x"),
    "the hash of": ("eth_getBlockByNumber", lambda found: found | {"hash": "0x" + "cd" * 32}),
}


@pytest.mark.parametrize("about", LIES)
def test_endpoints_that_differ(wired, serving, write, verify, about) -> None:
    (platform, address), (method, lie) = wired, LIES[about]
    receipt = write("r", LOG.receipt(3, 7))
    with serving(lying(platform, method, lie)) as liar:
        for first, second in ((address, liar), (liar, address)):
            urls = [f"{first}/rpc", f"{second}/rpc"]
            policy = write("p", platform.policy(urls[0], more_rpc_urls=urls[1:]))
            exit_, code, found = verify(receipt, "--policy", policy)
            assert (exit_, code) == (2, "rpc-endpoints-differ")
            text = found["verdicts"]["anchored"]["text"]
            assert f"differ on {about}" in text
            assert text.endswith("one of them lies or lags.")


def test_the_lowest_block_of_all_counts(platform, address, serving, write, verify) -> None:
    """One that lags by two heads has the block that is asked for, too."""
    receipt = write("r", LOG.receipt(3, 7))
    latest = platform.chain.request("eth_blockNumber", [])
    behind = lying(platform, "eth_blockNumber", lambda _: hex(int(latest, 16) - 1))
    with serving(behind) as second:
        urls = [f"{address}/rpc", f"{second}/rpc"]
        policy = write("p", platform.policy(urls[0], more_rpc_urls=urls[1:], depth=0))
        _, code, found = verify(receipt, "--policy", policy)
        assert code == "anchored"
        assert f"block {int(latest, 16) - 1}," in found["verdicts"]["anchored"]["text"]


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
    other = vector.VectorLog((*LOG.records[:6], LOG.records[40]))
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


def test_a_closed_port_is_not_decidable(platform, serving, write, verify) -> None:
    with serving(platform.answer) as gone:
        pass
    receipt = write("r", LOG.receipt(3, 7))
    policy = write("p", platform.policy(f"{gone}/rpc"))
    assert verify(receipt, "--policy", policy)[:2] == (2, "rpc-unreachable")


def test_https_needs_the_ca(platform, serving, tls, write, verify) -> None:
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


def test_the_platforms_ca_does_not_vouch_for_a_public_chain(
    platform, serving, tls, write, verify
) -> None:
    context, ca = tls
    receipt = write("r", LOG.receipt(3, 7))
    with serving(platform.answer, context) as address:
        policy = write("p", platform.policy(f"{address}/rpc", chain_kind="public"))
        assert verify(receipt, "--policy", policy, "--ca", str(ca))[:2] == (2, "rpc-unreachable")


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
        receipt, "--log-key", vector.LOG_KEY.vkey, "--rpc", url, "--contract", "0x" + "12" * 20
    )
    assert (code, found["verdicts"]["authentic"]["code"]) == (3, "url-refused")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--rpc", "https://rpc.invalid"],
        ["--log-key", vector.LOG_KEY.vkey, "--rpc", "https://rpc.invalid"],
        ["--log-key", vector.LOG_KEY.vkey, "--contract", "0x" + "12" * 20],
        ["--log-key", vector.LOG_KEY.vkey, "--policy", "p"],
        ["--log-key", "no key"],
        ["--policy", "not there"],
        ["--policy", "p"],
        ["--policy", "good", "--rpc", "https://rpc.invalid"],
        ["--policy", "good", "--contract", "0x" + "12" * 20],
        ["--log-key", vector.LOG_KEY.vkey, "--rpc", "https://rpc.invalid", "--contract", "0x12"],
    ],
)
def test_wrong_use_ends_with_three(arguments, write, verify, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    receipt = write("r", LOG.receipt(3, 7))
    write("p", "quorum\n")
    write("good", vector.policies()["plain"])
    code, anchored, _ = verify(receipt, *arguments)
    assert (code, anchored) == (3, "not-checked")


@pytest.fixture
def in_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


RPC = ["--log-key", vector.LOG_KEY.vkey, "--contract", "0x" + "12" * 20, "--rpc"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone", "--policy", "good"], "  ✘ authentic  It can't be read: No such file"),
        (["folder", "--policy", "good"], "  ✘ authentic  It can't be read: Is a directory"),
        (["empty", "--policy", "good"], "  ✘ authentic  The file is empty."),
        (["crlf", "--policy", "good"], "  ✘ authentic  The file has CR line ends: something on"),
        (["good", "--policy", "good"], "  ✘ authentic  No receipt: the first line is not c2sp"),
        (["r", "--policy", "gone"], "✘ The policy gone can't be read: No such file or directory."),
        (["r", "--policy", "folder"], "✘ The policy folder can't be read: Is a directory."),
        (["r", "--policy", "r"], "✘ The policy r: Line 1: Not a line of a policy: c2sp.org"),
        (["r", "--policy", "empty"], "✘ The policy empty: The policy has no quorum line."),
        (["r"], "✘ A receipt does not say whom to trust: give --policy or --log-key."),
        (["r", "--log-key", "k"], "✘ Not a verifier key, <name>+<8 hex>+<base64>: k."),
        (["r", *RPC, "localhost:1"], "✘ 'localhost:1' is no URL that begins with https:// or"),
        (["r", *RPC, "https://a@b.invalid"], "✘ 'https://a@b.invalid' has a user name"),
        (["r", *RPC, "https://b.invalid", "--ca", "gone"], "✘ The CA file gone can't be read: No"),
        (["r", *RPC, "https://b.invalid", "--ca", "r"], "✘ The CA file r holds no certificate in"),
        (["r", *RPC, "http://127.0.0.1:1"], "  – anchored   http://127.0.0.1:1 does not answer: C"),
    ],
)
def test_what_a_newcomer_meets_first(arguments, said, in_folder, write, capsys) -> None:
    (in_folder / "folder").mkdir()
    write("r", LOG.receipt(3, 7))
    write("crlf", LOG.receipt(3, 7).replace("\n", "\r\n"))
    write("good", vector.policies()["plain"])
    write("empty", "")
    assert main(arguments) > 0
    shown = capsys.readouterr().out
    assert any(line.startswith(said) for line in shown.splitlines()), shown
    if said.startswith("✘"):
        assert len(shown.splitlines()) == 1


def test_a_ca_file_that_is_none(platform, address, write, verify) -> None:
    receipt, ca = write("r", LOG.receipt(3, 7)), write("ca", "none")
    policy = write("p", platform.policy(f"{address}/rpc"))
    code, _, found = verify(receipt, "--policy", policy, "--ca", ca)
    assert (code, found["verdicts"]["authentic"]["code"]) == (3, "file-unreadable")


def test_several_files_end_with_the_worst(write, capsys, tmp_path) -> None:
    policy = ["--policy", write("p", vector.policies()["plain"])]
    good = write("good", LOG.receipt(3, 7))
    bad = write("bad", LOG.receipt(3, 7).replace("index 3", "index 2"))
    note = write("note", vector.accepted_note())
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
    policy = write("p", vector.policies()["plain"])
    name = write("r", LOG.receipt(5, 7))
    assert main([name, "--policy", policy]) == 0
    shown = capsys.readouterr().out
    for part in (
        f"{name}\n  ✔ authentic  The record is entry 5 of 7 of {vector.ORIGIN}",
        "  – anchored   Not checked",
        "  – complete   Not checked",
        "  – plausible  The record itself says reading-type-19-fields",
        "    certified  reading: 215 Wh, 2026-01-01T01:15:00Z – 2026-01-01T01:30:00Z",
        f"    device     {vector.record(5)['device']}",
        f"    register   {vector.REGISTER}",
        "    quality    1.0.0",
        "  exit 0\n",
    ):
        assert part in shown
    assert main([write("r", LOG.receipt(5, 7)[:-9]), "--policy", policy]) == 1
    assert "  ✘ authentic  " in capsys.readouterr().out


def test_a_record_cannot_command_the_terminal(write, capsys) -> None:
    data = jcs.encode({"kind": "reading", "value": "1\u009b31m", "unit": "\u202eWh"})
    log = vector.VectorLog((data,))
    policy = write("p", vector.policies()["plain"])
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
    parts = ("chain", "day", "frame", "note", "policy", "proof", "status")
    own = ["book", "device_day", "verify", *(f"verify_{part}" for part in parts)]
    pure = ["bal.errors", "bal.slots"]
    expected = ["bal.certify", *(f"bal.certify.{name}" for name in own), *pure]
    assert python("-c", code).stdout == f"{expected}\n"


def test_as_a_command(write) -> None:
    policy = write("p", vector.policies()["plain"])
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
        command = [shutil.which("node"), script, receipt, vector.LOG_KEY.vkey, *chain]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout.startswith(text), done.stderr
