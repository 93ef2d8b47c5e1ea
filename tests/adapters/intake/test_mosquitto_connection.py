"""What the collector says to its broker first, read by another codec."""

import asyncio

import mqtt5

from infra.mosquitto_connection import Broker, Connection


class PlainBroker(Broker):
    """One that is reached without TLS."""

    def context(self):
        return None

    def password(self):
        return "secret"


async def packet(reader):
    head = await reader.readexactly(2)
    assert head[1] < 0x80, "its length has one byte"
    value, _ = mqtt5.read(memoryview(head + await reader.readexactly(head[1])))
    return value


async def opened(folder):
    """The CONNECT and the SUBSCRIBE of a connection that hears."""
    said = []

    async def answer(reader, writer):
        said.append(await packet(reader))
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK: no session, success, no properties
        said.append(await packet(reader))
        writer.write(b"\x90\x04" + said[1].packet_id.to_bytes(2) + b"\x00\x01")  # SUBACK: QoS 1
        await reader.read()
        writer.close()

    async def hear(_):
        return True

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    at = PlainBroker("127.0.0.1", port, folder, folder, folder, "collector", folder, "c1")
    connection = Connection(at, receive_max=7, hear=hear)
    await connection.open("in/#")
    await connection.close()
    server.close()
    return said


def test_the_session_has_no_end_and_nothing_retained_is_asked_for(tmp_path):
    connect, subscribe = asyncio.run(opened(tmp_path))
    assert not connect.clean_start
    assert connect.session_expiry_interval == 0xFFFFFFFF  # MQTT 5 §3.1.2.11.2: it does not expire
    assert connect.receive_max == 7  # MQTT 5 §3.1.2.11.3
    [wanted] = subscribe.topic_filters
    assert (wanted.pattern, wanted.max_qos) == ("in/#", mqtt5.QoS.AT_LEAST_ONCE)
    # MQTT 5 §3.8.3.1: Retain Handling 2 is "Do not send retained messages"
    assert wanted.retain_handling is mqtt5.RetainHandling.SEND_NEVER
