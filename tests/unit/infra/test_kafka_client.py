"""The loop of a thread: limits on time, and how what goes wrong there comes out."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from aiokafka.errors import NotLeaderForPartitionError

from bal.errors import Unavailable
from infra.kafka_client import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with closing(LoopThread()) as loop:
        yield loop


async def fails(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def test_a_result_comes_out(loop: LoopThread) -> None:
    assert loop.call(asyncio.sleep(0, "done"), 10) == "done"


@pytest.mark.parametrize(
    "error",
    [
        NotLeaderForPartitionError(),
        ConnectionResetError(),
        TimeoutError(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_whatever_kafka_fails_with_may_be_tried_again(
    loop: LoopThread, error: BaseException
) -> None:
    with pytest.raises(Unavailable):
        loop.call(fails(error), 10)
    assert loop.call(asyncio.sleep(0, "goes on"), 10) == "goes on"


def test_a_defect_is_shown_as_it_is(loop: LoopThread) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.call(fails(ZeroDivisionError()), 10)


def test_nothing_takes_for_ever(loop: LoopThread) -> None:
    with pytest.raises(Unavailable, match="in time"):
        loop.call(asyncio.Event().wait(), 0.05)


def test_what_still_runs_ends_with_the_loop() -> None:
    ended = []

    async def runs() -> None:
        async def task() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        tasks.append(asyncio.create_task(task()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    with closing(LoopThread()) as loop:
        loop.call(runs(), 10)
        assert not ended
    assert ended


def test_who_waits_for_a_kafka_that_is_given_up_waits_no_longer() -> None:
    loop = LoopThread()
    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(loop.call, asyncio.sleep(600), 600)
        while not loop._calls:
            time.sleep(0.001)
        loop.give_up()
        with pytest.raises(Unavailable):
            waiting.result(30)
    with pytest.raises(Unavailable):
        loop.call(asyncio.sleep(600), 600)
    assert loop.last_call(asyncio.sleep(0, 7), 600) == 7
    with pytest.raises(Unavailable):
        loop.last_call(asyncio.sleep(600), 600)
    loop.close()
