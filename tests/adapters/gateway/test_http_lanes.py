"""Reads that take long hold up no health, no tokens and no other client; what waits is limited."""

import asyncio
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Unavailable
from infra.http_gateway import FILES
from infra.http_lanes import SHARES, Lane, LaneLimits

PATIENCE_S = 30


def held(platform, monkeypatch):
    """Readings of clients that may read all wait until they are let go."""
    go, waiting, real = Event(), [], platform.readings

    def readings(query):
        if query.groups is None:
            waiting.append(query)
            assert go.wait(PATIENCE_S)
        return real(query)

    monkeypatch.setattr(platform, "readings", readings)
    return waiting, go


async def until(holds):
    while not holds():
        await asyncio.sleep(0.005)


def test_a_slow_client_starves_nobody(make_api, platform, monkeypatch):
    api = make_api()
    waiting, go = held(platform, monkeypatch)
    slow, north = ([("Authorization", f"Bearer {api.token(name)}")] for name in ("all", "north"))

    async def play():
        stuck = [asyncio.create_task(api.send("GET", "/v1/readings", slow)) for _ in range(20)]
        await until(lambda: len(waiting) == 4)
        answers = [
            await api.send("GET", path, fields)
            for path, fields in (
                ("/healthz", ()),
                ("/metrics", ()),
                ("/log/checkpoint", ()),
                ("/.well-known/jwks.json", ()),
                ("/v1/readings", north),
                ("/v1/devices", north),
            )
        ]
        denied = await api.send(
            "POST", "/oauth/token", [("Content-Type", "application/x-www-form-urlencoded")], b"a=b"
        )
        go.set()
        return answers, denied, [await one for one in stuck]

    answers, denied, stuck = api.runner.run(asyncio.wait_for(play(), PATIENCE_S))
    assert [one.status_code for one in answers] == [200] * 6
    assert denied.status_code == 400
    assert {one.status_code for one in stuck} == {200}


def test_too_many_reads_that_wait_are_told_to_come_again(make_api, platform, monkeypatch):
    limits = LaneLimits(threads_max=2, waiting_max=12, per_caller_max=1, wait_s=PATIENCE_S)
    api = make_api(reads=limits)
    _, go = held(platform, monkeypatch)
    fields = [("Authorization", f"Bearer {api.token('all')}")]

    async def play():
        stuck = [asyncio.create_task(api.send("GET", "/v1/readings", fields)) for _ in range(9)]
        await until(lambda: sum(one.done() for one in stuck) == 5)
        go.set()
        return [await one for one in stuck]

    answers = api.runner.run(asyncio.wait_for(play(), PATIENCE_S))
    refused = [one for one in answers if one.status_code == 503]
    assert len(refused) == 5
    assert {one.headers["retry-after"] for one in refused} == {"2"}


def test_who_waits_for_long_is_told_to_come_again(make_api, platform, monkeypatch):
    limits = LaneLimits(threads_max=1, waiting_max=8, wait_s=0.05)
    api = make_api(reads=limits)
    waiting, go = held(platform, monkeypatch)
    fields = [("Authorization", f"Bearer {api.token('all')}")]

    async def play():
        first = asyncio.create_task(api.send("GET", "/v1/readings", fields))
        await until(lambda: waiting)
        second = await api.send("GET", "/v1/readings", fields)
        go.set()
        return await first, second

    first, second = api.runner.run(asyncio.wait_for(play(), PATIENCE_S))
    assert (first.status_code, second.status_code) == (200, 503)


def test_health_metrics_and_tokens_have_places_of_their_own(make_api, platform, monkeypatch):
    api = make_api(requests_max=1)
    waiting, go = held(platform, monkeypatch)
    fields = [("Authorization", f"Bearer {api.token('all')}")]

    async def play():
        first = asyncio.create_task(api.send("GET", "/v1/readings", fields))
        await until(lambda: waiting)
        found = [
            await api.send("GET", path) for path in ("/healthz", "/metrics", "/log/checkpoint")
        ]
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        found.append(await api.send("POST", "/oauth/token", form, b"a=b"))
        go.set()
        return [one.status_code for one in (*found, await first)]

    assert api.runner.run(asyncio.wait_for(play(), PATIENCE_S)) == [200, 200, 503, 400, 200]


@given(
    callers=st.lists(st.sampled_from("abc"), max_size=20),
    threads=st.integers(1, 3),
    share=st.integers(1, 3),
    cancelled=st.sets(st.integers(0, 19), max_size=5),
)
def test_callers_take_turns_and_none_is_lost(callers, threads, share, cancelled):
    """At most so many at once, and of one caller; who withdraws takes nobody's turn."""
    limits = LaneLimits(threads, 100, share, PATIENCE_S)
    under_way: list[str] = []
    most = []

    async def play():
        lane, done = Lane("calls", limits), []

        async def one(caller):
            await lane._enter(caller)
            try:
                under_way.append(caller)
                most.append((len(under_way), max(under_way.count(c) for c in under_way)))
                await asyncio.sleep(0)
                done.append(caller)
                under_way.remove(caller)
            finally:
                if caller in under_way and asyncio.current_task().cancelling():
                    under_way.remove(caller)
                lane._leave(caller)

        tasks = [asyncio.create_task(one(caller)) for caller in callers]
        await asyncio.sleep(0)
        ended = [tasks[n].cancel() for n in cancelled if n < len(tasks)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(done) >= len(callers) - len(ended)
        assert lane._taken.total() == 0
        assert not lane._waiting

    asyncio.run(play())
    assert all(now <= threads and of_one <= share for now, of_one in most)


def test_one_address_takes_neither_all_threads_nor_all_places():
    """132 slow requests of one address were all there is room for, and another had 503."""
    go, lane = Event(), Lane("calls", FILES)

    def slow():
        assert go.wait(PATIENCE_S)

    async def play():
        many = FILES.threads_max + FILES.waiting_max
        greedy = [asyncio.create_task(lane.run("192.0.2.1", slow)) for _ in range(many)]
        await asyncio.sleep(0)
        other = await lane.run("192.0.2.2", lambda: 7)
        refused = sum(one.done() for one in greedy)
        go.set()
        await asyncio.gather(*greedy, return_exceptions=True)
        return other, many - refused

    assert asyncio.run(play()) == (7, FILES.per_caller_max + FILES.waiting_max // SHARES)


def test_all_places_of_a_lane_are_taken_by_many():
    go, lane = Event(), Lane("calls", LaneLimits(threads_max=1, waiting_max=8, wait_s=PATIENCE_S))

    async def play():
        calls = [
            asyncio.create_task(lane.run(f"a{n // 2}", lambda: go.wait(PATIENCE_S)))
            for n in range(11)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="Too many"):
            await lane.run("late", int)
        go.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        return [type(one) for one in found].count(Unavailable)

    assert asyncio.run(play()) == 2


def test_a_place_is_given_back_by_a_call_that_fails():
    lane = Lane("calls", LaneLimits(threads_max=1, waiting_max=0))

    def fails():
        raise Unavailable("away")

    async def play():
        for _ in range(3):
            with pytest.raises(Unavailable, match="away"):
                await lane.run("a", fails)
        return await lane.run("a", lambda: 7)

    assert asyncio.run(play()) == 7
