"""The rules of estimation, and the laws that hold whatever the values are (docs/spec/vee.md)."""

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.derive.vee_day import span_of
from bal.derive.vee_estimate import Estimate, estimates, needs_like_days, share_out
from bal.derive.vee_record import superseded_by
from bal.derive.vee_rules import VeeRules
from bal.harmonise.quality import quality
from bal.model import Rank, StoredRecord
from tests.unit.derive.vee_kit import (
    DAY_US,
    QUARTER_US,
    RULES,
    UTC_DAY,
    a_register,
    a_row,
    derived,
    quarters,
    series,
    stored,
    weeks_before,
)

BEGIN = UTC_DAY.begin_us
FLAT = ["100"] * 96
NONE: list[str | None] = [None] * 96


def gap(first: int, last: int, values: list[str] = FLAT) -> list[str | None]:
    return [*values[:first], *NONE[first:last], *values[last:]]


def said(found: list[Estimate]) -> list[tuple[int, int, str]]:
    return [(one.number, one.milli, one.rule) for one in found]


def test_linear_between_the_value_before_and_the_one_after() -> None:
    values = gap(10, 13)
    values[9], values[13] = "100", "140"
    found = estimates(series(quarters(values)), (), RULES)
    assert said(found) == [
        (10, 110_000, "linear"),
        (11, 120_000, "linear"),
        (12, 130_000, "linear"),
    ]
    assert {one.rows for one in found} == {(9, 13)}


def test_linear_rounds_half_to_even() -> None:
    values = gap(10, 11)
    values[9], values[11] = "0.001", "0.002"
    assert said(estimates(series(quarters(values)), (), RULES)) == [(10, 2, "linear")]
    values[9], values[11] = "0.002", "0.003"
    assert said(estimates(series(quarters(values)), (), RULES)) == [(10, 2, "linear")]


def test_linear_up_to_two_hours() -> None:
    assert len(estimates(series(quarters(gap(10, 18))), (), RULES)) == 8
    longer = series(quarters(gap(10, 19)))
    assert estimates(longer, (), RULES) == []
    assert needs_like_days(longer, RULES)
    assert not needs_like_days(series(quarters(gap(10, 18))), RULES)


def test_a_gap_at_an_end_of_the_day_is_not_between_two_values() -> None:
    assert estimates(series(quarters(gap(0, 1))), (), RULES) == []
    assert estimates(series(quarters(gap(95, 96))), (), RULES) == []


def test_like_days_of_the_four_weeks_before() -> None:
    like = weeks_before({1: ["10"] * 96, 2: ["20"] * 96, 3: ["31"] * 96, 4: ["40"] * 96})
    found = estimates(series(quarters(gap(20, 40))), like, RULES)
    assert [one.number for one in found] == list(range(20, 40))
    assert {(one.milli, one.rule) for one in found} == {(25_250, "like-day")}
    assert found[0].rows == (1020, 2020, 3020, 4020)


def test_like_days_two_of_them_at_least() -> None:
    rows = quarters(gap(20, 40))
    assert estimates(series(rows), weeks_before({1: ["10"] * 96}), RULES) == []
    some = weeks_before({1: ["10"] * 96, 3: ["20"] * 30})
    assert [one.number for one in estimates(series(rows), some, RULES)] == list(range(20, 30))


def test_like_days_go_by_the_clock_on_the_wall() -> None:
    day, zone = date(2026, 3, 29), "Europe/Berlin"
    span = span_of(day, zone)
    like = weeks_before({1: [str(n) for n in range(96)], 2: [str(n) for n in range(96)]}, day, zone)
    values: list[str | None] = [None] * 92
    values[:2] = ["1", "1"]
    found = estimates(series(quarters(values, span=span), span), like, RULES)
    by_slot = {one.number: one.milli for one in found}
    assert by_slot[7] == 7_000  # 01:45, before the change
    assert by_slot[8] == 12_000  # 03:00
    assert by_slot[91] == 95_000  # 23:45


