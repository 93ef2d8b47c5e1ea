"""The rule book of validation (docs/spec/vee.md), rule by rule."""

from collections.abc import Sequence
from datetime import date

import pytest

from bal.derive.vee_checks import (
    check_clock,
    check_clock_change,
    check_missing,
    check_negative,
    check_overlap,
    check_range,
    check_repeated,
    check_spike,
)
from bal.derive.vee_day import day_of, needs_earlier, span_of
from bal.derive.vee_register_checks import check_instants, check_phases, check_register, check_sum
from bal.derive.vee_rules import VeeRules
from tests.unit.derive.vee_kit import (
    DAY_US,
    HOUR_US,
    NET_QUARTERS,
    POWER_FACTOR,
    QUARTER_US,
    QUARTERS,
    REGISTER,
    RULES,
    UTC_DAY,
    a_register,
    a_row,
    codes,
    count,
    quarters,
    series,
    the_day,
)

BEGIN = UTC_DAY.begin_us
FLAT = ["100"] * 96
BERLIN_25H = span_of(date(2026, 10, 25), "Europe/Berlin")
BERLIN_23H = span_of(date(2026, 3, 29), "Europe/Berlin")
LORD_HOWE_LONG = span_of(date(2026, 4, 5), "Australia/Lord_Howe")
LORD_HOWE_SHORT = span_of(date(2026, 10, 4), "Australia/Lord_Howe")


def test_an_even_day_has_nothing_to_be_found() -> None:
    assert codes(quarters(FLAT)) == []
    assert check_missing(series(quarters(FLAT)), RULES) == []


# -- range, sign, spike ---------------------------------------------------------------------


def test_range_more_than_the_connection_carries_in_its_time() -> None:
    rules = VeeRules(power_w_max=30_000)  # 7,500 Wh a quarter-hour
    good = quarters([*FLAT[:95], "7500"])
    assert check_range(series(good), rules) == []
    [found] = check_range(series(quarters([*FLAT[:95], "7500.001"])), rules)
    assert (found.code, found.rows) == ("energy-out-of-range", (95,))
    assert (found.begin_us, found.end_us) == (BEGIN + 95 * QUARTER_US, BEGIN + DAY_US)
    assert "7500.001" in found.text
    assert "7500," in found.text


def test_range_what_no_device_day_holds_is_found_and_is_no_gap() -> None:
    some = series(quarters([*FLAT[:95], "9" * 40]))
    assert [one.code for one in check_range(some, RULES)] == ["energy-out-of-range"]
    assert check_missing(some, RULES) == []


def test_sign_energy_of_one_direction_is_not_negative() -> None:
    """IEC 61968-9 annex C: flowDirection forward, reverse, and the quadrants."""
    [found] = check_negative(series(quarters(["-1", *FLAT[1:]])), RULES)
    assert (found.code, found.rows) == ("energy-negative", (0,))


def test_sign_net_energy_may_be_negative() -> None:
    """IEC 61968-9 annex C: flowDirection net."""
    rows = quarters(["-1", *FLAT[1:]], register=NET_QUARTERS)
    assert codes(rows) == []


@pytest.mark.parametrize(("value", "found"), [("2800", []), ("2800.001", ["energy-spike"])])
def test_spike_is_more_than_180_percent_above_the_third_highest(
    value: str, found: list[str]
) -> None:
    values = ["1000"] * 96
    values[40] = value
    assert [one.code for one in check_spike(series(quarters(values)), RULES)] == found


def test_spike_two_in_a_row_are_both_held_against_the_third() -> None:
    values = ["1000"] * 94 + ["9000", "9001"]
    assert [one.rows for one in check_spike(series(quarters(values)), RULES)] == [(94,), (95,)]


def test_spike_a_kettle_in_an_empty_house_is_none() -> None:
    assert check_spike(series(quarters(["0"] * 95 + ["250"])), RULES) == []
    assert check_spike(series(quarters(["0"] * 95 + ["251"])), RULES) != []


