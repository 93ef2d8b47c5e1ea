"""Probes and metrics of one role."""

import asyncio
from threading import Event
from typing import Any

import httpx
import pytest

from bal.errors import Stop
from infra.roles import threads
from infra.roles.status import StatusServer
from infra.roles.threads import Loop, ThreadRole

LOOPBACK = ("127.0.0.1", 0)


def test_what_a_probe_is_told() -> None:
    parts = {"bus": "ok"}
    server = StatusServer(LOOPBACK, role="worker", ready=lambda: parts, metrics=lambda: "a 1\n")
    server.start()
    try:
        assert httpx.get(f"{server.url}/health/live").json() == {"role": "worker"}
        answer = httpx.get(f"{server.url}/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"role": "worker", "bus": "ok"})
        parts["bus"] = "it is away"
        answer = httpx.get(f"{server.url}/health/ready?verbose=1")
        assert (answer.status_code, answer.json()["bus"]) == (503, "it is away")
        answer = httpx.get(f"{server.url}/metrics")
        assert (answer.text, answer.headers["content-type"].split(";")[0]) == (
            "a 1\n",
            "text/plain",
        )
        assert httpx.get(f"{server.url}/").status_code == 404
        assert httpx.post(f"{server.url}/metrics").status_code == 501
    finally:
        server.stop()


def test_a_defect_is_told_and_the_next_one_is_answered() -> None:
    def broken() -> str:
        raise ValueError("secret")

    server = StatusServer(LOOPBACK, role="worker", ready=dict, metrics=broken)
    server.start()
    try:
        answer = httpx.get(f"{server.url}/metrics")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
    finally:
        server.stop()


def test_an_address_that_another_has_is_told() -> None:
    first = StatusServer(LOOPBACK, role="worker", ready=dict, metrics=str)
    try:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(Stop, match="can't be listened on"):
            StatusServer(("127.0.0.1", port), role="worker", ready=dict, metrics=str)
    finally:
        first.stop()


def test_a_loop_that_stands_still_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, begun = Event(), Event()

    def run(stopping: Event) -> None:
        while not stopping.is_set():
            begun.set()
            hangs.wait(60)

    async def play() -> None:
        process: Any = None
        role = ThreadRole(process, lambda _: Loop(run, lambda: {"storer": "ok"}))
        await role.start()
        await asyncio.to_thread(begun.wait, 10)
        assert role.ready() == {"storer": "ok"}
        monkeypatch.setattr(threads, "STILL_S", 0.05)
        await asyncio.sleep(0.1)
        assert role.ready()["role"].startswith("it has done no step for")
        hangs.set()
        await role.stop()

    asyncio.run(play())
