"""Who may come in: the certificate's name, the version spoken, and what CONNECT may not ask for."""

import asyncio
import ssl
from hashlib import sha256
from typing import cast

from infra.mqtt_packets import CONNECT, Code, Connect, Cursor, Malformed, Wire, packet_end
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
