"""The notifier, where one message's receipt can't be made: the others are told all the same."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import Stop, Unavailable
from infra.announcer import CertifiedMessage
from infra.notifier import Notifier

WAIT_S = 30


def message(n: int, index: int) -> CertifiedMessage:
    summary = {"batch": f"e/0/{n}", "first_index": index, "count": 1, "findings": [], "refused": []}
    return CertifiedMessage("meter", f"{n:064x}", summary)


class Receipts:
    """One entry erased, one in a database that is away, one store damaged."""

    def receipt(self, index: int) -> str:
        failures: dict[int, Exception] = {
            1: KeyError(1), 2: Unavailable("away"), 3: Stop("store-damaged", "it is"),
        }  # fmt: skip
        if index in failures:
            raise failures[index]
        return "proof"


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_receipt_that_can_not_be_made_ends_nothing(failing: int) -> None:
    asyncio.run(_told(failing))


async def _told(failing: int) -> None:
    loop = asyncio.get_running_loop()
    tiles: Any = SimpleNamespace(checkpoint=lambda: (None, b"note"))
    receipts: Any = Receipts()
    notifier, told = Notifier(receipts, tiles, loop), asyncio.Queue[dict[str, Any]]()
    notifier.start(lambda: ["meter"], lambda _, payload: told.put_nowait(json.loads(payload)))
    waiting = notifier.wait("meter", message(1, failing).message)
    notifier.put([message(1, failing)])
    notifier.put([message(2, 7)])
    assert (await asyncio.wait_for(waiting, WAIT_S))["first_index"] == failing
    assert (await asyncio.wait_for(told.get(), WAIT_S))["batch"] == "e/0/2"
    await asyncio.to_thread(notifier.stop)
    assert (notifier.certified, told.empty()) == (2, True)
