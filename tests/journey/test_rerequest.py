"""A gap in a closed day is asked for at the DSO Data Server, and the answer takes its place."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from infra.certificates import client_context
from tests.bounded import killed, line_of
from tests.journey.conftest import REPOSITORY, Caller, Running, cim

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
CENTRE = f"""
name = "north"
format = "csv"
zone = "UTC"
columns = {{ meter = "m", time = "t" }}
values."A+" = {{ register = "{ENERGY}", unit = "kWh" }}
"""
DAY = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()


def measured(caller: Caller, device: str) -> dict[int, str]:
    """By quarter-hour of the newest close what was measured in it, in Wh; estimates are not."""
    day = caller.get(f"/v1/device-days/{device}/{DAY}", register=ENERGY)
    records = {int(slot["slot"]): json.loads(slot["record"]) for slot in day["slots"]}
    return {
        slot: record["value"]
        for slot, record in records.items()
        if not any(code.split(".")[1] == "8" for code in record["quality"])
    }


def test_what_a_day_lacks_is_asked_for_until_it_is_there(running: Running, tmp_path: Path) -> None:
    scope = "messages.write readings.read devices.read"
    made = running.cli(
        "client", "add", "again", "--scope", scope, "--all-devices", "--data", running.data
    )
    (tmp_path / "client.json").write_text(made)
    known = json.loads(made)
    caller = running.caller(known["client_id"], known["client_secret"])
    for end in ("10:15", "10:30", "11:00"):  # the third quarter is lost on the way
        raw = cim(("M-17", f"{DAY}T{end}:00Z", "0.21"))
        assert caller.request("POST", "/v1/messages?format=cim", content=raw).is_success
    running.cli("day", "close", DAY, "--data", running.data)
    [device] = [one["device"] for one in caller.get("/v1/devices")["items"]]
    assert measured(caller, device) == {40: "210", 41: "210", 43: "210"}

    exports = tmp_path / "north"
    exports.mkdir()
    (exports / "centre.toml").write_text(CENTRE)
    dso = tmp_path / "dso"
    with (tmp_path / "dso.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "dso-server", "--data", str(dso), "--import",
             str(exports), "--http", "127.0.0.1:0", "--look", "1"],
            stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY,
        )  # fmt: skip
    try:
        url = json.loads(line_of(server, "the DSO Data Server"))["http"]
        token = json.loads(running.cli("dso-client", "platform", "--data", dso))["token"]
        (tmp_path / "token").write_text(token)
        (tmp_path / "sources.toml").write_text(
            f'[[source]]\nname = "dso"\nkind = "dso-server"\nurl = "{url}"\nca = "dso/ca.crt"\n'
            'token_file = "token"\n'
        )

        def again(state: str) -> dict[str, int]:
            said = running.cli(
                "rerequest", "--once", "--days", "31", "--data", running.data, "--sources",
                tmp_path / "sources.toml", "--client", tmp_path / "client.json", "--state",
                tmp_path / state,
            )  # fmt: skip
            return dict(json.loads(said))

        first = again("state")
        assert first["answered"] == 0
        assert first["asked"] == first["gaps"] > 0
        assert again("state")["asked"] == 0  # it backs off
        (exports / "late.part").write_text(f"m;t;A+\nM-17;{DAY}T10:45;0.198\n")
        (exports / "late.part").rename(exports / "late.csv")
        until = time.monotonic() + 60
        while "198" not in values(url, dso, token):
            assert time.monotonic() < until, "the export is read"
            time.sleep(0.2)
        assert again("later")["answered"] == 1
    finally:
        killed(server, "dso-server")
        assert server.stdout is not None
        server.stdout.close()
    running.cli("day", "close", DAY, "--data", running.data)
    assert measured(caller, device) == {40: "210", 41: "210", 42: "198", 43: "210"}
    running.stop()
    running.check()


def values(url: str, dso: Path, token: str) -> str:

    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(
        f"{url}/v1/values", headers=headers, verify=client_context(dso / "ca.crt")
    ).text
