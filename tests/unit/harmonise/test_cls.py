"""Signed JSON of smart meter gateways: what the signature has to be, and what the readings mean."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import cms, der_tlv, jcs, trust, trust_check
from bal.der_tlv import Malformed
from bal.errors import Rejected
from bal.harmonise import cls
from bal.inspection import guess
from bal.model import Harmonised
from bal.registry import Registry, trust_record
from bal.trust import NO_TRUST, Trust
from field import cls_writer
from field.cls_writer import CONTEXT_0, OCTET_STRING, SEQUENCE, SET, tlv
from tests.unit.harmonise.cls_pki import AT, AT_US, GATEWAY, YEAR, issue, made
from tests.unit.harmonise.conftest import PLATFORM, SENDER, check_parts, commit_parts, resolve

PKI = made()
COUNTER = {
    "obis": "1-0:1.8.0*255", "time": "2026-01-15T10:15:00Z", "value": "123456", "scaler": -1,
    "unit": "Wh", "status": {"ptb": "0"},
}  # fmt: skip
CONTENT = cls_writer.content(GATEWAY, {"1ABC0012345678": [COUNTER]})
GOOD = PKI.message(CONTENT)


def take(raw: bytes, trusted: Trust | None = None, at_us: int | None = AT_US) -> Harmonised:
    found = cls.harmonise(
        raw, resolve=resolve, platform=PLATFORM, sender=SENDER, commit_parts=commit_parts,
        received_us=at_us, trust=PKI.trust() if trusted is None else trusted,
    )  # fmt: skip
    check_parts(raw, found)
    return found


def rejected(raw: bytes, trusted: Trust | None = None, at_us: int | None = AT_US) -> Rejected:
    with pytest.raises(Rejected) as error:
        take(raw, trusted, at_us)
    assert GATEWAY not in error.value.text
    return error.value


def refused(raw: bytes, trusted: Trust | None = None, at_us: int | None = AT_US) -> str:
    return rejected(raw, trusted, at_us).code


def read(*readings: Any) -> Harmonised:
    return take(PKI.message(cls_writer.content(GATEWAY, {"M": readings})))


def reading(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**COUNTER, **more}.items() if value is not None}


# --- the signature ------------------------------------------------------------------------------


def test_a_reading_says_who_signed_it() -> None:
    [draft] = take(GOOD).records
    record = jcs.decode(draft.record)
    assert draft.record.startswith(b'{"attested":{')
    assert record["attested"] == {
        "id": "#attested",
        "by": PKI.gateway.certificate.fingerprint(hashes.SHA256()).hex(),
        "trust": PKI.root.certificate.fingerprint(hashes.SHA256()).hex(),
        "signed": "2026-01-15T10:15:02Z",
    }
    assert jcs.encode(record) == draft.record
    assert (record["value"], record["unit"], record["time"]) == (
        "12345.6", "Wh", "2026-01-15T10:15:00Z",
    )  # fmt: skip
    assert record["register"] == "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
    assert record["observes"]["notation"] == "1-0:1.8.0*255"
    assert record["quality"] == ["1.0.0"]
    assert GATEWAY.encode() not in draft.record


def test_another_program_signs_as_we_read() -> None:
    """By cryptography's writer of PKCS #7: RSASSA-PSS (RFC 4055 §3.1), ECDSA (RFC 5754 §3.3)."""
    key = rsa.generate_private_key(65537, 2048)
    pss = PKI.sub.issue(f"{GATEWAY}.SMGW", key=key)
    nist = PKI.sub.issue(GATEWAY, key=ec.generate_private_key(ec.SECP384R1()))
    for signer, how in ((pss, padding.PSS(padding.MGF1(hashes.SHA256()), 32)), (nist, None)):
        digest = hashes.SHA256() if how else hashes.SHA384()
        raw = (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(CONTENT)
            .add_signer(signer.certificate, signer.key, digest, rsa_padding=how)
            .add_certificate(PKI.sub.certificate)
            .sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])
        )
        found = take(raw)
        assert len(found.records) == 1
        assert [(one.code, one.clause) for one in found.findings] == [
            ("cms-signed-ahead", "RFC 5652 §11.3"),  # it looks at a clock
        ]


