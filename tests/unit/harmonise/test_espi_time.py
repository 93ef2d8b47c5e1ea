"""NAESB REQ.21 ESPI LocalTimeParameters: the clock, by zone database and the XSD's example."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise import espi_time
from bal.harmonise.espi_time import LocalTime, Rule, rule
from bal.harmonise.xml_tree import Node


def parameters(start: str, end: str, tz: int, dst: int = 3600) -> Node:
    members = {"dstEndRule": end, "dstOffset": dst, "dstStartRule": start, "tzOffset": tz}
    children = [Node(name, 1, 0, text=str(text)) for name, text in members.items()]
    return Node("LocalTimeParameters", 1, 0, children=children)


def clock(start: str, end: str, tz: int) -> LocalTime:
    found = espi_time.local_time(parameters(start, end, tz))
    assert found is not None
    return found


def bits(month: int, operator: int, day: int, weekday: int, hour: int, *, second: int = 0) -> int:
    return month << 28 | operator << 25 | day << 20 | weekday << 17 | hour << 12 | second


def test_the_example_of_the_schema() -> None:
    """NAESB REQ.21 ESPI DstRuleType: DST starts on third Friday in March at 1:45 AM."""
    sent = bits(month=3, operator=4, day=0, weekday=5, hour=1, second=2700)
    assert rule(sent) == Rule(3, 4, 0, 5, 3600 + 2700)


NEW_YORK = clock("360E2000", "B40E2000", -18_000)  # as both published feeds send it
BERLIN = clock(f"{bits(3, 7, 0, 7, 2):08X}", f"{bits(10, 7, 0, 7, 3):08X}", 3_600)
SYDNEY = clock(f"{bits(10, 2, 0, 7, 2):08X}", f"{bits(4, 2, 0, 7, 3):08X}", 36_000)
ON_OR_AFTER = clock(f"{bits(3, 1, 8, 7, 2):08X}", f"{bits(11, 1, 1, 7, 2):08X}", -18_000)


@given(st.integers(1_199_145_600, 2_145_744_000))  # of the years 2008 to 2037
def test_it_shows_what_the_clocks_of_its_zone_show(at_s: int) -> None:
    moment = datetime.fromtimestamp(at_s, UTC)
    for own, zone in (
        (NEW_YORK, "America/New_York"), (BERLIN, "Europe/Berlin"), (SYDNEY, "Australia/Sydney"),
        (ON_OR_AFTER, "America/New_York"),
    ):  # fmt: skip
        offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
        assert offset is not None
        assert own.offset_s(at_s) == offset.total_seconds(), zone


@pytest.mark.parametrize("year", [2012, 2024, 2026])
def test_to_the_second(year: int) -> None:
    for own, zone in ((NEW_YORK, "America/New_York"), (BERLIN, "Europe/Berlin")):
        begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
        for at_s in range(begin, begin + 366 * 86_400, 1_800):
            for near in (at_s - 1, at_s):
                offset = datetime.fromtimestamp(near, ZoneInfo(zone)).utcoffset()
                assert offset is not None
                assert own.offset_s(near) == offset.total_seconds()


def test_without_rules_there_is_no_daylight_saving_time() -> None:
    assert clock("FFFFFFFF", "FFFFFFFF", -18_000).offset_s(1_340_000_000) == -18_000


@pytest.mark.parametrize(
    "sent",
    [0, bits(13, 0, 1, 0, 2), bits(3, 0, 0, 0, 2), bits(3, 3, 0, 0, 2), bits(3, 3, 0, 7, 24),
     bits(3, 3, 0, 7, 2, second=3600)],
)  # fmt: skip
def test_rules_that_are_none(sent: int) -> None:
    assert rule(sent) is None


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 7_258_118_400))
def test_any_bits(start: int, end: int, at_s: int) -> None:
    found = espi_time.local_time(parameters(f"{start:08X}", f"{end:08X}", 3_600))
    if found is not None:
        assert found.offset_s(at_s) in {3_600, 7_200}


@pytest.mark.parametrize(
    "node",
    [parameters("x", "B40E2000", 0), parameters("360E2000", "B40E2000", 99_999),
     parameters("360E2000", "00000000", 0)],
)  # fmt: skip
def test_parameters_that_are_not_understood(node: Node) -> None:
    assert espi_time.local_time(node) is None
