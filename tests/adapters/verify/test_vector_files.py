"""Two verifiers, one in Python and one in JavaScript from the pages alone, on every vector.

tests/vectors/README.md says what each file is for.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bal.certify.verify import Verdict, Verdicts, VerifyError, exit_of, parse_policy, verify
from infra.verify_endpoints import chain_at
from infra.verify_rpc import HttpTiles
from tests.adapters.days.test_documents import patched
from tests.adapters.verify.vector_chain import VectorChains

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VECTORS = ROOT / "tests" / "vectors"
REFERENCE = ROOT / "docs" / "spec" / "reference" / "verifier.mjs"
NODE = shutil.which("node")
FILES = ("receipts", "canonical", "statuses", "policies", "days", "anchors")
CASES_MIN = 120
DAMAGED = 2_000
NOW = "2026-01-15T10:15:30Z"

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def vectors(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


ANCHORS = vectors("anchors")
ALL = [(name, case) for name in FILES for case in vectors(name)["cases"]]
CALLS = vectors("calls")


@pytest.fixture(scope="module")
def served(serving) -> Iterator[tuple[VectorChains, str]]:
    chains = VectorChains()
    with serving(chains.answer) as address:
        yield chains, address


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    """The reference on one case: a process that reads and writes lines."""
    assert NODE is not None
    command = [NODE, str(HERE / "vectors.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as at:
        assert at.stdin is not None
        assert at.stdout is not None

        def run(case: dict[str, Any]) -> dict[str, Any]:
            at.stdin.write(json.dumps(case) + "\n")
            at.stdin.flush()
            return json.loads(at.stdout.readline())

        yield run
        at.stdin.close()


def told(answer: dict[str, Any]) -> dict[str, Any]:
    codes = {name: verdict["code"] for name, verdict in answer["verdicts"].items()}
    return {"codes": codes, "exit": answer["exit"]}


def wired(name: str, case: dict[str, Any], served: tuple[VectorChains, str]) -> str:
    """The case's policy, with what its URLs stand for."""
    chains, address = served
    chains.chains = [ANCHORS["chains"][one] for one in case.get("chains", ())]
    chains.tiles = ANCHORS["tiles"].get(case.get("tiles", ""), {})
    text: str = vectors_policy(name, case["policy"])
    urls = {"{rpc}": f"{address}/0", "{rpc2}": f"{address}/1", "{log}": f"{address}/log"}
    for word, url in urls.items():
        text = text.replace(word, url)
    return text


def vectors_policy(name: str, policy: str) -> str:
    return POLICIES[name][policy]


POLICIES = {name: vectors(name)["policies"] for name in FILES}


def in_python(policy_text: str, case: dict[str, Any]) -> dict[str, Any]:
    chain = tiles = None
    try:
        policy = parse_policy(policy_text.encode())
        if policy.chain is not None and policy.chain.rpc_urls:
            chain = chain_at(policy.chain.rpc_urls, None)
            tiles = HttpTiles(policy.log_urls, None) if policy.log_urls else None
    except VerifyError as error:
        return Verdicts(Verdict(error.code, error.text)).as_json()
    now_s = int(datetime.fromisoformat(case["now"]).timestamp())
    held = case.get("held_since")
    found = verify(case["input"], policy, chain, tiles, now_s=now_s, held_since_s=held)
    return found.as_json(accept_own_chain=case.get("accept_own_chain", False))


@pytest.mark.parametrize(("name", "case"), ALL, ids=[f"{n}: {c['name']}" for n, c in ALL])
def test_python(name, case, served) -> None:
    assert told(in_python(wired(name, case, served), case)) == case["expect"]


@needs_node
@pytest.mark.parametrize(("name", "case"), ALL, ids=[f"{n}: {c['name']}" for n, c in ALL])
def test_javascript(name, case, served, reference) -> None:
    policy = wired(name, case, served)
    found = reference(case | {"policy": policy})
    assert told(found) == case["expect"], found
    assert found.get("evidence") == in_python(policy, case).get("evidence")


def real_days() -> list[tuple[str, dict[str, Any], str]]:
    """Documents of a real closing, and spoilt ones: name, case, code that one verdict must have."""
    found = vectors("device_days")
    documents = {one["name"]: one["document"] for one in found["documents"]}
    rows = [(one["name"], one["document"], one["complete"]) for one in found["documents"]]
    rows += [
        (one["name"], patched(documents[one["document"]], one["patch"]), one["code"])
        for one in found["patched"]
    ]
    policy = f"log {found['vkey']}\nquorum none\n"
    return [
        (name, {"input": json.dumps(document), "policy": policy, "now": NOW}, code)
        for name, document, code in rows
    ]


