"""Statuses of a message and accepted notes: what is no receipt yet (docs/spec/receipt.md).

Part of `bal/certify/verify.py`; pure.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bal.certify.verify_note import (
    VerifyError,
    find_key,
    parse_checkpoint,
    parse_json,
    parse_note,
    printable,
    signed_by,
)
from bal.certify.verify_policy import INTAKE_SUFFIX, Policy, check_checkpoint
from bal.certify.verify_proof import parse_receipt

JSON_DEPTH_MAX = 8  # of a status message or a day; a finding in the one is at 3
ACCEPTED_LINE = "gridseal/accepted/v1"

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,5}[1-9])?Z"
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PROMISE = (  # the lines of an accepted note after version and origin
    r"message [0-9a-f]{64}",
    rf"batch [0-9a-f]{{16}}/{_NUMBER}/{_NUMBER}",
    f"received {_TIME}",
    f"include-by {_TIME}",
)


def parse_message(text: str) -> dict[str, Any]:
    """The members of a JSON object, none of them twice; VerifyError receipt-malformed."""
    try:
        message = parse_json(text, JSON_DEPTH_MAX, members=_members)
        json.dumps(message, ensure_ascii=False).encode()  # half a surrogate pair can't be
    except ValueError:
        raise VerifyError("receipt-malformed", "the file is neither a receipt nor JSON") from None
    return dict(message)


def proof_in(message: Mapping[str, Any], policy: Policy) -> str:
    """The proof or note inside a status message; VerifyError where it carries none."""
    kind, note = message.get("type"), message.get("note")
    if kind == "accepted" and isinstance(note, str) and note.startswith(ACCEPTED_LINE + "\n"):
        return note
    if kind == "refused":
        raise VerifyError("no-receipt", "the platform refused this message; nothing is certified")
    if kind != "certified":
        raise VerifyError("receipt-malformed", "the JSON is no status of a message")
    receipt = message.get("receipt")
    if isinstance(receipt, str):
        first = message.get("first_index")
        if parse_receipt(receipt).index != first or isinstance(first, bool):
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


def check_promise(text: str, policy: Policy, now_s: int | None) -> tuple[str, str]:
    """Code and sentence, promise or promise-due, of an accepted note whose signature holds.

    Raises VerifyError receipt-malformed, intake-key-missing, log-key-unknown, signature-invalid.
    """
    note = parse_note(text)
    lines = note.text[:-1].split("\n")
    if len(lines) != 2 + len(_PROMISE) or not all(map(re.fullmatch, _PROMISE, lines[2:])):
        raise VerifyError("receipt-malformed", f"The note has not the lines of {ACCEPTED_LINE}.")
    origin, due = printable(lines[1]), lines[5].removeprefix("include-by ")
    due_s, _ = _seconds(due), _seconds(lines[4].removeprefix("received "))
    if not policy.intake:
        raise VerifyError(
            "intake-key-missing", "This is an accepted note, but the policy has no intake key."
        )
    if not signed_by(note, find_key(policy.intake, lines[1] + INTAKE_SUFFIX)):
        raise VerifyError("log-key-unknown", f"No intake key of the policy signed for {origin}.")
    if now_s is not None and now_s > due_s:
        text = f"An accepted note: {origin} promised an entry by {due}, which is past. Ask for the "
        text += "certified receipt; if there is none, this note proves the broken promise."
        return "promise-due", text
    text = f"An accepted note: {origin} promises an entry by {due}. It is no proof of inclusion."
    return "promise", text


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        raise VerifyError("receipt-malformed", "A time of the note does not exist.") from None
