"""Mosquitto killed, away or far ahead: what has a receipt is there, the spool brings the rest."""

import asyncio
import json
import os
import random
import signal
import time
from hashlib import sha256

import pytest
from mosquitto_support import collecting, enrolled, eventually, kill

from infra.servers import process, stack
from infra.sqlite_bus import SqliteBus
from tests.servers_fixture import start

BURST = 3_000


def burst(count):
    return [b'{"n":%d,"pad":"%s"}' % (n, b"x" * 280) for n in range(count)]


async def publish(device, messages, when, then):
    """Publish all with the field's client and its spool; call `then` in a thread behind `when`.

    Returns the messages (hex) that had a receipt just before, and those that had one in the end.
    """
    async with device.field(window=400, resend_s=2.0) as field:
        told = []
        field.on_receipt = lambda receipt: told.append(receipt["message"])
        await asyncio.gather(*(field.publish("der", raw) for raw in messages[:when]))
        had = list(told)
        rest = asyncio.gather(*(field.publish("der", raw) for raw in messages[when:]))
        await asyncio.to_thread(then)
        await rest
        await field.drain(90)
    return had, told


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_broker_costs_nothing(at, broker_folder, tmp_path, seed):
    """kill -9 in a burst, the collector at work; the broker is back a second later."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    messages = burst(BURST)
    with collecting(at, tmp_path / "bus") as it:

        def then():
            kill(at)
            time.sleep(1)
            assert start(broker_folder, "mosquitto").mosquitto == at

        when = random.Random(seed).randrange(200, BURST - 200)
        had, told = asyncio.run(publish(device, messages, when, then))
        raws = it.raws()
        assert set(raws) == set(messages)
        on_bus = {one.hex() for one in map(_sha256, raws)}
        assert set(had) <= on_bus
        assert set(told) == on_bus
        assert it.intake.health() == "ok"


def test_a_broker_killed_while_the_collector_is_away_costs_nothing(at, broker_folder, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    messages = burst(BURST)
    with collecting(at, tmp_path / "bus"):
        pass  # from now on the broker keeps a session for it
    again = []

    def then():
        time.sleep(0.5)  # in mid-burst: what it acknowledged since it last saved is lost
        kill(at)
        assert start(broker_folder, "mosquitto").mosquitto == at
        again.append(collecting(at, tmp_path / "bus"))
        again.append(again[0].__enter__())

    asyncio.run(publish(device, messages, BURST // 2, then))
    again[0].__exit__(None, None, None)
    bus = SqliteBus(tmp_path / "bus")
    assert {one.raw for one in bus.read(0, 100_000)} == set(messages)
    bus.close()


def test_a_long_time_away_drops_nothing(at, tmp_path):
    """20,000 messages wait at the broker; nobody sends anything twice."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus"):
        pass
    count = 20_000
    lines = [json.dumps({"n": n}) for n in range(count)]
    device.feed(lines)
    with collecting(at, tmp_path / "bus") as it:
        eventually(lambda: it.intake.counts.accepted >= count, timeout_s=60)
        assert set(it.raws()) == {line.encode() for line in lines}


def test_an_orderly_restart_of_the_broker_keeps_all_that_it_acknowledged(
    at, broker_folder, tmp_path
):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus"):
        pass
    lines = [json.dumps({"n": n}) for n in range(2_000)]
    device.feed(lines)
    stack.down(broker_folder, ("mosquitto",), lambda *_: None)
    assert start(broker_folder, "mosquitto").mosquitto == at
    with collecting(at, tmp_path / "bus") as it:
        eventually(lambda: it.intake.counts.accepted >= len(lines))
        assert set(it.raws()) == {line.encode() for line in lines}


def test_a_broker_that_stands_still_is_waited_for(at, tmp_path):
    """SIGSTOP and SIGCONT: the connection goes on, nothing is sent twice."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        child = process.found(at.place.folder)
        os.kill(child.pid, signal.SIGSTOP)
        for n in range(100):
            it.loop.call_soon_threadsafe(it.intake.deliver, "meter-1", b'{"n":%d}' % n)
        time.sleep(2)
        os.kill(child.pid, signal.SIGCONT)
        eventually(lambda: it.call(lambda: it.intake._receipts.is_empty))
        device.pub("in/meter-1/der", '{"n":1}')
        eventually(lambda: len(it.raws()) == 1)
        assert it.intake.health() == "ok"


def test_a_lost_session_is_told(at, broker_folder, tmp_path):
    with collecting(at, tmp_path / "bus") as it:
        stack.down(broker_folder, ("mosquitto",), lambda *_: None)
        (at.place.folder / "data" / "mosquitto.db").unlink()
        assert start(broker_folder, "mosquitto").mosquitto == at
        eventually(lambda: it.intake.counts.sessions_lost == 1)
        (device,) = enrolled(at, tmp_path, "meter-1")
        device.pub("in/meter-1/der", '{"n":1}')
        eventually(lambda: len(it.raws()) == 1)


def _sha256(raw):
    return sha256(raw).digest()
