"""Writes the seeds anew: `python -m tests.fuzz.seeds`. Messages of our own making.

Of three formats one is long enough for what only long messages go through (bal/collect/regular.py).

They stand in the repository, so that a run is the same everywhere; this says what they are.
"""

import json
from pathlib import Path

from rdflib import Graph

from bal.c37118.config import read_config
from bal.c37118.frame import CFG_3
from bal.c37118.writer import command_frame, config_frames, header_frame
from bal.provide.rdf import json_ld, turtle
from bal.times import rfc3339
from field import cls_writer, dso_cim
from field.dso_value import Meter, Value
from tests.c37118_streams import config, messages, pmu
from tests.fuzz import corpus
from tests.unit.field.test_capture import ethernet, ipv4, ipv6, pcap, pcapng, tcp, udp
from tests.unit.harmonise import (
    cls_pki,
    test_any_bytes,
    test_cls,
    test_espi,
    test_espi_any,
    test_pmu,
    test_sunspec,
    test_vde2418,
)
from tests.unit.provide.test_rdf import CONTEXT, EVERY_KIND

TEN_S = 1_768_471_200
VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"


def write(target: str, *seeds: bytes) -> None:
    """Put the seeds of a target into its folder."""
    for number, seed in enumerate(seeds, 1):
        corpus.write(corpus.SEEDS / target, f"seed-{number}", seed)


def _cim_intervals(count: int) -> bytes:
    meter = Meter("M1", mrid=True)
    values = [
        Value(meter, ENERGY, (TEN_S + 900 * n) * 1_000_000, str(200 + n), ("1.0.0",) * (n == 3))
        for n in range(count)
    ]
    return dso_cim.write(values, message_id="1", made_us=TEN_S * 1_000_000)


def _xml() -> None:
    any_ = test_any_bytes
    small = _cim_intervals(2)
    write("cim", any_.CIM, any_.EVENTS, small, _cim_intervals(40))
    write("dso-cim", any_.CIM, small)
    write("sep2", any_.SEP2, any_.STATUS)
    bill = test_espi.feed(test_espi.point(), test_espi.entry(test_espi.BILL, "UP/1/US/1"))
    later = range(TEN_S, TEN_S + 900 * 40, 900)
    many = [test_espi.reading(test_espi.period(at)) for at in later]
    write("espi", test_espi_any.GOOD, bill, test_espi.whole(*many))
    readings = [test_vde2418.reading(start=rfc3339(at * 1_000_000)) for at in later]
    long = test_vde2418.readout(test_vde2418.point(test_vde2418.list_of(*readings)))
    write("vde2418", test_vde2418.GOOD, long)


def _json() -> None:
    write("der", test_any_bytes.DER)
    write("sunspec", test_sunspec.SAMPLE)
    both = [test_pmu.reading(), test_pmu.reading(measurand="voltangle", data=-1.25)]
    write("pmu", test_pmu.message(*both), b"[" + test_pmu.message(both[0]) + b"]")
    rows = {"readings": [{"meter": "M1", "time": "2026-01-15T10:15:00Z", "channel": "import",
                          "v": "0.21", "q": ""}, {"meter": "M1", "time": "2026-10-25T03:15:00",
                          "channel": "import", "v": 1.5e3, "q": "3.8.0"}]}  # fmt: skip
    write("dso-json", json.dumps(rows).encode())
    autumn = "25/10/2026 03:15;M1;0,210;OK\r\n"
    first, spring = "15/01/2026 12:15;M1;0,210;OK\r\n", '29/03/2026 03:30;"M2";1;EST'
    write("dso-csv", f"time;meter;kWh;q\r\n{first}{autumn}{autumn}{spring}".encode())


def _frames() -> None:
    two = config(pmu(7), pmu(8, 0))
    second = next(messages(two, 0, 2, size=2))
    third = b"".join(config_frames(config(pmu(7), kind=CFG_3), size_max=80))
    other = header_frame(60, TEN_S, "North") + command_frame(60, 2, TEN_S)
    write("c37118", second, third, other)
    write("c37118-stream", b"\xff" + second, b"\x07" + third + b"xx" + other + second)
    of = read_config(config_frames(two))
    stream = b"".join(config_frames(of)) + next(messages(of, 0, 2, size=2))
    sent = [
        ethernet(ipv4(17, udp(stream))),
        ethernet(ipv4(6, tcp(100, stream[:90])), tags=1),
        ethernet(ipv4(6, tcp(190, stream[90:]))),
        ethernet(ipv6(17, udp(stream)), 0x86DD),
    ]
    write("capture", pcap(sent), pcapng(sent), pcap([ipv4(6, tcp(5, b"", 2))], link=101, order=">"))


