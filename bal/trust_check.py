"""What the certificates and revocation lists of a `Trust` are, and whether they are any."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from bal.cms import serial_number
from bal.errors import Rejected
from bal.trust import Trust

ANCHORS_MAX = 64
CRLS_MAX = 64
BYTES_MAX = 524_288  # of all together

# What cryptography raises for a certificate or list that it can't read.
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Loaded(NamedTuple):
    """The same, parsed."""

    anchors: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]


@lru_cache(maxsize=4)
def loaded(trust: Trust) -> Loaded:
    """Parsed; `check` has passed it."""
    return Loaded(
        tuple(map(x509.load_der_x509_certificate, trust.anchors)),
        tuple(map(x509.load_der_x509_crl, trust.crls)),
    )


def check(anchors: Sequence[bytes], crls: Sequence[bytes]) -> Trust:
    """Trust in these, DER. Raises Rejected: trust-invalid, with `field` anchors or crls."""
    trust = Trust(tuple(sorted(set(anchors))), tuple(sorted(set(crls))))
    size = sum(map(len, trust.anchors)) + sum(map(len, trust.crls))
    if len(trust.anchors) > ANCHORS_MAX or len(trust.crls) > CRLS_MAX or size > BYTES_MAX:
        text = f"over {ANCHORS_MAX} certificates, {CRLS_MAX} revocation lists or {BYTES_MAX} bytes"
        raise Rejected("trust-invalid", text, field="anchors")
    for number, data in enumerate(trust.anchors, 1):
        try:
            serial_number(data)
            certificate = x509.load_der_x509_certificate(data)
            basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
            good = basic.value.ca and usage.value.key_cert_sign
            certificate.public_key()
        except (*UNREADABLE, x509.ExtensionNotFound) as e:
            text = f"certificate {number} is none of a CA: {type(e).__name__}"
            raise Rejected("trust-invalid", text, field="anchors") from None
        if not good:
            text = f"certificate {number} may not sign certificates"
            raise Rejected("trust-invalid", text, field="anchors", clause="RFC 5280 §4.2.1.9")
    for number, data in enumerate(trust.crls, 1):
        try:
            crl = x509.load_der_x509_crl(data)
            critical = [one for one in crl.extensions if one.critical]
            good = not critical and crl.signature_hash_algorithm is not None
        except UNREADABLE as e:
            text = f"revocation list {number} is none: {type(e).__name__}"
            raise Rejected("trust-invalid", text, field="crls") from None
        if not good:  # a delta, or one of a part of the certificates
            text = f"revocation list {number} is not of all that its CA has revoked"
            raise Rejected("trust-invalid", text, field="crls", clause="RFC 5280 §5.2")
    return trust
