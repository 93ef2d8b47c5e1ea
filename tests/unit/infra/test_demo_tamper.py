"""The burglar changes exactly one character and says which."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.demo_platform import Failure
from infra.demo_tamper import changed_receipt, other_digit

RECORD = {"device": "P" * 43, "hasResult": {"hasValue": "210"}, "unit": "Wh", "value": "210"}


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def receipt(record: str) -> str:
    extra = canonical(
        {"record": record, "salt": "00" * 32, "type": "01", "v": "gridseal.receipt/1"}
    )
    encoded = base64.b64encode(extra.encode()).decode()
    head = f"c2sp.org/tlog-proof@v1\nextra {encoded}\nindex 7\nAAAA\n\n"
    return head + "origin\n8\nBBBB\n\n— origin CC\n"


def extra_of(text: str) -> dict[str, str]:
    line = next(line for line in text.splitlines() if line.startswith("extra "))
    found: dict[str, str] = json.loads(base64.b64decode(line.removeprefix("extra ")))
    return found


@given(st.integers(0, 10**9))
def test_another_number_of_the_same_length(value: int) -> None:
    changed = other_digit(str(value))
    assert len(changed) == len(str(value))
    assert changed != str(value)
    assert int(changed) >= 0


def test_one_character_of_the_record_is_another() -> None:
    original = receipt(canonical(RECORD))
    changed, before, after = changed_receipt(original)
    assert (before, after) == ("210", "710")
    old, new = extra_of(original), extra_of(changed)
    assert {name for name in old if old[name] != new[name]} == {"record"}
    differing = [
        pair for pair in zip(old["record"], new["record"], strict=True) if len({*pair}) > 1
    ]
    assert differing == [("2", "7")]
    assert json.loads(new["record"])["hasResult"] == {"hasValue": "210"}  # only `value` changed
    rest = [line for line in changed.splitlines() if not line.startswith("extra ")]
    assert rest == [line for line in original.splitlines() if not line.startswith("extra ")]


@pytest.mark.parametrize(
    "text",
    [
        "c2sp.org/tlog-proof@v1\nindex 7\n",
        "extra not-base64!\n",
        "extra " + base64.b64encode(b"{}").decode() + "\n",
        receipt(canonical({"kind": "event"})),
    ],
)
def test_a_receipt_without_a_value_is_said(text: str) -> None:
    with pytest.raises(Failure):
        changed_receipt(text)
