"""The collector behind a real Mosquitto: what it takes, refuses, holds, and tells whom."""

import asyncio
import json
from dataclasses import replace
from hashlib import sha256

import gmqtt
import pytest
from mosquitto_support import Device, collecting, enrolled, eventually, hung_up, log_of

from bal.errors import Stop, Unavailable
from infra.certificates import client_context, create_ca
from infra.mosquitto_intake import Broker, MosquittoIntake
from infra.mosquitto_receipts import MosquittoLimits
from infra.servers import mosquitto
from infra.system_clock import SystemClock

RAW = '{"n":1}'
REFUSED_RECEIPTS = "broker-refused: it takes no receipts of us: reason 0x87"


def reading(n):
    return json.dumps({"n": n})


def digest(text):
    return sha256(text.encode()).hexdigest()


def test_a_message_reaches_the_bus_and_its_receipt_the_device(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:

        async def send():
            async with device.field() as field:
                receipts = []
                field.on_receipt = receipts.append
                for n in range(200):
                    await field.publish("der", reading(n).encode())
                await field.drain(20)
                return receipts

        receipts = asyncio.run(send())
        assert it.rows() == [("meter-1", "der", reading(n).encode()) for n in range(200)]
        assert {one["type"] for one in receipts} == {"accepted"}
        assert "gridseal/accepted/v1" in receipts[0]["note"]
        assert it.intake.sessions() == ["meter-1"]
        assert it.intake.health() == "ok"
        assert it.intake.undelivered == 0


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_a_device_that_is_away_gets_its_receipts_later(at, tmp_path, version):
    device, other = enrolled(at, tmp_path, "meter-1", "meter-2")
    device.keep_session()
    other.keep_session()
    with collecting(at, tmp_path / "bus") as it:
        assert device.pub("in/meter-1/der", RAW, version=version).returncode == 0
        eventually(lambda: it.raws() == [RAW.encode()])
        it.call(it.intake.deliver, "meter-1", b'{"type":"certified"}')
        # mosquitto_pub took the session's place with a clean one; it subscribes again
        device.keep_session()
        assert device.pub("in/meter-1/der", '{"a":1,"a":2}', "-c", version=version).returncode == 0
        eventually(lambda: it.intake.counts.refused == 1)
        received = device.sub(1)
    assert [(one["type"], one.get("code")) for one in received] == [
        ("refused", "json-duplicate-key")
    ]
    assert received[0]["message"] == digest('{"a":1,"a":2}')
    assert it.intake.counts.accepted == 1


def test_a_refused_message_is_not_handed_over_again(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        device.pub("in/meter-1/der", "no JSON")
        device.pub("in/meter-1/unknown", RAW)
        eventually(lambda: it.intake.counts.refused == 2)
    with collecting(at, tmp_path / "bus") as it:
        device.pub("in/meter-1/der", RAW)
        eventually(lambda: it.raws() == [RAW.encode()])
        assert it.intake.counts.refused == 0


def test_what_the_bus_does_not_take_is_taken_again(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus", limits=MosquittoLimits(retry_s_max=0.1)) as it:
        it.set(failure=Unavailable("the disk is full", retry_after_s=30))
        for n in range(5):
            device.pub("in/meter-1/der", reading(n))
        eventually(lambda: it.service.calls >= 10)
        assert it.raws() == []
        it.set(failure=None)
        eventually(lambda: len(it.raws()) == 5)
    with collecting(at, tmp_path / "bus") as it:  # all were acknowledged: none comes again
        device.pub("in/meter-1/der", RAW)
        eventually(lambda: len(it.raws()) == 6)
        assert it.service.calls == 1
        assert [json.loads(raw)["n"] for raw in it.raws()] == [0, 1, 2, 3, 4, 1]


def test_an_error_of_ours_is_left_to_the_senders_spool(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        it.set(failure=ZeroDivisionError())
        device.pub("in/meter-1/der", RAW)
        eventually(lambda: it.intake.counts.left == 1)
        it.set(failure=None)

        async def send():
            async with device.field() as field:
                await field.publish("der", RAW.encode())
                await field.drain(20)

        asyncio.run(send())
        assert it.raws() == [RAW.encode()]


def test_what_was_not_on_the_bus_is_handed_over_to_the_next_collector(at, tmp_path):
    """And what came behind it, too: acknowledgements keep the order of the messages (MQTT 5 §4.6),
    and the session outlives its connection (MQTT 5 §3.1.2.11.2)."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        it.set(gate=it.call(asyncio.Event))
        device.pub("in/meter-1/der", '{"n":0}')
        eventually(lambda: it.service.accepting == 1)
        it.set(gate=None)
        device.pub("in/meter-1/der", '{"n":1}')
        eventually(lambda: it.raws() == [b'{"n":1}'])
    with collecting(at, tmp_path / "bus") as it:
        eventually(lambda: it.raws() == [b'{"n":1}', b'{"n":0}', b'{"n":1}'])


@pytest.mark.parametrize("qos", [0, 1])
def test_a_slow_bus_slows_the_intake_and_drops_nothing(at, tmp_path, qos):
    (device,) = enrolled(at, tmp_path, "meter-1")
    limits = MosquittoLimits(in_flight_max=100)
    total = 3_000
    with collecting(at, tmp_path / "bus", limits=limits) as it:
        gate = it.call(asyncio.Event)
        it.set(gate=gate)
        lines = [reading(n) for n in range(total)]
        device.feed(lines, qos)
        eventually(lambda: it.service.accepting >= 100)
        it.call(gate.set)
        eventually(lambda: len(it.raws()) == total)
        assert sorted(it.raws()) == sorted(line.encode() for line in lines)
        # QoS 0 has no Receive Maximum, and Mosquitto 2.0.11 forgets ours at the first PUBACK: what
        # one read from the socket holds comes on top of the collector's own limit
        assert it.service.accepting_max <= 200 + 2 * 65_536 // 30
        eventually(lambda: it.intake.waiting_bytes == 0)


def test_large_messages_are_limited_by_their_bytes(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    limits = MosquittoLimits(in_flight_bytes_max=4 * 2**20)
    sent = [b'{"n":%d,"pad":"%s"}' % (n, b"x" * 2**20) for n in range(30)]
    with collecting(at, tmp_path / "bus", limits=limits) as it:
        gate = it.call(asyncio.Event)
        it.set(gate=gate)

        async def send():
            async with device.field(resend_s=60) as field:
                for raw in sent:
                    await field.publish("der", raw)
                await asyncio.to_thread(eventually, lambda: it.service.accepting >= 4)
                await asyncio.sleep(0.5)
                held = it.intake.waiting_bytes
                it.call(gate.set)
                await field.drain(30)
                return held

        assert asyncio.run(send()) <= 6 * 2**20
        assert it.raws() == sent


# --- who may not ----------------------------------------------------------------------------------


def test_a_topic_of_another_device_never_reaches_the_bus(at, tmp_path):
    device, _ = enrolled(at, tmp_path, "meter-1", "meter-2")
    with collecting(at, tmp_path / "bus") as it:
        for topic in (
            "in/meter-2/der",
            "in/meter-1/der/more",
            "receipts/meter-2",
            "in/collector/x",
        ):
            said = device.pub(topic, RAW, "-d").stdout
            assert "RC:135" in said, topic  # 0x87, MQTT 5 §3.4.2.1
            # That version has no word for it: acknowledged and dropped. The receipt never comes.
            assert device.pub(topic, RAW, version="mqttv311").returncode == 0
        device.pub("in/meter-1/der", '{"the":"last"}')
        eventually(lambda: it.raws() == [b'{"the":"last"}'])
        assert it.service.calls == 1


def test_who_lacks_certificate_or_password_does_not_get_in(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    folder = tmp_path / "other"
    folder.mkdir()
    stranger = Device(at, folder, "meter-1", authority=create_ca(folder, SystemClock()))
    with collecting(at, tmp_path / "bus") as it:
        assert device.pub("in/meter-1/der", RAW, certificate=False).returncode != 0
        assert stranger.pub("in/meter-1/der", RAW).returncode != 0
        device.password = "wrong"
        assert device.pub("in/meter-1/der", RAW).returncode != 0
        assert it.rows() == []


def test_a_retained_message_is_refused_by_the_broker(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        said = device.pub("in/meter-1/der", RAW, "-r", "-d", version="mqttv311")
        assert "PUBACK" not in said.stdout

        async def publish():  # mosquitto_pub heard in CONNACK that it is not offered
            client = gmqtt.Client("any")
            lost = asyncio.Event()
            client.on_disconnect = lambda *_: lost.set()
            client.set_config({"reconnect_retries": -2})
            client.set_auth_credentials(device.name, device.password)
            context = client_context(at.ca, device.certificate, device.key)
            await client.connect(at.host, at.port, ssl=context)
            client.publish("in/meter-1/der", RAW, qos=1, retain=True)
            await asyncio.wait_for(lost.wait(), 10)
            await hung_up(client)

        asyncio.run(publish())
        device.pub("in/meter-1/der", '{"the":"last"}')
        eventually(lambda: it.raws() == [b'{"the":"last"}'])


def test_the_collectors_session_is_not_to_be_had_by_its_client_id(at, tmp_path):
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "bus") as it:
        for client_id in ("collector", "gridseal-collector"):
            device.pub("in/meter-1/der", RAW, "-i", client_id)
        eventually(lambda: len(it.raws()) == 2)
        assert it.intake.health() == "ok"
    assert "already connected" not in log_of(at)


def test_a_collector_with_a_wrong_password_says_so(at, tmp_path):
    """MQTT 5 §3.2.2.2: a reason that stays ends the start."""
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    with pytest.raises(Stop, match="does not let the user receipts in"):
        collecting(at, tmp_path / "bus", password_file=wrong).__enter__()
    with pytest.raises(Stop, match="password can't be read"):
        collecting(at, tmp_path / "bus", password_file=tmp_path / "none").__enter__()


def test_a_user_who_may_not_write_receipts_says_so(at, tmp_path):
    """Mosquitto grants any subscription, and hands nothing over; but receipts it refuses."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    secret = tmp_path / "secret"
    secret.write_text(device.password)
    as_device = {"user": "meter-1", "password_file": secret}
    with collecting(at, tmp_path / "bus", receipts=as_device) as it:
        it.call(it.intake.deliver, "meter-2", b"{}")
        eventually(lambda: it.intake.health() == REFUSED_RECEIPTS)
        assert it.intake.undelivered == 1


def test_a_broker_that_does_not_let_us_hear_says_so(keys, run, tmp_path):
    """Mosquitto grants any subscription. Our own server does not: it is no broker."""
    secret = tmp_path / "password"
    secret.write_text("pw-a")
    files = {"ca": "ca.crt", "certificate": "a.crt", "key": "a.key"}
    broker = Broker(
        host="127.0.0.1", port=run.port, user="a", client_id="x", password_file=secret,
        **{name: keys.folder / file for name, file in files.items()},
    )  # fmt: skip

    async def start():
        await MosquittoIntake(run.platform, broker, replace(broker, client_id="y")).start()

    with pytest.raises(Stop, match="does not let the user a hear"):
        asyncio.run(start())


def test_a_broker_of_another_authority_is_not_talked_to(at, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    create_ca(folder, SystemClock())
    with pytest.raises(Stop, match="certificate"):
        collecting(at, tmp_path / "bus", ca=folder / "ca.crt").__enter__()


def test_two_collectors_of_one_user_are_found_out_and_lose_nothing(at, tmp_path):
    """They share one session at the broker, each throws the other out."""
    (device,) = enrolled(at, tmp_path, "meter-1")
    with collecting(at, tmp_path / "one") as one, collecting(at, tmp_path / "two") as two:
        eventually(lambda: "is there another" in one.intake.health())
        for n in range(5):
            device.pub("in/meter-1/der", reading(n))
        eventually(lambda: len({*one.raws(), *two.raws()}) == 5)


def test_a_broker_that_is_not_there_is_waited_for(at, tmp_path):
    with collecting(at, tmp_path / "bus", port=1) as it:
        assert it.intake.alarm == "broker-down"
        it.call(it.intake.deliver, "meter-1", b"{}")
    assert it.intake.undelivered == 1


def test_receipts_need_no_subscriber(at, tmp_path):
    with collecting(at, tmp_path / "bus") as it:
        for n in range(5_000):
            it.loop.call_soon_threadsafe(it.intake.deliver, f"nobody-{n}", b"{}")
        it.call(it.intake.deliver, "nobody", b"x" * (9 * 2**20))  # more than the broker takes
        eventually(lambda: it.call(lambda: it.intake._receipts.is_empty))
        assert it.intake.health() == "ok"
        assert it.intake.undelivered == 1


def test_the_broker_tells_what_it_offers(at):
    """The settings that the collector leans on, as CONNACK says them."""

    async def connect():
        client = gmqtt.Client("any")
        offer = asyncio.get_running_loop().create_future()
        client.on_connect = lambda *told: offer.set_result(told[-1])
        client.set_auth_credentials("monitor", at.users["monitor"].password)
        context = client_context(at.ca, at.client.certificate, at.client.key)
        await client.connect(at.host, at.port, ssl=context)
        found = await offer
        await client.disconnect()
        await hung_up(client)
        return found

    offer = asyncio.run(connect())
    assert offer["receive_maximum"] == [1000]
    assert offer["maximum_packet_size"] == [mosquitto.MESSAGE_BYTES]
    assert offer["retain_available"] == [0]
