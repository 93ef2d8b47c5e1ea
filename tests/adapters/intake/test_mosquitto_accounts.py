"""Accounts at the broker: who is let in, from when, and that a revoked device is out at once."""

import asyncio
import os
import subprocess
import time
from functools import partial

import pytest
from mosquitto_support import Device, collecting, enrolled, eventually, kill

from bal.errors import Rejected, Unavailable
from infra.mosquitto_accounts import MosquittoAccounts, hang_up, hashed, read_hashes
from infra.servers import process
from tests.broker_accounts import accounts
from tests.servers_fixture import start


def test_a_revoked_device_is_out_within_a_second_and_its_queue_is_gone(at, tmp_path):
    device, other = enrolled(at, tmp_path, "meter-1", "meter-2")
    with collecting(at, tmp_path / "bus") as it:

        async def session():
            field, neighbour = device.field(), other.field()
            await field.connect()
            await neighbour.connect()
            since_s = time.monotonic()
            removal = asyncio.to_thread(accounts(at).remove, "meter-1")
            cleared = asyncio.create_task(removal)
            await asyncio.wait_for(_lost(field), 10)
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
    """MQTT 3.1.1 §3.1.2.4: a clean session discards what was kept."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    device.keep_session()
    with collecting(at, tmp_path / "bus") as it:
        it.call(it.intake.deliver, "meter-1", b'{"type":"certified"}')
        eventually(lambda: it.call(lambda: it.intake._receipts.is_empty))
        accounts(at).remove("meter-1")
        it.call(it.intake.disconnect, "meter-1")
        (anew,) = enrolled(at, tmp_path, "meter-1")  # the same name, another password
        assert anew.sub(1, "-W", "1") == []


def test_the_collector_refuses_what_a_revoked_device_had_sent(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus"):
        pass
    device.pub("in/meter-1/der", '{"n":1}')
    accounts(at).remove("meter-1")
    with collecting(at, tmp_path / "bus", revoked={"meter-1"}) as it:
        eventually(lambda: it.intake.counts.refused == 1)
        assert it.raws() == []


def test_accounts_are_the_registrys_after_a_start(at, tmp_path):
    device, other = enrolled(at, tmp_path, "meter-1", "meter-2")
    devices = accounts(at)
    assert devices.keep({"meter-2", "not-enrolled-here"}) == ["meter-1"]
    eventually(lambda: device.code() == 5)
    assert other.code() == 0
    assert devices.names() == {"meter-2"}
    assert devices.remove("meter-1") is False


def test_a_removal_while_the_broker_is_down_holds_when_it_is_back(at, broker_folder, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    kill(at)
    assert accounts(at).remove("meter-1") is False
    assert start(broker_folder, "mosquitto").mosquitto == at
    assert device.code() == 5


async def _lost(field):
    """Return when the field client's connection is lost: it then says why."""
    while not field._failure:
        await asyncio.sleep(0.005)


def test_a_name_of_the_platforms_is_no_devices(at):
    users, before = accounts(at), at.password_file.read_bytes()
    for name in ("collector", "receipts", "monitor"):
        with pytest.raises(Rejected, match="name-taken"):
            users.put({"meter-1": "secret", name: "secret"})
        with pytest.raises(Rejected, match="name-taken"):
            users.remove(name)
    for name in ("", "..", "a:b", "a/b", "a+", "#", "a\nb:c"):
        with pytest.raises(Rejected, match="name-invalid"):
            users.put({name: "secret"})
    assert at.password_file.read_bytes() == before


def test_a_new_password_ends_the_old_session(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    command = device.command("mosquitto_sub", "-t", "receipts/meter-1", "-W", "20")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as session:
        time.sleep(0.5)
        accounts(at).put({"meter-1": "another"})
        session.communicate(timeout=10)
    eventually(lambda: device.code() == 5)
    device.password = "another"
    assert device.code() == 0


def test_the_form_is_mosquittos_own(tmp_path):
    path = tmp_path / "passwd"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "meter-1", "secret"], check=True)
    theirs, ours = read_hashes(path)["meter-1"].split("$"), hashed("secret").split("$")
    assert theirs[:3] == ours[:3] == ["", "7", "101"]
    assert [len(part) for part in theirs] == [len(part) for part in ours]


def test_many_writers_lose_nobody(at, tmp_path):
    accounts = [MosquittoAccounts(at.password_file, lambda: None, None) for _ in range(4)]

    async def put():
        await asyncio.gather(
            *(asyncio.to_thread(accounts[n % 4].put, {f"meter-{n}": "secret"}) for n in range(100))
        )

    asyncio.run(put())
    assert accounts[0].names() == {f"meter-{n}" for n in range(100)}


def test_a_broker_by_its_pid_file(at, tmp_path):
    path = tmp_path / "mosquitto.pid"
    path.write_text(f"{process.found(at.place.folder).pid}\n")
    accounts = MosquittoAccounts(at.password_file, partial(hang_up, path), None)
    accounts.put({"meter-1": "secret of meter-1"})
    device = Device(at, tmp_path, "meter-1")
    eventually(lambda: device.code() == 0)
    accounts = MosquittoAccounts(at.password_file, partial(hang_up, at.place.folder / "pid"), None)
    accounts.put({"meter-1": "another"})  # as `gridseal servers` keeps it
    eventually(lambda: device.code() == 5)
    accounts = MosquittoAccounts(at.password_file, partial(hang_up, path), None)
    path.write_text(f"{os.getpid()}")
    with pytest.raises(Unavailable, match="is no Mosquitto"):
        accounts.put({"meter-2": "secret"})
    for text in ("", "{}", "[1]", "x"):
        path.write_text(text)
        with pytest.raises(Unavailable, match="no Mosquitto runs"):
            accounts.put({"meter-2": "secret"})
    path.unlink()
    with pytest.raises(Unavailable, match="no Mosquitto runs"):
        accounts.put({"meter-2": "secret"})
    assert accounts.keep(set()) == ["meter-1", "meter-2"]  # the file has it, and that counts
    assert accounts.names() == set()
