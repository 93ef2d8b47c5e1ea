"""`gridseal.day/1`: what the platform gives, held against the page by a reader of the page."""

import copy
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bal.certify.verify import Verdict, Verdicts, parse_policy, verify
from bal.derive.local_day import local_day
from bal.errors import Rejected, Unavailable

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "device_days.json").read_text()
)
spec = importlib.util.spec_from_file_location(
    "day_document", Path(__file__).with_name("day_document.py")
)
assert spec is not None
assert spec.loader is not None
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

DOCUMENTS = {case["name"]: case for case in VECTORS["documents"]}
DAY, NEXT = date(2026, 1, 15), date(2026, 1, 16)
ROOT = Path(__file__).resolve().parents[3]
NODE = shutil.which("node")
HOUR_US = 3_600_000_000


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_documents(name: str) -> None:
    assert page.verdict(DOCUMENTS[name]["document"]) == DOCUMENTS[name]["complete"]


@pytest.mark.parametrize("case", VECTORS["patched"], ids=lambda case: case["name"])
def test_published_documents_that_fail(case: dict[str, Any]) -> None:
    document = patched(DOCUMENTS[case["document"]]["document"], case["patch"])
    with pytest.raises(page.Fails) as caught:
        page.verdict(document)
    assert str(caught.value) == case["code"]


def test_every_hash_of_a_document_counts() -> None:
    """One hex digit or character of base64 at a time, of all that is not zone or a slot's text."""
    good = DOCUMENTS["gaps, as of close 2"]["document"]
    refused = 0
    for path in list(leaves(good)):
        if path[0] in {"zone", "checkpoint", "v", "slots"}:
            continue
        bad = copy.deepcopy(good)
        at = bad
        for step in path[:-1]:
            at = at[step]
        text = at[path[-1]]
        at[path[-1]] = text[:-1] + ("1" if text[-1] == "0" else "0")
        with pytest.raises((page.Fails, ValueError, KeyError)):
            page.verdict(bad)
        refused += 1
    assert refused > 20


def test_a_day_is_followed_from_silence_to_complete(log: Any) -> None:
    begin_us, _ = local_day(DAY, "Europe/Berlin")
    log.enrol("m")
    log.read("m", begin_us, "1")
    with pytest.raises(Rejected, match="close-unknown"):
        log.document("m")
    log.close()
    assert page.verdict(json.loads(log.document("m"))) == "complete-gaps"
    for hour in range(1, 24):
        log.read("m", begin_us + hour * HOUR_US, "1.5")
    log.close()
    found = json.loads(log.document("m"))
    assert page.verdict(found) == "complete"
    assert [len(found["slots"]), len(found["previous"])] == [24, 1]
    first = json.loads(log.document("m", k=1))
    assert page.verdict(first) == "complete-gaps"
    assert first["previous"] == []
    with pytest.raises(Rejected, match="close-unknown"):
        log.document("m", k=3)


def told(document: str) -> tuple[str, str]:
    """Code and sentence of the verdict *complete*."""
    policy = parse_policy(f"log {VECTORS['vkey']}\nquorum none\n".encode())
    found = verify(document, policy)
    assert found.authentic.code == "authentic"
    return found.complete.code, found.complete.text


def test_the_verdict_names_what_it_is_about(log: Any) -> None:
    """Device, date, register and the day in UTC: by what is proved, not by a hint."""
    begin_us, _ = local_day(DAY, "Europe/Berlin")
    name = log.enrol("m").device
    for hour in range(24):
        log.read("m", begin_us + hour * HOUR_US, "1")
    log.enrol("silent")
    log.read("silent", begin_us, "1")
    log.close()
    log.close(NEXT)
    document = json.loads(log.document("m", k=1))
    document["zone"] = "Asia/Tokyo"  # a hint
    day = f"{DAY} (2026-01-14T23:00:00Z to 2026-01-15T23:00:00Z)"
    register = document["register"]
    what = f"Device {name}, register {register}, {day}: "
    assert told(json.dumps(document)) == (
        "complete", f"{what}all 24 slots are there, as of close 1."
    )  # fmt: skip
    what = what.replace(name, log.enrol("silent").device)
    assert told(log.document("silent", k=1)) == (
        "complete-gaps", f"{what}23 of 24 slots are missing, as of close 1."
    )  # fmt: skip
    what = what.replace(day, f"{NEXT} (2026-01-15T23:00:00Z to 2026-01-16T23:00:00Z)")
    assert told(log.document("silent", day=NEXT)) == (
        "complete-gaps", f"{what}none of 24 slots has a value; 24 are missing, as of close 2."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("day", "exit_"), [("complete", 0), ("complete-gaps", 2), ("absent", 2), ("", 2)]
)
def test_what_is_required_is_asked_of_a_day_on_the_own_chain(day: str, exit_: int) -> None:
    """Where the code says who could make the chain anew, and no longer what the book shows."""
    found = Verdicts(Verdict("authentic", ""), complete=Verdict("own-chain", ""), day=day)
    asked = {"accept_own_chain": True, "require_complete": True}
    assert found.exit_code(**asked) == exit_
    assert found.as_json(**asked)["exit"] == exit_
    assert found.exit_code(require_complete=True) == 2


