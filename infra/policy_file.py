"""Makes the policy file that a verifier of this platform's receipts starts from."""

import json
from pathlib import Path
from typing import Literal, cast

from bal.certify.verify_policy import policy_text
from infra.data_folder import DataFolder, Facts
from infra.rpc_url import names_a_key, shown

ANCHOR_WITHIN = 3  # intervals after which a missing anchor is a broken promise
ANCHOR_SLACK_S = 600  # for a chain that is slow to include or to finalize

NO_RPC = (
    "# The platform's endpoint of this chain has an API key in its path, so it is not named here:\n"
    "# give one of your own with `gridseal verify --rpc URL`.\n"
)


def policy_of(facts: Facts, http: str, rpc: str, depth: int) -> str:
    """The policy of one platform (docs/spec/policy.md); a verifier should get it another way.

    rpc: the endpoint; left out, with a comment, where it has what looks like an API key.
    """
    own = facts.chain_kind == "own"
    hidden = names_a_key(rpc)
    text = policy_text(
        log_key=facts.log_key,
        intake_key=facts.intake_key,
        chain_id=facts.chain_id,
        chain_kind=cast("Literal['own', 'consortium', 'public']", facts.chain_kind),
        contracts=[(facts.contract, facts.code_hash)],
        rpc_url="" if hidden else shown(rpc),
        log_url=f"{http}/log" if http else "",
        depth=depth if own else depth or None,
        anchor_within_s=ANCHOR_WITHIN * facts.anchor_interval_s + ANCHOR_SLACK_S,
    )
    return text + (NO_RPC if hidden else "")


def policy_of_folder(path: Path) -> str:
    """The policy of the platform in a data folder; it need not run."""
    folder = DataFolder(path)
    folder.check()
    facts = folder.facts()
    assert facts is not None
    ready_file = path / "ready.json"
    ready = json.loads(ready_file.read_text()) if ready_file.is_file() else {}
    return policy_of(facts, ready.get("http", ""), ready.get("rpc", ""), ready.get("depth", 0))
