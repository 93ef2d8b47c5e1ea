"""docs/scaling.md is what its command prints, and its options are those of the command."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.bench.scaling import Costs, measure, needs, table

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_the_table_is_what_the_command_prints() -> None:
    assert table([1_000_000, 10_000_000, 100_000_000], Costs()) in PAGE


def test_every_assumption_stands_in_the_page_with_its_default() -> None:
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \| ([0-9., ]+) \|", PAGE, re.MULTILINE)
    told = {
        name: value
        for names, values in rows
        for name, value in zip(re.findall(r"`([a-z-]+)`", names), values.split(", "), strict=True)
    }
    assert told == {
        one.name.replace("_", "-"): str(one.default).removesuffix(".0") for one in fields(Costs)
    }


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
