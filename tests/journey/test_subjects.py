"""Subject epochs from outside: people move, meters are exchanged, someone asks who and what."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.journey.conftest import Caller, Running, cim

pytestmark = pytest.mark.xdist_group("subjects")  # each test goes on where the one before ended
METER, NEW = "0001", "0002"


@pytest.fixture(scope="module")
def caller(platform: Running, tmp_path_factory: pytest.TempPathFactory) -> Caller:
    meters = tmp_path_factory.mktemp("subjects") / "meters.csv"
    meters.write_text(f"{METER},north,Europe/Berlin,meter\n")
    platform.enrol("headend", "--subjects", str(meters), "--group", "north")
    scope = "messages.write readings.read devices.read findings.read"
    return platform.client("dso", scope, "--group", "north")


def send(caller: Caller, *ends: str, meter: str = "0001") -> None:
    """A quarter-hour's reading of a meter for each end."""
    for number, end in enumerate(ends):
        raw = cim((meter, end, f"0.{100 + number}"))
        answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
        assert answer.status_code in {200, 202}, answer.text
        assert answer.json()["type"] == "certified", answer.text


def sent(caller: Caller, meter: str, *ends: str) -> dict[str, Any]:
    """One message of several quarter-hours; its summary."""
    raw = cim(*((meter, end, "0.5") for end in ends))
    answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
    assert answer.status_code in {200, 422}, answer.text
    return dict(answer.json())


def shown(platform: Running, who: str) -> list[dict[str, Any]]:
    said = platform.cli(
        "subject", "show", who, "--why", "a letter", "--by", "clerk", "--json",
        "--data", platform.data,
    )  # fmt: skip
    return [json.loads(line) for line in said.splitlines()]


def test_from_the_day_of_a_move_on_a_meter_is_another_subjects(
    platform: Running, caller: Caller, tmp_path: Path
) -> None:
    send(caller, "2026-01-14T23:45:00Z")
    (before,) = shown(platform, METER)
    platform.cli("subject", "hold", METER, "--holder", "K-1", "--data", platform.data)
    said = platform.cli(
        "subject", "move-in", METER, "--holder", "K-2", "--from", "2026-01-16",
        "--data", platform.data,
    )  # fmt: skip
    assert "2026-01-15T23:00:00Z" in said  # midnight at the meter
    send(caller, "2026-01-15T23:15:00Z", "2026-01-15T23:00:00Z", "2026-01-15T12:00:00Z")
    one, two = shown(platform, METER)
    assert (one["device"], one["holder"], one["until"]) == (
        before["device"], "K-1", "2026-01-15T23:00:00Z",
    )  # fmt: skip
    assert (two["holder"], two["since"], two["until"]) == ("K-2", "2026-01-15T23:00:00Z", "")
    ends = {
        device: [each["record"]["end"] for each in caller.readings(device=device)]
        for device in (one["device"], two["device"])
    }
    assert ends[one["device"]] == [
        "2026-01-14T23:45:00Z", "2026-01-15T12:00:00Z", "2026-01-15T23:00:00Z",  # late ones, too
    ]  # fmt: skip
    assert ends[two["device"]] == ["2026-01-15T23:15:00Z"]
    assert [each["device"] for each in shown(platform, "K-2")] == [two["device"]]
    for day in ("2026-01-15", "2026-01-16"):
        platform.cli("day", "close", day, "--data", platform.data)
    first, second = one["device"], two["device"]
    exported(platform, "K-1", tmp_path / "1", 3, day="2026-01-15", nobody=second)
    own = platform_records(tmp_path / "1", first)
    assert [each["state"] for each in own["device"]] == ["active", "active"]
    assert [each.get("until") for each in own["device"]] == [None, "2026-01-15T23:00:00Z"]
    asked_for = [(each["purpose"], each["why"]) for each in own["lookup"]]
    # His own look-up, the one of his meter, and this export; not the one of K-2.
    assert asked_for == [("show", "a letter")] * 2 + [("export", "Article 15")]
    assert {each["by"] for each in own["lookup"][:2]} == {"clerk"}
    exported(platform, "K-2", tmp_path / "2", 1, day="2026-01-16", nobody=first)
    theirs = platform_records(tmp_path / "2", second)
    (begun,) = theirs["device"]
    assert (begun["since"], begun["kind"]) == ("2026-01-15T23:00:00Z", "device")
    assert len(theirs["lookup"]) == 3  # the one of the meter, the one of K-2, and this export


