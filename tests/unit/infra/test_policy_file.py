"""The policy that a platform prints of itself."""

import pytest

from bal.certify.verify_policy import parse_policy
from infra.data_folder import Facts
from infra.policy_file import policy_of

LOG = "gridseal.invalid/0123456789abcdef+7124b6ea+ARW19cPNgwg7+hmhd9dT+KJpkAt90suEzcZ1YcJxlbO+"
INTAKE = (
    "gridseal.invalid/0123456789abcdef/intake+ff60a8e4+AbqBSepok86j1e10L5AhcFBUgChfCwqOucxn+YEBE0gA"
)


@pytest.mark.parametrize(
    ("kind", "configured", "asked"),
    [("own", 0, 0), ("own", 3, 3), ("public", 0, None), ("public", 12, 12), ("consortium", 1, 1)],
)
def test_the_depth_that_makes_a_head_final_is_the_one_a_verifier_asks_for(
    kind: str, configured: int, asked: int | None
) -> None:
    facts = Facts(
        LOG.split("+", maxsplit=1)[0], LOG, INTAKE, 1337, kind, "0x" + "ab" * 20, "", 10, ""
    )
    chain = parse_policy(policy_of(facts, "", "", configured).encode()).chain
    assert chain is not None
    assert chain.depth == asked
