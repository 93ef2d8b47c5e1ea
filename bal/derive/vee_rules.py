"""What the checks and estimates of a day go by: every limit, with its default (docs/spec/vee.md).

One frozen value. Where it is at work, the header of the derived batch has it whole, so that a close
is made again by the limits that it was made by, whatever is configured since.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

VERSION = "vee/1"  # of the checks themselves; another one where one of them says something else

_NUMBER = re.compile(r"0|[1-9][0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class VeeRules:
    """The limits of the checks, and whether gaps are filled. All are whole numbers ≥ 0."""

    estimate: int = 1  # 0: find only; 1: a missing slot gets an estimate where a rule has one
    power_w_max: int = 1_000_000  # what a connection carries: 1 MW is a low-voltage transformer
    # The highest interval against the third-highest, as the interval data rules of North
    # American markets have it: more than 180 % above it.
    spike_percent: int = 180
    spike_power_w_min: int = 1_000  # below it a kettle in an empty house is no spike
    sum_wh_tolerance: int = 0  # beyond what the resolution of register and intervals explains
    phases_permille: int = 10  # of the total, that the sum of the phases may be off
    phases_wh_tolerance: int = 10  # and by at least so much
    clock_s_max: int = 5  # that an interval may be off its grid
    register_digits_min: int = 5  # of whole kWh that a register has before it rolls over
    linear_s_max: int = 7_200  # longest gap that is interpolated
    like_days_min: int = 2  # of the same weekday in the four weeks before
    findings_max: int = 64  # of one series and day, and of one code; what is beyond is counted

    def as_inputs(self) -> dict[str, str]:
        """All limits by name, as a batch header has them."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def of_inputs(cls, named: Mapping[str, str]) -> "VeeRules":
        """The limits that a header names. Raises ValueError where one is unknown or no number.

        One that is left out has its default: those of a version never change.
        """
        known = {field.name for field in fields(cls)}
        if not known >= named.keys() or not all(map(_NUMBER.fullmatch, named.values())):
            raise ValueError("not the limits of checks")
        return cls(**{name: int(text) for name, text in named.items()})
