"""`gridseal verify FILE…`: checks receipts and trusts nothing of the platform.

Importing this costs the standard library and Ed25519; the network code is loaded only where a
chain or a log is to be asked.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from bal.certify.verify import (
    DAY_BYTES_MAX,
    EXIT_FAILS,
    EXIT_HOLDS,
    EXIT_WRONG_USE,
    ChainPolicy,
    CloseView,
    Contract,
    Policy,
    TileSource,
    Verdict,
    Verdicts,
    VerifyError,
    exit_of,
    parse_policy,
    parse_vkey,
    printable,
    verify,
    worst_exit,
)

_INTAKE_SUFFIX = "/intake"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gridseal verify` to a parser."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="receipt, accepted note, or a day")
    add("--policy", type=Path, metavar="FILE", help="whom to trust (docs/spec/policy.md)")
    add("--log-key", action="append", metavar="VKEY", help="instead of a policy: the log's key")
    add(
        "--rpc",
        action="append",
        metavar="URL",
        help="JSON-RPC endpoint of the chain, over the policy's own; of several all must agree",
    )
    add("--contract", metavar="ADDR", help="with --log-key and --rpc: the anchors' contract")
    add("--ca", type=Path, metavar="FILE", help="CA certificate of the platform's HTTPS, PEM")
    add("--log", metavar="URL", help="prefix of the log's tiles; over the policy's own")
    add("--accept-own-chain", action="store_true", help="exit 0 where only that stands against it")
    add(
        "--require",
        metavar="complete",
        help="exit 2 unless every file is the day of a device with a value in each slot: without"
        " it a day with gaps, and a proof that there is none, are 0",
    )
    add("--json", action="store_true", help="one line of JSON a file")


def run(args: argparse.Namespace) -> int:
    """Verify each file, print a block or a line of JSON for each, and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without ✔ gets \\u2714, no traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    show = _show_json if args.json else _show_block
    try:
        trust = _trust(args)
    except VerifyError as error:
        verdicts = Verdicts(Verdict(error.code, error.text))
        return show("", verdicts, {})
    asked = {
        "accept_own_chain": args.accept_own_chain,
        "require_complete": args.require is not None,
    }
    exits = [show(name, _verify_file(Path(name), trust), asked) for name in args.files]
    return worst_exit(exits)


@dataclass(frozen=True, slots=True)
class _Trust:
    """What all files are checked against."""

    policy: Policy
    chain: CloseView | None
    tiles: TileSource | None


def _trust(args: argparse.Namespace) -> _Trust:
    """Policy, chain and tiles as the arguments name them; VerifyError where they do not fit."""
    if args.require not in {None, "complete"}:
        raise VerifyError("wrong-use", "--require knows only the word complete")
    policy = _policy(args)
    chain: CloseView | None = None
    tiles: TileSource | None = None
    rpc_urls = args.rpc or (policy.chain.rpc_urls if policy.chain else ())
    log_urls = {"": args.log} if args.log else policy.log_urls
    if policy.chain is not None and rpc_urls:
        from infra.verify_endpoints import chain_at  # noqa: PLC0415 - 0.2 s, rarely needed
        from infra.verify_rpc import HttpTiles  # noqa: PLC0415

        # The platform's CA must not vouch for the endpoint of a chain that is not its own.
        chain = chain_at(rpc_urls, args.ca if policy.chain.kind != "public" else None)
        tiles = HttpTiles(log_urls, args.ca) if log_urls else None
    return _Trust(policy, chain, tiles)


