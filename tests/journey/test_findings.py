"""A bad message: its sender learns of it by receipt, the operator by GET /v1/findings, for good."""

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from bal.found import FindingsQuery, StoredFinding
from infra.cli import main
from infra.fsck import fsck
from tests.journey.conftest import Caller, Running, cim
from tests.journey.roles_platform import RolesRunning
from tests.journey.small_platform import Small
from tests.journey.test_one_reading import connect, wait_for

GOOD, NO_OFFSET = "2026-01-15T11:00:00+01:00", "2026-01-15T11:15:00"
UNMAPPED = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72"  # 17 fields


def bad() -> bytes:
    """Two meters a line each: a doubtful reading of one, a refused one of the other."""
    first = cim(("meter-1", GOOD, "1"), reading_type=UNMAPPED).decode()
    second = cim(("meter-2", NO_OFFSET, "2")).decode()
    begin, end = second.index("<MeterReading>"), second.index("</MeterReadings>")
    return first.replace("</MeterReadings>", f"\n{second[begin:end]}\n</MeterReadings>").encode()


@pytest.fixture(scope="module")
def operator(platform: Running) -> Caller:
    scopes = "findings.read devices.read readings.read messages.write"
    return platform.client("operator", scopes, "--all-devices")


def findings(caller: Caller, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get("/v1/findings", **asked)["items"]
    return found


@pytest.fixture(scope="module")
def certified(platform: Running) -> dict[str, Any]:
    """The receipt of the bad message, from a head-end."""
    files = platform.enrol("head-end", "--subjects", "any", "--group", "north")
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, "head-end", platform.mqtt_at, got)
    client.publish("in/head-end/cim", bad(), qos=1).wait_for_publish(10)
    wait_for(lambda: "certified" in got)
    client.disconnect()
    client.loop_stop()
    return got["certified"]


def test_a_bad_message_is_told_to_its_sender_and_found_by_the_operator(
    platform: Running, operator: Caller, certified: dict[str, Any]
) -> None:
    told = [*certified["findings"], *certified["refused"]]
    assert [one["code"] for one in told] == ["reading-type-unmapped", "time-without-offset"]
    items = findings(operator, order="log")
    members = ("code", "severity", "field", "line", "clause", "text")
    assert [{name: one[name] for name in members} for one in items] == told
    for one in items:
        assert one["message"] == sha256(bad()).hexdigest()
        assert one["batch"] == certified["batch"]
        assert (one["first_index"], one["count"]) == (
            certified["first_index"], certified["count"],
        )  # fmt: skip
    known = {one["device"] for one in operator.get("/v1/devices")["items"]}
    first, second = (one["device"] for one in items)
    assert {first, second} <= known
    assert first != second
    assert findings(operator, device=first)[0]["code"] == "reading-type-unmapped"
    assert len({one["sender"] for one in items}) == 1
    assert len(findings(operator, sender=items[0]["sender"])) == 2
    of_group = platform.client("north", "findings.read", "--group", "north")
    assert findings(of_group, order="log") == items
    assert findings(platform.client("south", "findings.read", "--group", "south")) == []


