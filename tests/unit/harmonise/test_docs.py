"""The spec pages show what the code does."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from bal import jcs
from bal.harmonise import der
from bal.model import Harmonised

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
