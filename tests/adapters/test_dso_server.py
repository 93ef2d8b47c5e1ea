"""The DSO Data Server's parts with real files, a real database and a real TLS server."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from bal.errors import Rejected
from field import dso_import
from field.dso_api import app
from field.dso_centre import load
from field.dso_cim_in import read
from field.dso_import import Export
from field.dso_publisher import fill_outbox, next_slot_us, send_outbox
from field.dso_server import Importer
from field.dso_store import DsoStore, Query
from infra.certificates import client_context, create_ca, issue_server
from infra.http_server import HttpServer, listen
from infra.system_clock import SystemClock

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
CENTRE = f"""
name = "north"
format = "csv"
files = "*.csv"
zone = "Europe/Athens"
columns = {{ meter = "m", time = "t", quality = "q" }}
values."A+" = {{ register = "{ENERGY}", unit = "kWh" }}
"""


def no_refusal(error: Rejected, line: int) -> None:
    pytest.fail(f"line {line}: {error}")


class Hands:
    """A clock whose hands are moved."""

    def __init__(self) -> None:
        self.us = 1_768_471_200_000_000  # 2026-01-15T10:00:00Z

    def now_us(self) -> int:
        return self.us


class Ground:
    def __init__(self, folder: Path) -> None:
        self.exports = folder / "north"
        self.exports.mkdir()
        (self.exports / "centre.toml").write_text(CENTRE)
        self.path = folder / "dso.db"
        self.clock = Hands()
        self.store = DsoStore(self.path)
        self.importer = self.made()

    def made(self) -> Importer:
        return Importer(self.store, [load(self.exports)], self.clock)

    def put(self, name: str, *rows: str, settled: bool = True) -> Path:
        path = self.exports / name
        path.write_text("m;t;A+;q\n" + "".join(f"{row}\n" for row in rows))
        ns = self.clock.us * 1_000 - (60 * 10**9 if settled else 0)
        self.clock.us += 1_000_000
        os.utime(path, ns=(ns, ns))
        return path

    def again(self) -> None:
        """As after a crash: another process opens the same file."""
        self.store.close()
        self.store = DsoStore(self.path)
        self.importer = self.made()

    def told(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """What the waiting messages say: value, meter, qualities."""
        return [
            (value.meter.name, value.value, value.qualities)
            for message in self.store.waiting()
            for _, value in read(self.store.message(message), "", "", no_refusal, no_refusal)
        ]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.store.close()


class Platform:
    """A line whose receipts the test decides on; field/mqtt_client's is in the journey."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.always: Mapping[str, Any] | None = None

    async def publish(self, form: str, raw: bytes) -> str:
        assert form == "cim"
        self.heard.append(sha256(raw).hexdigest())
        return self.heard[-1]

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, Any]:
        if self.always is None:
            raise TimeoutError
        return self.always


# --- imports ------------------------------------------------------------------------------------


def test_a_file_is_read_once_settled_and_again_when_it_changed(ground: Ground) -> None:
    ground.put("2.csv.part", "M;2026-01-15T12:30;0.1;")
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;", settled=False)
    assert ground.importer.look() == 0
    ground.clock.us += 10_000_000
    assert ground.importer.look() == 1
    ground.again()
    assert ground.importer.look() == 0  # its bytes are known
    ground.put("1.csv", "M;2026-01-15T12:15;0.22;", "M;2026-01-15T12:30;0.1;")
    assert ground.importer.look() == 2
    rows = ground.store.values(Query(every_version=True))
    assert [(one.version, one.value.value) for one in rows] == [(1, "210"), (2, "220"), (1, "100")]
    assert [one.value.value for one in ground.store.values(Query())] == ["220", "100"]


def test_a_file_that_goes_back_to_what_it_was_is_a_version_too(ground: Ground) -> None:
    for text in ("0.1", "0.2", "0.1"):
        ground.put("1.csv", f"M;2026-01-15T12:15;{text};")
        assert ground.importer.look() == 1
    rows = ground.store.values(Query(every_version=True))
    assert [one.value.value for one in rows] == ["100", "200", "100"]


def test_a_file_that_is_none_is_told_and_costs_no_other(ground: Ground) -> None:
    (ground.exports / "0.csv").write_bytes(b"\xff\xfe")
    os.utime(ground.exports / "0.csv", (1, 1))
    (ground.exports / "link.csv").symlink_to("/etc/hostname")
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;", "M;2026-01-15T12:30;x;")
    assert ground.importer.look() == 1
    bad, good = ground.store.exports(0, 10)
    assert (bad["name"], bad["failure"].split(":")[0]) == ("0.csv", "not-utf8")
    assert (good["taken"], good["refused"]) == (1, 1)
    assert [(one["line"], one["code"]) for one in good["refusals"]] == [(3, "value-not-decimal")]


