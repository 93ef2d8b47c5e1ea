"""The notifier, where a message's receipt can't be made: the others are told all the same.

What waits for a database that is away is told once it is back, and that it waits, in one line.
"""

import asyncio
import json
from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import Stop, Unavailable
from infra import notifier as notifier_module
from infra.announcer import CertifiedMessage
from infra.notifier import Notifier

WAIT_S = 30
SLOW = 4  # the entry whose row takes as long as one likes


def message(n: int, index: int) -> CertifiedMessage:
    summary = {"batch": f"e/0/{n}", "first_index": index, "count": 1, "findings": [], "refused": []}
    return CertifiedMessage("meter", f"{n:064x}", summary)


class Receipts:
    """One entry erased, one store damaged; and a database that may be away."""

    def __init__(self) -> None:
        self.away = False
        self.slow = Event()

    def receipt(self, index: int) -> str:
        if index == SLOW:
            assert self.slow.wait(WAIT_S)
        if self.away:
            raise Unavailable("away")
        failures: dict[int, Exception] = {1: KeyError(1), 3: Stop("store-damaged", "it is")}
        if index in failures:
            raise failures[index]
        return "proof"


@pytest.mark.parametrize("failing", [1, 3])
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


def test_what_waits_for_the_rows_is_told_when_they_are_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "RETRY_S", 0.01)
    caplog.set_level("INFO")
    asyncio.run(_late())
    said = [record.getMessage() for record in caplog.records if "gridseal" in record.name]
    assert said == ["certified receipts wait: away", "certified receipts are told again"]


async def _late() -> None:
    loop = asyncio.get_running_loop()
    tiles: Any = SimpleNamespace(checkpoint=lambda: (None, b"note"))
    receipts: Any = Receipts()
    receipts.away = True
    notifier, told = Notifier(receipts, tiles, loop), asyncio.Queue[dict[str, Any]]()
    notifier.start(lambda: ["meter"], lambda _, payload: told.put_nowait(json.loads(payload)))
    notifier.put([message(n, 10 + n) for n in range(3)])
    two = message(3, 13)
    notifier.put([replace(two, summary={**two.summary, "count": 2})])  # which needs no row
    assert (await asyncio.wait_for(told.get(), WAIT_S))["batch"] == "e/0/3"
    await asyncio.sleep(0.1)
    assert told.empty()
    receipts.away = False
    batches = [(await asyncio.wait_for(told.get(), WAIT_S))["batch"] for _ in range(3)]
    assert batches == ["e/0/0", "e/0/1", "e/0/2"]
    await asyncio.to_thread(notifier.stop)
    assert (notifier.certified, told.empty()) == (4, True)


def test_of_what_waits_too_long_so_many_are_kept_and_the_rest_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "LATE_MAX", 2)
    asyncio.run(_too_many())
    said = [record.getMessage() for record in caplog.records]
    untold = "messages are certified, and their senders not told: they send again"
    assert said == ["certified receipts wait: away", f"3 {untold}", f"2 {untold}"]


async def _too_many() -> None:
    tiles: Any = SimpleNamespace(checkpoint=lambda: (None, b"note"))
    receipts: Any = Receipts()
    receipts.away = True
    notifier = Notifier(receipts, tiles, asyncio.get_running_loop())
    notifier.start(lambda: ["meter"], lambda _, __: None)
    notifier.put([message(n, 10 + n) for n in range(5)])
    await asyncio.to_thread(notifier.stop)


def test_nobody_waits_for_the_rows_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "DELIVER_S", 0.0)
    asyncio.run(_slow())


async def _slow() -> None:
    tiles: Any = SimpleNamespace(checkpoint=lambda: (None, b"note"))
    receipts, told = Receipts(), asyncio.Queue[dict[str, Any]]()
    any_receipts: Any = receipts
    notifier = Notifier(any_receipts, tiles, asyncio.get_running_loop())
    notifier.start(lambda: ["meter"], lambda _, payload: told.put_nowait(json.loads(payload)))
    notifier.put([message(1, 7), message(2, SLOW)])
    assert (await asyncio.wait_for(told.get(), WAIT_S))["batch"] == "e/0/1"
    receipts.slow.set()
    assert (await asyncio.wait_for(told.get(), WAIT_S))["batch"] == "e/0/2"
    await asyncio.to_thread(notifier.stop)
