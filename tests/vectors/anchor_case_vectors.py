"""anchors.json: what a chain and a log's tiles lead to; docs/spec/receipt.md steps 6 and 7.

A case names the `chains` that its endpoints show and the `tiles` that its log serves; `{rpc}`,
`{rpc2}` and `{log}` in a policy stand for their URLs. `held_since` is the file's modification time.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from case_vectors import Json, case, expect
from forged_day import Forger
from vector_log import (
    CONTRACT,
    LOG_KEY,
    LOG_SIZE,
    WITNESSES,
    VectorLog,
    anchor_hint,
    keccak256,
    policies,
)

OLDER = "0x" + "0d" * 20
CODE = b"the runtime code of a contract"
ZERO = "0x" + "00" * 32


def contract(heads: list[Json], closes: list[Json] | None = None, **more: object) -> Json:
    """A contract: its code since a block, and heads and closes with theirs."""
    return {"code": "0x" + CODE.hex(), "since": "1", "heads": heads, "closes": closes or [], **more}


def head(block: int, size: int, root: bytes) -> Json:
    return {"block": str(block), "size": str(size), "root": "0x" + root.hex()}


def chain(contracts: Json, **changes: object) -> Json:
    """Chain 1337 at block 10, final up to 8; `salt` makes its blocks' hashes."""
    found = {"id": "1337", "latest": "10", "finalized": "8", "salt": "a", "contracts": contracts}
    return found | changes


