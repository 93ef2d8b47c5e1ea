"""What the platform records of a message itself: what was refused of it, what binds its parts."""

from collections.abc import Sequence

from bal import jcs
from bal.certify.tree import leaf_hashes, tree_head
from bal.model import Digest, Draft, Harmonised, RawMessage, Subject
from bal.subjects import draft
from bal.times import rfc3339

REFUSALS_KEPT_MAX = 1_000


def refused_draft(message: RawMessage, found: Harmonised, sender: Subject) -> Draft:
    """What was refused of a message, so that the refusal is provable too."""
    kept = found.refused[:REFUSALS_KEPT_MAX]
    made = [part.commitment for part in found.parts]
    evidence = made[0] if len(made) == 1 else root_of(made)
    record = jcs.encode(
        {
            "count": str(len(found.refused)),
            "device": sender.pseudonym,
            "evidence": evidence.hex(),
            "format": message.format,
            "id": "",
            "kind": "refused",
            "refused": [{"id": f"#refused-{i}", **f.as_json()} for i, f in enumerate(kept, 1)],
            "time": rfc3339(message.received_us),
            "v": "1",
        }
    )
    return draft(sender, "refused", record)


def message_draft(
    message: RawMessage, found: Harmonised, platform: Subject, sender: Subject
) -> Draft:
    """Binds the parts of a message of several subjects together (ARCHITECTURE §2, evidence)."""
    record = jcs.encode(
        {
            "device": platform.pseudonym,
            "format": message.format,
            "id": "",
            "kind": "message",
            "parts": str(len(found.parts)),
            "root": root_of([part.commitment for part in found.parts]).hex(),
            "sender": sender.pseudonym,
            "signature": found.signature,
            "time": rfc3339(message.received_us),
            "v": "1",
        }
    )
    return draft(platform, "message", record)


def root_of(entries: Sequence[Digest]) -> Digest:
    """RFC 6962 root over commitments; those of parts in the message's order."""
    return tree_head(leaf_hashes(entries)).root
