"""docs/spec/rdf.md shows what the code writes."""

import json
import re
from hashlib import sha256
from pathlib import Path

from bal import jcs
from bal.provide.cim_out import meter_readings
from bal.provide.rdf import Viewed, turtle
from tests.unit.provide.test_rdf import CONTEXT, OWN

SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec"


def block(page: str, language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", (SPEC / page).read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def test_the_examples_are_the_record_of_the_other_page() -> None:
    record = jcs.encode(json.loads(block("record.md", "json")))
    commitment = sha256(b"\x02\x01" + bytes(32) + record).hexdigest()  # a salt of zeros
    page = [Viewed(commitment, 41, record)]
    assert block("rdf.md", "turtle").encode() == turtle(page, CONTEXT)
    assert block("rdf.md", "xml").encode() == meter_readings(page)


def test_every_term_of_our_own_is_named() -> None:
    text = (SPEC / "rdf.md").read_text()
    for iri in CONTEXT.by_iri:
        if iri.startswith(OWN):
            name = iri.removeprefix(OWN)
            assert re.search(rf"[` ]{name}[` ]", text), name