@pytest.mark.usefixtures("certified")
def test_a_message_refused_whole_is_found_and_stays_after_a_kill(
    platform: Running, operator: Caller
) -> None:
    answer = operator.request("POST", "/v1/messages?format=cim", content=b"<a/>")
    assert answer.status_code == 422
    assert [one["code"] for one in answer.json()["refused"]] == ["no-meter-reading"]
    for form in ("cim", "nonsense"):
        answer = operator.request("POST", f"/v1/messages?format={form}", content=b"<a>")
        assert answer.status_code in {400, 422}
    wait_for(lambda: findings(operator, code="xml-malformed"))  # the bus never saw it
    [early] = findings(operator, code="xml-malformed")
    assert (early["message"], early["batch"], early["count"]) == ("", "", 0)
    assert (early["severity"], early["format"], early["line"]) == ("refused", "cim", "1")
    before = findings(operator, code="no-meter-reading")
    assert early["sender"] == before[0]["sender"] != ""
    assert before[0]["code"] == "no-meter-reading"
    assert before[0]["message"] == sha256(b"<a/>").hexdigest()
    told = platform.cli("findings", "--data", platform.data, "--json")
    mine = [json.loads(line) for line in told.splitlines()]
    assert {one["code"] for one in mine} >= {"no-meter-reading", "time-without-offset"}
    named = platform.cli("findings", "--data", platform.data, "--device", "meter-2")
    [line] = named.splitlines()
    assert line.split("\t")[1:4] == ["refused", "time-without-offset", "name://meter-2"]
    sent = platform.cli("findings", "--data", platform.data, "--sender", "head-end", "--limit", "1")
    assert len(sent.splitlines()) == 1
    platform.kill()
    assert platform.cli("findings", "--data", platform.data, "--json") == told
    platform.start()
    assert findings(operator, code="no-meter-reading") == before
    assert findings(operator, code="xml-malformed") == [early]
    platform.check()


def listed(small: Small) -> list[StoredFinding]:
    query = FindingsQuery(None, size=1 << 40, limit=1_000, newest_first=False)
    return small.stores.archive.findings(query)


def test_it_is_made_again_from_log_and_archive(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.start()
    small.enrol("headend")
    doubtful = [bad(), bad().replace(b"meter-1", b"meter-3"), b"<a/>", cim(("m", NO_OFFSET, "1"))]
    for raw in doubtful:
        small.take("headend", raw)
    small.take("headend", doubtful[0])  # again: nothing is listed twice
    before = listed(small)
    assert [one.finding.code for one in before] == [
        "reading-type-unmapped", "time-without-offset", "reading-type-unmapped",
        "time-without-offset", "no-meter-reading", "time-without-offset",
    ]  # fmt: skip
    assert len({one.device for one in before}) == 5  # one item is of no device
    assert {one.group for one in before if one.device} == {"grid"}
    small.close()
    rmtree(tmp_path / "scd")
    with closing(sqlite3.connect(tmp_path / "archive" / "archive.db")) as db:
        db.execute("DELETE FROM finding")
        db.commit()
    again = Small(tmp_path)
    assert listed(again) == before
    again.start()
    again.close()
    assert fsck(tmp_path).differences == []


def test_nothing_found_and_what_is_not_shown_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that was written wrongly has no findings, either."""
    small = Small(tmp_path)
    small.start()
    small.enrol("headend")
    small.take("headend", bad())
    small.close()
    asked = ["findings", "--data", str(tmp_path)]
    for more, lines, said in [
        ((), 2, ""),
        (("--limit", "2"), 2, ""),
        (("--limit", "1"), 1, "gridseal: the newest 1; there are more: --limit 0 lists all\n"),
        (("--device", "metre-1"), 0, "gridseal: no finding of device metre-1\n"),
    ]:
        assert main([*asked, *more]) == 0
        out, err = capsys.readouterr()
        assert (out.count("\n"), err) == (lines, said)


@pytest.mark.xdist_group("roles")
@pytest.mark.slow
def test_roles_list_it_too(tmp_path: Path) -> None:
    roles = RolesRunning(tmp_path)
    roles.start()
    try:
        caller = roles.client("operator", "messages.write findings.read", "--all-devices")
        for raw, status in ((bad(), 200), (b"<a>", 422)):
            answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
            assert answer.status_code == status
        wait_for(lambda: len(findings(caller)) == 3)
        unlogged = findings(caller, code="xml-malformed")
        assert [one["batch"] for one in unlogged] == [""]
        of_log = [one for one in findings(caller, order="log") if one["batch"]]
        assert {one["message"] for one in of_log} == {sha256(bad()).hexdigest()}
        assert roles.cli("findings", "--data", roles.data).count("\n") == 3
        caller.forget()
    finally:
        roles.kill()
