"""The field client: nothing that was published is lost, whatever happens to the line."""

import asyncio
import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import mqtt5
import pytest
from intake_support import V5Client, running

from bal.errors import Rejected, Stop, Unavailable
from field.mqtt_client import FieldClient
from field.spool import Spool
from infra.mqtt_server import MqttLimits

SUPPORT = Path(__file__).with_name("intake_support.py")
ROOT = Path(__file__).resolve().parents[3]


def message(n):
    return b"<a>%d</a>" % n


def digest(raw):
    return sha256(raw).hexdigest()


def client(keys, port, spool, *, name="a", password=None, **options):
    return FieldClient(
        url=f"mqtts://127.0.0.1:{port}",
        tls=keys.client(name),
        name=name,
        password=f"pw-{name}" if password is None else password,
        spool=spool,
        **{"retry_s_max": 0.3, **options},
    )


def taken(run):
    return [raw for _, _, raw in run.platform.rows()]


def test_messages_reach_the_bus_and_leave_the_spool(keys, run, tmp_path):
    async def play():
        async with client(keys, run.port, tmp_path / "spool.db") as line:
            names = await asyncio.gather(*(line.publish("cim", message(n)) for n in range(500)))
            await line.drain(20)
            assert names == [digest(message(n)) for n in range(500)]
            assert line.waiting == 0

    asyncio.run(play())
    assert taken(run) == [message(n) for n in range(500)]  # each once, in their order
    spool = sqlite3.connect(tmp_path / "spool.db")
    assert spool.execute("SELECT count(*) FROM spool").fetchone() == (0,)
    spool.close()


def test_what_was_published_before_connecting_or_by_an_earlier_process_is_sent(keys, run, tmp_path):
    async def earlier():
        line = client(keys, run.port, tmp_path / "spool.db")
        await line.publish("cim", message(1))
        await line.close()

    async def later():
        line = client(keys, run.port, tmp_path / "spool.db")
        await line.publish("cim", message(2))
        await line.publish("cim", message(1))  # the same once more: it is one message
        assert line.waiting == 2
        await line.connect()
        await line.drain(10)
        await line.close()

    asyncio.run(earlier())
    asyncio.run(later())
    assert taken(run) == [message(1), message(2)]


def test_certified_and_refused_receipts(keys, run, tmp_path):
    heard = []

    async def play():
        async with client(keys, run.port, tmp_path / "spool.db") as line:
            line.on_receipt = heard.append
            name = await line.publish("cim", message(1))
            await line.drain(10)
            with pytest.raises(TimeoutError):
                await line.wait_certified(name, 0.05)
            waiting = asyncio.create_task(line.wait_certified(name, 10))
            certified = {"type": "certified", "message": name, "count": "1"}
            for junk in (b"no JSON", b"[]", b"{}", b"null"):
                await asyncio.to_thread(run.call, run.server.deliver, "a", junk)
            raw = json.dumps(certified).encode()
            await asyncio.to_thread(run.call, run.server.deliver, "a", raw)
            assert await waiting == await line.wait_certified(name, 1) == certified
            bad = await line.publish("cim", b"<a>")
            refused = await line.wait_certified(bad, 10)
            assert (refused["type"], refused["code"]) == ("refused", "xml-malformed")
            await line.drain(1)

    asyncio.run(play())
    assert [receipt["type"] for receipt in heard] == ["accepted", "certified", "refused"]


def test_a_message_that_no_session_survives_is_refused_here(keys, tmp_path):
    limits = MqttLimits(message_bytes_max=1000, linger_s=0.1)

    async def play(port):
        async with client(keys, port, tmp_path / "spool.db") as line:
            large = await line.publish("cim", b"x" * 100_000)
            assert (await line.wait_certified(large, 10))["code"] == "message-too-large"
            await line.publish("cim", message(1))
            await line.drain(10)

    with running(keys, tmp_path / "j.db", limits=limits) as run:
        asyncio.run(play(run.port))
        assert taken(run) == [message(1)]


