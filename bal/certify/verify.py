"""The verifier: what a receipt proves to somebody who trusts nothing of the platform.

Four verdicts, each a code and a sentence (docs/spec/receipt.md): *authentic* (record, commitment,
path, signature, quorum), *anchored* (the root stands on chain), *complete* (not in this version),
*plausible* (findings; a doubtful content never makes a proof invalid).

Pure, and shares nothing else with Gridseal: chain and tiles are handed in, `infra/verify_cli.py`
reaches them over HTTP. `check_*` return None or raise VerifyError.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bal.certify.verify_chain import ChainView, check_anchored
from bal.certify.verify_frame import check_frame
from bal.certify.verify_note import (
    FILE_BYTES_MAX,
    Checkpoint,
    VerifierKey,
    VerifyError,
    find_key,
    parse_checkpoint,
    parse_json,
    parse_note,
    parse_vkey,
    printable,
    signed_by,
)
from bal.certify.verify_policy import (
    ChainPolicy,
    Contract,
    Policy,
    check_quorum,
    parse_policy,
    policy_text,
)
from bal.certify.verify_proof import (
    Receipt,
    TileSource,
    check_path,
    commitment,
    leaf_hash,
    parse_receipt,
    parse_record,
)

__all__ = [
    "EXIT_FAILS",
    "EXIT_HOLDS",
    "EXIT_UNDECIDED",
    "EXIT_WRONG_USE",
    "FILE_BYTES_MAX",
    "ChainPolicy",
    "ChainView",
    "Contract",
    "Policy",
    "TileSource",
    "Verdict",
    "Verdicts",
    "VerifyError",
    "check_anchored",
    "check_authentic",
    "check_checkpoint",
    "exit_of",
    "parse_json",
    "parse_policy",
    "parse_vkey",
    "policy_text",
    "printable",
    "verify",
    "verify_receipt",
    "worst_exit",
]

STATUS_DEPTH_MAX = 8  # of a status message; a finding in it is at 3
ACCEPTED_LINE = "gridseal/accepted/v1"

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
_PROMISE = (  # the lines of an accepted note after version and origin
    r"message [0-9a-f]{64}",
    r"batch [0-9a-f]+/[0-9]+/[0-9]+",
    f"received {_TIME}",
    f"include-by {_TIME}",
)

EXIT_HOLDS, EXIT_FAILS, EXIT_UNDECIDED, EXIT_WRONG_USE = 0, 1, 2, 3
_WORST_FIRST = (EXIT_WRONG_USE, EXIT_FAILS, EXIT_UNDECIDED, EXIT_HOLDS)
_CODES = {
    EXIT_HOLDS: "authentic anchored not-checked nothing-doubtful findings",
    EXIT_UNDECIDED: "close-not-on-chain intake-key-missing log-needed log-unreachable no-receipt "
    "not-anchored-yet own-chain promise promise-due rpc-endpoints-differ rpc-unreachable",
    EXIT_WRONG_USE: "file-unreadable policy-malformed url-refused wrong-use",
}
_EXITS = {code: exit_ for exit_, codes in _CODES.items() for code in codes.split()}
# every other code is that of a proof that fails: EXIT_FAILS


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question's answer: kebab-case code (docs/spec/receipt.md §Codes) and one sentence."""

    code: str
    text: str


