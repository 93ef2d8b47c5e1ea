"""Why a ReadingType has no meaning here, by the field at fault."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise.reading_type import decode
from bal.harmonise.reading_type_why import why_unmapped
from bal.model import Harmonised

KIND = "measurementKind and unit are no quantity that is known here"
GAS = "the commodity is not electricity"
CAUSES = {
    "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0": "",
    "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.38.0": KIND,  # energy in kW
    "0.0.0.1.1.1.999.0.0.0.0.0.0.0.0.3.72.0": KIND,
    "0.0.0.1.1.7.12.0.0.0.0.0.0.0.0.3.72.0": GAS,
    "0.0.0.1.1.7.58.0.0.0.0.0.0.0.0.0.42.0": f"{KIND}; {GAS}",  # cubic metres of gas
    "0.0.0.1.6.1.12.0.0.0.0.0.0.0.0.3.72.0": "the flowDirection is none of IEC 61968-9's",
    "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.99.72.0": "the multiplier is none of IEC 61968-9's",
    "-1.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0": (
        "a field is no number without a sign and leading zeros"
    ),
    "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72": "it is no code of 18 numbers with points between",
    "kWh": "it is no code of 18 numbers with points between",
    "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.80.0": (
        "it has 19 fields instead of 18, and the last four say no quantity"
    ),
}


@pytest.mark.parametrize("code", CAUSES)
def test_the_field_at_fault_is_named(code: str) -> None:
    assert why_unmapped(code) == CAUSES[code]


def test_a_sender_is_told_it(take: Callable[..., Harmonised]) -> None:
    [code] = [code for code, why in CAUSES.items() if why == GAS]
    raw = (
        "<MeterReadings><MeterReading><Meter><mRID>M1</mRID></Meter><Readings>"
        "<timeStamp>2026-01-15T10:15:00Z</timeStamp><value>1</value>"
        f'<ReadingType ref="{code}"/></Readings></MeterReading></MeterReadings>'
    )
    [finding] = take(raw.encode()).findings
    assert finding.text == f"the reading type has no meaning here: {GAS}"


@given(st.lists(st.integers(-2, 300), min_size=16, max_size=20))
def test_a_code_has_a_meaning_or_a_reason(numbers: list[int]) -> None:
    code = ".".join(map(str, numbers))
    assert (why_unmapped(code) == "") == (decode(code) is not None)


@given(st.text(max_size=60))
def test_any_text_has_a_reason(text: str) -> None:
    assert bool(why_unmapped(text)) == (decode(text) is None)