def platform_records(folder: Path, device: str) -> dict[str, list[dict[str, Any]]]:
    """What the platform recorded of a subject, by kind, out of an export."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (folder / "out" / device / "platform.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record["device"] == device
        found.setdefault(record["kind"], []).append(record)
    return found


def exported(
    platform: Running, who: str, folder: Path, records: int, *, day: str, nobody: str
) -> None:
    """All about one subject, checked by who has nothing else; `nobody` is another's pseudonym."""
    folder.mkdir()
    file = folder / "all.zip"
    platform.cli(
        "subject", "export", who, "--why", "Article 15", "--to", file, "--data", platform.data
    )
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as made:
        made.extractall(folder / "out")
    (epoch,) = json.loads((folder / "out" / "subject.json").read_text())
    own = folder / "out" / epoch["device"]
    assert len((own / "records.jsonl").read_text().splitlines()) == records
    recorded = len((own / "platform.jsonl").read_text().splitlines())
    receipts = sorted((own / "receipts").iterdir())
    assert len(receipts) == records + recorded
    texts = [one.read_bytes() for one in (folder / "out").rglob("*") if one.is_file()]
    assert not any(nobody.encode() in text for text in texts)
    for receipt in receipts:
        platform.cli(
            "verify", receipt, "--policy", folder / "out" / "policy.txt", "--accept-own-chain",
            "--ca", platform.ready["ca"],
        )  # fmt: skip
    assert [one.name[:10] for one in (own / "days").iterdir()] == [day]


def test_after_an_exchange_the_new_meter_is_the_same_holders(
    platform: Running, caller: Caller
) -> None:
    platform.cli("subject", "exchange", METER, NEW, "--from", "2026-02-01", "--data", platform.data)
    send(caller, "2026-02-01T00:15:00Z", meter="0002")
    old, new = shown(platform, "K-2")
    assert (old["identity"], new["identity"]) == ("name://0001", "name://0002")
    assert old["until"] == new["since"] == "2026-01-31T23:00:00Z"
    assert len(caller.readings(device=new["device"])) == 1


def asked(caller: Caller, query: str, **parameters: str) -> list[dict[str, str]]:
    """The rows of a named query, names without their base."""
    rows = caller.get("/v1/sparql", name=query, **parameters)["results"]["bindings"]
    return [
        {
            name: one["value"].removeprefix("https://gridseal.invalid/id/")
            for name, one in row.items()
        }
        for row in rows
    ]


def test_the_graph_has_both_meters_at_one_usage_point_and_the_former_holders_at_another(
    platform: Running, caller: Caller
) -> None:
    former = shown(platform, METER)[0]["device"]
    old, new = (one["device"] for one in shown(platform, "K-2"))
    rows = {row.pop("device"): row for row in asked(caller, "usage-points", group="north")}
    at, point = "2026-01-31T23:00:00Z", f"usage-point/{old}"
    assert rows == {
        former: {"point": f"usage-point/{former}", "state": "over"},
        old: {"point": point, "state": "over", "until": at},
        new: {"point": point, "state": "active", "from": at},
    }
    (measured,) = asked(caller, "registers-of-device", device=old)  # of the date closed last
    assert (measured["symbol"], measured["direction"]) == ("Wh", "forward")
    assert asked(caller, "registers-of-device", device=former) == []


def test_a_message_over_the_border_ties_nobody_and_one_behind_it_is_nobodys(
    platform: Running, caller: Caller
) -> None:
    border = ("2026-01-15T22:45:00Z", "2026-01-16T00:00:00Z")
    assert not sent(caller, METER, *border)["refused"]
    names = [one["device"] for one in shown(platform, METER)]
    said = [
        each["record"]["evidence"]
        for name, end in zip(names, border, strict=True)
        for each in caller.readings(device=name)
        if each["record"]["end"] == end
    ]
    assert len(set(said)) == 2
    after = sent(caller, METER, "2026-03-01T12:00:00Z")
    assert [one["code"] for one in after["refused"]] == ["epoch-over"]
    found = caller.get("/v1/findings", code="epoch-over", device=names[1])["items"]
    assert len(found) == 1


def test_nobody_is_named_in_a_list_without_a_reason(platform: Running, caller: Caller) -> None:
    names = [one["device"] for one in shown(platform, METER)]
    words = ("device", "list", "--json", "--data", platform.data)
    listed = [json.loads(line) for line in platform.cli(*words).splitlines()]
    assert {one["identity"] for one in listed if one["device"] in names} == {None}
    assert METER not in platform.cli("device", "list", "--data", platform.data)
    told = platform.cli(*words, "--why", "an inventory", "--by", "clerk").splitlines()
    found = {one["device"]: one["identity"] for one in map(json.loads, told)}
    assert {found[name] for name in names} == {f"name://{METER}"}


def test_what_can_not_be_is_refused_and_changes_nothing(platform: Running, caller: Caller) -> None:
    data = ("--data", platform.data)
    before = shown(platform, "K-2")
    for words, said in (
        (("move-in", NEW, "--holder", "K-3", "--from", "2026-01-01"), "begins later"),
        (("move-in", METER, "--holder", "K-3", "--from", "2026-03-01"), "over already"),
        (("move-out", NEW, "--from", "1.3.2026"), "YYYY-MM-DD"),
        (("exchange", NEW, NEW, "--from", "2026-03-01"), "the same meter"),
        (("move-out", "0009", "--from", "2026-03-01"), "no device"),
        (("show", "nobody", "--why", "x"), "no device"),
        (("show", METER, "--why", " "), "say why"),
    ):
        assert said in platform.refused("subject", *words, *data)
    assert shown(platform, "K-2") == before


def test_all_of_it_can_be_made_again_from_the_log(platform: Running, caller: Caller) -> None:
    platform.check()
