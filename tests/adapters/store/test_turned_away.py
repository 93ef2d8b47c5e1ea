"""What the guard refused is in the list of findings, as the newest of so many, in nobody's way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bal.errors import Rejected, Unavailable
from bal.found import FindingsQuery, StoredFinding
from bal.model import DeviceInfo, Pseudonym
from bal.registry import Registry, Sender, device_record, sender_record
from infra import archive_findings
from infra.sqlite_archive import SqliteArchive
from infra.turned_away import TurnedAway

METER, HEAD_END = Pseudonym("M" * 43), Pseudonym("H" * 43)
REFUSED = Rejected("xml-malformed", "not well-formed", line=2, clause="XML 1.0 §2.1")


def registry() -> Registry:
    made = Registry()
    for name, subject in (("meter", METER), ("head-end", HEAD_END)):
        sender = Sender(
            name, subject, "", "", "self", frozenset(), None, "north", "UTC", False, "active"
        )
        made.apply(sender_record(sender))
    made.apply(
        device_record(DeviceInfo(METER, "north", "north/0", "UTC", "meter", "meter", "active"))
    )
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SqliteArchive]:
    made = SqliteArchive(tmp_path / "archive", b"a" * 32, lambda _, __: None)
    yield made
    made.close()


def turned_away(archive: SqliteArchive, *, at_us: int = 1_000_000) -> TurnedAway:
    known, now = registry(), iter(range(at_us, 1 << 60))
    return TurnedAway(lambda: archive, lambda: known, lambda: 7, lambda: next(now))


def listed(archive: SqliteArchive, size: int = 7, limit: int = 100) -> list[StoredFinding]:
    return archive.findings(FindingsQuery(None, size=size, limit=limit, newest_first=False))


def test_it_says_who_sent_it_and_which_device_that_is(archive: SqliteArchive) -> None:
    noted = turned_away(archive)
    for credential in ("meter", "head-end", "nobody"):
        noted.note(credential, "cim", REFUSED)
    noted.note("meter", "../meter-4711", Rejected("format-unknown", "none of them"))
    noted.stop()
    found = listed(archive)
    assert [(one.sender, one.device, one.group) for one in found] == [
        (METER, METER, "north"), (HEAD_END, "", ""), ("", "", ""), (METER, METER, "north"),
    ]  # fmt: skip
    assert [one.format for one in found] == ["cim", "cim", "cim", ""]  # anything may be a topic
    first = found[0]
    assert (first.finding.code, first.finding.line, first.count) == ("xml-malformed", 2, 0)
    assert (first.place[0], first.received_us, first.on_bus) == (7, 1_000_000, False)
    assert listed(archive, size=6) == []


def test_the_newest_are_kept(archive: SqliteArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_findings, "TURNED_AWAY_MAX", 10)
    for start in (0, 100, 200):
        noted = turned_away(archive, at_us=start)
        for _ in range(7):
            noted.note("meter", "cim", REFUSED)
        noted.stop()
    assert [one.received_us for one in listed(archive)] == [104, 105, 106, *range(200, 207)]


def test_a_flood_and_a_full_disk_hold_nobody_up(
    archive: SqliteArchive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> None:
        raise Unavailable("the disk is full")

    noted = turned_away(archive)
    monkeypatch.setattr(archive, "note_turned_away", full)
    noted.note("meter", "cim", REFUSED)
    noted.stop()
    noted.note("meter", "cim", REFUSED)  # after its end: nothing happens
    assert listed(archive) == []
    assert "not in the list of findings: the disk is full" in caplog.text