def variants() -> dict[str, tuple[bytes, str]]:
    """Messages that are wrong in one way each, and the code that says so."""
    key, certificate = PKI.gateway.key, PKI.gateway.certificate
    chain = [certificate, PKI.sub.certificate]
    info = cls_writer.signer_info(CONTENT, certificate, key, AT)
    stranger = issue("Root", ca=True)
    other = PKI.sub.issue("EXYZ0099999999.SMGW")
    weak = PKI.sub.issue(f"{GATEWAY}.SMGW", key=ec.generate_private_key(ec.SECP192R1()))
    deep = issue(f"{GATEWAY}.SMGW", PKI.sub.issue("Sub-sub", ca=True))
    sub_sub = PKI.sub.issue("Sub-sub", ca=True)
    plain_issuer = PKI.sub.issue("No CA")
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    return {
        "no signer": (cls_writer.signed_data(CONTENT, chain, []), "cms-unsigned"),
        "two signers": (cls_writer.signed_data(CONTENT, chain, [info, info]),
                        "cms-several-signers"),
        "content changed": (GOOD.replace(b"123456", b"123457"), "cms-digest-mismatch"),
        "time changed": (GOOD.replace(b"260115101502Z", b"260115101503Z"),
                         "cms-signature-invalid"),
        "no certificate": (cls_writer.signed_data(CONTENT, chain[1:], [info]),
                           "cms-signer-unknown"),
        "no chain": (cls_writer.signed_data(CONTENT, chain[:1], [info]), "cms-signer-unknown"),
        "another root": (PKI.message(CONTENT, stranger.issue(GATEWAY), stranger),
                         "cms-signer-unknown"),
        "self-signed": (PKI.message(CONTENT, issue(GATEWAY)), "cms-signer-unknown"),
        "another gateway": (PKI.message(CONTENT, other), "cms-signer-other"),
        "a longer name": (PKI.message(CONTENT, PKI.sub.issue(f"{GATEWAY}9.SMGW")),
                          "cms-signer-other"),
        "expired": (PKI.message(CONTENT, PKI.sub.issue(GATEWAY, end=AT - timedelta(seconds=1))),
                    "cms-signer-expired"),
        "not yet valid": (PKI.message(CONTENT, PKI.sub.issue(GATEWAY, begin=AT + YEAR / 2)),
                          "cms-signer-expired"),
        "not for signatures": (PKI.message(CONTENT, PKI.sub.issue(GATEWAY,
                                                                  usages=["key_agreement"])),
                               "cms-signer-usage"),
        "no key usage": (PKI.message(CONTENT, PKI.sub.issue(GATEWAY, usages=())),
                         "cms-signer-usage"),
        "a CA signs": (PKI.message(CONTENT, PKI.root.issue(GATEWAY, ca=True)), "cms-signer-usage"),
        "issued by no CA": (PKI.message(CONTENT, issue(GATEWAY, plain_issuer), plain_issuer,
                                        PKI.sub), "cms-signer-usage"),
        "path too long": (PKI.message(CONTENT, issue(GATEWAY, sub_sub), sub_sub, PKI.sub),
                          "cms-signer-usage"),
        "chain broken": (PKI.message(CONTENT, deep, PKI.sub), "cms-signer-unknown"),
        "critical extension": (PKI.message(CONTENT, PKI.sub.issue(GATEWAY,
                                                                  more=[(unknown, True)])),
                               "cms-signer-usage"),
        "a small curve": (PKI.message(CONTENT, weak), "cms-algorithm"),
        "no attributes": (without_attributes(), "cms-attribute-missing"),
        "no signing time": (with_attributes(lambda kinds: kinds[:-1]), "cms-attribute-missing"),
        "another content type": (hand_made(attributes(hashed(hashes.SHA256()), kind="02")),
                                 "cms-digest-mismatch"),
        # X.690 §11.6: a SET OF is sorted in DER
        "attributes unsorted": (with_attributes(lambda kinds: kinds[::-1]), "cms-malformed"),
        "bytes behind": (GOOD + b"\0", "cms-malformed"),
        "cut off": (GOOD[:-1], "cms-malformed"),
        # X.690 §10.1: the definite form of the length
        "BER": (b"\x30\x80" + GOOD[4:] + b"\0\0", "cms-malformed"),
        "nothing": (b"", "cms-malformed"),
        "JSON": (CONTENT, "cms-malformed"),
    }  # fmt: skip