NOT_ASKED = Verdict("not-checked", "Not checked: nothing asked for it.")
NOT_IN_THIS_VERSION = Verdict("not-checked", "Not checked: this version checks no book of days.")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one file proves."""

    authentic: Verdict
    anchored: Verdict = NOT_ASKED
    complete: Verdict = NOT_IN_THIS_VERSION
    plausible: Verdict = NOT_ASKED
    record: Mapping[str, Any] | None = None  # what was certified; only where authentic
    evidence: Mapping[str, object] | None = None  # a fork's self-contained proof

    def exit_code(self, *, accept_own_chain: bool = False) -> int:
        """0 all asked hold · 1 a proof fails · 2 not decidable · 3 wrong use."""
        asked = (self.authentic, self.anchored, self.complete, self.plausible)
        codes = [verdict.code for verdict in asked]
        if accept_own_chain:
            codes = [code for code in codes if code != "own-chain"]
        return worst_exit(map(exit_of, codes))

    def as_json(self, *, accept_own_chain: bool = False) -> dict[str, object]:
        """{"verdicts": …, "exit": n}, and `evidence` of a fork."""
        names = ("authentic", "anchored", "complete", "plausible")
        found: dict[str, object] = {
            "verdicts": {
                name: {"code": getattr(self, name).code, "text": getattr(self, name).text}
                for name in names
            },
            "exit": self.exit_code(accept_own_chain=accept_own_chain),
        }
        return found | ({"evidence": self.evidence} if self.evidence is not None else {})


def verify(
    text: str,
    policy: Policy,
    chain: ChainView | None = None,
    tiles: TileSource | None = None,
    *,
    now_s: int | None = None,
    held_since_s: int | None = None,
) -> Verdicts:
    """The verdicts on any of the three forms: tlog-proof, summary or status as JSON, accepted note.

    now_s, held_since_s: seconds since 1970 of now and of when the holder is known to have had
    the file; only whether a promise is overdue depends on them.
    """
    times = _Times(now_s, held_since_s)
    try:
        _check_text(text)
        if text.startswith("{"):
            text = _from_json(text, policy)
        if text.startswith(ACCEPTED_LINE + "\n"):
            return Verdicts(_promise(text, policy, times))
    except VerifyError as error:
        return Verdicts(Verdict(error.code, error.text))
    return _verify_receipt(text, policy, chain, tiles, times)


def verify_receipt(
    text: str,
    policy: Policy,
    chain: ChainView | None = None,
    tiles: TileSource | None = None,
    *,
    now_s: int | None = None,
    held_since_s: int | None = None,
) -> Verdicts:
    """The verdicts on one tlog-proof; see `verify` for the times."""
    return _verify_receipt(text, policy, chain, tiles, _Times(now_s, held_since_s))


def check_authentic(receipt: Receipt, policy: Policy) -> dict[VerifierKey, int]:
    """Return only if the record was certified under `policy`; the witnesses' times in seconds.

    Raises VerifyError record-not-canonical, log-key-unknown, signature-invalid,
    cosignature-invalid, index-outside, path-wrong-length, root-mismatch, quorum-missing, or of a
    frame frame-malformed or frame-mismatch, in this order: the signature before the path, so that
    the root is the log's when a path fails.
    """
    record = parse_record(receipt.record)
    cosigned = check_checkpoint(receipt.checkpoint, policy)
    entry = commitment(receipt.type, receipt.salt, receipt.record.encode())
    head = receipt.checkpoint
    check_path(leaf_hash(entry), receipt.index, receipt.path, head.size, head.root)
    check_quorum(policy, cosigned)
    if receipt.frame is not None:
        check_frame(receipt.frame, record)
    return cosigned


def check_checkpoint(checkpoint: Checkpoint, policy: Policy) -> dict[VerifierKey, int]:
    """Return only if a log key of the policy signed it; the witnesses that cosigned, with times.

    Raises VerifyError log-key-unknown, signature-invalid, cosignature-invalid.
    """
    keys = find_key(policy.logs, checkpoint.origin)
    if not keys:
        raise VerifyError(
            "log-key-unknown", f"the policy knows no key of log {printable(checkpoint.origin)}"
        )
    if not signed_by(checkpoint.note, keys):
        raise VerifyError(
            "log-key-unknown", f"no key of the policy signed for {printable(checkpoint.origin)}"
        )
    return signed_by(checkpoint.note, policy.witnesses.values())


def exit_of(code: str) -> int:
    """The exit code that a verdict's code alone leads to."""
    return _EXITS.get(code, EXIT_FAILS)


def worst_exit(exits: Iterable[int]) -> int:
    """Of several exit codes the one to end with: 3, then 1, then 2, then 0."""
    found = set(exits)
    return next(code for code in _WORST_FIRST if code in found or code == EXIT_HOLDS)


@dataclass(frozen=True, slots=True)
class _Times:
    now_s: int | None = None
    held_since_s: int | None = None

    def age_s(self, cosigned: Mapping[VerifierKey, int]) -> int | None:
        """For how long the receipt is known: by its holder, or by a witness of the policy."""
        known = [time_s for time_s in (self.held_since_s, *cosigned.values()) if time_s]
        return self.now_s - min(known) if self.now_s is not None and known else None


def _verify_receipt(
    text: str,
    policy: Policy,
    chain: ChainView | None,
    tiles: TileSource | None,
    times: _Times,
) -> Verdicts:
    try:
        _check_text(text)
        receipt = parse_receipt(text)
        cosigned = check_authentic(receipt, policy)
    except VerifyError as error:
        return Verdicts(Verdict(error.code, error.text))
    head = receipt.checkpoint
    witnessed = f" and {len(cosigned)} witness{'es' * (len(cosigned) > 1)}" if cosigned else ""
    record = parse_record(receipt.record)
    found = Verdicts(
        Verdict(
            "authentic",
            f"{_frame_of(receipt)} is entry {receipt.index} of {head.size} of "
            f"{printable(head.origin)}, signed by the log{witnessed}.",
        ),
        plausible=_plausible(record),
        record=record,
    )
    if policy.chain is None:
        return found
    try:
        if chain is None:
            raise VerifyError(
                "rpc-unreachable", "The policy names a chain, but nothing gave an endpoint of it."
            )
        text = check_anchored(receipt, policy.chain, chain, tiles, times.age_s(cosigned))
    except VerifyError as error:
        verdict = Verdict(error.code, _believed(error.text, error.code, chain))
        return replace(found, anchored=verdict, evidence=error.evidence)
    return replace(found, anchored=Verdict("anchored", _believed(text, "anchored", chain)))