@needs_node
@pytest.mark.parametrize(("name", "case", "code"), real_days(), ids=[x[0] for x in real_days()])
def test_days_of_a_real_closing(name, case, code, reference) -> None:
    found = told(in_python(case["policy"], case))
    assert code in found["codes"].values(), name
    assert told(reference(case)) == found


@needs_node
def test_both_say_the_same_of_any_damage(reference) -> None:
    """Bytes changed, taken out, doubled or cut at random, of inputs and policies alike."""
    rng = random.Random(20260115)
    offline = [
        (name, case)
        for name, case in ALL
        if name != "anchors" and "rpc.example" not in POLICIES[name][case["policy"]]
    ]
    for _ in range(DAMAGED):
        name, case = rng.choice(offline)
        given = case | {"policy": POLICIES[name][case["policy"]]}
        what = rng.choice(["input", "input", "input", "policy"])
        given[what] = damaged(given[what], rng)
        assert told(reference(given)) == told(in_python(given["policy"], given)), given


def damaged(text: str, rng: random.Random) -> str:
    """`text` with one stretch of it replaced."""
    start = rng.randrange(len(text) + 1)
    stop = min(len(text), start + rng.choice([0, 0, 1, 1, 1, 2, 8, 40]))
    sign = rng.choice(
        [
            text[start:stop] * 2,
            "",
            chr(rng.randrange(32, 127)),
            "\n",
            "\r",
            "\t",
            " ",
            "0",
            '"',
            "ä",
        ]
    )
    return text[:start] + sign + text[stop:]


@needs_node
def test_javascript_on_the_vectors_of_parts() -> None:
    assert NODE is not None
    command = [NODE, str(HERE / "parts.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert found["differing"] == []
    assert found["count"] > 250


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in CALLS["files"].items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path


COMMANDS = {
    "python": [sys.executable, "-m", "infra.verify_cli"],
    "javascript": [NODE or "", str(REFERENCE)],
}


@pytest.mark.parametrize("language", COMMANDS)
@pytest.mark.parametrize("case", CALLS["cases"], ids=lambda case: case["name"])
def test_calls(case, language, folder) -> None:
    if language == "javascript" and NODE is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        [*COMMANDS[language], *case["arguments"], "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [told(line) for line in lines] == case["expect"], done.stderr
    assert done.stderr == ""
    exits = [one["exit"] for one in case["expect"]]
    assert done.returncode == (3 if 3 in exits else max(exits, key=lambda e: (e == 1, e)))
    wrong = done.returncode == 3 and "file-unreadable" not in done.stdout
    assert all(("file" in line) != wrong for line in lines) or "nothing" in case["arguments"]


def codes_of_pages() -> set[str]:
    """The codes of the verifier's tables on the pages."""
    found = set()
    for page in ("receipt", "completeness"):
        text = (ROOT / "docs" / "spec" / f"{page}.md").read_text(encoding="utf-8")
        for cell in re.findall(r"^\| ([a-z, -]+) \|(?: [a-z]+ \|)? [0-3] \|", text, re.MULTILINE):
            found |= set(cell.split(", "))
    return found


def test_there_is_a_case_for_every_code() -> None:
    expected = [case["expect"] for _, case in ALL]
    expected += [one for case in CALLS["cases"] for one in case["expect"]]
    hit = Counter(code for one in expected for code in one["codes"].values())
    assert codes_of_pages() - set(hit) == set()
    assert set(hit) - codes_of_pages() == set()
    assert len(ALL) >= CASES_MIN
    fails = [one for one in expected if one["exit"] == 1]
    assert len(fails) >= CASES_MIN
    for one in expected:
        own = one["exit"] == 0 and "own-chain" in one["codes"].values()
        exits = [exit_of(code) for code in one["codes"].values()]
        worst = next(exit_ for exit_ in (3, 1, 2, 0) if exit_ in (*exits, 0))
        assert own or one["exit"] == worst


def test_no_two_cases_of_a_file_have_one_name() -> None:
    for name in FILES:
        names = Counter(case["name"] for file, case in ALL if file == name)
        assert [one for one, count in names.items() if count > 1] == []