def test_a_defect_of_ours_costs_one_file(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(raw: bytes, centre: object) -> Export:
        if b"0.21" in raw:
            raise ZeroDivisionError
        return good(raw, centre)  # type: ignore[arg-type]

    good = dso_import.read
    monkeypatch.setattr(dso_import, "read", broken)
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;")
    ground.put("2.csv", "M;2026-01-15T12:30;0.1;")
    assert ground.importer.look() == 1
    failed = [one["failure"] for one in ground.store.exports(0, 9)]
    assert failed == ["mapper-failed: the export can't be read: a defect (ZeroDivisionError)", ""]


# --- to the platform ----------------------------------------------------------------------------


def test_a_message_waits_for_its_certified_receipt_over_a_crash(ground: Ground) -> None:
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;", "N;2026-01-15T12:15;0.1;3.8.0")
    ground.importer.look()
    assert fill_outbox(ground.store, ground.clock.us) == 1
    assert ground.told() == [("M", "210", ()), ("N", "100", ("3.8.0",))]
    [message] = ground.store.waiting()
    platform = Platform()
    assert asyncio.run(send_outbox(ground.store, platform, 0.05)) == 1
    ground.again()
    assert fill_outbox(ground.store, ground.clock.us) == 0  # nothing is made twice
    platform.always = {"type": "certified", "count": 2, "refused": []}
    assert asyncio.run(send_outbox(ground.store, platform, 5)) == 0
    assert platform.heard == [message, message]
    assert ground.store.waiting() == []
    assert [one["state"] for one in ground.store.publications(0, 9)] == ["certified"]


def test_a_correction_is_marked_and_an_estimate_replaced_is_none(ground: Ground) -> None:
    first = ("M;2026-01-15T12:15;0.1;", "N;2026-01-15T12:15;0.1;3.8.0", "O;2026-01-15T12:15;0.1;")
    ground.put("1.csv", *first)
    ground.importer.look()
    fill_outbox(ground.store, ground.clock.us)
    platform = Platform()
    platform.always = {"type": "certified"}
    asyncio.run(send_outbox(ground.store, platform))
    second = (
        "M;2026-01-15T12:15;0.2;", "N;2026-01-15T12:15;0.2;", "O;2026-01-15T12:15;0.2;3.8.0",
        "P;2026-01-15T10:15;0.3;",
    )  # fmt: skip
    ground.put("2.csv", *second)
    ground.importer.look()
    fill_outbox(ground.store, ground.clock.us)
    assert ground.told() == [
        ("M", "200", ("3.7.0",)), ("N", "200", ()), ("O", "200", ("3.8.0",)), ("P", "300", ()),
    ]  # fmt: skip


def test_a_value_that_comes_back_is_another_message(ground: Ground) -> None:
    platform = Platform()
    platform.always = {"type": "certified"}
    for number, text in enumerate(("0.1", "0.2", "0.1", "0.2")):
        ground.put(f"{number}.csv", f"M;2026-01-15T12:15;{text};")
        ground.importer.look()
        assert fill_outbox(ground.store, 0) == 1
        asyncio.run(send_outbox(ground.store, platform))
    assert len(set(platform.heard)) == 4


def test_a_refused_message_stays_for_the_operator_and_holds_up_no_other(ground: Ground) -> None:
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;")
    ground.importer.look()
    fill_outbox(ground.store, ground.clock.us)
    platform = Platform()
    platform.always = {"type": "refused", "code": "sender-revoked"}
    assert asyncio.run(send_outbox(ground.store, platform)) == 0
    [one] = ground.store.publications(0, 9)
    assert one["state"] == "refused"
    assert "sender-revoked" in one["receipt"]
    assert ground.store.message(one["message"]).startswith(b"<?xml")
    assert ground.store.waiting() == []


def test_slots_are_aligned() -> None:
    quarter = 900_000_000
    assert next_slot_us(0) == quarter
    assert next_slot_us(quarter - 1) == quarter
    assert next_slot_us(quarter) == 2 * quarter


# --- the query API ------------------------------------------------------------------------------


@pytest.fixture
def ask(ground: Ground, tmp_path: Path) -> Any:
    """`ask(path)` of the API behind TLS, each time on a server of its own."""
    keys = tmp_path / "keys"
    keys.mkdir()
    clock = SystemClock()
    certificate, key = issue_server(create_ca(keys, clock), ["127.0.0.1"], clock)
    (keys / "server.crt").write_bytes(certificate)
    (keys / "server.key").write_bytes(key)
    ground.store.add_client("me", "secret")

    async def served(path: str, token: str, method: str) -> httpx.Response:
        listener = listen(("127.0.0.1", 0))
        server = HttpServer(app(ground.store), keys / "server.crt", keys / "server.key")
        await server.start(listener)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://127.0.0.1:{listener.getsockname()[1]}{path}"
        verify = client_context(keys / "ca.crt")
        async with httpx.AsyncClient(verify=verify, headers=headers) as client:
            answer = await client.request(method, url)
        await server.stop()
        return answer

    return lambda path, token="secret", method="GET": asyncio.run(served(path, token, method))


@pytest.mark.parametrize(
    ("request_of", "status", "code"),
    [
        (("/v1/values", "", "GET"), 401, "token-missing"),
        (("/v1/meters", "else", "GET"), 401, "invalid-token"),
        (("/v1/values?meters=M", "secret", "GET"), 400, "parameter-unknown"),
        (("/v1/values?meter=M&meter=N", "secret", "GET"), 400, "parameter-repeated"),
        (("/v1/values?register=1.8.0", "secret", "GET"), 400, "parameter-invalid"),
        (("/v1/values?from=2026-01-15T10:00", "secret", "GET"), 400, "time-malformed"),
        (("/v1/values?limit=0", "secret", "GET"), 400, "parameter-invalid"),
        (("/v1/values?versions=none", "secret", "GET"), 400, "parameter-invalid"),
        (("/v1/values?cursor=W10", "secret", "GET"), 400, "cursor-invalid"),
        (("/v1/values?cursor=%C3%A4", "secret", "GET"), 400, "cursor-invalid"),
        ((f"/v1/values?meter={'m' * 9000}", "secret", "GET"), 414, "uri-too-long"),
        (("/v1/nothing", "secret", "GET"), 404, "not-found"),
        (("/v1/values", "secret", "POST"), 405, "method-not-allowed"),
    ],
)
def test_what_is_refused_says_why(ask: Any, request_of, status, code) -> None:
    answer = ask(*request_of)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:gridseal:problem:{code}")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_pages_give_every_value_once(ground: Ground, ask: Any) -> None:
    rows = [f"{m};2026-01-15T12:{q:02};0.{q};" for m in "MNO" for q in (0, 15, 30, 45)]
    ground.put("1.csv", *rows)
    ground.importer.look()
    found, path = [], "/v1/values?limit=5"
    while path:
        page = ask(path).json()
        found += page["values"]
        path = page["next"] and f"/v1/values?limit=5&cursor={page['next']}"
    assert [(one["end"], one["meter"]) for one in found] == sorted(
        (f"2026-01-15T10:{q:02}:00Z", m) for m in "MNO" for q in (0, 15, 30, 45)
    )


def test_what_is_missing_for_a_meter_and_day_is_asked_for(ground: Ground, ask: Any) -> None:
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;", "N;2026-01-15T12:15;0.1;",
               "M;2026-01-16T12:15;0.1;")  # fmt: skip
    ground.importer.look()
    ground.put("2.csv", "M;2026-01-15T12:15;0.22;")
    ground.importer.look()
    wanted = f"meter=M&register={ENERGY}&from=2026-01-15T00:00:00Z&to=2026-01-16T00:00:00%2B00:00"
    answer = ask(f"/v1/values?{wanted}").json()
    assert answer == {
        "values": [
            {
                "meter": "M", "register": ENERGY, "begin": "2026-01-15T10:00:00Z",
                "end": "2026-01-15T10:15:00Z", "value": "220", "unit": "Wh", "quality": [],
                "version": 2, "centre": "north",
            }
        ],
        "next": None,
    }  # fmt: skip
    every = ask(f"/v1/values?{wanted}&versions=all").json()["values"]
    assert [one["value"] for one in every] == ["210", "220"]
    cim = ask(f"/v1/values?{wanted}&format=cim&limit=1")
    assert cim.headers["Link"].startswith("</v1/values?meter=M&register=")
    [(_, value)] = read(cim.content, "", "", no_refusal, no_refusal)
    assert (value.meter.name, value.value) == ("M", "220")