def test_the_servers_receive_maximum_is_kept(keys, tmp_path):
    limits = MqttLimits(in_flight_max=5, linger_s=0.1)

    async def play(port):
        async with client(keys, port, tmp_path / "spool.db", window=100) as line:
            await asyncio.gather(*(line.publish("cim", message(n)) for n in range(300)))
            await line.drain(20)

    with running(keys, tmp_path / "j.db", limits=limits) as run:
        asyncio.run(play(run.port))
        assert taken(run) == [message(n) for n in range(300)]


def test_what_the_platform_could_not_take_is_sent_again(keys, run, tmp_path):
    async def play():
        async with client(keys, run.port, tmp_path / "spool.db", resend_s=0.4) as line:
            run.platform.failure = Unavailable("the bus is full")
            await line.publish("cim", message(1))
            with pytest.raises(TimeoutError, match="1 messages"):
                await line.drain(0.2)
            run.platform.failure = None
            await line.drain(10)

    asyncio.run(play())
    assert set(taken(run)) == {message(1)}  # at least once: a slow answer makes another


def test_a_server_that_does_not_answer_is_left(keys, run, tmp_path):
    run.platform.gate = asyncio.Event()

    async def play():
        async with client(keys, run.port, tmp_path / "spool.db", resend_s=0.4) as line:
            await line.publish("cim", message(1))
            await asyncio.sleep(1)
            await asyncio.to_thread(run.call, run.platform.gate.set)
            await line.drain(10)

    asyncio.run(play())
    assert set(taken(run)) == {message(1)}
    assert len(taken(run)) > 1  # at least once; the platform knows the second by its SHA-256


def test_a_disconnected_client_comes_back(keys, run, tmp_path):
    async def play():
        async with client(keys, run.port, tmp_path / "spool.db") as line:
            for n in range(5):
                await line.publish("cim", message(n))
                await line.drain(10)
                assert await asyncio.to_thread(run.call, run.server.disconnect, "a") == 1

    asyncio.run(play())
    assert taken(run) == [message(n) for n in range(5)]


def test_who_is_refused_is_told(keys, run, tmp_path):
    """MQTT 5 §3.2.2.2: a reason that stays is for the caller, not for another attempt."""

    async def play():
        line = client(keys, run.port, tmp_path / "spool.db", password="wrong")
        with pytest.raises(Rejected) as refused:
            await line.connect()
        assert refused.value.code == "connection-refused"
        await line.publish("cim", message(1))  # the spool goes on
        await line.close()
        line = client(keys, run.port, tmp_path / "spool.db")
        assert line.waiting == 1
        await line.connect()
        await line.drain(10)
        await line.close()

    asyncio.run(play())


def test_nobody_there(keys, tmp_path):
    with contextlib.closing(socket.socket()) as taken_port:
        taken_port.bind(("127.0.0.1", 0))

        async def play():
            line = client(keys, taken_port.getsockname()[1], tmp_path / "spool.db")
            with pytest.raises(Unavailable, match=r"no session with 127\.0\.0\.1"):
                await line.connect(timeout_s=0.5)
            await line.close()

        asyncio.run(play())


def test_a_certificate_of_a_foreign_ca_gets_no_session(keys, run, tmp_path):
    async def play():
        line = client(keys, run.port, tmp_path / "spool.db", name="a")
        line._tls = keys.client("foreign-a")
        with pytest.raises(Unavailable):
            await line.connect(timeout_s=1)
        await line.close()

    asyncio.run(play())
    assert run.hub.connections == set()