def _policy(args: argparse.Namespace) -> Policy:
    if args.policy is not None:
        if args.log_key or args.contract:
            raise VerifyError("wrong-use", "give a policy, or --log-key and --contract, not both")
        name = printable(str(args.policy))
        try:
            policy = parse_policy(args.policy.read_bytes())
        except OSError as error:
            text = f"the policy {name} can't be read: {error.strerror}"
            raise VerifyError("file-unreadable", text) from None
        except VerifyError as error:
            raise VerifyError(error.code, f"the policy {name}: {error.text}") from None
        if args.rpc and policy.chain is None:
            raise VerifyError("wrong-use", "--rpc needs a chain line in the policy")
        return policy
    if not args.log_key:
        raise VerifyError(
            "wrong-use", "a receipt does not say whom to trust: give --policy or --log-key"
        )
    if bool(args.rpc) != bool(args.contract):
        raise VerifyError("wrong-use", "--rpc and --contract belong together: give both")
    keys = [parse_vkey(text) for text in args.log_key]
    policy = parse_policy("".join(f"log {key.vkey}\n" for key in keys).encode() + b"quorum none\n")
    intake = tuple(key for key in keys if key.name.endswith(_INTAKE_SUFFIX))
    logs = tuple(key for key in policy.logs if key not in intake)
    chain = None
    if args.rpc:
        chain = ChainPolicy(None, "unstated", (Contract.parse(args.contract),), tuple(args.rpc))
    return replace(policy, logs=logs, intake=intake, chain=chain)


def _verify_file(path: Path, trust: _Trust) -> Verdicts:
    try:
        with path.open("rb") as file:
            data = file.read(DAY_BYTES_MAX + 1)
        held_since_s = int(path.stat().st_mtime)
    except OSError as error:
        return Verdicts(Verdict("file-unreadable", f"It can't be read: {error.strerror}."))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Verdicts(Verdict("receipt-malformed", "The file is not UTF-8."))
    return verify(
        text,
        trust.policy,
        trust.chain,
        trust.tiles,
        now_s=int(time.time()),
        held_since_s=held_since_s,
    )


def _show_json(name: str, verdicts: Verdicts, asked: Mapping[str, bool]) -> int:
    found = verdicts.as_json(**asked)
    if name:
        found["file"] = name
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return verdicts.exit_code(**asked)


def _show_block(name: str, verdicts: Verdicts, asked: Mapping[str, bool]) -> int:
    """For people: one line a verdict, what was certified, and the exit code.

    Of a wrong call, before any file was looked at, only what is wrong with it.
    """
    if not name:
        sys.stdout.write(f"✘ {verdicts.authentic.text} [{verdicts.authentic.code}]\n")
        return verdicts.exit_code()
    lines = [printable(name)]
    for question in ("authentic", "anchored", "complete", "plausible"):
        verdict: Verdict = getattr(verdicts, question)
        lines.append(f"  {_mark(verdict.code)} {question:<10} {verdict.text} [{verdict.code}]")
    lines += [f"    {word:<10} {text}" for word, text in _certified(verdicts.record)]
    if verdicts.evidence is not None:
        lines.append("  evidence of the fork, for anybody to check:")
        lines += ["    " + line for line in json.dumps(verdicts.evidence, indent=2).split("\n")]
    exit_ = verdicts.exit_code(**asked)
    sys.stdout.write("\n".join([*lines, f"  exit {exit_}"]) + "\n")
    return exit_


def _mark(code: str) -> str:
    exit_ = exit_of(code)
    if exit_ in (EXIT_FAILS, EXIT_WRONG_USE):
        return "✘"
    return "✔" if exit_ == EXIT_HOLDS and code not in ("not-checked", "findings") else "–"


def _certified(record: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What the record says, in words; only members that are there."""
    if record is None:
        return []
    texts = {name: value for name, value in record.items() if isinstance(value, str)}
    quality = record.get("quality")
    if isinstance(quality, list):
        texts["quality"] = ", ".join(item for item in quality if isinstance(item, str))
    when = " – ".join(texts[name] for name in ("begin", "end", "time") if texts.get(name))
    value = " ".join(texts[name] for name in ("value", "unit") if texts.get(name))
    what = ", ".join(part for part in (value, when) if part)
    rows = [("certified", f"{texts.get('kind', 'record')}{': ' if what else ''}{what}")]
    rows += [(name, texts[name]) for name in ("device", "register", "quality") if texts.get(name)]
    return [(word, printable(text)) for word, text in rows]


class _Parser(argparse.ArgumentParser):
    """argparse ends with 2 on wrong use, which here means: not decidable yet."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_WRONG_USE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m infra.verify_cli`: the verifier without the rest of Gridseal."""
    parser = _Parser(prog="gridseal verify", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