def _believed(text: str, code: str, chain: ChainView | None) -> str:
    """A verdict that rests on what endpoints of a chain say names them: they could lie."""
    if chain is None or code in {"rpc-unreachable", "rpc-endpoints-differ"}:
        return text
    return f"{text.removesuffix('.')}; {chain.source()}."


def _frame_of(receipt: Receipt) -> str:
    """What was proved, as the beginning of a sentence; the receipt is authentic."""
    if receipt.frame is None:
        return "The record"
    frame = receipt.frame
    return f"The record of a window, which has this frame as number {frame['index']} from 0,"


def _plausible(record: Mapping[str, Any]) -> Verdict:
    findings = record.get("findings")
    if not isinstance(findings, list) or not findings:
        return Verdict("nothing-doubtful", "The record carries no finding.")
    first = findings[0] if isinstance(findings[0], dict) else {}
    told = printable(f"{first.get('code', 'finding')}: {first.get('text', '')}").rstrip(".")
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Verdict("findings", f"The record itself says {told}{more}.")


def _from_json(text: str, policy: Policy) -> str:
    """The proof or note inside a status message; VerifyError where it carries none."""
    try:
        message = parse_json(text, STATUS_DEPTH_MAX, members=_members)
    except ValueError:
        raise VerifyError("receipt-malformed", "the file is neither a receipt nor JSON") from None
    kind = message.get("type")
    if kind == "accepted" and isinstance(message.get("note"), str):
        return str(message["note"])
    if kind == "refused":
        raise VerifyError("no-receipt", "the platform refused this message; nothing is certified")
    if kind != "certified":
        raise VerifyError("receipt-malformed", "the JSON is no status of a message")
    receipt = message.get("receipt")
    if isinstance(receipt, str):
        if parse_receipt(receipt).index != message.get("first_index"):
            raise VerifyError(
                "receipt-malformed", "the receipt's index is not the summary's first_index"
            )
        return receipt
    if not isinstance(message.get("checkpoint"), str):
        raise VerifyError("receipt-malformed", "the summary has neither receipt nor checkpoint")
    head = parse_checkpoint(message["checkpoint"])
    check_checkpoint(head, policy)
    raise VerifyError(
        "no-receipt",
        f"the summary's checkpoint of size {head.size} is signed, but a summary proves no "
        "reading: fetch the receipt of each entry",
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member stands twice")
    return dict(pairs)


def _promise(text: str, policy: Policy, times: _Times) -> Verdict:
    """The verdict on an accepted note whose signature holds; else VerifyError."""
    note = parse_note(text)
    lines = note.text[:-1].split("\n")
    if len(lines) != 2 + len(_PROMISE) or not all(map(re.fullmatch, _PROMISE, lines[2:])):
        raise VerifyError("receipt-malformed", f"The note has not the lines of {ACCEPTED_LINE}.")
    origin, due = printable(lines[1]), lines[5].removeprefix("include-by ")
    if not policy.intake:
        raise VerifyError(
            "intake-key-missing", "This is an accepted note, but the policy has no intake key."
        )
    if not signed_by(note, find_key(policy.intake, f"{lines[1]}/intake")):
        raise VerifyError("log-key-unknown", f"No intake key of the policy signed for {origin}.")
    if times.now_s is not None and times.now_s > _seconds(due):
        return Verdict(
            "promise-due",
            f"An accepted note: {origin} promised an entry by {due}, which is past. Ask for the "
            "certified receipt; if there is none, this note proves the broken promise.",
        )
    return Verdict(
        "promise",
        f"An accepted note: {origin} promises an entry by {due}. It is no proof of inclusion.",
    )


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        raise VerifyError("receipt-malformed", "The time of include-by does not exist.") from None


def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise VerifyError("receipt-malformed", "the file is not UTF-8") from None
    if size == 0:
        raise VerifyError("receipt-malformed", "the file is empty")
    if "\r" in text and not text.startswith("{"):  # of JSON it is white space
        raise VerifyError(
            "receipt-malformed", "the file has CR line ends: something on its way changed them"
        )
    if size > FILE_BYTES_MAX:
        raise VerifyError("receipt-malformed", f"the file is longer than {FILE_BYTES_MAX} bytes")