def test_spike_a_day_of_two_values_has_none() -> None:
    assert check_spike(series(quarters(["0", "9000"])), RULES) == []


# -- missing, twice, overlapping ------------------------------------------------------------


def test_missing_one_finding_for_a_stretch() -> None:
    values = [*FLAT[:10], None, None, *FLAT[12:90], None, *FLAT[91:]]
    found = check_missing(series(quarters(values)), RULES)
    assert [(one.code, one.begin_us - BEGIN, one.end_us - BEGIN) for one in found] == [
        ("slot-missing", 10 * QUARTER_US, 12 * QUARTER_US),
        ("slot-missing", 90 * QUARTER_US, 91 * QUARTER_US),
    ]
    assert found[0].text == "2 of 96 slots have no value"
    assert found[1].text == "1 of 96 slots has no value"


def test_missing_a_day_without_a_row_is_one_stretch() -> None:
    day = day_of([], UTC_DAY, {QUARTERS: 900})
    [found] = check_missing(day.series[0], RULES)
    assert (found.begin_us, found.end_us) == UTC_DAY[:2]


def test_missing_an_estimate_of_the_sender_is_a_value() -> None:
    rows = [*quarters([*FLAT[:95]]), a_row(95, BEGIN + 95 * QUARTER_US, "3", codes=("2.8.0",))]
    assert check_missing(series(rows), RULES) == []


def test_twice_with_another_value_is_doubtful() -> None:
    rows = [*quarters(FLAT), a_row(200, BEGIN, "101")]
    [found] = check_repeated(series(rows), RULES)
    assert (found.code, found.severity, found.rows) == ("slot-values-differ", "warning", (0, 200))
    assert "100, 101" in found.text


def test_twice_with_the_same_value_is_told_once_a_day() -> None:
    rows = [*quarters(FLAT), a_row(200, BEGIN, "100"), a_row(201, BEGIN + QUARTER_US, "100")]
    [found] = check_repeated(series(rows), RULES)
    assert (found.code, found.severity, found.rows) == ("slot-repeated", "info", (0, 1, 200, 201))
    assert found.text.startswith("2 slots")


def test_twice_a_correction_is_no_repetition() -> None:
    rows = [*quarters(FLAT), a_row(200, BEGIN, "101", codes=("3.7.0",))]
    assert check_repeated(series(rows), RULES) == []


