"""Whether a CMS message is signed as it says, by somebody whom the registry's trust vouches for.

RFC 5652 §5.4 to §5.6 for the signature, RFC 5280 §6.1 for the chain, at the time at which the
message was received. Names constrain nothing here: a critical extension that is not understood
refuses the chain.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from bal import der_tlv
from bal.cms import (
    CONTENT_TYPE,
    DATA,
    MESSAGE_DIGEST,
    SIGNING_TIME,
    Algorithm,
    Signed,
    SignerInfo,
    serial_number,
)
from bal.cms import algorithm as read_algorithm
from bal.der_tlv import Malformed
from bal.errors import Rejected
from bal.trust import Trust
from bal.trust_check import UNREADABLE, Loaded, loaded

CHAIN_MAX = 6  # certificates, the signer's and the anchor included
RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192
_ISSUED_MAX = 64  # signatures of certificates looked at for one message

_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_HASHES: dict[str, hashes.HashAlgorithm] = {  # MD5 and SHA-1 are not among them
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_ECDSA: dict[str, hashes.HashAlgorithm] = {  # RFC 5754 §3.3
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}
_CURVES = (
    ec.SECP256R1, ec.SECP384R1, ec.SECP521R1,
    ec.BrainpoolP256R1, ec.BrainpoolP384R1, ec.BrainpoolP512R1,
)  # fmt: skip
_NULL = b"\x05\x00"
_UNDERSTOOD = frozenset(
    {x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.CertificatePolicies.oid}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Signer(NamedTuple):
    """Who signed a message, once all of it holds."""

    name: str  # common name of the certificate's subject
    fingerprint: str  # SHA-256 of the certificate, 64 hex digits
    anchor: str  # of the trust anchor that its chain ends at; "" where no chain is judged
    signed_us: int  # as the signer says
    crl_old: bool  # the revocation list of one of the chain should have been replaced by then


def check(raw: bytes, signed: Signed, trust: Trust | None, at_us: int) -> Signer:
    """Who signed `raw`; at_us: when it was received. trust: None judges no chain (inspection).

    Raises Rejected: cms-algorithm, cms-attribute-missing, cms-digest-mismatch, cms-malformed,
    cms-signature-invalid, cms-signer-expired, cms-signer-revoked, cms-signer-unknown,
    cms-signer-usage.
    """
    try:
        signed_us = _check_attributes(raw, signed)
        for one in signed.certificates:
            serial_number(one)  # before cryptography is asked, which only warns of negative ones
        certificates = [x509.load_der_x509_certificate(one) for one in signed.certificates]
        leaf = _leaf(signed.signer, certificates)
        _check_signature(signed.signer, leaf)
        if trust is None:
            return Signer(_common_name(leaf), _fingerprint(leaf), "", signed_us, crl_old=False)
        at = _EPOCH + timedelta(microseconds=at_us)
        chain, crl_old = _chain(leaf, certificates, loaded(trust), at)
        return Signer(_common_name(leaf), _fingerprint(leaf), _fingerprint(chain[-1]), signed_us,
                      crl_old)  # fmt: skip
    except UNREADABLE as error:
        # what cryptography says of a certificate that is none
        text = f"a certificate, attribute or algorithm can't be read: {type(error).__name__}"
        raise Rejected("cms-malformed", text, clause="RFC 5652 §5") from None


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


# --- the signature --------------------------------------------------------------------------------


def _check_attributes(raw: bytes, signed: Signed) -> int:
    """Content type and digest are those of the content (RFC 5652 §5.6, §11); the signing time."""
    signer = signed.signer
    digest = _hash_of(signer.digest)
    missing = {CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME} - signer.attributes.keys()
    if missing:
        text = "content-type, message-digest and signing-time have to be signed"
        raise Rejected("cms-attribute-missing", text, clause="RFC 5652 §11")
    if der_tlv.oid(signer.attributes[CONTENT_TYPE]) != DATA:
        text = "the signed content-type is not the content's"
        raise Rejected("cms-digest-mismatch", text, clause="RFC 5652 §11.1")
    told = signer.attributes[MESSAGE_DIGEST]
    hasher = hashes.Hash(digest)
    hasher.update(raw[signed.start : signed.end])
    if told.tag != der_tlv.OCTET_STRING or told.content != hasher.finalize():
        text = "the content is not the one that was signed"
        raise Rejected("cms-digest-mismatch", text, clause="RFC 5652 §11.2")
    return _time_us(signer.attributes[SIGNING_TIME])


def _time_us(element: der_tlv.Element) -> int:
    """RFC 5652 §11.3: UTCTime from 1950 to 2049, else GeneralizedTime; to the second, with Z."""
    text = element.content.decode("ascii", "replace")
    form = {der_tlv.UTC_TIME: 13, der_tlv.GENERALIZED_TIME: 15}.get(element.tag)
    if len(text) != form or not text[:-1].isdigit() or not text.isascii() or text[-1] != "Z":
        raise Malformed("the signing-time is of another form")
    if element.tag == der_tlv.UTC_TIME:
        text = ("20" if text[0] < "5" else "19") + text
    year, *rest = int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))
    since = datetime(year, rest[0], rest[1], rest[2], rest[3], rest[4], tzinfo=UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000


def _hash_of(algorithm: Algorithm) -> hashes.HashAlgorithm:
    found = _HASHES.get(algorithm.oid)
    if found is None or algorithm.parameters not in {b"", _NULL}:
        raise _algorithm("the digest is none of SHA-256, SHA-384, SHA-512")
    return found


def _check_signature(signer: SignerInfo, leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    try:
        if signer.algorithm.oid in _ECDSA:
            digest = _ECDSA[signer.algorithm.oid]
            if not isinstance(key, ec.EllipticCurvePublicKey) or signer.algorithm.parameters:
                raise _algorithm("ECDSA without a key for it, or with parameters")
            _check_key(key)
            key.verify(signer.signature, signer.signed, ec.ECDSA(digest))
        elif signer.algorithm.oid == _PSS:
            digest, salt = _pss(signer.algorithm.parameters)
            if not isinstance(key, rsa.RSAPublicKey):
                raise _algorithm("RSASSA-PSS without a key for it")
            _check_key(key)
            key.verify(
                signer.signature, signer.signed, padding.PSS(padding.MGF1(digest), salt), digest
            )
        else:
            raise _algorithm("the signature is neither ECDSA nor RSASSA-PSS with SHA-2")
    except InvalidSignature:
        text = "the signature is not of these attributes by this certificate's key"
        raise Rejected("cms-signature-invalid", text, clause="RFC 5652 §5.6") from None
    if digest.name != _hash_of(signer.digest).name:
        raise _algorithm("digest and signature by different hash functions")


def _check_key(key: object) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        good = isinstance(key.curve, _CURVES)
    else:
        good = isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX
    if not good:
        bits = f"{RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
        raise _algorithm(f"a key on another curve, or of RSA and not of {bits}")


def _pss(parameters: bytes) -> tuple[hashes.HashAlgorithm, int]:
    """Hash and length of the salt (RFC 4055 §3.1): the same hash in MGF1, a salt as long as it."""
    given = {
        one.tag: der_tlv.children(one)
        for one in der_tlv.children(der_tlv.whole(parameters, der_tlv.SEQUENCE))
    }
    if set(given) != {0xA0, 0xA1, 0xA2} or any(len(one) != 1 for one in given.values()):
        raise _algorithm("RSASSA-PSS by default means SHA-1; all three parameters are needed")
    digest_of = read_algorithm(given[0xA0][0])
    mask, salt = read_algorithm(given[0xA1][0]), der_tlv.integer(given[0xA2][0])
    digest = _hash_of(digest_of)
    inner = read_algorithm(der_tlv.whole(mask.parameters, der_tlv.SEQUENCE))
    if mask.oid != _MGF1 or inner.oid != digest_of.oid or salt != digest.digest_size:
        raise _algorithm("RSASSA-PSS with another hash in MGF1, or another salt")
    return digest, salt


def _algorithm(text: str) -> Rejected:
    return Rejected("cms-algorithm", text, clause="RFC 5754")


# --- the chain ------------------------------------------------------------------------------------


def _leaf(signer: SignerInfo, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    for one in certificates:
        if signer.key_identifier:
            found = _key_identifier(one) == signer.key_identifier
        else:
            found = one.serial_number == signer.serial and (
                one.issuer.public_bytes() == signer.issuer
            )
        if found:
            return one
    text = "the signer's certificate is not in the message"
    raise Rejected("cms-signer-unknown", text, clause="RFC 5652 §5.3")


def _key_identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.digest


def _chain(
    leaf: x509.Certificate,
    certificates: Sequence[x509.Certificate],
    trust: Loaded,
    at: datetime,
) -> tuple[list[x509.Certificate], bool]:
    """From the signer to an anchor, and whether a revocation list was old. Raises Rejected.

    Of several chains the first that holds counts; where none holds, what is wrong with the first.
    """
    failed: Rejected | None = None
    for chain in _chains([leaf], certificates, trust.anchors, [_ISSUED_MAX]):
        try:
            return chain, _check_chain(chain, trust, at)
        except Rejected as error:
            failed = failed or error
    if failed is not None:
        raise failed
    text = "no chain of certificates leads from the signer to one that is trusted"
    raise Rejected("cms-signer-unknown", text, clause="RFC 5280 §6.1")


def _chains(
    chain: list[x509.Certificate],
    certificates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    left: list[int],
) -> Iterator[list[x509.Certificate]]:
    last = chain[-1]
    for issuer in anchors:
        if _issued(last, issuer, left):
            yield [*chain, issuer]
    if len(chain) + 2 > CHAIN_MAX:
        return
    for issuer in certificates:
        if issuer not in chain and issuer not in anchors and _issued(last, issuer, left):
            yield from _chains([*chain, issuer], certificates, anchors, left)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate, left: list[int]) -> bool:
    if certificate.issuer != issuer.subject or left[0] == 0:
        return False
    left[0] -= 1
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_chain(chain: Sequence[x509.Certificate], trust: Loaded, at: datetime) -> bool:
    for one in chain:
        _check_key(one.public_key())
        if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
            text = "a certificate of the chain was not valid when the message was received"
            raise Rejected("cms-signer-expired", text, clause="RFC 5280 §6.1.3")
        if any(ext.critical and ext.oid not in _UNDERSTOOD for ext in one.extensions):
            raise _usage("a certificate has a critical extension that is not understood here")
    for one in chain[:-1]:
        digest = one.signature_hash_algorithm
        if digest is None or digest.name not in {known.name for known in _HASHES.values()}:
            raise _algorithm("a certificate of the chain is signed by MD5, SHA-1 or the like")
    for below, one in enumerate(chain[1:]):
        _check_ca(one, below)
    leaf = _usage_of(chain[0])
    if _is_ca(chain[0]) is not None or not (leaf.digital_signature or leaf.content_commitment):
        raise _usage("the signer's certificate is a CA's, or not one for signatures")
    old = [_check_revoked(one, issuer, trust, at) for one, issuer in pairwise(chain)]
    return any(old)  # of every pair, as one may be revoked whose neighbour's list is old


def _check_ca(certificate: x509.Certificate, below: int) -> None:
    """below: how many CAs stand between it and the signer."""
    basic = _is_ca(certificate)
    if basic is None or not _usage_of(certificate).key_cert_sign:
        raise _usage("a certificate of the chain was issued by one that is no CA")
    if basic.path_length is not None and basic.path_length < below:
        raise _usage("the chain is longer than a CA of it allows")


def _is_ca(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None
    return found if found.ca else None


def _usage_of(certificate: x509.Certificate) -> x509.KeyUsage:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise _usage("a certificate does not say what its key is for") from None


def _usage(text: str) -> Rejected:
    return Rejected("cms-signer-usage", text, clause="RFC 5280 §4.2.1.3, §4.2.1.9")


def _check_revoked(
    certificate: x509.Certificate, issuer: x509.Certificate, trust: Loaded, at: datetime
) -> bool:
    """Whether the newest revocation list was old. Where the issuer has none, nobody can say."""
    own = [crl for crl in trust.crls if crl.issuer == issuer.subject and _signed(crl, issuer)]
    for crl in own:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and entry.revocation_date_utc <= at:
            text = "a certificate of the chain was revoked when the message was received"
            raise Rejected("cms-signer-revoked", text, clause="RFC 5280 §6.3")
    ends = [crl.next_update_utc for crl in own]
    return bool(ends) and all(end is not None and end < at for end in ends)


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    digest = crl.signature_hash_algorithm
    known = digest is not None and digest.name in {one.name for one in _HASHES.values()}
    key = issuer.public_key()
    if not known or not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        return False
    return _usage_of(issuer).crl_sign and crl.is_signature_valid(key)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    found = names[0].value if len(names) == 1 else ""
    return found if isinstance(found, str) else ""
