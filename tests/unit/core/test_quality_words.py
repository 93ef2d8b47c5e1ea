"""Codes of IEC 61968-9 annex D in words."""

import pytest

from bal.model import Rank
from bal.quality_words import words
from bal.wording import quality, register


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("0.0.0", "valid"),
        ("1.0.1", "validated by the meter"),
        ("1.1.9", "clock error, says the meter"),
        ("1.2.32", "power failure, says the meter"),
        ("1.4.2", "partial interval, says the meter"),
        ("3.5.258", "suspect, says the meter data management"),
        ("2.5.259", "known to be missing, says the communication network"),
        ("3.6.1000", "failed validation (index 1000), says the meter data management"),
        ("9.8.0", "estimated by system 9"),
        ("1.3.1", "cover opened, says the meter"),  # nobody thinks that the meter opened it
        ("3.7.1", "edited: added by the meter data management"),
        ("1.99.7", "quality 1.99.7"),
        ("A", "A"),
    ],
)
def test_codes_in_words(code: str, told: str) -> None:
    assert words(code) == told


def test_what_a_value_counts_as_is_said_once() -> None:
    assert quality(("3.8.0",), Rank.ESTIMATED) == "estimated by the meter data management"
    assert quality(("1.12.0",), Rank.ESTIMATED).endswith(
        "projected by the meter; counts as estimated"
    )


@pytest.mark.parametrize(
    ("code", "obis"),
    [
        ("0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0", "1-0:1.8.0"),
        ("0.0.0.1.1.1.12.0.0.0.0.2.0.0.0.3.72.0", "1-0:1.8.2"),
        ("0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0", "1-0:2.29.0"),
        ("0.0.0.12.0.1.15.0.0.0.0.0.0.0.0.0.33.0", "1-0:14.7.0"),
        ("0.0.0.1.1.7.58.0.0.0.0.0.0.0.0.0.42.0", ""),
        ("0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.72.0", ""),
    ],
)
def test_a_register_of_a_dlms_meter_has_its_obis_code(code: str, obis: str) -> None:
    """IEC 62056-6-1: what the meter's own display and its maker call it."""
    told = register(code)
    assert ("OBIS" in told) == bool(obis)
    assert told.endswith(f"; OBIS {obis}" if obis else "")


@pytest.mark.parametrize(
    ("power", "unit", "told"),
    [(3, 72, "sent in kWh"), (-2, 72, "sent in 10^-2 Wh"), (-3, 65, "sent in 10^-3")],
)
def test_how_a_value_was_scaled(power: int, unit: int, told: str) -> None:
    kind, base_unit = (12, "Wh") if unit == 72 else (38, "1")
    code = "0.0.0.1.1.1.{}.0.0.0.0.0.0.0.0.{}.{}.0"
    words = register(code.format(kind, power, unit), code.format(kind, 0, unit), base_unit)
    assert words.endswith(told)


def test_a_tenth_of_a_watt_hour_has_no_name() -> None:
    assert register("0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.-1.72.0").startswith("energy in 10^-1 Wh, ")
