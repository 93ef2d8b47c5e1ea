"""[vee] in the configuration, and the limits in a batch header (docs/spec/vee.md)."""

from pathlib import Path

import pytest

from bal.derive.vee_rules import VeeRules
from infra.config import load
from infra.rules import rules_parts


def test_it_is_off_until_it_is_enabled(tmp_path: Path) -> None:
    assert load(None).vee.rules() is None
    file = tmp_path / "gridseal.toml"
    file.write_text("[vee]\nenabled = true\nestimate = false\npower_kw_max = 44\n")
    assert load(file).vee.rules() == VeeRules(estimate=0, power_w_max=44_000)


def test_a_header_names_all_limits() -> None:
    rules = VeeRules(estimate=0, spike_percent=99)
    assert VeeRules.of_inputs(rules.as_inputs()) == rules
    assert VeeRules.of_inputs({}) == VeeRules()


@pytest.mark.parametrize("named", [{"spike": "1"}, {"estimate": "-1"}, {"estimate": "01"}])
def test_what_are_no_limits(named: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not the limits"):
        VeeRules.of_inputs(named)


def test_the_version_of_the_checks_is_among_the_rules() -> None:
    assert set(rules_parts()) == {"mapper", "context", "tzdata", "vee"}
