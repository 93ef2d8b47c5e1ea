"""The alarms of what waits for the log: told once, over when they are."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.backlog_watch import NOTE_EVERY_S, BacklogWatch


class Time:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]


def test_a_backlog_near_its_limit_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = BacklogWatch(100, now_s=Time())
    watch.look([79, 0], [0, 0])
    assert watch.alarms() == []
    for taken in (0, 5, 10):  # 80, 75, 70 wait: it does not come and go around one number
        watch.look([50, 30], [taken, 0])
        assert watch.alarms() == ["backlog-high"]
    assert [text.split(":")[0] for text in errors(caplog)] == ["backlog-high"]
    watch.look([50, 30], [11, 0])
    assert watch.alarms() == []


def test_a_promise_that_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Of one partition that stands still while the others go on."""
    now = Time()
    watch = BacklogWatch(10**6, within_s=60, now_s=now)
    for second in range(200):
        now.s = second
        watch.look([second, 3 + second // 50], [second - 5, 3])
        assert watch.alarms() == (["promise-overdue"] if second > 50 + 60 else [])
    assert [text.endswith("partition 1; look at workers, sequencer and storer")
            for text in errors(caplog)] == [True]  # fmt: skip
    watch.look([200, 6], [200, 6])
    assert watch.alarms() == []


def test_what_is_taken_in_time_is_no_alarm_however_much_comes() -> None:
    now = Time()
    watch = BacklogWatch(10**9, within_s=60, now_s=now)
    for tick in range(1_000):
        now.s = tick / 4
        watch.look([tick * 1_000], [max(0, tick - 200) * 1_000])  # each waits for 50 s
        assert watch.alarms() == []


def test_a_partition_that_stands_for_days_takes_no_room() -> None:
    now = Time()
    watch = BacklogWatch(10**9, now_s=now)
    for second in range(6_000):
        now.s = second
        watch.look([second], [0])
    assert len(watch._notes[0]) <= 60 / NOTE_EVERY_S + 2


def test_what_came_while_a_partition_stood_for_long_is_late_until_it_is_taken() -> None:
    """The alarm stays to the last message of a minute ago, however many came before it."""
    now, taken = Time(), 0
    watch = BacklogWatch(10**9, within_s=60, now_s=now)
    for second in range(3_000):  # message n comes in second n
        now.s = second
        if second > 2_000:
            taken = min(second + 1, taken + 30)
        watch.look([second + 1], [taken])
        assert watch.alarms() == (["promise-overdue"] if second - taken > 60 else [])
    assert watch.alarms() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 30)), max_size=60))
def test_it_stands_where_a_message_waits_for_longer(steps: list[tuple[int, int, int]]) -> None:
    """Against each message's own time; a note a second makes it at most that much later."""
    now, came, taken = Time(), [], 0
    watch = BacklogWatch(10**9, within_s=60, now_s=now)
    for new, done, pause in steps:
        now.s += pause
        came += [now.s] * new
        taken = min(len(came), taken + done)
        watch.look([len(came)], [taken])
        late = taken < len(came) and now.s - came[taken] > 60
        assert watch.alarms() == (["promise-overdue"] if late else [])
