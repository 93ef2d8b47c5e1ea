"""Quality codes in words."""

import pytest

from bal.model import Rank
from bal.quality_words import words
from bal.wording import quality


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("0.0.0", "valid"),
        ("1.0.1", "validated by the meter"),
        ("1.1.9", "clock error by the meter"),
        ("1.2.32", "power failure by the meter"),
        ("1.4.2", "partial interval by the meter"),
        ("3.5.258", "suspect by the meter data management"),
        ("2.5.259", "known to be missing by the communication network"),
        ("3.6.1000", "failed validation (index 1000) by the meter data management"),
        ("9.8.0", "estimated by system 9"),
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
