"""The platform's own certification authority, and TLS contexts made of its certificates.

One CA signs the platform's server certificates and the devices' client certificates; a device is
known by the name in its certificate (CN), by the certificate's SHA-256 and by its password.
Revocation is the registry's, not a CRL's: a handshake may still succeed, the CONNECT does not.
Keys are EC P-256, certificates X.509 v3 as RFC 5280 §4.2 wants them.
"""

import fcntl
import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bal.errors import Rejected, Stop
from bal.ports import Clock
from infra.files import write_new

logger = logging.getLogger("gridseal.certificates")

CA_VALIDITY_DAYS = 3650
LEAF_VALIDITY_DAYS_MAX = 825
BACKDATED_S = 3600  # a device whose clock is late must still see a certificate that has begun
HOSTS_ALWAYS = ("localhost", "127.0.0.1", "::1")

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")  # 64: X.520's upper bound of a common name
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*")


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: its certificate, and the key that signs. It is read once and never sent."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """What clients are given as `ca.crt`."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def create_ca(folder: Path, clock: Clock) -> Authority:
    """Make a CA and write `ca.key` (0600) and `ca.crt` into `folder`, which must exist.

    Raises FileExistsError where there is one already: a CA is never replaced silently.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    authority = Authority(_certify_itself(key, _name_of(key), clock), key)
    write_private(folder / "ca.key", _key_pem(key))
    write_new(folder / "ca.crt", authority.certificate_pem, 0o644)
    return authority


def _name_of(key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Of a CA: two never share it, and it can be told from the key when the certificate is lost."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    return _name(f"Gridseal CA {digest.hex()[:16]}")


def _certify_itself(
    key: ec.EllipticCurvePrivateKey, name: x509.Name, clock: Clock
) -> x509.Certificate:
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(sign_certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    begin = _now(clock) - timedelta(seconds=BACKDATED_S)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=begin + timedelta(days=CA_VALIDITY_DAYS),
    )
    return _sign(builder, extensions, key)


def ensure_ca(folder: Path, clock: Clock) -> Authority:
    """The CA of `folder`, made where there is none; one process at a time makes it.

    A key without its certificate is of a making that was cut off, or the certificate was lost: it
    is made again of the key, and what the key has signed stays good. A key is never deleted. Raises
    Stop("store-damaged") for a key that is damaged, and for a certificate whose key is gone or
    another's.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "ca.crt").exists():
            if not (folder / "ca.key").exists():
                return create_ca(folder, clock)
            _make_again(folder, clock)
    finally:
        os.close(held)
    try:
        return load_ca(folder)
    except (OSError, ValueError) as error:
        text = f"the key of {folder / 'ca.crt'} can't be used: {error}"
        raise Stop("store-damaged", f"{text}. Restore ca.key from a backup") from error


