"""The verifier: what a receipt proves to somebody who trusts nothing of the platform.

Four verdicts, each a code and a sentence (docs/spec/receipt.md): *authentic* (record, commitment,
path, signature, quorum), *anchored* (the root stands on chain), *complete* (a day of a
device is all there, docs/spec/completeness.md), *plausible* (findings; a doubtful content never
makes a proof invalid).

Pure, and shares nothing else with Gridseal: chain and tiles are handed in, `infra/verify_cli.py`
reaches them over HTTP. `check_*` return None or raise VerifyError.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bal.certify.verify_chain import (
    Anchorable,
    ChainView,
    CloseView,
    check_anchored,
    check_closed,
)
from bal.certify.verify_day import (
    DAY_BYTES_MAX,
    DAY_VERSION,
    check_complete,
    check_included,
    parse_day,
)
from bal.certify.verify_frame import check_frame
from bal.certify.verify_note import (
    FILE_BYTES_MAX,
    VerifierKey,
    VerifyError,
    parse_json,
    parse_vkey,
    printable,
)
from bal.certify.verify_policy import (
    ChainPolicy,
    Contract,
    Policy,
    check_checkpoint,
    check_quorum,
    parse_policy,
    policy_text,
)
from bal.certify.verify_proof import (
    Receipt,
    TileSource,
    check_path,
    leaf_hash,
    parse_receipt,
    parse_record,
)
from bal.certify.verify_status import (
    ACCEPTED_LINE,
    check_promise,
    parse_message,
    proof_in,
)

__all__ = [
    "DAY_BYTES_MAX",
    "EXIT_FAILS",
    "EXIT_HOLDS",
    "EXIT_UNDECIDED",
    "EXIT_WRONG_USE",
    "FILE_BYTES_MAX",
    "ChainPolicy",
    "ChainView",
    "CloseView",
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


EXIT_HOLDS, EXIT_FAILS, EXIT_UNDECIDED, EXIT_WRONG_USE = 0, 1, 2, 3
_WORST_FIRST = (EXIT_WRONG_USE, EXIT_FAILS, EXIT_UNDECIDED, EXIT_HOLDS)
_CODES = {
    EXIT_HOLDS: "absent anchored authentic complete complete-gaps findings not-checked "
    "nothing-doubtful",
    EXIT_UNDECIDED: "close-not-on-chain intake-key-missing log-needed log-unreachable no-receipt "
    "not-anchored-yet own-chain promise promise-due rpc-endpoints-differ rpc-unreachable",
    EXIT_WRONG_USE: "file-unreadable policy-malformed url-refused wrong-use",
}
_EXITS = {code: exit_ for exit_, codes in _CODES.items() for code in codes.split()}
_OF_THE_BOOK = {"book-mismatch", "close-malformed", "slot-mismatch", "version-mismatch"}
# every other code is that of a proof that fails: EXIT_FAILS


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question's answer: kebab-case code (docs/spec/receipt.md §Codes) and one sentence."""

    code: str
    text: str


