"""docs/scaling.md is what its command prints, and its options are those of the command."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.bench.scaling import EMBEDDED, EMBEDDED_ROWS, Costs, measure, needs, table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "scaling.md").read_text(encoding="utf-8")
SIZES = [1_000_000, 10_000_000, 100_000_000]


def options(costs: Costs) -> dict[str, str]:
    """What the page says of each."""
    return {
        one.name.replace("_", "-"): str(getattr(costs, one.name)).removesuffix(".0")
        for one in fields(Costs)
    }


def test_the_tables_are_what_the_command_prints() -> None:
    assert table(SIZES, Costs()) in PAGE
    assert table(SIZES, EMBEDDED, EMBEDDED_ROWS) in PAGE


def test_every_assumption_stands_in_the_page_with_its_default() -> None:
    form = r"^\| ((?:`[a-z-]+`(?:, )?)+) \| ([0-9., ]+) \| (?:([0-9.]+) )?\|"
    rows = re.findall(form, PAGE, re.MULTILINE)
    told = {
        name: value
        for names, values, _ in rows
        for name, value in zip(re.findall(r"`([a-z-]+)`", names), values.split(", "), strict=True)
    }
    assert told == options(Costs())
    embedded = {names.strip("`"): value for names, _, value in rows if value}
    assert embedded.items() == options(EMBEDDED).items() - told.items()


def test_the_layout_of_cassandra_was_decided_for_as_many_nodes() -> None:
    page = (DOCS / "decisions" / "0014-cassandra-layout.md").read_text(encoding="utf-8")
    found = needs(1_000_000, Costs())
    assert f", {found.cassandra_nodes} for a year" in page
    assert f"{found.scd_tb:.1f} TB a year" in page


@pytest.mark.parametrize("meters", [1, 1_000, 1_000_000])
def test_twice_the_meters_take_at_most_twice(meters: int) -> None:
    one, two = needs(meters, Costs()), needs(2 * meters, Costs())
    assert two.readings_a_year == 2 * one.readings_a_year
    assert one.worker_cores <= two.worker_cores <= 2 * one.worker_cores
    assert one.gas <= two.gas < 1.2 * one.gas
    assert two.partitions >= 2 * two.worker_cores


def test_sizes_can_be_measured() -> None:
    found = measure(messages=3)
    assert found.keys() == {"raw_bytes", "archive_bytes", "scd_bytes", "log_bytes", "vault_bytes"}
    assert all(value > 0 for value in found.values())