def _make_again(folder: Path, clock: Clock) -> None:
    """Of the same key and name, and so it stands for what the first has signed (RFC 5280 §6.1.3).

    Serial number and dates of an issuer don't stand in what it issues.
    """
    try:
        key = _load_key(folder)
        certificate = _certify_itself(key, _signed_as(folder, key) or _name_of(key), clock)
    except (OSError, ValueError) as error:
        text = f"{folder / 'ca.crt'} is gone, and {folder / 'ca.key'} can't be used: {error}"
        raise Stop("store-damaged", f"{text}. Restore both from a backup") from error
    write_new(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    logger.warning("%s was missing: made again, of the key beside it", folder / "ca.crt")


def _signed_as(folder: Path, key: ec.EllipticCurvePrivateKey) -> x509.Name | None:
    """The name in a certificate that `key` has signed: earlier versions drew it."""
    for path in sorted(folder.glob("*.crt")):
        with suppress(OSError, ValueError, InvalidSignature):
            found = x509.load_pem_x509_certificate(path.read_bytes())
            signed = found.tbs_certificate_bytes
            key.public_key().verify(found.signature, signed, ec.ECDSA(hashes.SHA256()))
            return found.issuer
    return None


def load_ca(folder: Path) -> Authority:
    """Read what `create_ca` wrote. Raises OSError or ValueError when it is not there or damaged."""
    key = _load_key(folder)
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    if key.public_key() != certificate.public_key():
        raise ValueError("ca.key is not the key of ca.crt")
    return Authority(certificate, key)


def _load_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Raises OSError, ValueError."""
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("ca.key is no EC key")
    return key


def issue_server(ca: Authority, hosts: Sequence[str], clock: Clock) -> tuple[bytes, bytes]:
    """A server certificate and its key, PEM, for localhost, 127.0.0.1, ::1 and `hosts`.

    hosts: DNS names or IP addresses; an unspecified address (0.0.0.0, ::) names nobody and is
    left out. Raises Rejected("host-invalid").
    """
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys([*HOSTS_ALWAYS, *hosts]):
        name = _general_name(host)
        if name is not None and name not in names:
            names.append(name)
    alternative = x509.SubjectAlternativeName(names)
    common_name = next((host for host in hosts if _NAME.fullmatch(host)), "localhost")
    return _issue(ca, common_name, [ExtendedKeyUsageOID.SERVER_AUTH], [(alternative, False)], clock)


def issue_device(ca: Authority, name: str, clock: Clock) -> tuple[bytes, bytes]:
    """A client certificate with CN = `name`, and its key, PEM. Raises Rejected("name-invalid")."""
    check_name(name)
    return _issue(ca, name, [ExtendedKeyUsageOID.CLIENT_AUTH], [], clock)


def issue_node(ca: Authority, name: str, hosts: Sequence[str], clock: Clock) -> tuple[bytes, bytes]:
    """A certificate with CN = `name`, and its key, PEM, for one that is server and client at once.

    hosts: as for `issue_server`. Raises Rejected("name-invalid"), Rejected("host-invalid").
    """
    check_name(name)
    found = (_general_name(host) for host in dict.fromkeys([*HOSTS_ALWAYS, *hosts]))
    alternative = x509.SubjectAlternativeName([one for one in found if one is not None])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _issue(ca, name, both, [(alternative, False)], clock)


def check_name(name: str) -> None:
    """Return only if `name` may name a credential: [A-Za-z0-9._-]{1,64}, but not `.` or `..`.

    It stands in topics, file names and certificates, hence the narrow set.
    Raises Rejected("name-invalid").
    """
    if not _NAME.fullmatch(name):
        text = "a name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'"
        raise Rejected("name-invalid", text, field="name")


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the certificate's DER form, 64 hex digits."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def write_private(path: Path, data: bytes) -> None:
    """Write a secret to a new file of mode 0600; FileExistsError where there is a file."""
    write_new(path, data)


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """TLS ≥ 1.2 for a server. With `client_ca` (MQTT) a client must show a certificate of it.

    Tickets are off then: a resumed session would not look at the certificate's dates again.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(client_ca)
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def client_context(
    ca: Path, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS ≥ 1.2 for a client that trusts `ca` alone and checks the server's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _issue(
    ca: Authority,
    common_name: str,
    usages: Sequence[x509.ObjectIdentifier],
    more: list[tuple[x509.ExtensionType, bool]],
    clock: Clock,
) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(sign_certificates=False), True),
        (x509.ExtendedKeyUsage(usages), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), False),
        *more,
    ]
    now, last = _now(clock), ca.certificate.not_valid_after_utc
    if now >= last:
        raise Stop("ca-expired", f"the CA's certificate ended at {last:%Y-%m-%dT%H:%M:%SZ}")
    begin = max(now - timedelta(seconds=BACKDATED_S), ca.certificate.not_valid_before_utc)
    builder = x509.CertificateBuilder(
        issuer_name=ca.certificate.subject,
        subject_name=_name(common_name),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=min(begin + timedelta(days=LEAF_VALIDITY_DAYS_MAX), last),
    )
    certificate = _sign(builder, extensions, ca.key)
    return certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def _sign(
    builder: x509.CertificateBuilder,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if len(host) > 253 or not _HOST.fullmatch(host):
            text = "a host is a DNS name or an IP address"
            raise Rejected("host-invalid", text, field="host") from None
        return x509.DNSName(host)
    return None if address.is_unspecified else x509.IPAddress(address)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_us() // 1_000_000, UTC)