def test_like_days_on_a_day_on_which_half_an_hour_comes_twice() -> None:
    day, zone = date(2026, 4, 5), "Australia/Lord_Howe"
    span = span_of(day, zone)
    like = weeks_before({1: [str(n) for n in range(96)], 2: [str(n) for n in range(96)]}, day, zone)
    values: list[str | None] = [None] * 98
    values[97] = "1"
    found = estimates(series(quarters(values, span=span), span), like, RULES)
    by_slot = {one.number: one.milli for one in found}
    assert [by_slot[n] // 1000 for n in range(5, 10)] == [5, 6, 7, 6, 7]  # 01:30 comes twice
    assert by_slot[96] == 94_000


def test_the_register_bounds_what_is_estimated() -> None:
    values = gap(10, 13)
    registers = [a_register(200, BEGIN, "5000"), a_register(201, BEGIN + DAY_US, "14701")]
    found = estimates(series([*quarters(values), *registers]), (), RULES)
    assert said(found) == [  # 9,701 Wh less 9,300 that were measured
        (10, 133_667, "linear/register"),
        (11, 133_667, "linear/register"),
        (12, 133_666, "linear/register"),
    ]
    assert {one.rows for one in found} == {(9, 13, 200, 201)}


def test_the_register_alone_shares_out_evenly() -> None:
    registers = [a_register(200, BEGIN, "5000"), a_register(201, BEGIN + DAY_US, "12200")]
    found = estimates(series([*quarters(gap(20, 44)), *registers]), (), RULES)
    assert {(one.milli, one.rule) for one in found} == {(0, "even/register")}
    registers = [a_register(200, BEGIN, "5000"), a_register(201, BEGIN + DAY_US, "14600")]
    found = estimates(series([*quarters(gap(20, 44)), *registers]), (), RULES)
    assert {(one.milli, one.rule) for one in found} == {(100_000, "even/register")}


def test_a_register_that_counted_less_than_was_measured_bounds_nothing() -> None:
    registers = [a_register(200, BEGIN, "5000"), a_register(201, BEGIN + DAY_US, "5001")]
    found = estimates(series([*quarters(gap(10, 11)), *registers]), (), RULES)
    assert said(found) == [(10, 100_000, "linear")]


def test_an_estimate_is_a_reading_of_its_own_rank_with_rule_and_inputs() -> None:
    rows = quarters(gap(10, 11))
    _, [one] = derived(rows)
    record = jcs.decode(one.record)
    assert record["quality"] == ["3.8.0"]  # IEC 61968-9 annex D: estimated by the MDM system
    assert quality(tuple(record["quality"])).rank == one.rank == Rank.ESTIMATED
    assert (record["value"], record["unit"], record["hasResult"]["hasValue"]) == (
        "100",
        "Wh",
        "100",
    )
    assert record["derived"] == {"id": "#derived", "rule": "linear"}
    assert (record["rows"], record["rules"]) == (["9", "11"], "vee/1")
    assert "evidence" not in record
    assert (one.register, one.begin_us, one.end_us) == (
        rows[0].register,
        BEGIN + 10 * QUARTER_US,
        BEGIN + 11 * QUARTER_US,
    )


def test_what_was_said_is_not_said_again() -> None:
    rows = quarters(gap(10, 11))
    findings, made = derived(rows)
    assert (len(findings), len(made)) == (1, 1)
    assert derived([*rows, *stored([*findings, *made], 500)]) == ([], [])


def test_a_late_reading_takes_the_finding_back_and_changes_the_other_estimate() -> None:
    rows = quarters(gap(10, 12))
    findings, made = derived(rows)
    rows += stored([*findings, *made], 500)
    rows.append(a_row(600, BEGIN + 10 * QUARTER_US, "200"))
    findings, made = derived(rows)
    assert [jcs.decode(one.record)["event"] for one in findings] == ["resolved", "open"]
    assert superseded_by(findings[0].record) == 500
    assert [jcs.decode(one.record)["value"] for one in made] == ["150"]
    assert superseded_by(made[0].record) == 502


def test_without_estimation_only_findings() -> None:
    findings, made = derived(quarters(gap(10, 12)), rules=VeeRules(estimate=0))
    assert (len(findings), made) == (1, [])


# -- laws -----------------------------------------------------------------------------------

ENERGY = st.integers(0, 10_000_000)
VALUES = st.lists(st.none() | ENERGY, min_size=96, max_size=96)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=100))
def test_shares_come_to_the_whole(total: int, weights: list[int]) -> None:
    shares = share_out(total, weights)
    assert sum(shares) == total
    assert min(shares) >= 0
    whole = sum(weights) or len(weights)
    for share, weight in zip(shares, weights if any(weights) else [1] * len(weights), strict=True):
        assert abs(share * whole - total * weight) < whole


def of_milli(values: list[int | None]) -> list[StoredRecord]:
    texts = [None if v is None else f"{v / 1000:.3f}".rstrip("0").rstrip(".") for v in values]
    return quarters(texts)


@settings(deadline=None, max_examples=60)
@given(values=VALUES, begin=st.integers(0, 10**9), counted=st.integers(0, 10**9))
def test_law_estimates_come_to_what_the_register_counted(
    values: list[int | None], begin: int, counted: int
) -> None:
    measured = sum(value or 0 for value in values)
    total = measured + counted * 1000
    shown = [str(begin), f"{(begin * 1000 + total) / 1000:.3f}".rstrip("0").rstrip(".")]
    rows = of_milli(values)
    if not rows:
        return
    like = weeks_before({1: ["7"] * 96, 2: ["8"] * 96})
    rows += [a_register(200, BEGIN, shown[0]), a_register(201, BEGIN + DAY_US, shown[1])]
    found = estimates(series(rows), like, RULES)
    missing = [number for number, value in enumerate(values) if value is None]
    assert [one.number for one in found] == missing
    if missing:
        assert sum(one.milli for one in found) == counted * 1000


@settings(deadline=None, max_examples=60)
@given(values=VALUES)
def test_law_no_slot_with_a_value_is_estimated(values: list[int | None]) -> None:
    rows = of_milli(values)
    if rows:
        like = weeks_before({1: ["7"] * 96, 2: ["8"] * 96})
        found = estimates(series(rows), like, RULES)
        assert all(values[one.number] is None for one in found)
        assert all(one.milli >= 0 for one in found)


@settings(deadline=None, max_examples=40)
@given(values=VALUES, data=st.data())
def test_law_the_order_of_the_rows_does_not_matter(
    values: list[int | None], data: st.DataObject
) -> None:
    rows = of_milli(values)
    rows.append(a_row(300, BEGIN, "5"))
    rows.append(a_row(301, BEGIN + 7, "5"))
    shuffled = data.draw(st.permutations(rows))
    assert derived(shuffled) == derived(rows)


@settings(deadline=None, max_examples=40)
@given(values=VALUES, late=st.integers(0, 95))
def test_law_a_second_look_says_nothing_new(values: list[int | None], late: int) -> None:
    rows = of_milli(values)
    rows.append(a_row(300, BEGIN + late * QUARTER_US, "5"))
    rows += stored([one for some in derived(rows) for one in some], 1000)
    assert derived(rows) == ([], [])
    rows.append(a_row(2000, BEGIN + late * QUARTER_US, "6"))
    rows += stored([one for some in derived(rows) for one in some], 3000)
    assert derived(rows) == ([], [])
