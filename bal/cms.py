"""CMS SignedData (RFC 5652 §5) of the one form that is taken: what stands where.

Structure alone: nothing is believed yet. bal/harmonise/cms_signature.py checks the signature.
Taken: DER, embedded content of type id-data, one signer with signed attributes, certificates.
"""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from bal import der_tlv
from bal.der_tlv import CONTEXT_0, CONTEXT_1, Element, Malformed
from bal.errors import Rejected

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
CERTIFICATES_MAX = 8
ATTRIBUTES_MAX = 16
CLAUSE = "RFC 5652 §5"

_SKI = 0x80  # SignerIdentifier: [0] subjectKeyIdentifier, primitive


class Algorithm(NamedTuple):
    """An AlgorithmIdentifier."""

    oid: str
    parameters: bytes  # DER; b"" where absent


class SignerInfo(NamedTuple):
    """Who signed, by which algorithms, and what."""

    issuer: bytes  # DER of the issuer's name; b"" where named by key identifier
    serial: int
    key_identifier: bytes  # b"" where named by issuer and serial number
    digest: Algorithm
    attributes: dict[str, Element]  # signed ones: type → its one value
    signed: bytes  # what the signature is over: the attributes as SET OF, RFC 5652 §5.4
    algorithm: Algorithm
    signature: bytes


class Signed(NamedTuple):
    """One message: raw[start:end] is what was signed."""

    start: int
    end: int
    certificates: tuple[bytes, ...]  # DER
    signer: SignerInfo


def read(raw: bytes) -> Signed:
    """The parts of a message.

    Raises Rejected: cms-malformed, cms-unsigned, cms-several-signers.
    """
    try:
        return _read(raw)
    except Malformed as error:
        raise Rejected(
            "cms-malformed", f"not CMS SignedData in DER: {error}", clause=CLAUSE
        ) from None


def _read(raw: bytes) -> Signed:
    info = _exactly(der_tlv.whole(raw, der_tlv.SEQUENCE), 2)
    if der_tlv.oid(info[0]) != SIGNED_DATA or info[1].tag != CONTEXT_0:
        raise Malformed("the content is not SignedData")
    [data] = _exactly(info[1], 1)
    _tagged(data, der_tlv.SEQUENCE)
    version, digests, encapsulated, *more = _at_least(data, 4)
    if der_tlv.integer(version) not in {1, 3}:
        raise Malformed("neither version 1 nor 3")
    _tagged(digests, der_tlv.SET)
    content = _content(encapsulated)
    certificates: tuple[bytes, ...] = ()
    if more and more[0].tag == CONTEXT_0:
        found = der_tlv.children(more.pop(0))
        if len(found) > CERTIFICATES_MAX:
            raise Malformed(f"more than {CERTIFICATES_MAX} certificates")
        for one in found:
            _tagged(one, der_tlv.SEQUENCE)  # no attribute certificates
        certificates = tuple(one.raw for one in found)
    if more and more[0].tag == CONTEXT_1:
        more.pop(0)  # CRLs that the sender brings say nothing: those of the registry count
    if len(more) != 1:
        raise Malformed("something behind the signers")
    _tagged(more[0], der_tlv.SET)
    signers = der_tlv.children(more[0])
    if not signers:
        raise Rejected("cms-unsigned", "the message has no signature", clause=CLAUSE)
    if len(signers) > 1:
        text = "the message has more than one signer"
        raise Rejected("cms-several-signers", text, clause=CLAUSE)
    return Signed(content.inside, content.end, certificates, _signer(signers[0]))


def _content(encapsulated: Element) -> Element:
    _tagged(encapsulated, der_tlv.SEQUENCE)
    inside = der_tlv.children(encapsulated)
    if len(inside) != 2 or der_tlv.oid(inside[0]) != DATA or inside[1].tag != CONTEXT_0:
        raise Malformed("no embedded content of type id-data")
    [content] = _exactly(inside[1], 1)
    return _tagged(content, der_tlv.OCTET_STRING)


def _signer(info: Element) -> SignerInfo:
    _tagged(info, der_tlv.SEQUENCE)
    version, who, digest, *more = _at_least(info, 5)
    issuer, serial, key = b"", 0, b""
    if who.tag == _SKI and der_tlv.integer(version) == 3:
        key = who.content
    elif der_tlv.integer(version) == 1:
        name, number = _exactly(_tagged(who, der_tlv.SEQUENCE), 2)
        issuer, serial = name.raw, der_tlv.integer(number)
    else:
        raise Malformed("a signer of another version")
    if more[0].tag != CONTEXT_0:
        # without them the content's first bytes could pass for attributes (RFC 5652 §5.4)
        raise Rejected("cms-attribute-missing", "no signed attributes", clause="RFC 5652 §5.3")
    attributes = more.pop(0)
    if len(more) not in {2, 3} or (len(more) == 3 and more[2].tag != CONTEXT_1):
        raise Malformed("a signer of another form")
    return SignerInfo(
        issuer,
        serial,
        key,
        algorithm(digest),
        _attributes(attributes),
        bytes([der_tlv.SET]) + attributes.raw[1:],
        algorithm(more[0]),
        _tagged(more[1], der_tlv.OCTET_STRING).content,
    )


def _attributes(attributes: Element) -> dict[str, Element]:
    found: dict[str, Element] = {}
    several = der_tlv.children(attributes)
    if len(several) > ATTRIBUTES_MAX:
        raise Malformed(f"more than {ATTRIBUTES_MAX} signed attributes")
    if [one.raw for one in several] != sorted(one.raw for one in several):
        raise Malformed("signed attributes are not sorted (X.690 §11.6)")
    for one in several:
        kind, values = _exactly(_tagged(one, der_tlv.SEQUENCE), 2)
        inside = der_tlv.children(_tagged(values, der_tlv.SET))
        name = der_tlv.oid(kind)
        if name in found or len(inside) != 1:
            raise Malformed("a signed attribute twice, or with other than one value")
        found[name] = inside[0]
    return found


def serial_number(certificate: bytes) -> int:
    """Of a certificate in DER (RFC 5280 §4.1.2.2: positive). Raises Malformed."""
    fields = der_tlv.children(_at_least(der_tlv.whole(certificate, der_tlv.SEQUENCE), 3)[0])
    own = fields[1:] if fields and fields[0].tag == CONTEXT_0 else fields
    if not own or der_tlv.integer(own[0]) <= 0:
        raise Malformed("a certificate without a serial number above 0")
    return der_tlv.integer(own[0])


def algorithm(element: Element) -> Algorithm:
    """An AlgorithmIdentifier (RFC 5280 §4.1.1.2). Raises Malformed."""
    inside = der_tlv.children(_tagged(element, der_tlv.SEQUENCE))
    if not 1 <= len(inside) <= 2:
        raise Malformed("no algorithm")
    return Algorithm(der_tlv.oid(inside[0]), inside[1].raw if len(inside) == 2 else b"")


def _tagged(element: Element, tag: int) -> Element:
    if element.tag != tag:
        raise Malformed(f"tag {element.tag:02x} where {tag:02x} belongs")
    return element


def _exactly(element: Element, count: int) -> Sequence[Element]:
    found = der_tlv.children(element)
    if len(found) != count:
        _refuse_count()
    return found


def _at_least(element: Element, count: int) -> Sequence[Element]:
    found = der_tlv.children(element)
    if len(found) < count:
        _refuse_count()
    return found


def _refuse_count() -> NoReturn:
    raise Malformed("another number of elements than belongs there")
