"""GET /v1/findings over a real archive: filters, order, pages, and who may know what."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bal.found import About, Doubts, Found, StoredFinding, VeeFindings
from bal.model import Finding, Pseudonym, RawMessage, Subject
from bal.ports import ArchiveItem
from bal.times import rfc3339
from infra.sqlite_archive import SqliteArchive

Api = Any  # of conftest.py
Platform = Any
NOW_S = 1_768_471_200  # 2026-01-15T10:00:00Z
EPOCH = "0123456789abcdef"
HEAD_END, NORTH, SOUTH = "H" * 43, "N" * 43, "S" * 43
OF = {NORTH: "north", SOUTH: "south", "": ""}


def finding(code: str, severity: Any = "refused", line: int | None = 3) -> Finding:
    return Finding(code, severity, "what is wrong", "Reading", line, "RFC 3339")


def item(offset: int, *found: tuple[str, Finding], count: int = 2, lane: int = 0) -> ArchiveItem:
    """A message received `offset` seconds on, with entries from 2 x offset on."""
    raw = b"message %d" % offset
    at_us = (NOW_S + offset) * 1_000_000
    subject = Subject(Pseudonym(HEAD_END), b"k" * 32, "$platform", "$platform/0")
    items = [Found(one, device, OF[device]) for device, one in found]
    return ArchiveItem(
        RawMessage(EPOCH, lane, offset, "head-end", "cim", at_us, raw),
        sha256(raw).digest(),
        [(0, len(raw), subject)],
        b"{}",
        doubts=Doubts(2 * offset, count, HEAD_END, items) if items else None,
    )


MESSAGES = [
    item(0, (NORTH, finding("time-cut", "warning")), (SOUTH, finding("time-missing"))),
    item(1),
    item(2, ("", finding("xml-malformed", line=None))),
    item(3, *((NORTH, finding("value-missing", "warning", n)) for n in range(1, 6))),
    item(4, (SOUTH, finding("frame-duplicate", "info")), count=0),
]


@pytest.fixture
def archive(tmp_path: Path, platform: Platform) -> Iterator[SqliteArchive]:
    made = SqliteArchive(tmp_path / "archive", b"a" * 32, lambda _, __: b"k" * 32)
    made.put_many(MESSAGES)
    platform.archive = made
    platform.published = 10
    yield made
    made.close()


def listed(api: Api, query: str = "", client: str = "all") -> list[dict[str, Any]]:
    answer = api.get(f"/v1/findings?{query}", token=api.token(client))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def codes(api: Api, query: str = "", client: str = "all") -> list[str]:
    return [one["code"] for one in listed(api, query, client)]


@pytest.mark.usefixtures("archive")
class TestFindings:
    def test_an_item_says_all_that_is_known(self, api: Api) -> None:
        assert listed(api, "code=time-missing") == [
            {
                "source": "message",
                "message": sha256(b"message 0").hexdigest(),
                "batch": f"{EPOCH}/0/0",
                "first_index": 0,
                "count": 2,
                "received": rfc3339(NOW_S * 1_000_000),
                "format": "cim",
                "sender": HEAD_END,
                "device": SOUTH,
                "code": "time-missing",
                "severity": "refused",
                "field": "Reading",
                "line": "3",
                "clause": "RFC 3339",
                "text": "what is wrong",
                "index": None,
                "register": "",
                "begin": "",
                "end": "",
                "replaced_by": None,
            }
        ]

    def test_newest_first_or_in_the_order_of_the_log(self, api: Api) -> None:
        log = ["time-cut", "time-missing", "xml-malformed", *["value-missing"] * 5]
        log.append("frame-duplicate")
        assert codes(api, "order=log") == log
        assert codes(api) == codes(api, "order=newest") == log[::-1]
        lines = [one["line"] for one in listed(api, "order=log&code=value-missing")]
        assert lines == ["1", "2", "3", "4", "5"]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            (f"device={SOUTH}", ["frame-duplicate", "time-missing"]),
            (f"sender={HEAD_END}&severity=refused", ["xml-malformed", "time-missing"]),
            (f"sender={SOUTH}", []),
            ("severity=info", ["frame-duplicate"]),
            ("code=no-such-code", []),
            ("from=2026-01-15T10:00:04Z", ["frame-duplicate"]),
            ("to=2026-01-15T10:00:02Z", ["time-missing", "time-cut"]),
            ("from=2026-01-15T10:00:02Z&to=2026-01-15T10:00:03Z", ["xml-malformed"]),
        ],
    )
    def test_filters(self, api: Api, query: str, found: list[str]) -> None:
        assert codes(api, query) == found

    @pytest.mark.parametrize("order", ["newest", "log"])
    @pytest.mark.parametrize("limit", [1, 2, 9])
    def test_pages_join_to_the_whole(self, api: Api, order: str, limit: int) -> None:
        whole, query = listed(api, f"order={order}"), f"order={order}&limit={limit}"
        found: list[dict[str, Any]] = []
        path: str | None = f"/v1/findings?{query}"
        while path is not None:
            answer = api.get(path, token=api.token("all"))
            page = answer.json()
            assert len(page["items"]) <= limit
            found += page["items"]
            link = answer.headers.get("link", "")
            path = link[1 : link.index(">")] if page["next"] else None
            assert bool(link) == bool(path)
        assert found == whole

    def test_a_cursor_is_of_its_client_and_query(self, api: Api) -> None:
        token = api.token("all")
        cursor = api.get("/v1/findings?limit=1", token=token).json()["next"]
        for query in (f"cursor={cursor}&severity=info", f"cursor={cursor[:-2]}"):
            answer = api.get(f"/v1/findings?{query}", token=token)
            assert answer.json()["type"].endswith(":cursor-invalid")
        api.platform.enrol("other", "findings.read", None)
        answer = api.get(f"/v1/findings?cursor={cursor}", token=api.token("other"))
        assert answer.json()["type"].endswith(":cursor-invalid")

    def test_a_client_knows_of_the_devices_that_it_may_read(self, api: Api) -> None:
        api.platform.enrol("n", "findings.read", "north")
        api.platform.enrol("none", "findings.read", "")
        north = [*["value-missing"] * 5, "time-cut"]
        assert codes(api, client="n") == codes(api, f"device={NORTH}", "n") == north
        assert codes(api, f"device={SOUTH}", "n") == []
        assert codes(api, "code=xml-malformed", "n") == []  # of no device: the operator's
        assert codes(api, client="none") == []

    def test_it_needs_its_own_scope(self, api: Api) -> None:
        answer = api.get("/v1/findings", token=api.token("north"))
        assert answer.status_code == 403
        assert 'scope="findings.read"' in answer.headers["www-authenticate"]
        assert api.get("/v1/findings").status_code == 401

    def test_nothing_is_told_before_it_is_visible(self, api: Api) -> None:
        api.platform.published = 7  # of the message with entries 6 and 7
        assert set(codes(api)) == {"xml-malformed", "time-missing", "time-cut"}
        api.platform.published, api.platform.stored = 10, 1
        assert codes(api) == []

    def test_of_erased_bytes_there_is_no_hash(self, api: Api) -> None:
        api.platform.erased = {2}
        assert [one["message"] for one in listed(api, "code=xml-malformed")] == [""]

    @pytest.mark.parametrize(
        ("query", "code", "field"),
        [
            ("severity=bad", "parameter-invalid", "severity"),
            ("device=short", "parameter-invalid", "device"),
            ("sender=meter-1", "parameter-invalid", "sender"),
            ("code=%20x", "parameter-invalid", "code"),
            ("order=oldest", "parameter-invalid", "order"),
            ("limit=1001", "parameter-invalid", "limit"),
            ("from=2026-01-15", "time-malformed", "from"),
            ("from=2026-01-15T10:00:01Z&to=2026-01-15T10:00:00Z", "parameter-invalid", "to"),
            ("group=north", "parameter-unknown", "group"),
        ],
    )
    def test_odd_parameters_are_refused(self, api: Api, query: str, code: str, field: str) -> None:
        answer = api.get(f"/v1/findings?{query}", token=api.token("all"))
        problem = answer.json()
        assert (answer.status_code, problem["field"]) == (400, field)
        assert problem["type"].endswith(f":{code}")


def test_a_store_that_gives_too_much_ends_the_platform(
    api: Api, archive: SqliteArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.platform.enrol("n", "findings.read", "north")
    everything = archive.findings

    def too_much(query: Any) -> Any:
        return everything(replace(query, groups=None))

    monkeypatch.setattr(archive, "findings", too_much)
    answer = api.get("/v1/findings", token=api.token("n"))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:gridseal:problem:stopped")


def test_put_again_it_is_there_once(archive: SqliteArchive, api: Api) -> None:
    before = listed(api)
    archive.put_many(MESSAGES)
    assert listed(api) == before


def test_an_archive_of_before_the_list_gets_an_empty_one(tmp_path: Path, api: Api) -> None:
    folder = tmp_path / "old"
    SqliteArchive(folder, b"a" * 32, lambda _, __: b"k" * 32).close()
    with sqlite3.connect(folder / "archive.db") as db:
        db.execute("DROP TABLE finding")
    db.close()
    look = SqliteArchive(folder, b"a" * 32, lambda _, __: b"k" * 32, read_only=True)
    api.platform.archive, api.platform.published = look, 10
    assert listed(api) == []
    look.close()
    again = SqliteArchive(folder, b"a" * 32, lambda _, __: b"k" * 32)
    again.put_many(MESSAGES)
    api.platform.archive = again
    assert len(listed(api)) == 9
    again.close()


BEGIN, END = "2026-01-14T10:00:00Z", "2026-01-14T10:15:00Z"


def by_vee(index: int, device: str, code: str) -> StoredFinding:
    """Found by the close whose batch is derive/0/3, six seconds after the first message."""
    found = finding(code, "warning", None)
    return StoredFinding(
        (index, 0, 3, 0, "derive"), 1, (NOW_S + 6) * 1_000_000, "", "", device, OF[device], found,
        About("a-register", BEGIN, END),
    )  # fmt: skip


@pytest.fixture
def closed(archive: SqliteArchive, platform: Platform) -> SqliteArchive:
    """What two closes found is in the list, too; the later one has taken one of them back."""
    items = [by_vee(10, NORTH, "slot-missing"), by_vee(11, SOUTH, "energy-spike")]
    archive.put_vee(VeeFindings(items, {}))
    archive.put_vee(VeeFindings([], {11: 12}))
    platform.published = 14
    return archive


@pytest.mark.usefixtures("closed")
class TestFindingsOfCloses:
    def test_an_item_leads_to_its_record(self, api: Api) -> None:
        assert listed(api, "code=slot-missing") == [
            {
                "source": "vee",
                "message": "",
                "batch": "derive/0/3",
                "first_index": 10,
                "count": 1,
                "received": rfc3339((NOW_S + 6) * 1_000_000),
                "format": "",
                "sender": "",
                "device": NORTH,
                "code": "slot-missing",
                "severity": "warning",
                "field": "Reading",
                "line": "",
                "clause": "RFC 3339",
                "text": "what is wrong",
                "index": 10,
                "register": "a-register",
                "begin": BEGIN,
                "end": END,
                "replaced_by": None,
            }
        ]

    def test_all_filters_and_pages_are_of_these_too(self, api: Api) -> None:
        whole = codes(api)
        assert whole[:3] == ["energy-spike", "slot-missing", "frame-duplicate"]
        assert codes(api, f"device={SOUTH}&severity=warning") == ["energy-spike"]
        assert codes(api, "from=2026-01-15T10:00:06Z") == ["energy-spike", "slot-missing"]
        assert codes(api, "to=2026-01-15T10:00:06Z") == whole[2:]
        assert codes(api, f"sender={HEAD_END}") == whole[2:]
        page = api.get("/v1/findings?limit=1", token=api.token("all")).json()
        assert codes(api, f"cursor={page['next']}&limit=1") == ["slot-missing"]

    def test_a_client_knows_of_those_whose_records_it_may_read(self, api: Api) -> None:
        api.platform.enrol("n", "findings.read", "north")
        assert codes(api, "from=2026-01-15T10:00:06Z", "n") == ["slot-missing"]

    def test_what_a_later_close_replaced_says_by_which_record(self, api: Api) -> None:
        assert listed(api, "code=energy-spike")[0]["replaced_by"] == 12
        api.platform.published = 12  # as of then it stood
        assert listed(api, "code=energy-spike")[0]["replaced_by"] is None

    def test_nothing_is_told_before_it_is_visible(self, api: Api) -> None:
        api.platform.published = 11
        assert "energy-spike" not in codes(api)
        assert "slot-missing" in codes(api)

    def test_put_again_it_is_there_once(self, api: Api, closed: SqliteArchive) -> None:
        before = listed(api)
        closed.put_vee(VeeFindings([by_vee(11, SOUTH, "energy-spike")], {}))
        closed.put_vee(VeeFindings([], {11: 12}))
        assert listed(api) == before


def test_a_message_without_entries_at_the_same_place_is_not_replaced(
    api: Api, archive: SqliteArchive
) -> None:
    """The finding at 8 is of no entry: the next one, of a close, has that index."""
    archive.put_vee(VeeFindings([by_vee(8, NORTH, "slot-missing")], {}))
    archive.put_vee(VeeFindings([], {8: 9}))
    replaced = {one["code"]: one["replaced_by"] for one in listed(api, "severity=info")}
    assert replaced == {"frame-duplicate": None}
    assert listed(api, "code=slot-missing")[0]["replaced_by"] == 9