def test_the_verdict_names_what_is_not_there(log: Any) -> None:
    name = log.enrol("m").device
    log.close()
    said = f"Proved: as of close 1 the book of {DAY} has no device {name} with register"
    code, text = told(log.document("m"))
    assert (code, text) == ("absent", f"{said} {json.loads(log.document('m'))['register']}.")
    said = f"Proved: as of close 1 the book has no {NEXT}, so nothing of device {name}."
    assert told(log.document("m", day=NEXT)) == ("absent", said)


@pytest.mark.parametrize("what", ["python", "javascript"])
def test_who_requires_a_complete_day_gets_no_exit_0_for_gaps(tmp_path: Path, what: str) -> None:
    if what == "javascript" and NODE is None:
        pytest.skip("node is not installed")
    command = [sys.executable, "-m", "infra.verify_cli"]
    if what == "javascript":
        command = [str(NODE), "docs/spec/reference/verifier.mjs"]
    trust = ["--log-key", VECTORS["vkey"], "--json"]
    require = ["--require", "complete"]

    def run(*files: str, more: Sequence[str] = ()) -> tuple[int, list[int]]:
        done = subprocess.run(
            [*command, *files, *trust, *more],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stderr == "" or done.returncode == 3
        return done.returncode, [json.loads(line)["exit"] for line in done.stdout.splitlines()]

    files = {}
    for name, case in DOCUMENTS.items():
        files[name] = str(tmp_path / f"{len(files)}.json")
        Path(files[name]).write_text(json.dumps(case["document"]))
    codes = {name: case["complete"] for name, case in DOCUMENTS.items()}
    assert set(codes.values()) == {"complete", "complete-gaps", "absent"}
    for name, file in files.items():
        assert run(file) == (0, [0])
        expected = 0 if codes[name] == "complete" else 2
        assert run(file, more=require) == (expected, [expected])
    assert run(*files.values(), more=require)[0] == 2
    wrong = tmp_path / "wrong.json"
    wrong.write_text(Path(files["whole"]).read_text().replace('"index": "', '"index": "1', 1))
    assert run(str(wrong), more=require) == (1, [1])
    assert run(files["whole"], more=["--require", "much"])[0] == 3


def test_without_a_register_the_only_one_is_meant(log: Any) -> None:
    begin_us, _ = local_day(DAY, "Europe/Berlin")
    log.enrol("one")
    log.enrol("two")
    log.enrol("none")
    log.read("one", begin_us, "1")
    for register in ("activeEnergyImport", "activeEnergyExport"):
        log.read("two", begin_us, "1", register=register)
    log.close()
    assert json.loads(log.document("one", register=None))["register"].startswith("0.0.2")
    with pytest.raises(Rejected, match="activeEnergyExport, activeEnergyImport"):
        log.document("two", register=None)
    with pytest.raises(Rejected, match="register-needed"):
        log.document("none", register=None)
    absent = json.loads(log.document("none", day=date(2026, 1, 16), register=None))
    assert (page.verdict(absent), absent["register"]) == ("absent", "")


def test_a_date_closed_without_any_series_proves_absence(log: Any) -> None:
    log.enrol("m")
    closed = log.close()
    assert (closed.day_book, closed.device_days) == (bytes(32), 0)
    found = json.loads(log.document("m"))
    assert found["key_proof"] == {"siblings": []}
    assert page.verdict(found) == "absent"


def test_an_erased_device_has_no_document(log: Any) -> None:
    begin_us, _ = local_day(DAY, "Europe/Berlin")
    info = log.enrol("m")
    log.read("m", begin_us, "1")
    log.close()
    log.vault.erased.add(info.device)
    with pytest.raises(KeyError):
        log.document("m")


def test_rows_that_are_not_stored_yet_are_waited_for(log: Any) -> None:
    begin_us, _ = local_day(DAY, "Europe/Berlin")
    log.enrol("m")
    log.read("m", begin_us, "1")
    store = log.customer_db.store
    log.customer_db.store = lambda rows, size: None
    log.close()
    with pytest.raises(Unavailable):
        log.document("m")
    log.customer_db.store = store


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, str):
        if value and path[-1] not in {"slot"}:
            yield path
        return
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, member in members:
        yield from leaves(member, (*path, name))


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902: add, replace, remove and copy."""
    document = copy.deepcopy(document)
    for operation in operations:
        at, last = place(document, operation["path"])
        if operation["op"] == "remove":
            del at[last]
            continue
        if operation["op"] == "copy":
            source, name = place(document, operation["from"])
            value = copy.deepcopy(source[name])
        else:
            value = operation["value"]
        if isinstance(at, list) and operation["op"] != "replace":
            at.insert(last, value)
        else:
            at[last] = value
    return document


def place(document: Any, pointer: str) -> tuple[Any, Any]:
    *steps, last = pointer.split("/")[1:]
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    return document, int(last) if isinstance(document, list) else last