def test_from_the_folder_that_enrolment_writes(keys, run, tmp_path):
    folder = tmp_path / "device"
    folder.mkdir()
    for source, name in (("a.crt", "device.crt"), ("a.key", "device.key"), ("ca.crt", "ca.crt")):
        (folder / name).write_bytes((keys.folder / source).read_bytes())
    (folder / "password").write_text("pw-a\n")
    described = {
        "name": "a", "mqtt": f"mqtts://127.0.0.1:{run.port}", "ca": "ca.crt",
        "certificate": "device.crt", "key": "device.key", "password_file": "password",
        "topic_in": "in/a/{format}", "topic_receipts": "receipts/a",
    }  # fmt: skip
    (folder / "client.json").write_text(json.dumps(described))

    async def play():
        async with FieldClient.from_folder(folder) as line:
            await line.publish("cim", message(1))
            await line.drain(10)

    asyncio.run(play())
    assert taken(run) == [message(1)]
    for broken in ({}, {**described, "mqtt": "mqtt://x:1"}, {**described, "key": "absent"}):
        (folder / "client.json").write_text(json.dumps(broken))
        with pytest.raises(Stop) as stop:
            FieldClient.from_folder(folder)
        assert stop.value.code == "client-invalid"


def test_the_spool_refuses_aloud_when_the_disk_does(tmp_path):
    async def play():
        spool = Spool(tmp_path / "spool.db")
        await spool.add("aa", "cim", b"1")
        spool._file.execute("PRAGMA query_only = on")
        with pytest.raises(sqlite3.OperationalError):
            await spool.add("bb", "cim", b"2")
        assert len(spool) == 1
        assert "bb" not in spool
        spool._file.execute("PRAGMA query_only = off")
        await spool.close()

    asyncio.run(play())


class Process:
    """The intake in a process of its own, to be killed."""

    def __init__(self, keys, folder, port=0):
        command = [sys.executable, str(SUPPORT), str(folder), str(keys.folder), str(port)]
        self.it = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
        )
        self.port = int(self.it.stdout.readline())

    def kill(self):
        self.it.send_signal(signal.SIGKILL)
        self.it.wait(10)
        self.it.stdout.close()


def test_kill_9_in_mid_burst_loses_nothing(keys, tmp_path):
    """Five kills while 2,000 messages are published; the server comes back on the same port."""
    journal = tmp_path / "journal.db"

    def rows():
        with contextlib.closing(sqlite3.connect(journal)) as file:
            return {raw for (raw,) in file.execute("SELECT raw FROM raw")}

    async def play():
        process = await asyncio.to_thread(Process, keys, tmp_path)
        port = process.port
        line = client(keys, port, tmp_path / "spool.db", resend_s=2)
        heard = []
        line.on_receipt = heard.append
        try:
            await line.connect()
            for round_ in range(5):
                burst = [message(round_ * 400 + n) for n in range(400)]
                publishing = asyncio.gather(*(line.publish("cim", raw) for raw in burst))
                await asyncio.sleep(0.02 + 0.05 * round_)
                await asyncio.to_thread(process.kill)
                names = await publishing
                promised = {receipt["message"] for receipt in heard}
                kept = {digest(raw) for raw in rows()}
                assert promised <= kept  # whatever has a receipt survived
                assert line.waiting >= len(set(names) - promised)
                process = await asyncio.to_thread(Process, keys, tmp_path, port)
            await line.drain(30)
        finally:
            await line.close()
            await asyncio.to_thread(process.kill)
        assert {receipt["type"] for receipt in heard} == {"accepted"}
        assert {receipt["message"] for receipt in heard} == {
            digest(message(n)) for n in range(2000)
        }

    asyncio.run(play())
    assert rows() == {message(n) for n in range(2000)}


def test_takeover_by_the_same_device_after_a_half_open_connection(keys, run, tmp_path):
    """The server still holds the old connection when the device, rebooted, is back."""
    with V5Client(keys, run.port) as old:
        old.connect("a")

        async def play():
            async with client(keys, run.port, tmp_path / "spool.db") as line:
                await line.publish("cim", message(1))
                await line.drain(10)

        asyncio.run(play())
        assert old.read().reason_code is mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
