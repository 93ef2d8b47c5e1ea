"""Who may come in and with what: the certificate, the version, what CONNECT and PUBLISH may ask.

No decision here needs a state or the service behind.
"""

import asyncio
import ssl
from hashlib import sha256
from typing import cast

from infra.mqtt_hub import MqttLimits
from infra.mqtt_packets import (
    CONNECT,
    Code,
    Connect,
    Cursor,
    Malformed,
    Offer,
    Publish,
    Wire,
    packet_end,
)
from infra.mqtt_v3 import V3
from infra.mqtt_v5 import V5

CLIENT_ID_CHARACTERS_MAX = 128


def certificate_of(transport: asyncio.BaseTransport) -> tuple[str, str]:
    """(common name, SHA-256 of DER as hex) of the client's certificate.

    The name is empty, and so matches nobody, where the certificate has not exactly one.
    """
    connection = transport.get_extra_info("ssl_object")
    der = (
        connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLObject) else None
    )
    if der is None:
        return "", ""
    fields = cast("dict[str, tuple[tuple[tuple[str, str], ...], ...]]", connection.getpeercert())
    parts = [part for relative in fields.get("subject", ()) for part in relative]
    names = [value for key, value in parts if key == "commonName"]
    return (names[0] if len(names) == 1 else ""), sha256(der).hexdigest()


def choose_wire(packet: bytes) -> Wire:
    """The codec of the version that the first packet names. Raises Malformed."""
    ends = packet_end(packet, 0)
    if packet[0] != CONNECT or ends is None:  # [MQTT-3.1.0-1]
        raise Malformed("the first packet is not CONNECT", Code.PROTOCOL_ERROR)
    cursor = Cursor(packet, ends[0])
    version = (cursor.text(), cursor.u8())
    if version == ("MQTT", V5.version):
        return V5()
    if version == ("MQTT", V3.version):
        return V3()
    raise Malformed("a version of MQTT that is not spoken here", Code.UNSUPPORTED_VERSION)


def refuse_connect(packet: Connect, common_name: str, version: int) -> tuple[Code, str] | None:
    """Why this CONNECT is refused before anybody is asked; None where it is not."""
    if packet.enhanced_authentication:
        return Code.AUTHENTICATION_METHOD, "no authentication method is offered"
    if packet.name is None or packet.password is None:
        return Code.BAD_CREDENTIALS, "a user name and a password are asked for"
    if packet.name != common_name:
        return Code.NOT_AUTHORIZED, "the user name is not the certificate's common name"
    if packet.will:
        return Code.NOT_AUTHORIZED, "a will is not offered"
    if len(packet.client_id) > CLIENT_ID_CHARACTERS_MAX:
        return Code.CLIENT_ID, "the client id is too long"
    if version == V3.version and not packet.client_id and not packet.clean:
        return Code.CLIENT_ID, ""  # [MQTT-3.1.3-8]
    return None


def terms(packet: Connect, client_id: str, version: int, limits: MqttLimits) -> tuple[Offer, float]:
    """What a good CONNECT is granted, and how many seconds of silence end the session."""
    told = None
    if not 0 < packet.keep_alive_s <= limits.keep_alive_s_max:
        told = limits.keep_alive_s_max
    offer = Offer(
        receive_max=limits.in_flight_max,
        packet_bytes_max=limits.packet_bytes_max,
        keep_alive_s=told,
        client_id=None if packet.client_id else client_id,
        session_expiry=packet.session_expiry,
    )
    keep_alive_s = packet.keep_alive_s or limits.keep_alive_s_max
    if version == V5.version:  # 3.1.1 cannot be told that it shall be shorter
        keep_alive_s = told or keep_alive_s
    return offer, 1.5 * keep_alive_s  # 3.1.1 [MQTT-3.1.2-24], 5 [MQTT-3.1.2-22]


def last_word_to_connect(wire: Wire | None, code: Code, text: str) -> bytes:
    """The last word to a first packet that was none; 3.1.1 closes without one [MQTT-3.1.4-1]."""
    if code is Code.UNSUPPORTED_VERSION:
        return V3().connack(code)  # [MQTT-3.1.2-2]; who knows another version knows this form
    if wire is None or wire.version == V3.version:
        return b""
    return wire.connack(code, text)


def check_publish(packet: Publish, version: int) -> None:
    """Return only if PUBLISH asks for nothing that CONNACK did not offer. Raises Malformed."""
    if packet.qos > 1:
        raise Malformed("QoS 2 is not offered", Code.QOS)
    if packet.alias:
        raise Malformed("topic aliases are not offered", Code.TOPIC_ALIAS)
    if (
        packet.retain and version == V5.version
    ):  # 5 §3.2.2.3.5; 3.1.1 was not told, it is passed over
        raise Malformed("retained messages are not offered", Code.RETAIN)


def form_of(topic: str, credential: str) -> str | None:
    """The format that `topic` names; None where it is not one of the credential's own."""
    levels = topic.split("/")
    if len(levels) != 3 or levels[:2] != ["in", credential] or not levels[2]:
        return None
    return levels[2]
