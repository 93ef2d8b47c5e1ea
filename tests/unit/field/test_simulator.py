"""Each sender sends in order and in time; what is under way is limited by certified receipts."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Stop
from field import simulator
from field.day import Outgoing, Sender
from field.simulator import Pace, folders, play
from field.tally import Tally

BEGIN = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
SENDERS = (
    Sender("headend", "headend", "cim", "any"),
    Sender("gateway", "gateway", "der", "list"),
)
FAST = {"": Pace(BEGIN, None)}


def outgoing(sender: str, *raws: bytes) -> list[Outgoing]:
    form = next(one.form for one in SENDERS if one.name == sender)
    return [
        Outgoing(BEGIN + timedelta(minutes=15) * n, sender, form, raw, 2)
        for n, raw in enumerate(raws)
    ]


class Platform:
    """Certifies what it gets after a moment, except what it is told to swallow `lost` times."""

    def __init__(self, lost: Mapping[bytes, int] | None = None) -> None:
        self.sent: list[bytes] = []
        self.answer: dict[str, Any] = {"type": "certified", "count": 2}
        self.lost = dict(lost or {})
        self.under_way = self.under_way_max = 0

    async def publish(self, form: str, raw: bytes) -> str:
        self.sent.append(raw)
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        return sha256(raw).hexdigest()

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, Any]:
        await asyncio.sleep(0.001)
        self.under_way -= 1
        raw = next(raw for raw in self.sent if sha256(raw).hexdigest() == message_hex)
        if self.lost.get(raw, 0):
            self.lost[raw] -= 1
            raise TimeoutError
        return {"message": message_hex, **self.answer}


def played(messages: list[Outgoing], platform: Platform, window: int = 64) -> Tally:
    tally = Tally.of(SENDERS, messages)
    lines = dict.fromkeys(("headend", "gateway"), platform)
    asyncio.run(play(messages, lines, tally, paces=FAST, window=window))
    return tally


def test_every_message_in_order_and_counted() -> None:
    raws = [str(number).encode() for number in range(50)]
    platform = Platform()
    tally = played(outgoing("headend", *raws) + outgoing("gateway", b"x"), platform)
    assert [raw for raw in platform.sent if raw != b"x"] == raws
    account = tally.accounts["headend"]
    assert (account.messages, account.values, account.sent) == (50, 100, 50)
    assert (account.answered, account.entries, account.refused) == (50, 100, 0)
    assert tally.accounts["gateway"].entries == 2


def test_never_more_under_way_than_the_window() -> None:
    platform = Platform()
    played(outgoing("headend", *(bytes([n]) for n in range(40))), platform, window=3)
    assert platform.under_way_max == 3


def test_the_same_bytes_wait_for_the_first_and_count_once() -> None:
    platform = Platform()
    tally = played(outgoing("headend", b"a", b"a", b"b"), platform)
    assert platform.sent == [b"a", b"a", b"b"]
    account = tally.accounts["headend"]
    assert (account.answered, account.entries, account.repeated) == (3, 4, 1)


def test_what_is_not_certified_in_time_is_sent_again_and_then_counted() -> None:
    platform = Platform(lost={b"once": 1, b"ever": 99})
    tally = played(outgoing("headend", b"once", b"ever"), platform)
    assert platform.sent.count(b"once") == 2
    assert platform.sent.count(b"ever") == simulator.ATTEMPTS
    assert (tally.accounts["headend"].answered, tally.accounts["headend"].unanswered) == (1, 1)


def test_refusals_are_grouped_by_role_and_code() -> None:
    platform = Platform()
    fault = {"code": "value-not-decimal", "text": "no number", "line": "7", "field": "value"}
    platform.answer |= {"count": 1, "refused": [fault], "findings": [{"code": "f", "text": "t"}]}
    tally = played(outgoing("headend", b"a", b"b"), platform)
    assert tally.refusals == {("headend", "value-not-decimal"): 2}
    assert tally.examples["headend", "value-not-decimal"][0].line == "7"
    assert tally.findings == {"f": 2}
    platform.answer = {"type": "refused", "code": "format-unknown", "text": "no such format"}
    tally = played(outgoing("gateway", b"c"), platform)
    assert tally.refusals == {("gateway", "format-unknown"): 1}
    assert tally.accounts["gateway"].entries == 0


def test_a_pace_says_when() -> None:
    at = BEGIN + timedelta(hours=1)
    assert Pace(BEGIN, None).delay_s(at) == 0
    assert Pace(BEGIN, 1440).delay_s(at) == 2.5


def test_a_pace_is_kept() -> None:
    platform, messages = Platform(), outgoing("headend", b"a", b"b")
    tally = Tally.of(SENDERS, messages)

    async def run() -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        paces = {"": Pace(BEGIN, None), "cim": Pace(BEGIN, 900 / 0.05)}
        await play(messages, {"headend": platform}, tally, paces=paces)
        return clock() - started

    assert asyncio.run(run()) >= 0.05


def test_a_missing_enrolment_is_named(tmp_path: Path) -> None:
    (tmp_path / "headend").mkdir()
    (tmp_path / "headend" / "client.json").write_text("{}")
    assert folders(tmp_path, SENDERS[:1]) == {"headend": tmp_path / "headend"}
    with pytest.raises(Stop, match="enrol gateway"):
        folders(tmp_path, SENDERS)
