"""The burglar changes exactly one character, or one digit, and says which."""

import base64
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.demo_platform import Failure
from infra.demo_tamper import alter_stored_digit, changed_receipt, other_digit

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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "scd").mkdir()
    with closing(sqlite3.connect(tmp_path / "scd" / "customer.db")) as db:
        db.execute("CREATE TABLE other(name TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID")
        db.execute("CREATE TABLE chunk(id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        data = b"\x00\x01 before " + canonical(RECORD).encode() + b" after"
        db.execute("INSERT INTO chunk VALUES(3, ?)", (zlib.compress(b"nothing"),))
        db.execute("INSERT INTO chunk VALUES(4, ?)", (zlib.compress(data),))
        db.execute("INSERT INTO chunk VALUES(5, ?)", (b"no deflated bytes",))
        db.commit()
    return tmp_path


def chunks(copy: Path) -> list[bytes]:
    with closing(sqlite3.connect(copy / "scd" / "customer.db")) as db:
        rows = db.execute("SELECT data FROM chunk WHERE id < 5 ORDER BY id").fetchall()
        return [zlib.decompress(data) for (data,) in rows]


def test_one_stored_digit_is_another(copy: Path) -> None:
    before = chunks(copy)
    absent = RECORD | {"value": "5"}
    path, record, value = alter_stored_digit(copy, [absent, RECORD])
    assert path == copy / "scd" / "customer.db"
    assert (record, value) == (RECORD, "710")
    after = chunks(copy)
    assert after[0] == before[0]
    differing = [pair for pair in zip(before[1], after[1], strict=True) if pair[0] != pair[1]]
    assert differing == [(ord("2"), ord("7"))]
    assert b'"value":"710"}' in after[1]


def test_a_record_that_is_not_stored_is_said(copy: Path) -> None:
    with pytest.raises(Failure, match="no reading was found"):
        alter_stored_digit(copy, [RECORD | {"value": "5"}])