CLAUSES = {  # that a variant breaks, and that its finding names
    "RFC 5652 §5": ["no signer", "two signers", "attributes unsorted", "bytes behind", "cut off",
                    "BER", "nothing", "JSON"],
    "RFC 5652 §5.3": ["no attributes", "no certificate"],
    "RFC 5652 §5.6": ["time changed"],
    "RFC 5652 §11": ["no signing time"],
    "RFC 5652 §11.1": ["another content type"],
    "RFC 5652 §11.2": ["content changed"],
    "RFC 5280 §4.2.1.3, §4.2.1.9": ["not for signatures", "no key usage", "a CA signs",
                                    "issued by no CA", "path too long", "critical extension"],
    "RFC 5280 §6.1": ["no chain", "another root", "self-signed", "chain broken"],
    "RFC 5280 §6.1.3": ["expired", "not yet valid"],
    "RFC 5754": ["a small curve"],
    cls_writer.TYPE: ["another gateway", "a longer name"],
}  # fmt: skip

_SHA256 = bytes.fromhex("300b0609608648016503040201")
_SHA1 = bytes.fromhex("300706052b0e03021a")
_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def attributes(
    digest: bytes, *, kind: str = "01", time: bytes = tlv(0x17, b"260115101502Z")
) -> list[bytes]:
    """content-type, message-digest, signing-time, as DER sorts them."""
    values = {
        "06092a864886f70d010903": bytes.fromhex(f"06092a864886f70d0107{kind}"),
        "06092a864886f70d010904": tlv(OCTET_STRING, digest),
        "06092a864886f70d010905": time,
    }
    return sorted(tlv(SEQUENCE, bytes.fromhex(kind), tlv(SET, one)) for kind, one in values.items())


