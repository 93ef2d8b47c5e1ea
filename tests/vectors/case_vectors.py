"""canonical.json, statuses.json, policies.json and calls.json; docs/spec/receipt.md, policy.md.

The common form of a case: `name`, `input` (the file's text), `policy` (a name in `policies`),
`now`, and `expect` with the code of each verdict and the exit code.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from vector_log import (
    CONTRACT,
    INTAKE_KEY,
    LOG_KEY,
    ORIGIN,
    WITNESSES,
    VectorLog,
    accepted_note,
    note_key,
    policies,
)

Json = dict[str, Any]
NOW = "2026-01-15T10:15:30Z"
VERDICTS = ("authentic", "anchored", "complete", "plausible")
DUE = "2026-01-15T10:16:02.5Z"


def expect(authentic: str = "authentic", exit_: int | None = None, **codes: str) -> Json:
    """Codes and exit; where nothing is authentic the others are not checked."""
    rest = {"anchored": "not-checked", "complete": "not-checked", "plausible": "not-checked"}
    if authentic == "authentic":
        rest["plausible"] = "nothing-doubtful"
    exit_ = exit_ if exit_ is not None else int(authentic != "authentic")
    return {"codes": {"authentic": authentic, **rest, **codes}, "exit": exit_}


def case(name: str, text: str, expected: Json, policy: str = "plain", **more: object) -> Json:
    return {"name": name, "input": text, "policy": policy, "now": NOW, **more, "expect": expected}


def signed(text: str) -> str:
    return f"{text}\n{INTAKE_KEY.line(text)}"


def canonical(log: VectorLog) -> Json:
    """Texts as records: which one a verifier takes, in receipts that are right otherwise."""
    good = {
        "an empty object": "{}",
        "an empty name and an empty text": '{"":""}',
        "names by code unit": '{"A":"","Z":"","_":"","a":""}',
        "numbers as texts": '{"n":"-0.5e300"}',
        "a name of Object.prototype": '{"__proto__":"1","constructor":"2"}',
        "names like array indexes": '{"1":"","10":"","2":""}',
        "four levels": '{"a":{"b":{"c":{}}}}',
        "four levels of arrays": '{"a":[[[]]]}',
        "every short escape": '{"a":"\\b\\t\\n\\f\\r\\"\\\\"}',
        "a control character by its number": '{"a":"\\u0000\\u001f"}',
        "delete is no control character to JSON": '{"a":"\x7f"}',
        "letters beyond ASCII": '{"a":"Zähler €"}',
        "a letter beyond the basic plane": '{"a":"\U0001f50c"}',
        "line separators as they are": '{"a":"\u2028\u2029"}',
        "a byte order mark inside": '{"a":"\ufeff"}',
        "two ways to write one letter": '{"a":"\u00e9e\u0301"}',
    }
    bad = {
        "nothing": "",
        "no JSON": "{",
        "two values": "{}{}",
        "a text": '"a"',
        "an array": "[]",
        "true": '{"a":true}',
        "an integer": '{"a":1}',
        "five levels": '{"a":{"b":{"c":{"d":{}}}}}',
        "five levels of arrays": '{"a":[[[[]]]]}',
        "names out of order": '{"b":"","a":""}',
        "names by number": '{"2":"","10":""}',
        "a name twice": '{"a":"1","a":"1"}',
        "a name twice, once escaped": '{"\\u0061":"1","a":"1"}',
        "a name beyond ASCII": '{"ä":"1"}',
        "a space before": ' {"a":""}',
        "a newline after": '{"a":""}\n',
        "a space inside": '{"a": ""}',
        "a comma too many": '{"a":"",}',
        "a solidus escaped": '{"a":"\\/"}',
        "a letter escaped": '{"a":"\\u0041"}',
        "a newline by its number": '{"a":"\\u000a"}',
        "hexadecimal in capitals": '{"a":"\\u001F"}',
        "a raw control character": '{"a":"\t"}',
        "half a surrogate pair": '{"a":"\\ud83d"}',
        "a surrogate pair escaped": '{"a":"\\ud83d\\udd0c"}',
        "a byte order mark before": '\ufeff{"a":""}',
        "single quotes": "{'a':''}",
        "a comment": '{"a":""/**/}',
        "not a number": '{"a":NaN}',
    }
    cases = [_record(name, text, expect()) for name, text in good.items()]
    cases += [_record(name, text, expect("record-not-canonical")) for name, text in bad.items()]
    for name, findings, code in (
        ("findings that are empty", "[]", "nothing-doubtful"),
        ("findings that are no array", '""', "nothing-doubtful"),
        ("one finding", '[{"code":"a"}]', "findings"),
        ("a finding that is a text", '["a"]', "findings"),
    ):
        cases.append(_record(name, f'{{"findings":{findings}}}', expect(plausible=code)))
    return {"policies": {"plain": policies()["plain"]}, "cases": cases}


def _record(name: str, text: str, expected: Json) -> Json:
    salt = sha256(name.encode()).digest()
    entry = sha256(b"\x02\x01" + salt + text.encode()).digest()
    log = EntryLog((entry, bytes(32)))
    extra = {"record": text, "salt": salt.hex(), "type": "01", "v": "gridseal.receipt/1"}
    written = json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return case(name, log.receipt(0, 2, extra=written.encode()), expected)


class EntryLog(VectorLog):
    """A VectorLog over entries as they are."""

    @property
    def entries(self) -> list[bytes]:
        return list(self.records)


def statuses(log: VectorLog) -> Json:
    """Accepted notes, alone and in JSON, and summaries."""
    good, receipt = accepted_note(), log.receipt(3, 7)
    text = good[: good.index("\n\n") + 1]
    malformed, promise = expect("receipt-malformed"), expect("promise", 2)
    cases = [
        case("an accepted note", good, promise),
        case("at the instant that it names", good, promise, now="2026-01-15T10:16:02Z"),
        case("a second later", good, expect("promise-due", 2), now="2026-01-15T10:16:03Z"),
        case("no intake key", good, expect("intake-key-missing", 2), "no intake key"),
        case("an intake key of another log", good, expect("log-key-unknown"), "another intake"),
        case("text changed", good.replace("/0/7", "/0/8"), expect("signature-invalid")),
        case("signed by the log's key", f"{text}\n{LOG_KEY.line(text)}", expect("log-key-unknown")),
    ]
    for name, old, new in (
        ("another version", "accepted/v1", "accepted/v2"),
        ("a line more", DUE + "\n", DUE + "\nmore\n"),
        ("a line less", "received 2026-01-15T10:15:02.5Z\n", ""),
        ("hash in capitals", "message d7", "message D7"),
        ("hash too short", "message d7", "message "),
        ("epoch too short", "batch 00", "batch "),
        ("an offset with a leading zero", "/0/7", "/0/07"),
        ("a fraction that ends in zero", "02.5Z\ninc", "02.50Z\ninc"),
        ("no zone", DUE, DUE[:-1]),
        ("an offset from UTC", DUE, DUE[:-1] + "+00:00"),
        ("30 February", "received 2026-01-15", "received 2026-02-30"),
        ("second 60", "include-by 2026-01-15T10:16:02", "include-by 2026-01-15T10:15:60"),
        ("hour 24", "include-by 2026-01-15T10:16:02", "include-by 2026-01-15T24:16:02"),
    ):
        assert old in text, name
        cases.append(case(name, signed(text.replace(old, new)), malformed))
    _add_status_json(log, cases, good, receipt)
    return {
        "policies": policies()
        | {
            "no intake key": f"log {LOG_KEY.vkey}\nquorum none\n",
            "another intake": "#gridseal/policy/v1\n#gridseal intake "
            f"{note_key('example.com/log/intake').vkey}\nlog {LOG_KEY.vkey}\nquorum none\n",
        },
        "cases": cases,
    }


def _add_status_json(log: VectorLog, cases: list[Json], good: str, receipt: str) -> None:
    malformed, none = expect("receipt-malformed"), expect("no-receipt", 2)
    accepted = {"type": "accepted", "message": "", "note": good}
    summary: Json = {"type": "certified", "first_index": 3, "count": 1, "receipt": receipt}
    bare = {"type": "certified", "count": 2, "checkpoint": log.checkpoint(7)}
    spoilt = log.checkpoint(7).replace("\n7\n", "\n8\n")
    for name, value, expected in (
        ("accepted", accepted, expect("promise", 2)),
        ("accepted, without note", {"type": "accepted"}, malformed),
        ("accepted, with a receipt for a note", accepted | {"note": receipt}, malformed),
        ("certified", summary, expect()),
        ("certified, another index", summary | {"first_index": 4}, malformed),
        ("certified, the index a text", summary | {"first_index": "3"}, malformed),
        ("certified, without index", _without(summary, "first_index"), malformed),
        ("certified, more members", summary | {"x": [{}]}, expect()),
        ("certified, a note for a receipt", summary | {"receipt": good}, malformed),
        ("certified, without receipt", bare, none),
        ("certified, receipt null", bare | {"receipt": None}, none),
        ("certified, head changed", bare | {"checkpoint": spoilt}, expect("signature-invalid")),
        ("certified, without anything", {"type": "certified"}, malformed),
        ("refused", {"type": "refused", "code": "json-malformed"}, none),
        ("another type", {"type": "other"}, malformed),
        ("a number for a type", {"type": 1}, malformed),
        ("no type", {}, malformed),
        ("eight levels", summary | {"x": [[[[[[[]]]]]]]}, expect()),
        ("nine levels", summary | {"x": [[[[[[[[]]]]]]]]}, malformed),
        ("a fraction", summary | {"x": 1.5}, malformed),
    ):
        cases.append(case(f"JSON: {name}", json.dumps(value), expected))
    text = json.dumps(accepted)
    for name, written in (
        ("space before", " " + text),
        ("something behind", text + "{}"),
        ("a member twice", text.replace("{", '{"type":"accepted",', 1)),
        ("half a surrogate pair", text.replace('"message": ""', '"message": "\\ud800"')),
        ("NaN", text.replace('"message": ""', '"message": NaN')),
        ("an array", f"[{text}]"),
    ):
        cases.append(case(f"JSON: {name}", written, malformed))
    cases.append(case("JSON: line breaks", text.replace(", ", ",\r\n "), expect("promise", 2)))


def _without(members: Mapping[str, object], name: str) -> Json:
    return {key: value for key, value in members.items() if key != name}


KEY = f"log {LOG_KEY.vkey}\n"
OURS = "#gridseal/policy/v1\n"
CHAIN = f"{OURS}#gridseal chain 1337 public -\n#gridseal contract {CONTRACT} -\n"
INTAKE = f"#gridseal intake {INTAKE_KEY.vkey}\n"
END = "quorum none\n"


def policy_cases() -> Json:
    """Policies that are read, and those that are refused whole."""
    good, bad = _good_policies(), _bad_policies()
    receipt = _record("a policy", "{}", {})["input"]
    wrong = expect("policy-malformed", 3)
    cases = []
    for name in good:
        found = expect("authentic", 2, anchored="rpc-unreachable") if "chain" in name else expect()
        found = found if "looks like" not in name else expect()
        cases.append(case(name, receipt, found, name))
    cases += [case(name, receipt, wrong, name) for name in bad]
    return {"policies": good | bad, "cases": cases}


def _good_policies() -> dict[str, str]:
    key, ours, chain, intake, end = KEY, OURS, CHAIN, INTAKE, END
    one, two, three = (f"witness w{n} {w.vkey}\n" for n, w in enumerate(WITNESSES, 1))
    return {
        "of C2SP alone": key + end,
        "without last newline": key + end[:-1],
        "tabs, spaces, empty lines, comments": f" \t{key}\n# a comment\n#\n\t {end}",
        "quorum first": end + key,
        "a URL of the log": f"log {LOG_KEY.vkey} http://log.example/\n{end}",
        "two keys of one name": f"{key}log {note_key(ORIGIN, secret='b').vkey}\n{end}",
        "witnesses that nobody asks for": key + one + two + end,
        "any of two": f"{key}{one}{two}group g any w1 w2\n{end}",
        "groups of groups": f"{key}{one}{two}{three}group a any w1 w2\ngroup b all a w3\n{end}",
        "a group named any": f"{key}{one}group any any w1\n{end}",
        "ours, and nothing else of ours": ours + key + end,
        "ours indented": f"  {ours}{key}{end}",
        "a comment that looks like ours": f"# gridseal chain\n{key}{end}",
        "two contracts of one chain": f"{chain}#gridseal contract 0x{'Ab' * 20} 0x{'cd' * 32}\n"
        + key + end,
        "two intake keys": f"{ours}{intake}#gridseal intake {note_key('o/intake').vkey}\n"
        + key + end,
    }  # fmt: skip


def _bad_policies() -> dict[str, str]:
    key, ours, chain, intake, end = KEY, OURS, CHAIN, INTAKE, END
    one, two, _ = (f"witness w{n} {w.vkey}\n" for n, w in enumerate(WITNESSES, 1))
    return {
        "empty": "",
        "no quorum": key,
        "two quorums": key + end + end,
        "a quorum that is not there": f"{key}quorum w1\n",
        "a quorum that comes later": f"{key}quorum w1\n{one}",
        "an unknown word": f"{key}{end}logs\n",
        "a word too many": f"{key}quorum none none\n",
        "a carriage return": (key + end).replace("\n", "\r\n"),
        "a form feed": f"{key}\f{end}",
        "delete": f"{key}# \x7f\n{end}",
        "a log's key twice": key + key + end,
        "a log's key of type 4": f"log {WITNESSES[0].vkey}\n{end}",
        "a witness's key of type 1": f"{key}witness w1 {note_key('w.invalid').vkey}\n{end}",
        "a key of another id": key.replace("+7124b6ea+", "+7124b6eb+") + end,
        "an id in capitals": key.replace("+7124b6ea+", "+7124B6EA+") + end,
        "a key without base64": f"log {ORIGIN}+7124b6ea+\n{end}",
        "a key of 31 bytes": f"log {LOG_KEY.vkey[:-4]}\n{end}",
        "a witness's key twice": f"{key}{one}{one.replace('w1', 'w9')}{end}",
        "a name twice": f"{key}{one}{two.replace('w2', 'w1')}{end}",
        "a witness named none": f"{key}{one.replace('w1', 'none')}{end}",
        "a group of nobody": f"{key}group g 1\n{end}",
        "a group of strangers": f"{key}group g 1 w1\n{end}",
        "a threshold of 0": f"{key}{one}group g 0 w1\n{end}",
        "a threshold over the members": f"{key}{one}group g 2 w1\n{end}",
        "a threshold with a leading zero": f"{key}{one}group g 01 w1\n{end}",
        "a member twice": f"{key}{one}group g 1 w1 w1\n{end}",
        "a member of two groups": f"{key}{one}group g 1 w1\ngroup h 1 w1\n{end}",
        "ours before its version": intake + ours + key + end,
        "ours without version": intake + key + end,
        "another version of ours": f"#gridseal/policy/v2\n{key}{end}",
        "the version twice": ours + ours + key + end,
        "a word that begins like ours": f"{ours}#gridsealed\n{key}{end}",
        "an unknown word of ours": f"{ours}#gridseal trust me\n{key}{end}",
        "ours without a word": f"{ours}#gridseal\n{key}{end}",
        "a chain without contract": f"{ours}#gridseal chain 1337 own -\n{key}{end}",
        "a contract without chain": f"{ours}#gridseal contract {CONTRACT} -\n{key}{end}",
        "a depth without chain": f"{ours}#gridseal depth 3\n{key}{end}",
        "anchor-within without chain": f"{ours}#gridseal anchor-within 3\n{key}{end}",
        "an endpoint without chain": f"{ours}#gridseal rpc https://rpc.example/\n{key}{end}",
        "two chains": f"{chain}#gridseal chain 1337 public -\n{key}{end}",
        "a chain of another kind": f"{chain.replace('public', 'private')}{key}{end}",
        "a chain id in hexadecimal": f"{chain.replace('1337', '0x539')}{key}{end}",
        "a chain id with a leading zero": f"{chain.replace('1337', '01337')}{key}{end}",
        "a chain id of 20 digits": f"{chain.replace('1337', '1' * 20)}{key}{end}",
        "a contract's address too short": f"{chain.replace('0xc0', '0x')}{key}{end}",
        "a contract without hash": chain.replace(f"{CONTRACT} -", CONTRACT) + key + end,
        "a hash in capitals": chain.replace(f"{CONTRACT} -", f"{CONTRACT} 0x{'AB' * 32}")
        + key + end,
        "a depth that is none": f"{chain}#gridseal depth safe\n{key}{end}",
        "a depth twice": f"{chain}#gridseal depth 1\n#gridseal depth 2\n{key}{end}",
        "anchor-within in words": f"{chain}#gridseal anchor-within soon\n{key}{end}",
        "an endpoint twice": chain + 2 * "#gridseal rpc https://rpc.example/\n" + key + end,
        "an intake key of type 4": f"{ours}#gridseal intake {WITNESSES[0].vkey}\n{key}{end}",
        "an intake key of another name": f"{ours}#gridseal intake {LOG_KEY.vkey}\n{key}{end}",
        "an intake key twice": ours + intake + intake + key + end,
        "over 64 KiB": key + end + "#" * 65_536,
    }  # fmt: skip


def calls(log: VectorLog) -> Json:
    """Calls of the command: `arguments`, and `files` that stand where it runs."""
    chain = "#gridseal/policy/v1\n#gridseal chain 1337 public {}\n#gridseal contract "
    chain += f"{CONTRACT} -\n"
    key = f"log {LOG_KEY.vkey}\nquorum none\n"
    files = {
        "receipt": log.receipt(3, 7),
        "bad": log.receipt(3, 7).replace("index 3", "index 2"),
        "policy": policies()["plain"],
        "broken": "quorum\n",
        "http": chain.format("http://rpc.example/") + key,
        "ftp": chain.format("ftp://rpc.example/") + key,
        "user": chain.format("https://me:secret@rpc.example/") + key,
    }  # fmt: skip
    ok, wrong = expect(), expect("wrong-use", 3)
    refused = expect("url-refused", 3)
    rows = (
        ("a policy", ["receipt", "--policy", "policy"], [ok]),
        ("a key", ["receipt", "--log-key", LOG_KEY.vkey], [ok]),
        ("two files", ["bad", "receipt", "--policy", "policy"], [expect("root-mismatch"), ok]),
        ("neither policy nor key", ["receipt"], [wrong]),
        ("policy and key", ["receipt", "--policy", "policy", "--log-key", LOG_KEY.vkey], [wrong]),
        ("an endpoint without contract",
         ["receipt", "--log-key", LOG_KEY.vkey, "--rpc", "https://rpc.example/"], [wrong]),
        ("a contract without endpoint",
         ["receipt", "--log-key", LOG_KEY.vkey, "--contract", CONTRACT], [wrong]),
        ("an endpoint, and a policy without chain",
         ["receipt", "--policy", "policy", "--rpc", "https://rpc.example/"], [wrong]),
        ("a file that is not there", ["nothing", "--policy", "policy"],
         [expect("file-unreadable", 3)]),
        ("a policy that is not there", ["receipt", "--policy", "nothing"],
         [expect("file-unreadable", 3)]),
        ("a policy that is none", ["receipt", "--policy", "broken"],
         [expect("policy-malformed", 3)]),
        ("a key that is none", ["receipt", "--log-key", "key"], [expect("policy-malformed", 3)]),
        ("plain http", ["receipt", "--policy", "http"], [refused]),
        ("another scheme", ["receipt", "--policy", "ftp"], [refused]),
        ("a user name in a URL", ["receipt", "--policy", "user"], [refused]),
    )  # fmt: skip
    cases: list[Json] = [
        {"name": name, "arguments": arguments, "expect": found} for name, arguments, found in rows
    ]
    return {"files": files, "cases": cases}