def test_other_lists(ground: Ground, ask: Any) -> None:
    ground.put("1.csv", "M;2026-01-15T12:15;0.21;", "M;x;1;")
    ground.importer.look()
    fill_outbox(ground.store, ground.clock.us)
    assert ask("/v1/meters").json()["meters"] == [
        {
            "meter": "M", "register": ENERGY, "unit": "Wh", "first": "2026-01-15T10:15:00Z",
            "last": "2026-01-15T10:15:00Z",
        }
    ]  # fmt: skip
    [one] = ask("/v1/imports").json()["imports"]
    assert (one["centre"], one["taken"], one["refusals"][0]["code"]) == (
        "north", 1, "time-malformed",
    )  # fmt: skip
    [sent] = ask("/v1/publications?limit=1").json()["publications"]
    assert (sent["state"], sent["taken"], sent["receipt"]) == ("waiting", 1, None)
    assert ask("/healthz", "").json() == {"status": "ok"}


def test_a_revoked_client_is_let_in_no_more(ground: Ground, ask: Any) -> None:
    assert ask("/v1/meters").status_code == 200
    ground.store.revoke_client("me")
    assert ask("/v1/meters").status_code == 401
    with pytest.raises(Rejected, match="name-unknown"):
        ground.store.revoke_client("me")