NOT_ASKED = Verdict("not-checked", "Not checked: nothing asked for it.")
NO_DAY = Verdict("not-checked", "Not checked: the file is not the day of a device.")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one file proves."""

    authentic: Verdict
    anchored: Verdict = NOT_ASKED
    complete: Verdict = NO_DAY
    plausible: Verdict = NOT_ASKED
    record: Mapping[str, Any] | None = None  # what was certified; only where authentic
    evidence: Mapping[str, object] | None = None  # a fork's self-contained proof
    day: str = ""  # what the book shows of a day: complete, complete-gaps, absent; else nothing

    def exit_code(self, *, accept_own_chain: bool = False, require_complete: bool = False) -> int:
        """0 all asked hold · 1 a proof fails · 2 not decidable · 3 wrong use.

        require_complete: 2, too, where it is not proved of a day that all of its slots are there.
        """
        asked = (self.authentic, self.anchored, self.complete, self.plausible)
        codes = [verdict.code for verdict in asked]
        if accept_own_chain:
            codes = [code for code in codes if code != "own-chain"]
        short = require_complete and self.day != "complete"
        return worst_exit([*map(exit_of, codes), EXIT_UNDECIDED if short else EXIT_HOLDS])

    def as_json(
        self, *, accept_own_chain: bool = False, require_complete: bool = False
    ) -> dict[str, object]:
        """{"verdicts": …, "exit": n}, and `evidence` of a fork."""
        names = ("authentic", "anchored", "complete", "plausible")
        found: dict[str, object] = {
            "verdicts": {
                name: {"code": getattr(self, name).code, "text": getattr(self, name).text}
                for name in names
            },
            "exit": self.exit_code(
                accept_own_chain=accept_own_chain, require_complete=require_complete
            ),
        }
        return found | ({"evidence": self.evidence} if self.evidence is not None else {})


def verify(
    text: str,
    policy: Policy,
    chain: CloseView | None = None,
    tiles: TileSource | None = None,
    *,
    now_s: int | None = None,
    held_since_s: int | None = None,
) -> Verdicts:
    """The verdicts on a tlog-proof, a summary or status as JSON, an accepted note, or a day.

    now_s, held_since_s: seconds since 1970 of now and of when the holder is known to have had
    the file; only whether a promise is overdue depends on them.
    """
    times = _Times(now_s, held_since_s)
    try:
        _check_text(text, DAY_BYTES_MAX)
        if text.startswith("{"):
            message = parse_message(text)
            if str(message.get("v")).startswith(DAY_VERSION.rstrip("1")):
                return _verify_day(message, policy, chain, tiles, times)
            _check_text(text)
            text = proof_in(message, policy)
        if text.startswith(ACCEPTED_LINE + "\n"):
            _check_text(text)
            return Verdicts(Verdict(*check_promise(text, policy, now_s)))
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
    head = receipt.checkpoint
    check_path(leaf_hash(receipt.entry), receipt.index, receipt.path, head.size, head.root)
    check_quorum(policy, cosigned)
    if receipt.frame is not None:
        check_frame(receipt.frame, record)
    return cosigned


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
        plausible=_plausible([record]),
        record=record,
    )
    return _with_anchor(found, receipt, policy, times.age_s(cosigned), chain=chain, tiles=tiles)


def _verify_day(
    message: Mapping[str, Any],
    policy: Policy,
    chain: CloseView | None,
    tiles: TileSource | None,
    times: _Times,
) -> Verdicts:
    """The verdicts on a document of docs/spec/completeness.md; VerifyError: it is not authentic."""
    document = parse_day(message)
    cosigned = check_checkpoint(document.checkpoint, policy)
    records = check_included(document)
    check_quorum(policy, cosigned)
    head = document.checkpoint
    found = Verdicts(
        Verdict(
            "authentic",
            f"The close, the day and its {len(records)} records are entries of the first "
            f"{head.size} of {printable(head.origin)}, signed by the log.",
        ),
        plausible=_plausible(records),
    )
    found = _with_anchor(found, document, policy, times.age_s(cosigned), chain=chain, tiles=tiles)
    try:
        shown = check_complete(document, records)
        found = replace(found, day=shown.code)
        if policy.chain is None:
            return replace(found, complete=Verdict(shown.code, shown.text))
        if chain is None:
            raise _no_endpoint()
        where = check_closed(shown.close, policy.chain, chain)
    except VerifyError as error:
        text = f"{shown.text} {error.text}" if error.code == "own-chain" else error.text
        if error.code not in _OF_THE_BOOK:
            text = _believed(text, error.code, chain)
        evidence = found.evidence if found.evidence is not None else error.evidence
        return replace(found, complete=Verdict(error.code, text), evidence=evidence)
    text = _believed(f"{shown.text} {where}", shown.code, chain)
    return replace(found, complete=Verdict(shown.code, text))


def _no_endpoint() -> VerifyError:
    return VerifyError(
        "rpc-unreachable", "The policy names a chain, but nothing gave an endpoint of it."
    )


def _with_anchor(
    found: Verdicts,
    receipt: Anchorable,
    policy: Policy,
    age_s: int | None,
    *,
    chain: ChainView | None,
    tiles: TileSource | None,
) -> Verdicts:
    if policy.chain is None:
        return found
    try:
        if chain is None:
            raise _no_endpoint()
        text = check_anchored(receipt, policy.chain, chain, tiles, age_s)
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


def _plausible(records: Sequence[Mapping[str, Any]]) -> Verdict:
    lists = [record.get("findings") for record in records]
    findings = [finding for one in lists if isinstance(one, list) for finding in one]
    if not findings:
        return Verdict("nothing-doubtful", "No record of it carries a finding.")
    first = findings[0] if isinstance(findings[0], dict) else {}
    told = printable(f"{first.get('code', 'finding')}: {first.get('text', '')}").rstrip(".")
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Verdict("findings", f"The record itself says {told}{more}.")


def _check_text(text: str, size_max: int = FILE_BYTES_MAX) -> None:
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
    if size > size_max:
        raise VerifyError("receipt-malformed", f"the file is longer than {size_max} bytes")
