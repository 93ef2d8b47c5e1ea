"""What the operator hears of a chain: each trouble once, and one trouble under one name."""

from dataclasses import dataclass, field

import pytest

from bal.errors import Unavailable
from infra.chain_errors import Contradiction
from infra.chain_watch import DELAY_AFTER_S, TELL_AFTER_S, ChainWatch

MINUTE_US = 60_000_000


@dataclass
class Heard:
    now: int = 1_000 * MINUTE_US
    alarms: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)

    def now_us(self) -> int:
        return self.now

    def watch(self) -> ChainWatch:
        return ChainWatch(self, lambda code, _: self.alarms.append(code), self.cleared.append)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("no node answers"), "chain-unavailable"),
        (Contradiction("two answers"), "chain-contradicts"),
    ],
)
def test_an_outage_is_told_once_when_it_has_lasted(error: Unavailable, code: str) -> None:
    heard = Heard()
    watch = heard.watch()
    watch.failed(error)
    heard.now += (TELL_AFTER_S - 1) * 1_000_000
    watch.failed(error)
    assert heard.alarms == []
    for _ in range(3):
        heard.now += MINUTE_US
        watch.failed(error)
    assert heard.alarms == [code]
    watch.answered(None)
    assert heard.cleared == [code]
    assert watch.outage_s() == 0


def test_what_waits_for_a_block_is_told_once() -> None:
    heard = Heard()
    watch = heard.watch()
    sent_us = heard.now
    heard.now += (DELAY_AFTER_S - 1) * 1_000_000
    watch.answered(sent_us)
    assert heard.alarms == []
    for _ in range(3):
        heard.now += MINUTE_US
        watch.answered(sent_us)
    assert heard.alarms == ["anchor-delayed"]
    watch.answered(None)
    assert heard.cleared == ["anchor-delayed"]


@pytest.mark.parametrize("seen_before", [False, True])
def test_what_waited_while_no_node_answered_is_not_told_again_as_late(seen_before: bool) -> None:
    heard = Heard()
    watch = heard.watch()
    sent_us = heard.now
    if seen_before:
        watch.answered(sent_us)
    for _ in range(72 * 60):
        heard.now += MINUTE_US
        watch.failed(Unavailable("no node answers"))
    watch.answered(sent_us)
    heard.now += (DELAY_AFTER_S - 1) * 1_000_000
    watch.answered(sent_us)
    assert heard.alarms == heard.cleared == ["chain-unavailable"]
    heard.now += MINUTE_US
    watch.answered(sent_us)
    assert heard.alarms == ["chain-unavailable", "anchor-delayed"]
