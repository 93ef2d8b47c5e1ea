"""A closed day stands on chain as the log says, and anybody can ask for it."""

from pathlib import Path
from typing import Any

import pytest

from bal.certify.verify_chain import CloseClaim, check_closed
from bal.certify.verify_note import VerifyError
from bal.certify.verify_policy import ChainPolicy, Contract
from bal.errors import Stop
from infra.control import call
from infra.verify_rpc import RpcChain
from tests.journey.conftest import Running, cim

END = "2026-01-15T11:00:00+01:00"


def close(platform: Running, date: str) -> dict[str, str]:
    found: dict[str, str] = call(platform.data, "day-close", date=date)
    return found


def claim(platform: Running, made: dict[str, str], **changes: Any) -> CloseClaim:
    said = {
        "origin": platform.ready["origin"],
        "k": int(made["k"]),
        "prefix": int(made["prefix"]),
        "book": bytes.fromhex(made["book"]),
    }
    return CloseClaim(**(said | changes))


def test_closed_days_are_on_chain_after_the_next_head(platform: Running) -> None:
    caller = platform.client("closer", "messages.write", "--all-devices")
    answer = caller.request(
        "POST", "/v1/messages?format=cim", content=cim(("close-1", END, "1.234"))
    )
    assert answer.status_code == 200, answer.text
    made = [close(platform, "2026-01-15"), close(platform, "2026-01-16")]
    assert [one["k"] for one in made] == ["1", "2"]
    anchored = call(platform.data, "anchor")
    assert int(anchored["size"]) > int(made[1]["index"])
    status = call(platform.data, "status")
    assert status["anchor"]["closes"] == {"anchored": 2, "final": 2, "under_way": None}

    chain = RpcChain(platform.ready["rpc"], Path(platform.ready["ca"]))
    policy = ChainPolicy(
        int(platform.ready["chain_id"]), "consortium", (Contract(platform.ready["contract"]),)
    )
    first, second = (check_closed(claim(platform, one), policy, chain) for one in made)
    assert "close 2 is newer" in first
    assert "newer" not in second
    with pytest.raises(VerifyError) as caught:
        check_closed(claim(platform, made[0], book=bytes(range(32))), policy, chain)
    assert caught.value.code == "close-differs"


@pytest.mark.parametrize("text", ["20260115", "2026-W03-4", "2026-1-15", "yesterday", ""])
def test_a_date_is_written_in_one_way(platform: Running, text: str) -> None:
    with pytest.raises(Stop) as caught:  # what the command would end with
        close(platform, text)
    assert caught.value.code == "parameter-invalid"
