"""The specification's examples hold, and its table of codes is complete."""

import json
import re
from base64 import b64encode
from pathlib import Path

from bal import jcs
from bal.certify.verify import exit_of, parse_policy, parse_vkey, verify
from bal.certify.verify_note import parse_checkpoint, parse_note, signed_by
from tests.vectors import vector_log as vector

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [*ROOT.glob("bal/certify/verify*.py"), *ROOT.glob("infra/verify_*.py")]


def page(name: str) -> str:
    return (ROOT / "docs/spec" / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    return re.findall(r"^```\n(.*?)^```\n", page(name), re.MULTILINE | re.DOTALL)


def test_checkpoint_page() -> None:
    checkpoint, accepted, vkeys, cosigned = blocks("checkpoint")
    log_key, intake_key = map(parse_vkey, vkeys.split())
    assert checkpoint == vector.vector_log().checkpoint(7)
    assert signed_by(parse_checkpoint(checkpoint).note, [log_key])
    assert accepted == vector.accepted_note()
    assert signed_by(parse_note(accepted), [intake_key])
    text = vector.vector_log().checkpoint_text(300)
    assert cosigned == f"cosignature/v1\ntime 1768471201\n{text}"
    assert vector.anchor_hint(300)["log"] in page("checkpoint")


def test_policy_page() -> None:
    policy = parse_policy(blocks("policy")[0].encode())
    assert [key.vkey for key in policy.logs] == [vector.LOG_KEY.vkey]
    assert policy.chain is not None
    assert len(policy.chain.contracts) == 2
    assert policy.groups == {"witnesses": (2, ("w1", "w2", "w3"))}


def test_commitment_page() -> None:
    found = json.loads((ROOT / "tests/vectors/commitments.json").read_text(encoding="utf-8"))
    values = [*found["pseudonyms"][0].values(), *found["commitments"][0].values()]
    values += found["public"][0].values()
    assert [value for value in values if value not in page("commitment")] == []


def test_receipt_page() -> None:
    log = vector.vector_log()
    hint = vector.anchor_hint(7)
    receipt = log.receipt(3, 7, anchor=hint)
    assert verify(receipt, parse_policy(vector.policies()["plain"].encode())).exit_code() == 0
    shown, extra, _, answer = blocks("receipt")
    for line in shown.splitlines():
        start, _, end = line.partition(" … ")
        assert any(one.startswith(start) and one.endswith(end) for one in receipt.split("\n"))
    encoded = b64encode(jcs.encode(log.extra(3, hint))).decode()
    assert encoded in receipt
    for value in (log.extra(3)["salt"], hint["contract"], hint["log"]):
        assert value in extra
    assert list(json.loads(answer)["verdicts"]) == [
        *("authentic", "anchored", "complete", "plausible")
    ]


def test_every_code_is_in_the_table_with_its_exit() -> None:
    rows = re.findall(r"^\| ([a-z, -]+) \| [a-z]+ \| ([0-3]) \|", page("receipt"), re.MULTILINE)
    table = {code: int(exit_) for codes, exit_ in rows for code in codes.split(", ")}
    assert {code: exit_of(code) for code in table} == table
    made = re.compile(
        r'(?:VerifyError|Verdict|Completeness|Web)\(\s*(?:prefix, |url, )?"([a-z-]+)"'
    )
    used = {code for path in SOURCES for code in made.findall(path.read_text(encoding="utf-8"))}
    assert len(used) > 20
    assert used - set(table) == set()
    computed = {"signature-invalid", "cosignature-invalid"}  # which one, the key's type says
    computed |= {"promise", "promise-due"}  # which one, the clock says
    assert set(table) - used - computed == set()
