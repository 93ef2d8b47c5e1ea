"""What is fuzzed: each parser that takes bytes from outside, as the platform calls it.

A target is made in the child process, so that its imports are the parser's own; then it takes one
input and returns. Whatever it raises is a defect: errors that a parser may raise end in here.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

Run = Callable[[bytes], object]
AT_US = 1_768_472_102_000_000  # 2026-01-15T10:15:02Z


def _message(form: str) -> Run:
    """The guard, then harmonise, with subjects made up on the spot."""
    from bal.collect.guard import guard
    from bal.errors import Rejected
    from bal.harmonise import MeterNames, harmonise
    from bal.jcs import encode
    from bal.model import Digest, Pseudonym, Subject

    def subject(text: str) -> Subject:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return Subject(Pseudonym(digest.hex()[:43]), digest, "feeder-1", "feeder-1/0")

    platform, sender = subject("platform"), subject("sender")

    def resolve(names: MeterNames) -> Subject:
        identities = names.identities()
        return subject(identities[0]) if identities else sender

    def commit(subjects: Sequence[Subject], parts: Sequence[bytes]) -> list[Digest]:
        return [Digest(hashlib.sha256(part).digest()) for part in parts]

    def run(raw: bytes) -> None:
        with suppress(Rejected):
            guard(raw, form)
            found = harmonise(
                raw, form, resolve=resolve, platform=platform, sender=sender, commit_parts=commit,
                received_us=AT_US, trust=None,
            )  # fmt: skip
            at = 0
            for part in found.parts:
                assert part.start == at < part.end, "the parts do not cover the message"
                at = part.end
            assert at == len(raw), "the parts do not cover the message"
            for draft in found.records:
                assert draft.begin_us <= draft.end_us, "an interval that ends before it begins"
            for finding in [*found.findings, *found.refused]:
                encode(finding.as_json())

    return run


def _c37118() -> Run:
    """As it comes, and again with each checksum made right: else few inputs pass it."""
    from bal.c37118.splitter import Splitter, split

    take = _message("c37118")

    def run(raw: bytes) -> None:
        take(raw)
        take(_summed(raw))
        whole, cut = split(raw), Splitter()
        half = len(raw) // 2
        pieces = [*cut.feed(raw[:half]), *cut.feed(raw[half:]), *cut.end()]
        frames = [piece.frame for piece in pieces if not piece.code]
        wanted = [piece.frame for piece in whole if not piece.code]
        is_nested = any(not piece.code for one in wanted for piece in split(one[1:]))
        assert frames == wanted or is_nested, "a cut matters"

    return run


def _summed(raw: bytes) -> bytes:
    from binascii import crc_hqx

    made, at = bytearray(raw), 0
    while at + 4 <= len(made):
        size = int.from_bytes(made[at + 2 : at + 4], "big")
        if made[at] != 0xAA or size < 16 or at + size > len(made):
            break
        total = crc_hqx(made[at : at + size - 2], 0xFFFF)
        made[at + size - 2 : at + size] = total.to_bytes(2, "big")
        at += size
    return bytes(made)


def _cls_content() -> Run:
    """What a gateway signed, whatever it is: the content under a signature that was found good.

    Once, of another content: to sign and check each input would be nine tenths of the time.
    """
    from unittest.mock import Mock, patch

    from bal import cms
    from bal.collect.guard import guard
    from bal.errors import Rejected
    from bal.harmonise import cls, cms_signature
    from bal.model import Digest, Pseudonym, Subject
    from tests.unit.harmonise.cls_pki import made

    pki = made()
    trust, genuine = pki.trust(), pki.message(b"{}")
    signer = cms_signature.check(genuine, cms.read(genuine), trust, AT_US)
    unsigned = replace(pki.gateway, key=Mock(sign=lambda *_: b"no signature"))
    one = Subject(Pseudonym("p" * 43), b"k" * 32, "feeder-1", "feeder-1/0")

    def run(content: bytes) -> None:
        with suppress(Rejected), patch.object(cms_signature, "check", lambda *_: signer):
            raw = pki.message(content, unsigned)
            guard(raw, "cls")
            cls.harmonise(
                raw, resolve=lambda _: one, platform=one, sender=one, trust=trust,
                received_us=AT_US, commit_parts=lambda _, parts: [Digest(bytes(32)) for _ in parts],
            )  # fmt: skip

    return run


def _cms_signature() -> Run:
    """The signature and its certificates, with trust in somebody: a chain is looked for."""
    from bal.errors import Rejected
    from bal.harmonise import MeterNames, harmonise
    from bal.model import Digest, Pseudonym, Subject
    from tests.unit.harmonise.cls_pki import made

    trust = made().trust()
    one = Subject(Pseudonym("p" * 43), b"k" * 32, "feeder-1", "feeder-1/0")

    def resolve(_: MeterNames) -> Subject:
        return one

    def run(raw: bytes) -> None:
        with suppress(Rejected):
            harmonise(
                raw, "cls", resolve=resolve, platform=one, sender=one, received_us=AT_US,
                trust=trust, commit_parts=lambda _, parts: [Digest(bytes(32)) for _ in parts],
            )  # fmt: skip

    return run


def _splitter() -> Run:
    """A stream, cut as its first byte says; every piece is told once and in order."""
    from bal.c37118.splitter import Splitter

    def run(raw: bytes) -> None:
        size = (raw[0] if raw else 0) + 1
        stream, splitter, at = _summed(raw[1:]), Splitter(), 0
        found = [
            p for n in range(0, len(stream), size) for p in splitter.feed(stream[n : n + size])
        ]
        for piece in [*found, *splitter.end()]:
            assert piece.start == at < piece.end, "pieces do not cover the stream"
            at = piece.end
        assert at == len(stream), "pieces do not cover the stream"

    return run


def _capture() -> Run:
    from bal.errors import Stop
    from field.capture import read_capture

    def run(raw: bytes) -> None:
        with suppress(Stop):
            for stream in read_capture(io.BytesIO(raw)).streams:
                for _ in stream.messages():
                    pass

    return run


def _dso(form: str) -> Run:
    from zoneinfo import ZoneInfo

    from bal.errors import Rejected
    from field.dso_centre import Centre, Scale
    from field.dso_import import read

    energy = Scale("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0", 3, 900)
    columns = {"meter": "meter", "time": "time", "quality": "q"}
    if form == "csv":
        centre = Centre(
            "c", form, Path(), decimal=",", zone=ZoneInfo("Europe/Athens"), stamps="begin",
            time_format="%d/%m/%Y %H:%M", columns=columns, values={"kWh": energy},
            qualities={"OK": "", "EST": "3.8.0"},
        )  # fmt: skip
    else:
        columns |= {"register": "channel", "value": "v"}
        centre = Centre(
            "c", form, Path(), items="readings", columns=columns, registers={"import": energy},
            zone=ZoneInfo("Europe/Athens"),
        )  # fmt: skip

    def run(raw: bytes) -> None:
        with suppress(Rejected):
            read(raw, centre)

    return run


def _rdf(form: str) -> Run:
    """Pages of records that came back."""
    import json
    import logging
    import warnings
    from importlib.resources import files

    from bal.errors import Rejected
    from bal.provide.rdf import records_of_json_ld
    from bal.provide.rdf_context import read_context
    from bal.provide.rdf_xml_in import records_of_rdf_xml
    from bal.provide.turtle_in import records_of_turtle

    warnings.simplefilter("ignore")
    logging.disable()  # rdflib tells every IRI that it doubts
    text = files("ontology").joinpath("context-v1.jsonld").read_bytes()
    context = read_context(json.dumps(json.loads(text)["@context"]).encode())
    reader = {
        "turtle": records_of_turtle, "rdf-xml": records_of_rdf_xml, "json-ld": records_of_json_ld,
    }[form]  # fmt: skip

    def run(raw: bytes) -> None:
        with suppress(Rejected):
            reader(raw, context)

    return run


def _sparql() -> Run:
    from infra.sparql_child import _Refused, _understood

    def run(raw: bytes) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return
        with suppress(_Refused):
            _understood(text)

    return run


def _verify() -> Run:
    import json

    from bal.certify.verify import verify
    from bal.certify.verify_policy import parse_policy

    vectors = Path(__file__).resolve().parents[1] / "vectors" / "receipts.json"
    policies = json.loads(vectors.read_text(encoding="utf-8"))["policies"]
    policy = parse_policy(policies["plain"].encode())

    def run(raw: bytes) -> None:
        found = verify(raw.decode("utf-8", "surrogateescape"), policy, now_s=1_768_472_130)
        json.dumps(found.as_json())

    return run


def _policy() -> Run:
    from bal.certify.verify_note import VerifyError
    from bal.certify.verify_policy import parse_policy

    def run(raw: bytes) -> None:
        with suppress(VerifyError):
            parse_policy(raw)

    return run


def _note() -> Run:
    from bal.certify.note import checkpoint_head
    from bal.certify.verify_note import VerifyError, parse_checkpoint, parse_note, parse_vkey
    from bal.errors import ProofInvalid

    def run(raw: bytes) -> None:
        with suppress(ProofInvalid):
            checkpoint_head(raw)
        text = raw.decode("utf-8", "surrogateescape")
        for parse in (parse_note, parse_checkpoint, parse_vkey):
            with suppress(VerifyError):
                parse(text)

    return run


def _mqtt(version: int) -> Run:
    from infra.mqtt_packets import Malformed, packet_end
    from infra.mqtt_v3 import V3
    from infra.mqtt_v5 import V5

    def run(raw: bytes) -> None:
        at = 0
        with suppress(Malformed):
            while (ends := packet_end(raw, at)) is not None and ends[1] <= len(raw):
                wire = V3() if version == 3 else V5()
                with suppress(Malformed):
                    wire.read(raw[at : ends[1]])
                at = ends[1]

    return run


def _accept() -> Run:
    from bal.provide.accept import choose

    return lambda raw: choose(raw.decode("latin-1"))


TARGETS: dict[str, Callable[[], Run]] = {
    "accept": _accept,
    "c37118": _c37118,
    "c37118-stream": _splitter,
    "capture": _capture,
    "cim": lambda: _message("cim"),
    "cls": lambda: _message("cls"),
    "cls-content": _cls_content,
    "cls-trusted": _cms_signature,
    "der": lambda: _message("der"),
    "dso-cim": lambda: _dso("cim"),
    "dso-csv": lambda: _dso("csv"),
    "dso-json": lambda: _dso("json"),
    "espi": lambda: _message("espi"),
    "mqtt-3": lambda: _mqtt(3),
    "mqtt-5": lambda: _mqtt(5),
    "note": _note,
    "pmu": lambda: _message("pmu"),
    "policy": _policy,
    "rdf-json-ld": lambda: _rdf("json-ld"),
    "rdf-turtle": lambda: _rdf("turtle"),
    "rdf-xml": lambda: _rdf("rdf-xml"),
    "sep2": lambda: _message("sep2"),
    "sparql": _sparql,
    "sunspec": lambda: _message("sunspec"),
    "vde2418": lambda: _message("vde2418"),
    "verify": _verify,
}