def test_overlap_of_intervals_of_another_length() -> None:
    longer = a_row(200, BEGIN + QUARTER_US // 2, "1", end_us=BEGIN + 3 * QUARTER_US)
    found = check_overlap(series([*quarters(FLAT), longer]), RULES)
    assert {one.code for one in found} == {"interval-overlap"}
    assert all(200 in one.rows for one in found)


def test_overlap_neighbours_only_touch() -> None:
    assert check_overlap(series(quarters(FLAT)), RULES) == []


# -- clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "found"), [(5, []), (6, ["clock-off-grid"])])
def test_clock_off_the_grid_by_more_than_some_seconds(seconds: int, found: list[str]) -> None:
    rows = quarters(FLAT, offset_us=seconds * 1_000_000)
    assert [one.code for one in check_clock(series(rows), RULES)] == found
    assert check_missing(series(rows), RULES) == []  # they are there, beside their slots


def test_clock_that_runs_ever_further_off_drifts() -> None:
    rows = [a_row(n, BEGIN + n * QUARTER_US - n * 1_000_000, "1") for n in range(1, 96)]
    [found] = check_clock(series([*rows, a_row(0, BEGIN, "1")]), RULES)
    assert found.code == "clock-drift"
    assert "from -1 s to -95 s" in found.text


def test_clock_change_25_hours_of_100_quarters_are_whole() -> None:
    assert count(BERLIN_25H) == 100
    assert codes(quarters(["100"] * 100, span=BERLIN_25H), BERLIN_25H) == []


@pytest.mark.parametrize("first", [8, 12])
def test_clock_change_a_run_of_the_hour_that_comes_twice_is_missing(first: int) -> None:
    values: list[str | None] = ["100"] * 100
    values[first : first + 4] = [None] * 4
    rows = quarters(values, span=BERLIN_25H)
    [found] = check_clock_change(series(rows, BERLIN_25H), RULES)
    assert found.code == "clock-change-missing"
    assert found.begin_us == BERLIN_25H.begin_us + first * QUARTER_US
    assert found.end_us - found.begin_us == HOUR_US


def test_clock_change_a_longer_gap_is_only_a_gap() -> None:
    values: list[str | None] = ["100"] * 100
    values[8:17] = [None] * 9
    rows = quarters(values, span=BERLIN_25H)
    assert check_clock_change(series(rows, BERLIN_25H), RULES) == []


def test_clock_change_23_hours_with_two_values_after_the_change() -> None:
    rows = quarters(["100"] * 92, span=BERLIN_23H)
    assert len(series(rows, BERLIN_23H).slots) == 92
    assert codes(rows, BERLIN_23H) == []
    again = [a_row(200 + n, BERLIN_23H.begin_us + (8 + n) * QUARTER_US, "77") for n in range(4)]
    assert "clock-change-double" in codes([*rows, *again], BERLIN_23H)
    assert "clock-change-double" not in codes([*rows, *again[:3]], BERLIN_23H)


def test_clock_change_of_half_an_hour() -> None:
    assert (count(LORD_HOWE_LONG), count(LORD_HOWE_SHORT)) == (98, 94)
    values: list[str | None] = ["100"] * 98
    values[8:10] = [None] * 2
    rows = quarters(values, span=LORD_HOWE_LONG)
    [found] = check_clock_change(series(rows, LORD_HOWE_LONG), RULES)
    assert (found.code, found.end_us - found.begin_us) == ("clock-change-missing", HOUR_US // 2)
    rows = quarters(["100"] * 94, span=LORD_HOWE_SHORT)
    again = [
        a_row(200 + n, LORD_HOWE_SHORT.begin_us + (8 + n) * QUARTER_US, "77") for n in range(2)
    ]
    assert "clock-change-double" in codes([*rows, *again], LORD_HOWE_SHORT)


# -- registers ------------------------------------------------------------------------------


def register_codes(*shown: str, hours: int = 24) -> list[str]:
    rows = [a_register(n, BEGIN + n * hours * HOUR_US, value) for n, value in enumerate(shown)]
    [counts] = the_day(rows).counts.values()
    return [one.code for one in check_register(REGISTER, counts, RULES)]


def test_register_that_counts_on() -> None:
    assert register_codes("1000", "1000", hours=12) == []


def test_register_lower_than_before() -> None:
    assert register_codes("5000000", "4999999") == ["register-fell"]


def test_register_begins_anew_from_the_end_of_its_digits() -> None:
    assert register_codes("99990000", "20000") == ["register-rolled-over"]  # of 99,999.999 kWh
    assert register_codes("99990000", "80000000") == ["register-fell"]  # more than can pass
    assert register_codes("89990000", "20000") == ["register-fell"]  # not near the end
    assert register_codes("999", "2") == ["register-fell"]  # five digits of kWh at least


def test_register_below_nothing() -> None:
    assert register_codes("-1", "0") == ["register-negative"]


def test_register_read_at_six_is_held_against_the_day_before() -> None:
    rows = [a_register(1, BEGIN + 6 * HOUR_US, "10")]
    assert needs_earlier(the_day(rows))
    before = a_register(0, BEGIN - 18 * HOUR_US, "11")
    assert codes([*rows, before]) == ["register-fell"]
    assert not needs_earlier(the_day([*rows, before]))


# -- sums -----------------------------------------------------------------------------------


def summed(values: Sequence[str], begin: str, end: str) -> list[str]:
    rows = [
        *quarters(values),
        a_register(200, BEGIN, begin),
        a_register(201, BEGIN + DAY_US, end),
    ]
    found = check_sum(series(rows), RULES)
    assert all(one.rows == (200, 201) for one in found)
    return [one.code for one in found]


def test_sum_of_the_intervals_is_what_the_register_counted() -> None:
    assert summed(FLAT, "123456", "133056") == []


def test_sum_within_the_resolution_of_a_register_of_whole_kilowatt_hours() -> None:
    values = ["101", *FLAT[1:]]  # 9,601 Wh
    assert summed(values, "123000", "133000") == []
    assert summed(values, "123000", "132000") == []
    assert summed(values, "123000", "134000") == ["sum-differs"]
    assert summed(values, "123000", "131000") == ["sum-differs"]


def test_sum_off_by_more_than_rounding() -> None:
    assert summed([*FLAT[:95], "101"], "123456", "133056") == []  # half a Wh each may be rounded
    assert summed([*FLAT[:95], "201"], "123456.7", "133056.7") == ["sum-differs"]


def test_sum_over_a_register_that_began_anew() -> None:
    assert summed(FLAT, "99995000", "4600") == []


def test_sum_with_a_gap_is_not_judged() -> None:
    rows = [
        *quarters(["100", None, *FLAT[2:]]),
        a_register(200, BEGIN, "0"),
        a_register(201, BEGIN + DAY_US, "5"),
    ]
    assert check_sum(series(rows), RULES) == []


def phase(code: int) -> str:
    return QUARTERS.replace(".0.0.0.72.0", f".0.{code}.0.72.0")


@pytest.mark.parametrize("codes", [(128, 64, 32), (129, 65, 33)])  # A; A to neutral
@pytest.mark.parametrize("total", [0, 224, 225])
def test_phases_come_to_the_total(codes: tuple[int, ...], total: int) -> None:
    """IEC 61968-9 annex C: phases A, B, C and none."""
    assert phase(128).split(".")[14] == "128"
    rows = quarters(["3000"] * 96, register=phase(total))
    for at, code in enumerate(codes):
        rows += quarters(["1000"] * 96, first=1000 * (at + 1), register=phase(code))
    assert check_phases(the_day(rows), RULES) == []
    rows = [one for one in rows if one.index != 3005]
    assert check_phases(the_day(rows), RULES) == []  # nothing to hold it against
    rows += [a_row(4000, BEGIN + 5 * QUARTER_US, "1031", register=phase(codes[-1]))]
    [(register, found)] = check_phases(the_day(rows), RULES)
    assert (register, found.code) == (phase(total), "phases-differ")
    assert found.rows == (5, 1005, 2005, 4000)
    assert "by 31" in found.text


def test_phases_of_both_sorts_are_not_mixed() -> None:
    rows = quarters(["3000"] * 96)
    for at, code in enumerate((128, 65, 33)):  # A, but B and C to neutral
        rows += quarters(["5000"] * 96, first=1000 * (at + 1), register=phase(code))
    assert check_phases(the_day(rows), RULES) == []


def test_range_of_an_instant() -> None:
    rows = [
        a_row(0, BEGIN + 1, "0.5", end_us=BEGIN + 1, register=POWER_FACTOR),
        a_row(1, BEGIN + 2, "1.5", end_us=BEGIN + 2, register=POWER_FACTOR),
    ]
    [(_, found)] = check_instants(the_day(rows))
    assert (found.code, found.rows) == ("value-out-of-range", (1,))


def test_what_two_senders_say_alike_of_an_instant_is_one_finding() -> None:
    at = BEGIN + 2
    rows = [
        a_row(number, at, value, end_us=at, register=POWER_FACTOR)
        for number, value in enumerate(("1.5", "1.5", "1.75"))
    ]
    found = check_instants(the_day(rows))
    assert [one.rows for _, one in found] == [(0, 1), (2,)]


def test_a_thousand_alike_are_counted_not_listed() -> None:
    rows = quarters(["-1"] * 96)
    assert codes(rows) == ["energy-negative"] * RULES.findings_max
