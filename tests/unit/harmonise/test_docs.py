"""The spec pages show what the code does."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from bal import jcs
from bal.harmonise import der, event_type, sep2_der_table, sep2_type
from bal.harmonise.obis import parse, reading_type
from bal.harmonise.quality import quality
from bal.harmonise.sunspec_table import MODELS
from bal.model import Harmonised, Rank

Take = Callable[..., Harmonised]
ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "docs" / "spec"


def block(page: str, language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", (SPEC / page).read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def test_the_record_of_the_page_comes_from_its_message(take: Take) -> None:
    shown = json.loads(block("record.md", "json"))
    [draft] = take(block("record.md", "xml").encode()).records
    assert jcs.encode(shown) == draft.record


def test_the_telemetry_of_the_page_is_taken(take: Take) -> None:
    found = take(block("der-telemetry.md", "json").encode(), "der")
    assert (len(found.records), found.refused, found.findings) == (3, [], [])


def test_every_measurand_and_unit_stands_on_the_page() -> None:
    rows = dict(
        re.findall(r"^\| (`[a-z].*?) \| (.*?) \|", (SPEC / "der-telemetry.md").read_text(), re.M)
    )
    units = {
        name: set(text.split())
        for key, text in rows.items()
        for name in re.findall(r"`(\w+)`", key)
    }
    for name, quantities in der.MEASURANDS.items():
        bases = {quantity.unit for quantity in quantities}
        assert units[name] == {unit for unit, (base, _) in der.UNITS.items() if base in bases}


def test_the_mirror_of_the_page_is_taken_as_it_says(take: Take) -> None:
    found = take(block("ieee-2030-5.md", "xml").encode(), "sep2")
    assert (found.refused, found.findings) == ([], [])
    page = (SPEC / "ieee-2030-5.md").read_text()
    records = [jcs.decode(draft.record) for draft in found.records]
    assert [(one["value"], one["end"][11:16]) for one in records] == [
        ("210", "10:15"), ("190", "10:30"),
    ]  # fmt: skip
    assert [draft.rank for draft in found.records] == [Rank.MEASURED, Rank.ESTIMATED]
    assert f"Register: `{found.records[0].register}`" in page


def test_the_tables_of_ieee_2030_5_are_those_of_the_code() -> None:
    page = (SPEC / "ieee-2030-5.md").read_text()
    lengths = dict(re.findall(r"(\d+)→(\d+)", page))
    assert {int(one): int(other) for one, other in lengths.items()} == sep2_type._FIXED
    rows = re.findall(r"^\| (\d) \| [a-z ]+ \| `(.*?)` \| (\w*) ?\|", page, re.M)
    assert {1 << int(bit): code for bit, code, _ in rows} == sep2_type._QUALITIES
    for bit, _, rank in rows:
        codes = sep2_type.quality_codes(f"{1 << int(bit):02X}")
        assert quality(codes).rank.name.lower() == (rank or "measured")


def test_the_inverter_of_the_page_is_taken_as_it_says(take: Take) -> None:
    found = take(block("sunspec.md", "json").encode(), "sunspec")
    assert (found.refused, [one.code for one in found.findings]) == ([], ["point-not-implemented"])
    page = (SPEC / "sunspec.md").read_text()
    records = [jcs.decode(draft.record) for draft in found.records]
    rows = re.findall(r"^\| `([\w.]+)` \| ([\d.]+) \| (\w+) \|$", page, re.M)
    measured = [one for one in records if one["kind"] == "telemetry"]
    assert [(one["register"], one["value"], one["unit"]) for one in measured] == rows
    for one in records[len(rows) :]:
        assert f"`{one['register']}` (`{one['verbatim']['value'][0]}`: *{one['means'][0]}*)" in page


def test_every_model_stands_on_the_page() -> None:
    page = (SPEC / "sunspec.md").read_text()
    listed: set[int] = set()
    for row in re.findall(r"^\| ([\d, –]+) \| [A-Za-z]", page, re.M):
        for part in row.split(","):
            first, _, last = part.strip().partition("–")
            listed |= set(range(int(first), int(last or first) + 1))
    assert listed | {1} == set(MODELS)


def test_the_states_of_a_der_on_the_page_are_as_it_says(take: Take) -> None:
    page = (SPEC / "ieee-2030-5.md").read_text()
    status = re.findall(r"```xml\n(.*?)```", page, re.DOTALL)[1]
    found = take(status.encode(), "sep2")
    assert (found.refused, found.findings) == ([], [])
    records = [jcs.decode(draft.record) for draft in found.records]
    assert [one.get("means", one.get("value")) for one in records] == [
        ["connected", "available", "operating"], ["tracking the maximum power point"], "70.5",
    ]  # fmt: skip
    members = {name for of in sep2_der_table.MEMBERS.values() for name in of}
    for name in ("alarmStatus", "statWAvail", "modesSupported", "setGradW", "rtgVA", "setMinPFNeg"):
        assert f"`{name}`" in page
        assert name in members


def test_the_event_of_the_page_comes_from_its_message(take: Take) -> None:
    shown = json.loads(block("end-device-events.md", "json"))
    [draft] = take(block("end-device-events.md", "xml").encode()).records
    assert jcs.encode(shown) == draft.record


def test_the_event_codes_of_the_page_mean_what_it_says() -> None:
    page = (SPEC / "end-device-events.md").read_text()
    rows = re.findall(r"^\| ([0-9.]+) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 5
    for code, words in rows:
        assert event_type.sentence(code) == words


def test_the_obis_codes_of_the_page_have_the_reading_types_it_gives() -> None:
    page = (SPEC / "reading-type.md").read_text().split("\n## OBIS\n")[1]
    rows = re.findall(r"^\| 1-0:([0-9.]+).*\| (.*) \|$", page, re.MULTILINE)
    given = [
        (parse(code), re.findall(r"`((?:[0-9]+[.]){17}[0-9]+)`", types)) for code, types in rows
    ]
    assert sum(len(types) for _, types in given) > 5
    for code, types in given:
        assert not types or reading_type(code, 900 if ".4." in types[0][:9] else None) == types[0]
