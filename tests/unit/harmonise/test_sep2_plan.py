"""IEEE 2030.5 messages read by a plan come to what they come to when read element by element."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import sep2, sep2_plan
from bal.harmonise.sep2_xml import NAMESPACE, NAMESPACE_2013
from bal.model import Harmonised
from tests.unit.harmonise.conftest import take_message

START = 1_768_471_200  # 2026-01-15T10:00:00Z
LFDI = "3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"
TYPE = (
    "<ReadingType><accumulationBehaviour>{accumulation}</accumulationBehaviour>"
    "<commodity>1</commodity><flowDirection>19</flowDirection><intervalLength>900</intervalLength>"
    "<kind>12</kind><powerOfTenMultiplier>{power}</powerOfTenMultiplier><uom>72</uom></ReadingType>"
)


@pytest.fixture(autouse=True)
def _no_plans() -> None:
    """Each test begins without plans."""
    sep2._plans.clear()


def outcome(raw: bytes) -> Harmonised | Rejected:
    try:
        return take_message(raw, "sep2")
    except Rejected as error:
        return error


def slowly(raw: bytes) -> Harmonised | Rejected:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sep2_plan, "read", lambda *_: None)
        return outcome(raw)


def same(raw: bytes) -> bool:
    one, other = outcome(raw), slowly(raw)
    if isinstance(one, Rejected) or isinstance(other, Rejected):
        return type(one) is type(other) and vars(one) == vars(other)
    return one == other


def planned(raw: bytes) -> bool:
    return sep2_plan.read(raw, sep2._plans) is not None


def period(start: object, duration: object = 900) -> str:
    return f"<timePeriod><duration>{duration}</duration><start>{start}</start></timePeriod>"


def message(
    *readings: str, start: object = START, length: int = 900, power: int = 0, accumulation: int = 4
) -> str:
    """One set of readings, as an inverter posts it."""
    return (
        f'<?xml version="1.0"?>\n<MirrorMeterReading xmlns="{NAMESPACE}"><mRID>0800006CC8</mRID>'
        f"<MirrorReadingSet><mRID>{START:X}</mRID>{period(start, length)}{''.join(readings)}"
        f"</MirrorReadingSet>{TYPE.format(power=power, accumulation=accumulation)}"
        "</MirrorMeterReading>"
    )


def reading(value: object, start: object = None, more: str = "") -> str:
    own = "" if start is None else period(start)
    return f"<Reading>{more}{own}<value>{value}</value></Reading>"


def hour(number: int) -> str:
    at = START + 3600 * number
    quarters = [reading(number * 7 - k, at + 900 * k) for k in range(4)]
    return message(*quarters, start=at, length=3600, power=number % 2)


@pytest.mark.parametrize("prefix", ["", "a:"])
@pytest.mark.parametrize("accumulation", [1, 4, 12])
def test_a_text_is_learnt_when_it_comes_again(prefix: str, accumulation: int) -> None:
    for number in range(4):
        text = message(
            reading(-number, START + number), start=START + number, accumulation=accumulation
        )
        text = re.sub(r"<(/?)([A-Za-z])", rf"<\1{prefix}\2", text)
        raw = text.replace("xmlns=", "xmlns:a=" if prefix else "xmlns=").encode()
        assert planned(raw) == (number > 0)
        assert same(raw)
        found = outcome(raw)
        assert isinstance(found, Harmonised)
        for draft in found.records:
            assert jcs.encode(jcs.decode(draft.record)) == draft.record


def test_places_in_a_set_are_learnt_with_it() -> None:
    for number in range(3):
        local = [reading(number, more=f"<localID>0{k}</localID>") for k in (2, 1, 0)]
        raw = message(*local, start=START + number, length=2700).encode()
        assert planned(raw) == (number > 0)
        assert same(raw)
        assert len({one.begin_us for one in outcome(raw).records}) == 3  # type: ignore[union-attr]


def test_the_device_is_learnt_with_the_text() -> None:
    for number in range(4):
        lfdi = LFDI if number else LFDI.lower()
        text = message(reading(number), start=START + number).split("\n")[1]
        raw = (
            f'<MirrorUsagePoint xmlns="{NAMESPACE}"><mRID>06</mRID><deviceLFDI>{lfdi}</deviceLFDI>'
            f"<serviceCategoryKind>0</serviceCategoryKind>{text}</MirrorUsagePoint>"
        ).encode()
        assert planned(raw) == (number > 1)
        assert same(raw)


def test_two_devices_have_no_plan() -> None:
    one = message(reading(1)).split("\n")[1]
    points = "".join(
        f"<MirrorUsagePoint><mRID>06</mRID><deviceLFDI>{lfdi}</deviceLFDI>{one}</MirrorUsagePoint>"
        for lfdi in (LFDI, LFDI[::-1])
    )
    raw = f'<MirrorUsagePointList xmlns="{NAMESPACE}">{points}</MirrorUsagePointList>'.encode()
    for _ in range(3):
        assert not planned(raw)
        assert same(raw)


@pytest.mark.parametrize(
    ("was", "odd"),
    [
        (">5<", "> 5<"),
        (">5<", ">+5<"),
        (">5<", ">100000000<"),
        (">5<", ">140737488355328<"),
        (">5<", ">140737488355329<"),
        (">5<", ">99999999999999<"),
        (">5<", ">5A<"),
        (">5<", ">--5<"),
        (">5<", "><"),
        (">5<", ">5<!-- --><"),
        (">5<", "><![CDATA[5]]><"),
        (">5<", ">&#53;<"),
        (">5</value>", ">5</value><value>6</value>"),
        (">5</value>", ">5</start>"),
        (">5</value>", ">5</value><extra><value>7</value></extra>"),
        (">5</value>", ">5</value><x:e xmlns:x='urn:x'><x:value>7</x:value></x:e>"),
        ("1768471200<", "1768471200 <"),
        ("1768471200<", "-1<"),
        ("1768471200<", "9999999999<"),
        ("1768471200<", "0<"),
        ("1768471200<", "ABC<"),
        ("1768471200<", "7289654399<"),
        ("0800006CC8", "800006CC8"),
        ("0800006CC8", "08-0"),
        ("0800006CC8", "FF" * 17),
        ("<duration>900", "<duration>600"),
        ("<duration>900", "<duration>0"),
        ("<timePeriod>", "<timePeriod/><timePeriod>"),
        ("</MirrorReadingSet>", "</MirrorReadingSet><lastUpdateTime>1768471200</lastUpdateTime>"),
        ("</MirrorReadingSet>", f"</MirrorReadingSet>{reading(7)}"),
        ("</MirrorReadingSet>", f"</MirrorReadingSet>{reading(7, START)}"),
        (NAMESPACE, NAMESPACE_2013),
        ("<uom>72", "<uom>119"),
        ("MirrorMeterReading", "DERStatus"),
    ],
)
def test_what_is_odd_is_read_the_same(was: str, odd: str) -> None:
    plain = message(reading(5, START), reading(6, START + 900), length=1800)
    assert was in plain
    raw = plain.replace(was, odd) if "Mirror" in was else plain.replace(was, odd, 1)
    other = raw.replace(">6<", ">8<").replace(str(START + 900), str(START + 2700))
    for one in (plain, plain, raw, raw, raw, other, plain):
        assert same(one.encode())


values = st.sampled_from(["0", "-17", "+3", "1.5", "140737488355329", "007", " 4", "", "A0"])
starts = st.sampled_from([START, START + 900, START + 1800, 0, -5, 10**10, "", "x"])


@st.composite
def stream(draw: Callable[..., Any]) -> list[bytes]:
    """Some messages, alike but for their values and times."""
    layout = draw(st.lists(st.sampled_from(["own", "local", "plain"]), min_size=1, max_size=3))
    length = draw(st.sampled_from([900, 1800, 2700, 1000]))
    power, accumulation = draw(st.integers(-2, 2)), draw(st.sampled_from([1, 4, 12]))
    found = []
    for _ in range(draw(st.integers(2, 5))):
        readings = [
            reading(
                draw(values),
                draw(starts) if how == "own" else None,
                f"<localID>0{k}</localID>" if how == "local" else "",
            )
            for k, how in enumerate(layout)
        ]
        text = message(
            *readings, start=draw(starts), length=length, power=power, accumulation=accumulation
        )
        found.append(text.encode())
    return found


@given(stream())
def test_both_ways_agree(messages: list[bytes]) -> None:
    for raw in messages:
        assert same(raw)


@given(st.integers(0, 4), st.data())
def test_both_ways_agree_on_damaged_messages(shown: int, data: st.DataObject) -> None:
    plain = hour(2).encode()
    for _ in range(shown):
        outcome(plain)
    raw = bytearray(plain)
    at = data.draw(st.integers(0, len(raw)))
    raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    for _ in range(2):
        assert same(bytes(raw))


def test_what_an_inverter_posts_all_day() -> None:
    for number in range(24):
        raw = hour(number).encode()
        assert planned(raw) == (number > 1)  # one text for each power of ten
        assert same(raw)