def _signed() -> None:
    pki = cls_pki.made()
    message = pki.message(test_cls.CONTENT)
    write("cls", message)
    write("cls-trusted", message)
    timed = cls_writer.content("EABC0012345678", {"M": [test_cls.COUNTER], "N": []})
    write("cls-content", test_cls.CONTENT, timed)


def _cases(name: str, *wanted: int) -> list[bytes]:
    cases = json.loads((VECTORS / name).read_text(encoding="utf-8"))["cases"]
    return [cases[number]["input"].encode() for number in wanted]


def _proofs() -> None:
    write(
        "verify",
        *_cases("receipts.json", 0, 3),
        *_cases("statuses.json", 0, 2),
        *_cases("days.json", 0),
    )
    policies = json.loads((VECTORS / "policies.json").read_text(encoding="utf-8"))["policies"]
    write("policy", *(text.encode() for text in list(policies.values())[:4]))
    receipt = _cases("receipts.json", 0)[0]
    note = receipt[receipt.index(b"\n\n") + 2 :]
    key = next(
        line.split()[1] for line in policies["of C2SP alone"].splitlines() if line[:4] == "log "
    )
    write("note", note, _cases("statuses.json", 0)[0], key.encode())


def _rdf() -> None:
    page = EVERY_KIND[:2]
    written = turtle(page, CONTEXT)
    write("rdf-turtle", written)
    write("rdf-json-ld", json_ld(page, CONTEXT))
    graph = Graph().parse(data=written, format="turtle")
    write("rdf-xml", graph.serialize(format="xml", encoding="utf-8"))
    queries = sorted((Path(__file__).resolve().parents[2] / "ontology" / "queries").glob("*.rq"))
    more = (
        b"PREFIX s: <urn:s#> SELECT DISTINCT (COUNT(?a) AS ?n) WHERE { ?a s:p/s:q* ?b . OPTIONAL"
        b" { ?b a ?c FILTER(?c > 1.5 && REGEX(STR(?b), \"x\", 'i')) } MINUS { ?a ^s:r [] } }"
        b" GROUP BY ?b HAVING (COUNT(?a) > 2) ORDER BY DESC(?n) LIMIT 5 OFFSET 1"
    )
    write("sparql", *(path.read_bytes() for path in queries), more,
          b"CONSTRUCT { ?a ?b ?c } WHERE { VALUES (?a) { (<urn:x>) } GRAPH ?g { ?a ?b ?c } }",
          b"ASK { SERVICE <http://127.0.0.1/> { ?a ?b ?c } }")  # fmt: skip


def _packets() -> None:
    connect = b"\x00\x04MQTT%c\xc2\x00\x3c"
    body = b"\x00\x03dev\x00\x04name\x00\x06secret"
    topic = b"\x00\x0bin/dev-1/cim"

    def packet(kind: int, content: bytes) -> bytes:
        return bytes([kind, len(content)]) + content

    old = packet(0x10, connect % 4 + body)
    write("mqtt-3", old + packet(0x32, topic + b"\x00\x01<a/>") + packet(0xE0, b""),
          packet(0x82, b"\x00\x02\x00\x09receipts/\x01") + packet(0xA2, b"\x00\x03\x00\x01a"),
          packet(0x40, b"\x00\x07") + packet(0xC0, b""))  # fmt: skip
    properties = b"\x08\x21\x00\x10\x27\x00\x00\x40\x00"
    new = packet(0x10, connect % 5 + properties + body)
    user = b"\x0b\x26\x00\x03key\x00\x03val"
    write("mqtt-5", new + packet(0x32, topic + b"\x00\x01" + user + b"<a/>"),
          packet(0x82, b"\x00\x02\x00\x00\x09receipts/\x01") + packet(0xE0, b"\x00\x00"),
          packet(0x40, b"\x00\x07\x10\x00") + packet(0xC0, b""))  # fmt: skip
    write("accept", b"text/turtle;q=0.5, application/*;q=1, */*;q=0.001", b"application/ld+json")


def main() -> None:
    """All of them."""
    for part in (_xml, _json, _frames, _signed, _proofs, _rdf, _packets):
        part()


if __name__ == "__main__":
    main()