def hand_made(
    kinds: list[bytes], *, digest: bytes = _SHA256, algorithm: bytes = _ECDSA,
    how: hashes.HashAlgorithm | None = None,
) -> bytes:  # fmt: skip
    certificate = PKI.gateway.certificate
    signature = PKI.gateway.key.sign(tlv(SET, *kinds), ec.ECDSA(how or hashes.SHA256()))
    serial = certificate.serial_number
    number = tlv(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
    signed = [tlv(CONTEXT_0, *kinds)] if kinds else []
    info = tlv(
        SEQUENCE, b"\x02\x01\x01", tlv(SEQUENCE, certificate.issuer.public_bytes(), number),
        digest, *signed, algorithm, tlv(OCTET_STRING, signature),
    )  # fmt: skip
    return cls_writer.signed_data(CONTENT, [certificate, PKI.sub.certificate], [info])


def hashed(how: hashes.HashAlgorithm) -> bytes:
    hasher = hashes.Hash(how)
    hasher.update(CONTENT)
    return hasher.finalize()


def without_attributes() -> bytes:
    return hand_made([])


def with_attributes(change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return hand_made(change(attributes(hashed(hashes.SHA256()))))


@pytest.mark.parametrize("wrong", list(variants()))
def test_what_is_wrong_with_a_signature_has_its_code(wrong: str) -> None:
    raw, code = variants()[wrong]
    error = rejected(raw)
    assert (error.code, wrong in CLAUSES[error.clause]) == (code, True), error.clause


@pytest.mark.parametrize(
    ("tag", "text", "code"),
    [
        (0x17, b"260115101502Z", ""), (0x18, b"20260115101502Z", ""),
        (0x17, b"2601151015Z", "cms-malformed"), (0x17, b"260115101502+0100", "cms-malformed"),
        (0x18, b"20260115101502.5Z", "cms-malformed"), (0x17, b"260230101502Z", "cms-malformed"),
        (0x0C, b"260115101502Z", "cms-malformed"),
    ],
)  # fmt: skip
def test_the_signing_time_is_in_utc_to_the_second(tag: int, text: bytes, code: str) -> None:
    """RFC 5652 §11.3: UTCTime or GeneralizedTime, with seconds, no fractions, and Z."""
    raw = hand_made(sorted(attributes(hashed(hashes.SHA256()), time=tlv(tag, text))))
    if code:
        assert refused(raw) == code
        return
    [draft] = take(raw).records
    assert jcs.decode(draft.record)["attested"]["signed"] == "2026-01-15T10:15:02Z"


def test_signed_attributes_are_signed_as_a_set() -> None:
    """RFC 5652 §5.4: the signature is over the DER of a SET OF, not over [0] IMPLICIT as sent."""
    kinds = attributes(hashed(hashes.SHA256()))
    assert cms.read(with_attributes(list)).signer.signed == tlv(SET, *kinds)


@pytest.mark.parametrize(
    ("digest", "algorithm", "how"),
    [
        (_SHA1, _ECDSA_SHA1, hashes.SHA1()), (_SHA1, _ECDSA, hashes.SHA256()),
        (_SHA256, _ECDSA_SHA1, hashes.SHA1()),
        (bytes.fromhex("300c06082a864886f70d02050500"), _ECDSA, hashes.SHA256()),  # MD5
        (_SHA256, bytes.fromhex("300a06082a8648ce3d040303"), hashes.SHA384()),  # not the same
        (_SHA256, bytes.fromhex("300d06092a864886f70d01010b0500"), hashes.SHA256()),  # PKCS #1
        # RFC 4055 §3.1: by default the hash of RSASSA-PSS is SHA-1
        (_SHA256, bytes.fromhex("300b06092a864886f70d01010a"), hashes.SHA256()),
        # RFC 5280 §4.1.1.2: an AlgorithmIdentifier has an OID, and parameters at most
        (bytes.fromhex("3000"), _ECDSA, hashes.SHA256()),
        (_SHA256, bytes.fromhex("300e06082a8648ce3d04030205000500"), hashes.SHA256()),
    ],
)  # fmt: skip
def test_weak_algorithms_are_refused(digest: bytes, algorithm: bytes, how: Any) -> None:
    kind = hashes.SHA1() if digest == _SHA1 else hashes.SHA256()
    raw = hand_made(attributes(hashed(kind)), digest=digest, algorithm=algorithm, how=how)
    assert refused(raw) in {"cms-algorithm", "cms-malformed"}


def test_hand_made_is_good_where_nothing_is_wrong() -> None:
    assert len(take(with_attributes(list)).records) == 1


def test_without_trust_or_time_nobody_is_known() -> None:
    assert refused(GOOD, NO_TRUST) == "cms-signer-unknown"
    assert refused(GOOD, at_us=None) == "cms-signer-unknown"


def test_whoever_only_looks_judges_no_signer() -> None:
    """`gridseal inspect` has neither trust nor a time of receipt; the signature has to hold."""
    stranger = PKI.message(CONTENT, issue(GATEWAY))
    for raw, codes in ((stranger, ["cms-chain-unjudged"]), (GOOD, ["cms-chain-unjudged"])):
        found = cls.harmonise(
            raw, resolve=resolve, platform=PLATFORM, sender=SENDER, commit_parts=commit_parts,
            received_us=None, trust=None,
        )  # fmt: skip
        assert [one.code for one in found.findings] == codes
        assert found.findings[0].clause == "RFC 5280 §6.1"
        assert len(found.records) == 1


def test_inspect_explains_it() -> None:
    """By the content type id-signedData (RFC 5652 §5.1)."""
    told = guess(GOOD)
    assert (told.form, told.values, told.refused) == ("cls", 1, [])
    assert [one.code for one in told.findings] == ["cms-chain-unjudged"]


def test_it_is_judged_by_the_time_of_its_receipt() -> None:
    short = PKI.sub.issue(GATEWAY, end=AT + timedelta(minutes=1))
    raw = PKI.message(CONTENT, short)
    assert len(take(raw).records) == 1
    assert refused(raw, at_us=AT_US + 61_000_000) == "cms-signer-expired"


def test_revocation() -> None:
    serial = PKI.gateway.certificate.serial_number
    raw = PKI.message(CONTENT)
    error = rejected(raw, PKI.trust(PKI.sub.crl(serial)))
    assert (error.code, error.clause) == ("cms-signer-revoked", "RFC 5280 §6.3")
    sub = PKI.sub.certificate.serial_number
    assert refused(raw, PKI.trust(PKI.root.crl(sub))) == "cms-signer-revoked"
    later = PKI.sub.crl(serial, at=AT + timedelta(days=1))
    assert len(take(raw, PKI.trust(later)).records) == 1
    foreign = issue("Sub-CA", ca=True).crl(serial)  # of the same name, by another key
    assert len(take(raw, PKI.trust(foreign)).records) == 1
    old = take(raw, PKI.trust(PKI.sub.crl(1, at=AT - timedelta(days=60))))
    assert [(one.code, one.clause) for one in old.findings] == [
        ("cms-crl-old", "RFC 5280 §5.1.2.5"),  # nextUpdate
    ]
    fresh = take(raw, PKI.trust(PKI.sub.crl(1), PKI.root.crl()))
    assert fresh.findings == []


def test_a_sub_ca_may_be_an_anchor_of_its_own() -> None:
    raw = cls_writer.message(CONTENT, [PKI.gateway.certificate], PKI.gateway.key, AT)
    assert len(take(raw, trust_check.check([PKI.sub.der], [])).records) == 1


@pytest.mark.parametrize(
    ("anchors", "crls", "field"),
    [
        ([PKI.gateway.der], [], "anchors"), ([b"x"], [], "anchors"), ([], [b"x"], "crls"),
        ([issue("No usage", ca=True, usages=["crl_sign"]).der], [], "anchors"),
        ([bytes([n]) for n in range(65)], [], "anchors"),
    ],
)  # fmt: skip
def test_trust_that_is_none(anchors: list[bytes], crls: list[bytes], field: str) -> None:
    with pytest.raises(Rejected, match="trust-invalid") as error:
        trust_check.check(anchors, crls)
    assert error.value.field == field


def test_an_anchor_signs_certificates_and_a_list_is_of_all_that_is_revoked() -> None:
    with pytest.raises(Rejected) as error:  # RFC 5280 §4.2.1.9: no certificate of a CA
        trust_check.check([PKI.gateway.der], [])
    assert error.value.clause == "RFC 5280 §4.2.1.9"
    delta = x509.CertificateRevocationListBuilder(PKI.sub.certificate.subject, AT, AT + YEAR)
    delta = delta.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    raw = delta.sign(PKI.sub.key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(Rejected) as error:  # RFC 5280 §5.2: its extensions, a delta list's here
        trust_check.check([PKI.root.der], [raw])
    assert (error.value.code, error.value.clause) == ("trust-invalid", "RFC 5280 §5.2")


def test_trust_goes_through_its_texts() -> None:
    one = PKI.trust(PKI.sub.crl(7))
    assert trust.of_texts(trust.as_texts(one.anchors), trust.as_texts(one.crls)) == one


# --- the readings -------------------------------------------------------------------------------


def test_an_interval_and_hex_digits_and_a_status_word() -> None:
    quarter = reading(
        obis="0100011D00FF", time=None, begin="2026-01-15T10:00:00Z", end="2026-01-15T10:15:00Z",
        value=210, scaler=None, status={"fnn": "A000000020000000"},
    )  # fmt: skip
    [draft] = read(quarter).records
    record = jcs.decode(draft.record)
    assert (record["begin"], record["end"], record["value"]) == (
        "2026-01-15T10:00:00Z", "2026-01-15T10:15:00Z", "210",
    )  # fmt: skip
    assert record["register"] == "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
    assert record["observes"]["notation"] == "1-0:1.29.0*255"


def test_what_has_no_meaning_is_kept_as_an_event() -> None:
    found = read(reading(obis="1-0:96.1.0*255"), reading(status={"ptb": "3"}), reading())
    events = [jcs.decode(one.record) for one in found.records]
    assert [one["kind"] for one in events] == ["event", "event", "reading"]
    assert [one.code for one in found.findings] == ["obis-unmapped", "value-invalid"]
    assert events[0]["verbatim"]["value"] == ["123456"]
    assert all("attested" in one for one in events)


def test_one_bad_reading_never_costs_the_others() -> None:
    bad = (
        reading(unit="kWh"), reading(value="1,5"), reading(value=None), reading(scaler="x"),
        reading(scaler=13), reading(obis="x"), reading(time="2026-01-15T10:15:00"),
        reading(begin="2026-01-15T10:00:00Z"), reading(status={}), reading(quality="x"), 7,
        reading(time=None),
    )  # fmt: skip
    found = read(*bad, reading())
    assert len(found.records) == 1
    assert [(one.code, one.field.rsplit("/", 1)[-1]) for one in found.refused] == [
        ("unit-mismatch", "unit"), ("value-not-decimal", "value"), ("member-missing", "value"),
        ("member-type", "scaler"), ("scaler-invalid", "scaler"), ("obis-malformed", "obis"),
        ("time-without-offset", "time"), ("time-missing", "time"), ("member-type", "status"),
        ("member-type", "quality"), ("member-type", "10"), ("time-missing", "time"),
    ]  # fmt: skip


def test_meters_have_parts_of_their_own() -> None:
    meters = {"M1": [COUNTER], "M2": [COUNTER], "forbidden": [COUNTER]}
    found = take(PKI.message(cls_writer.content(GATEWAY, meters)))
    assert len({one.subject.pseudonym for one in found.records}) == 2  # check_parts sees whose
    assert len(found.parts) == 7
    assert [one.code for one in found.refused] == ["subject-not-allowed"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[]", "no-reading"), (b"{", "json-malformed"), (b"7", "member-type"),
        (json.dumps({"type": "x"}).encode(), "member-type"),
        (CONTENT.replace(b'"gateway"', b'"gate"'), "member-type"), (b"\xff", "not-utf8"),
        (CONTENT[:-1] + b',"meter":"M"}', "json-duplicate-key"),
        (b"[" + CONTENT + b"," + CONTENT.replace(GATEWAY.encode(), b"X") + b"]",
         "cms-signer-other"),
    ],
)  # fmt: skip
def test_a_content_that_is_none(content: bytes, code: str) -> None:
    assert refused(PKI.message(content)) == code


def test_a_missing_value_and_an_unknown_member_and_a_substitute() -> None:
    found = read(
        reading(value=None, quality=["1.5.259"], status=None), reading(more="x"),
        reading(status={"ptb": "2"}),
    )  # fmt: skip
    first = jcs.decode(found.records[0].record)
    assert "value" not in first
    assert [one.code for one in found.findings] == ["member-unknown", "value-substitute"]


# --- any bytes ----------------------------------------------------------------------------------


def settle(raw: bytes) -> None:
    try:
        found = take(raw)
    except Rejected as error:
        assert refused(raw) == error.code  # noqa: PT017 - the same again
        return
    assert found == take(raw)


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    settle(raw)
    settle(b"\x30\x82\x01\x00" + raw)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=4), st.integers(0, 4))
def test_a_good_message_with_other_bytes_in_it(at: int, more: bytes, gone: int) -> None:
    """No change anywhere gives other records: only the unsigned wrapping may differ."""
    raw = GOOD[:at] + more + GOOD[at + gone :]
    settle(raw)
    try:
        found = take(raw)
    except Rejected:
        return
    [told], [good] = found.records, take(GOOD).records
    [mine, theirs] = [jcs.decode(one.record) for one in (told, good)]
    del mine["evidence"], theirs["evidence"]
    assert mine == theirs


@given(st.recursive(st.binary(max_size=40), lambda inside: st.lists(inside, max_size=4)))
def test_der_is_read_as_it_was_written(tree: Any) -> None:
    """X.690 §10, §11."""

    def write(one: Any) -> bytes:
        return tlv(OCTET_STRING, one) if isinstance(one, bytes) else tlv(SEQUENCE, *map(write, one))

    def read_back(element: der_tlv.Element) -> Any:
        if element.tag == OCTET_STRING:
            return element.content
        return [read_back(one) for one in der_tlv.children(element)]

    raw = write(tree)
    assert read_back(der_tlv.whole(raw, raw[0])) == tree
    with pytest.raises(Malformed):
        der_tlv.whole(raw + b"\0", raw[0])


@given(st.lists(st.integers(0, 2**60), min_size=1, max_size=8), st.integers(0, 2))
def test_object_identifiers_in_dots(arcs: list[int], first: int) -> None:
    dotted = f"{first}.{'.'.join(map(str, [arcs[0] % 40, *arcs[1:]]))}"
    octets = x509.ObjectIdentifier(dotted) if len(arcs) > 1 else None
    body = b"".join(base128(arc) for arc in [first * 40 + arcs[0] % 40, *arcs[1:]])
    assert der_tlv.oid(der_tlv.whole(tlv(0x06, body), 0x06)) == dotted
    assert octets is None or octets.dotted_string == dotted


def base128(arc: int) -> bytes:
    found = [arc & 0x7F]
    while arc := arc >> 7:
        found.append(arc & 0x7F | 0x80)
    return bytes(found[::-1])


def test_the_structure_alone_is_what_the_guard_sees() -> None:
    signed = cms.read(GOOD)
    assert GOOD[signed.start : signed.end] == CONTENT
    assert len(signed.certificates) == 2


# --- the page -----------------------------------------------------------------------------------


def test_the_example_of_the_page_means_what_the_page_says() -> None:
    page = (Path(__file__).parents[3] / "docs" / "spec" / "cls.md").read_text(encoding="utf-8")
    found = take(PKI.message(page.split("```json\n")[1].split("```")[0].encode()))
    records = [jcs.decode(one.record) for one in found.records]
    assert [(one["value"], one["unit"], one["quality"]) for one in records] == [
        ("12345.6", "Wh", ["1.0.0"]), ("210", "Wh", ["0.0.0"]),
    ]  # fmt: skip
    assert found.findings == []


def test_trust_comes_from_the_log() -> None:
    registry = Registry()
    assert registry.trust == NO_TRUST
    for one in (PKI.trust(PKI.sub.crl(7)), PKI.trust(), NO_TRUST):
        before = registry.version
        registry.apply(trust_record(one, PLATFORM.pseudonym))
        assert (registry.trust, registry.version) == (one, before + 1)


@pytest.mark.parametrize("number", [b"\x02\x01\x00", b"\x02\x01\xff", b"\x05\x00", b""])
def test_a_certificate_without_a_serial_number_is_none(number: bytes) -> None:
    """RFC 5280 §4.1.2.2: an INTEGER above 0."""
    raw = tlv(SEQUENCE, tlv(SEQUENCE, tlv(CONTEXT_0, b"\x02\x01\x02"), number), b"\x05\x00\x05\x00")
    with pytest.raises(Malformed):
        cms.serial_number(raw)
    assert cms.serial_number(PKI.gateway.der) == PKI.gateway.certificate.serial_number
