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

from infra.servers import mosquitto, process, stack
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


# --- revocation -----------------------------------------------------------------------------------


def test_a_revoked_device_is_out_within_a_second_and_its_queue_is_gone(at, tmp_path):
    device, other = enrolled(at, tmp_path, "meter-1", "meter-2")
    with collecting(at, tmp_path / "bus") as it:

        async def session():
            field, neighbour = device.field(), other.field()
            await field.connect()
            await neighbour.connect()
            connection = _lost_signal(field)
            since_s = time.monotonic()
            removal = asyncio.to_thread(mosquitto.accounts(at).remove, "meter-1")
            cleared = asyncio.create_task(removal)
            await asyncio.wait_for(connection, 10)
            took_s = time.monotonic() - since_s
            assert await cleared is True
            await neighbour.publish("der", b'{"still":"here"}')
            await neighbour.drain(10)
            await field.close()
            await neighbour.close()
            return took_s

        assert asyncio.run(session()) < 1.0
        assert device.code() == 5
        assert it.raws() == [b'{"still":"here"}']


def test_what_was_kept_for_a_revoked_device_nobody_gets(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    device.keep_session()
    with collecting(at, tmp_path / "bus") as it:
        it.call(it.intake.deliver, "meter-1", b'{"type":"certified"}')
        eventually(lambda: it.call(lambda: it.intake._receipts.is_empty))
        mosquitto.remove_device(at, "meter-1")
        it.call(it.intake.disconnect, "meter-1")
        (anew,) = enrolled(at, tmp_path, "meter-1")  # the same name, another password
        assert anew.sub(1, "-W", "1") == []


def test_the_collector_refuses_what_a_revoked_device_had_sent(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus"):
        pass
    device.pub("in/meter-1/der", '{"n":1}')
    mosquitto.remove_device(at, "meter-1")
    it = collecting(at, tmp_path / "bus", revoked={"meter-1"})
    with it as it:
        eventually(lambda: it.intake.counts.refused == 1)
        assert it.raws() == []


def test_accounts_are_the_registrys_after_a_start(at, tmp_path):
    device, other = enrolled(at, tmp_path, "meter-1", "meter-2")
    accounts = mosquitto.accounts(at)
    assert accounts.keep({"meter-2", "not-enrolled-here"}) == ["meter-1"]
    eventually(lambda: device.code() == 5)
    assert other.code() == 0
    assert accounts.names() == {"meter-2"}
    assert accounts.remove("meter-1") is False


def test_a_removal_while_the_broker_is_down_holds_when_it_is_back(at, broker_folder, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    kill(at)
    assert mosquitto.accounts(at).remove("meter-1") is False
    assert start(broker_folder, "mosquitto").mosquitto == at
    assert device.code() == 5


def _lost_signal(field):
    """A future that is done when the field client's connection is lost: it then says why."""

    async def watch():
        while not field._failure:
            await asyncio.sleep(0.005)

    return watch()


def _sha256(raw):
    return sha256(raw).digest()