def tiles(log: VectorLog, size: int) -> dict[str, str]:
    """Path below the log's URL → base64 of the tile, of the tree of `size`."""
    found = {}
    level, width = 0, size
    while width:
        for n in range(-(-width // 256)):
            count = min(256, width - 256 * n)
            name = f"tile/{level}/{n:03d}" + (f".p/{count}" if count < 256 else "")
            found[name] = b64encode(log.tile(level, n, count)).decode()
        level, width = level + 1, width // 256
    return found


def policy(kind: str = "public", rpc: str = "{rpc}", log: str = " {log}", *more: str) -> str:
    """A policy with one contract unless `more` lines name others."""
    lines = ["#gridseal/policy/v1", f"#gridseal chain 1337 {kind} {rpc}"]
    lines += [f"#gridseal {line}" for line in more]
    if not any(line.startswith("contract") for line in more):
        lines.append(f"#gridseal contract {CONTRACT} 0x{keccak256(CODE).hex()}")
    return "\n".join([*lines, f"log {LOG_KEY.vkey}{log}", "quorum none", ""])


def _policies() -> dict[str, str]:
    both = f"contract {CONTRACT} -", f"contract {OLDER} -"
    witnesses = policies()["two of three witnesses"].split("\n", 2)[2]
    witnessed = policy("public", "{rpc}", " {log}", "anchor-within 900").split("log ")[0]
    return {
        "public": policy(),
        "consortium": policy("consortium"),
        "own": policy("own"),
        "no endpoint": policy(rpc="-"),
        "an endpoint that is not there": policy(rpc="{rpc}/nothing"),
        "no log": policy(log=""),
        "a log that is not there": policy(log=" {log}/nothing"),
        "two endpoints": policy("public", "{rpc}", " {log}", "rpc {rpc2}"),
        "latest": policy("public", "{rpc}", " {log}", "depth 0"),
        "two deep": policy("public", "{rpc}", " {log}", "depth 2"),
        "eleven deep": policy("public", "{rpc}", " {log}", "depth 11"),
        "within 15 minutes": policy("public", "{rpc}", " {log}", "anchor-within 900"),
        "within 15 minutes, witnessed": witnessed + witnesses,
        "another chain": policy().replace("1337", "1338"),
        "another code": policy("public", "{rpc}", " {log}", f"contract {CONTRACT} {ZERO}"),
        "any code": policy("public", "{rpc}", " {log}", both[0]),
        "two contracts": policy("public", "{rpc}", " {log}", *both),
    }


def _forked(log: VectorLog) -> VectorLog:
    """A log of the same size in which entry 0 is another."""
    return replace(log, records=(b'{"another":"entry"}', *log.records[1:]))


def anchors(log: VectorLog) -> Json:
    """Receipts and days, chains and tiles."""
    other = _forked(log)
    at_7, at_300 = head(5, 7, log.root(7)), head(8, LOG_SIZE, log.root(LOG_SIZE))
    other_300 = head(8, LOG_SIZE, other.root(LOG_SIZE))
    young = head(9, 7, log.root(7))
    here = {CONTRACT: contract([at_7])}
    chains = {
        "7 and 300": chain({CONTRACT: contract([at_7, at_300])}),
        "300": chain({CONTRACT: contract([at_300])}),
        "7": chain(here),
        "7, not final": chain({CONTRACT: contract([young])}),
        "nothing final": chain(here, finalized=None),
        "no head": chain({CONTRACT: contract([])}),
        "an unknown log": chain({CONTRACT: contract([], reverts=True)}),
        "no contract": chain({}),
        "another root at 7": chain({CONTRACT: contract([head(5, 7, other.root(7))])}),
        "another log at 300": chain({CONTRACT: contract([other_300])}),
        "another id": chain(here, id="1338"),
        "other blocks": chain(here, salt="b"),
        "behind": chain(here, latest="6", finalized="5"),
        "7 in the older": chain({CONTRACT: contract([at_300]), OLDER: contract([at_7])}),
        "the newer not final": chain({CONTRACT: contract([], since="9"), OLDER: contract([at_7])}),
        "a successor without head": chain(
            {CONTRACT: contract([], parent={"size": "300"}), OLDER: contract([at_300])}
        ),
        "other code": chain({CONTRACT: contract([at_7], code="0x00")}),
    }  # fmt: skip
    served = {
        "300": tiles(log, LOG_SIZE),
        "another log": tiles(other, LOG_SIZE),
        "cut": {name: b64encode(bytes(32)).decode() for name in tiles(log, LOG_SIZE)},
        "full ones only": {
            name.split(".p/")[0]: data for name, data in tiles(log, LOG_SIZE).items()
        },
    }
    cases = [*_receipts(log), *_overdue(log)]
    day_chains, day_cases = _days()
    return {
        "policies": _policies(),
        "chains": chains | day_chains,
        "tiles": served,
        "cases": cases + day_cases,
    }


def _case(name: str, text: str, anchored: str, exit_: int, **more: object) -> Json:
    return case(name, text, expect(exit_=exit_, anchored=anchored), **({"policy": "public"} | more))


def _receipts(log: VectorLog) -> list[Json]:
    at_3, at_20, at_280 = log.receipt(3, 7), log.receipt(3, 20), log.receipt(280, 290)
    wrong_hint = log.receipt(3, 7, anchor=anchor_hint(8))
    whole = {"chains": ["300"], "tiles": "300"}
    rows: list[tuple[str, str, str, int, Json]] = [
        ("its own head", at_3, "anchored", 0, {"chains": ["7 and 300"]}),
        ("its own head, of a consortium", at_3, "anchored", 0,
         {"chains": ["7"], "policy": "consortium"}),
        ("its own head, own chain", at_3, "own-chain", 2, {"chains": ["7"], "policy": "own"}),
        ("its own head, own chain accepted", at_3, "own-chain", 0,
         {"chains": ["7"], "policy": "own", "accept_own_chain": True}),
        ("any code", at_3, "anchored", 0, {"chains": ["other code"], "policy": "any code"}),
        ("a hint that is wrong", wrong_hint, "anchored", 0, {"chains": ["7"]}),
        ("no block is final", at_3, "not-anchored-yet", 2, {"chains": ["nothing final"]}),
        ("not final", at_3, "not-anchored-yet", 2, {"chains": ["7, not final"]}),
        ("not final, but the latest will do", at_3, "anchored", 0,
         {"chains": ["7, not final"], "policy": "latest"}),
        ("not two deep", at_3, "not-anchored-yet", 2,
         {"chains": ["7, not final"], "policy": "two deep"}),
        ("two deep", at_3, "anchored", 0, {"chains": ["7"], "policy": "two deep"}),
        ("a chain of fewer blocks", at_3, "not-anchored-yet", 2,
         {"chains": ["7"], "policy": "eleven deep"}),
        ("no head", at_3, "not-anchored-yet", 2, {"chains": ["no head"]}),
        ("a head that is smaller", at_20, "not-anchored-yet", 2, {"chains": ["7"]}),
        ("a log that the contract does not know", at_3, "not-anchored-yet", 2,
         {"chains": ["an unknown log"]}),
        ("another root", at_3, "anchor-root-differs", 1, {"chains": ["another root at 7"]}),
        ("another chain", at_3, "chain-id-differs", 1, {"chains": ["another id"]}),
        ("a policy of another chain", at_3, "chain-id-differs", 1,
         {"chains": ["7"], "policy": "another chain"}),
        ("no contract", at_3, "contract-code-differs", 1, {"chains": ["no contract"]}),
        ("other code", at_3, "contract-code-differs", 1, {"chains": ["other code"]}),
        ("a policy of other code", at_3, "contract-code-differs", 1,
         {"chains": ["7"], "policy": "another code"}),
        ("no endpoint", at_3, "rpc-unreachable", 2, {"chains": ["7"], "policy": "no endpoint"}),
        ("no such endpoint", at_3, "rpc-unreachable", 2,
         {"chains": ["7"], "policy": "an endpoint that is not there"}),
        ("two endpoints", at_3, "anchored", 0, {"chains": ["7", "7"], "policy": "two endpoints"}),
        ("one endpoint lags", at_3, "anchored", 0,
         {"chains": ["7", "behind"], "policy": "two endpoints"}),
        ("two endpoints, other blocks", at_3, "rpc-endpoints-differ", 2,
         {"chains": ["7", "other blocks"], "policy": "two endpoints"}),
        ("two endpoints, other chains", at_3, "rpc-endpoints-differ", 2,
         {"chains": ["7", "another id"], "policy": "two endpoints"}),
        ("two endpoints, other roots", at_3, "rpc-endpoints-differ", 2,
         {"chains": ["7", "another root at 7"], "policy": "two endpoints"}),
        ("in the older contract", at_3, "anchored", 0,
         {"chains": ["7 in the older"], "policy": "two contracts"}),
        ("the newer contract came later", at_3, "anchored", 0,
         {"chains": ["the newer not final"], "policy": "two contracts"}),
        ("the older contract is not there", at_3, "contract-code-differs", 1,
         {"chains": ["7"], "policy": "two contracts"}),
        ("brought up", at_20, "anchored", 0, whole),
        ("brought up, in the last tile", at_280, "anchored", 0, whole),
        ("brought up by full tiles", at_20, "anchored", 0, whole | {"tiles": "full ones only"}),
        ("brought up in the older", at_20, "anchored", 0,
         whole | {"chains": ["a successor without head"], "policy": "two contracts"}),
        ("no log", at_20, "log-needed", 2, whole | {"policy": "no log"}),
        ("no such log", at_20, "log-unreachable", 2, whole | {"policy": "a log that is not there"}),
        ("tiles of another log", at_20, "tiles-mismatch", 1, whole | {"tiles": "another log"}),
        ("tiles cut", at_20, "tiles-mismatch", 1, whole | {"tiles": "cut"}),
        ("another log, on chain and in tiles", at_20, "anchor-root-differs", 1,
         {"chains": ["another log at 300"], "tiles": "another log"}),
    ]  # fmt: skip
    return [_case(name, text, code, exit_, **more) for name, text, code, exit_, more in rows]


def _overdue(log: VectorLog) -> list[Json]:
    now_s = int(datetime.fromisoformat("2026-01-15T10:15:30Z").timestamp())
    text = log.checkpoint_text(7)
    lines = [key.line(text, now_s - 901 + n) for n, key in enumerate(WITNESSES[:2])]
    cosigned = log.receipt(3, 7, checkpoint=log.checkpoint(7, *lines))
    within = {"chains": ["no head"], "policy": "within 15 minutes"}
    witnessed = within | {"policy": "within 15 minutes, witnessed"}
    at_3 = log.receipt(3, 7)
    return [
        _case("held for 15 minutes", at_3, "not-anchored-yet", 2, held_since=now_s - 900, **within),
        _case("held for longer", at_3, "anchor-overdue", 1, held_since=now_s - 901, **within),
        _case("held for longer, no block final", at_3, "anchor-overdue", 1,
              held_since=now_s - 901, **(within | {"chains": ["nothing final"]})),
        _case("held for longer, but anchored", at_3, "anchored", 0, held_since=now_s - 901,
              **(within | {"chains": ["7"]})),
        _case("known since nobody knows when", at_3, "not-anchored-yet", 2, **within),
        _case("known by a witness", cosigned, "anchor-overdue", 1, **witnessed),
        _case("held for longer, nothing promised", at_3, "not-anchored-yet", 2,
              held_since=1, chains=["no head"]),
    ]  # fmt: skip


def _days() -> tuple[Json, list[Json]]:
    """Forged days, whose log has five entries, on chains that know it."""
    forger = Forger()
    document = forger.document()
    close = json.loads(document["close"]["record"])
    root, prefix = "0x" + close["book"], close["prefix"]
    size = document["checkpoint"].split("\n")[1]
    found = head(4, int(size), _root(document))

    def closed(*closes: Json, **more: object) -> Json:
        return contract([found], list(closes), **more)

    at_1 = {"block": "3", "k": "1", "prefix": "1", "root": "0x" + "01" * 32}
    good = {"block": "5", "k": "2", "prefix": prefix, "root": root}
    at_3 = {"block": "6", "k": "3", "prefix": prefix, "root": "0x" + "03" * 32}
    chains = {
        "closed": chain({CONTRACT: closed(at_1, good)}),
        "closed again": chain({CONTRACT: closed(at_1, good, at_3)}),
        "closed once": chain({CONTRACT: closed(at_1)}),
        "closed, not final": chain({CONTRACT: closed(at_1, good | {"block": "9"})}),
        "closed otherwise": chain({CONTRACT: closed(at_1, good | {"root": "0x" + "02" * 32})}),
        "closed from elsewhere": chain({CONTRACT: closed(at_1, good | {"prefix": "1"})}),
        "closed in the older": chain(
            {CONTRACT: closed(parent={"size": size, "closes": "2"}), OLDER: closed(at_1, good)}
        ),
        "closed, and no head": chain({CONTRACT: contract([], [at_1, good])}),
    }

    text = json.dumps(document)
    unclosed = expect(exit_=2, anchored="not-anchored-yet", complete="close-not-on-chain")
    forked = expect(exit_=1, anchored="anchored", complete="close-differs")
    rows: list[tuple[str, Json, Json]] = [
        ("closed", expect(anchored="anchored", complete="complete"), {}),
        ("closed again", expect(anchored="anchored", complete="complete"), {}),
        ("closed once", expect(exit_=2, anchored="anchored", complete="close-not-on-chain"), {}),
        ("closed, not final",
         expect(exit_=2, anchored="anchored", complete="close-not-on-chain"), {}),
        ("closed otherwise", forked, {}),
        ("closed from elsewhere", forked, {}),
        ("closed in the older", expect(anchored="anchored", complete="complete"),
         {"policy": "two contracts"}),
        ("closed, and no head", expect(exit_=2, anchored="not-anchored-yet", complete="complete"),
         {}),
        ("closed", expect(exit_=2, anchored="own-chain", complete="own-chain"), {"policy": "own"}),
        ("closed", expect(exit_=0, anchored="own-chain", complete="own-chain"),
         {"policy": "own", "accept_own_chain": True}),
        ("closed", expect(exit_=2, anchored="rpc-unreachable", complete="rpc-unreachable"),
         {"policy": "no endpoint"}),
        ("no contract",
         expect(exit_=1, anchored="contract-code-differs", complete="contract-code-differs"), {}),
        ("another id", expect(exit_=1, anchored="chain-id-differs", complete="chain-id-differs"),
         {}),
        ("nothing final", unclosed, {}),
    ]  # fmt: skip
    cases = []
    for name, expected, more in rows:
        given = {"chains": [name], "policy": "public"} | more
        named = f"a day: {name}, policy {given['policy']}"
        named += ", accepted" if "accept_own_chain" in more else ""
        cases.append(case(named, text, expected, **given))
    gaps = Forger(records=[forger.records[0], None]).document()
    cases.append(case("a day with gaps, closed otherwise", json.dumps(gaps),
                      expect(exit_=1, anchored="anchor-root-differs", complete="close-differs"),
                      policy="public", chains=["closed at a size of four"]))  # fmt: skip
    chains["closed at a size of four"] = chain(
        {CONTRACT: contract([head(4, 4, sha256(b"another").digest())], [at_1, good])}
    )
    return chains, cases


def _root(document: Json) -> bytes:
    return b64decode(document["checkpoint"].split("\n")[2])
