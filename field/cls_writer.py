"""A smart meter gateway's readings as signed JSON (docs/spec/cls.md), as the gateway sends them.

CMS SignedData (RFC 5652) in DER with ECDSA and SHA-256; a function of its arguments, but for the
signature.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

TYPE = "gridseal/cls/v1"
SEQUENCE, SET, OCTET_STRING, CONTEXT_0 = 0x30, 0x31, 0x04, 0xA0

_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_DATA = bytes.fromhex("06092a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
_SHA256 = bytes.fromhex("300b0609608648016503040201")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_VERSION_1 = bytes.fromhex("020101")


def tlv(tag: int, *contents: bytes) -> bytes:
    """One DER element of a tag and its contents."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def content(gateway: str, meters: Mapping[str, Sequence[Mapping[str, object]]]) -> bytes:
    """The JSON to be signed. meters: the readings by meter, as docs/spec/cls.md has them."""
    items = [
        {"type": TYPE, "gateway": gateway, "meter": meter, "readings": list(readings)}
        for meter, readings in meters.items()
    ]
    return json.dumps(items[0] if len(items) == 1 else items).encode()


def signer_info(
    signed: bytes, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, at: datetime
) -> bytes:
    """A SignerInfo with the three signed attributes that a message needs, `signed` being what is
    signed."""
    time = at.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode()
    attributes = sorted(
        tlv(SEQUENCE, kind, tlv(SET, value))
        for kind, value in (
            (_CONTENT_TYPE, _DATA),
            (_SIGNING_TIME, tlv(0x17, time)),
            (_MESSAGE_DIGEST, tlv(OCTET_STRING, sha256(signed).digest())),
        )
    )
    signature = key.sign(tlv(SET, *attributes), ec.ECDSA(hashes.SHA256()))
    serial = certificate.serial_number
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return tlv(
        SEQUENCE,
        _VERSION_1,
        tlv(SEQUENCE, certificate.issuer.public_bytes(), tlv(0x02, number)),
        _SHA256,
        tlv(CONTEXT_0, *attributes),
        _ECDSA_SHA256,
        tlv(OCTET_STRING, signature),
    )


def signed_data(
    signed: bytes, certificates: Iterable[x509.Certificate], signers: Iterable[bytes]
) -> bytes:
    """A SignedData around `signed`, with these certificates and SignerInfos."""
    return tlv(
        SEQUENCE,
        _SIGNED_DATA,
        tlv(
            CONTEXT_0,
            tlv(
                SEQUENCE,
                _VERSION_1,
                tlv(SET, _SHA256),
                tlv(SEQUENCE, _DATA, tlv(CONTEXT_0, tlv(OCTET_STRING, signed))),
                tlv(CONTEXT_0, *sorted(one.public_bytes(Encoding.DER) for one in certificates)),
                tlv(SET, *signers),
            ),
        ),
    )


def message(
    signed: bytes,
    certificates: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    at: datetime,
) -> bytes:
    """A whole message. certificates: the signer's first, then those of the CAs above it."""
    info = signer_info(signed, certificates[0], key, at)
    return signed_data(signed, certificates, [info])
