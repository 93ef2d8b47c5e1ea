"""A small public key infrastructure, as the German smart meter one: root, sub-CA, gateways."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from bal import trust_check
from bal.trust import Trust
from field import cls_writer

AT = datetime(2026, 1, 15, 10, 15, 2, tzinfo=UTC)
AT_US = int(AT.timestamp()) * 1_000_000
GATEWAY = "EABC0012345678"
YEAR = timedelta(days=365)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*wanted: str) -> x509.KeyUsage:
    words = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{word: word in wanted for word in words})


@dataclass
class Holder:
    """A key and its certificate, and what it issues."""

    key: Any
    certificate: x509.Certificate
    serial: int = field(default=1)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def issue(self, common_name: str, **more: Any) -> "Holder":
        return issue(common_name, self, **more)

    def crl(self, *revoked: int, at: datetime = AT - timedelta(days=1), days: int = 30) -> bytes:
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, at, at + timedelta(days=days)
        )
        for serial in revoked:
            one = x509.RevokedCertificateBuilder(serial, at).build()
            builder = builder.add_revoked_certificate(one)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def issue(
    common_name: str,
    by: Holder | None = None,
    *,
    ca: bool = False,
    path_length: int | None = None,
    usages: Sequence[str] | None = None,
    begin: datetime = AT - YEAR,
    end: datetime = AT + YEAR,
    key: Any = None,
    digest: hashes.HashAlgorithm | None = None,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Holder:
    key = key or ec.generate_private_key(ec.BrainpoolP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=name(common_name) if by is None else by.certificate.subject,
        subject_name=name(common_name),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=end,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
    if usages is None:
        usages = ("key_cert_sign", "crl_sign") if ca else ("digital_signature",)
    if usages:
        builder = builder.add_extension(usage(*usages), True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    for extension, critical in ((identifier, False), *more):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key if by is None else by.key, digest or hashes.SHA256())
    return Holder(key, certificate)


@dataclass
class Pki:
    root: Holder
    sub: Holder
    gateway: Holder

    def trust(self, *crls: bytes) -> Trust:
        return trust_check.check([self.root.der], crls)

    def message(self, content: bytes, signer: Holder | None = None, *above: Holder) -> bytes:
        """`content` as the gateway, or another, sends it."""
        signer = signer or self.gateway
        chain = [one.certificate for one in (signer, *(above or (self.sub,)))]
        return cls_writer.message(content, chain, signer.key, AT)


def made() -> Pki:
    root = issue("SM-Root", ca=True)
    sub = root.issue("Sub-CA", ca=True, path_length=0)
    return Pki(root, sub, sub.issue(f"{GATEWAY}.SMGW"))
