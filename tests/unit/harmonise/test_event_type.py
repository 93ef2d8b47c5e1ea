"""IEC 61968-9 annex E, EndDeviceEventType: codes in words, some as makers of meters publish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise.event_type import NAMES, describe, is_code, is_known, sentence


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("3.26.0.85", "electricity meter: power, failed"),
        ("3.26.0.216", "electricity meter: power, restored"),
        ("26.26.0.85", "communication module: power, failed"),
        ("3.26.131.223", "electricity meter: power, voltage of phase A, sag started"),
        ("3.26.131.248", "electricity meter: power, voltage of phase A, swell started"),
        ("3.26.38.98", "electricity meter: power, voltage, imbalanced"),
        ("3.26.25.45", "electricity meter: power, phase, cross phase detected"),
        ("3.12.29.212", "electricity meter: security, cover, removed"),
        ("3.12.24.35", "electricity meter: security, password, invalid"),
        ("3.2.22.150", "electricity meter: battery, charge, minimum limit reached"),
        ("3.18.85.85", "electricity meter: memory, RAM, failed"),
        ("3.36.34.24", "electricity meter: clock, date, changed"),
        ("3.8.0.177", "electricity meter: demand, overflow"),
        ("3.31.0.68", "electricity meter: remote connect and disconnect, disconnected"),
        ("26.36.114.24", "communication module: clock, time, changed"),
        ("0.0.0.79", "error"),
        ("0.0.0.0", "nothing said"),
        ("3.0.0.0", "electricity meter: nothing said"),
        ("3.26.999.85", "electricity meter: power, unknown subdomain 999, failed"),
        ("power outage", "no EndDeviceEventType code: that is 4 numbers between dots"),
    ],
)
def test_a_sentence(code: str, words: str) -> None:
    assert sentence(code) == words


def test_the_fields_in_their_order() -> None:
    """IEC 61968-9 EndDeviceEventType.type, EndDeviceEventType.domain, EndDeviceEventType.subDomain,
    EndDeviceEventType.eventOrAction.
    """
    assert [(one.name, one.code, one.meaning) for one in describe("3.26.131.223")] == [
        ("type", "3", "electricity meter"),
        ("domain", "26", "power"),
        ("subdomain", "131", "voltage of phase A"),
        ("eventOrAction", "223", "sag started"),
    ]


@pytest.mark.parametrize("text", ["3.26.131", "3.26.131.223.0", "3.26.131.0223", "3,26,131,223"])
def test_what_is_no_code(text: str) -> None:
    assert not is_code(text)
    assert not is_known(text)
    assert [one.name for one in describe(text)] == ["EndDeviceEventType"]


@given(st.lists(st.integers(0, 400), min_size=4, max_size=4))
def test_a_code_is_known_if_each_of_its_numbers_is(numbers: list[int]) -> None:
    code = ".".join(map(str, numbers))
    assert is_code(code)
    fields = describe(code)
    assert tuple(field.name for field in fields) == NAMES
    unknown = [field for field in fields if field.meaning == f"unknown {field.name} {field.code}"]
    assert is_known(code) == (not unknown)


@given(st.text(max_size=40))
def test_any_text_has_a_sentence(text: str) -> None:
    assert sentence(text)
    assert describe(text)
