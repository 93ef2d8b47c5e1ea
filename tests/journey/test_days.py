"""Days are closed: device-days, the book, its close record; late data, and crashes in between."""

import sqlite3
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Timeout
from datetime import date, timedelta
from pathlib import Path
from threading import Event

import pytest

from bal import jcs
from bal.certify import device_day
from bal.certify.book import Book as Tree
from bal.certify.book import day_key
from bal.certify.log import tick
from bal.certify.tiles import split_bundle
from bal.closing import ClosedDay
from bal.derive.local_day import day_number, local_day
from bal.errors import Rejected, Stop, Unavailable
from bal.model import Close
from infra.deriver import DATES_SHOWN_MAX, DAYS_AT_ONCE, LATE_GATHER_US, DaySources
from infra.fsck import fsck
from infra.replay import replay
from tests.journey.small_platform import Hand, Small, cim

DAY = "2026-01-01"
METERS = range(5)
DAY_US = 86_400_000_000
OTHERS = "device, register, slot_s, version, commitment, content, log_index"  # columns of `entry`


def check(root: Path, closes: int) -> None:
    """Everything agrees, and each close is made again."""
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}
    assert replay(root).counts["closes made again"] == closes


def begun(root: Path, clock: Hand | None = None, back_days: int = 31) -> Small:
    """Five meters sent the first hour of the day but for its second quarter."""
    small = Small(root, clock, back_days=back_days)
    small.start()
    small.enrol("headend")
    for number in (1, 3, 4):
        small.take("headend", cim(number, METERS))
    return small


def device_days(small: Small, close: Close) -> list[device_day.DeviceDay]:
    """The newest device-days of the date, as the customer database has them."""
    entries = small.stores.book.entries(close.date, close.k)
    rows = [small.stores.customer_db.record(entry.log_index) for entry in entries]
    assert all(row is not None and row.kind == "device-day" for row in rows)
    return [device_day.decode(row.record) for row in rows if row is not None]


def idle(small: Small) -> list[Close]:
    """All closes, once the deriver has done what it was asked."""
    asked = small.deriver.close(date.max, 0)
    with pytest.raises(Rejected):
        asked.result(timeout=60)
    return small.stores.book.closes()


def record(small: Small, index: int) -> dict[str, str]:
    """A public record of the log."""
    bundle = small.stores.log.bundle(index // 256, index % 256 + 1)
    found: dict[str, str] = jcs.decode(split_bundle(bundle)[index % 256])
    return found


def test_a_day_is_closed(tmp_path: Path) -> None:
    small = begun(tmp_path)
    close = small.close_day(DAY)
    assert (close.k, close.date) == (1, DAY)
    days = device_days(small, close)
    assert len(days) == len(METERS)
    for day in days:
        assert (day.version, day.prefix, len(day.slots)) == (1, close.prefix, 96)
        assert [slot.state for slot in day.slots] == [2, 0, 2, 2] + 92 * [0]
        assert [slot.energy_milli for slot in day.slots[:4]] == [1_500_000, 0, 1_500_000, 1_500_000]
        for slot in day.slots:
            row = small.stores.customer_db.record(slot.log_index) if slot.state else None
            assert (row is None) == (slot.state == 0)
    said = record(small, close.index)
    assert said["type"] == "close"
    assert (said["k"], said["date"], said["prefix"]) == ("1", DAY, str(close.prefix))
    keys = {entry.key: entry.commitment for entry in small.stores.book.entries(DAY, 1)}
    assert said["day_book"] == Tree(keys).root().hex() == close.day_book.hex()
    number = day_number(date.fromisoformat(DAY))
    assert said["book"] == Tree({day_key(number): close.day_book}).root().hex()
    small.close()
    check(tmp_path, 1)


def test_late_data_makes_a_version_that_names_the_one_before(tmp_path: Path) -> None:
    small = begun(tmp_path)
    first = small.close_day(DAY)
    assert small.close_day(DAY) == first  # nothing is new
    small.take("headend", cim(2, [0, 1]))
    second = small.close_day(DAY)
    assert (second.k, second.prefix > first.prefix) == (2, True)
    versions = sorted(day.version for day in device_days(small, second))
    assert versions == [1, 1, 1, 2, 2]
    before = {entry.key: entry.commitment for entry in small.stores.book.entries(DAY, 1)}
    for day in device_days(small, second):
        if day.version == 2:
            assert day.previous == before[day.key]
            assert [slot.state for slot in day.slots[:4]] == [2, 2, 2, 2]
    assert len(device_days(small, first)) == 5
    small.close()
    check(tmp_path, 2)


def test_a_meter_that_falls_silent_is_missed(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.close_day(DAY)
    small.take("headend", cim(97, [0, 1, 2]))  # the next day's first quarter-hour
    close = small.close_day("2026-01-02")
    days = device_days(small, close)
    assert sorted(sum(slot.state > 0 for slot in day.slots) for day in days) == [0, 0, 1, 1, 1]
    small.close()
    check(tmp_path, 2)


def test_the_days_of_a_device_end_when_it_is_revoked(tmp_path: Path) -> None:
    """Whoever spoke for it, and without any sender of its own; restored, they go on."""
    small = begun(tmp_path)
    small.close_day(DAY)
    gone, *others = small.stores.registry.devices(None)
    small.command(command="device", device=gone.device, state="revoked")
    summary = small.take("headend", cim(97, METERS))[0].summary
    assert (str(summary["refused"]).count("device-revoked"), summary["good"]) == (1, 4)
    close = small.close_day("2026-01-02")
    left = {entry.device for entry in small.stores.book.entries(close.date, close.k)}
    assert left == {info.device for info in others}
    small.command(command="device", device=gone.device, state="active")
    assert small.take("headend", cim(193, METERS))[0].summary["refused"] == []
    assert len(device_days(small, small.close_day("2026-01-03"))) == len(METERS)
    small.close()
    check(tmp_path, 3)


def test_the_registry_as_of_a_size_does_not_depend_on_what_was_asked_before(tmp_path: Path) -> None:
    small = begun(tmp_path)
    gone = small.stores.registry.devices(None)[0].device
    sizes = [small.engine.stored_size]
    small.command(command="device", device=gone, state="revoked")
    sizes.append(small.engine.stored_size)
    small.take("headend", cim(5, [9]))
    sizes.append(small.engine.stored_size)
    wanted = [(5, "active"), (5, "revoked"), (6, "revoked")]
    for at in (0, 1, 2, 2, 1, 0, 2, 0, 1):
        registry = small.stores.registry_at(sizes[at])
        device = registry.device(gone)
        assert device is not None
        assert (len(registry.devices(None)), device.state) == wanted[at]
    assert small.stores.registry_at(0).devices(None) == []
    small.close()


def test_a_day_without_any_record_has_an_empty_book(tmp_path: Path) -> None:
    small = begun(tmp_path)
    close = small.close_day("2025-12-01")
    assert (close.k, close.day_book) == (1, bytes(32))
    small.close()
    check(tmp_path, 1)


def test_a_day_that_is_not_over_is_refused(tmp_path: Path) -> None:
    small = begun(tmp_path)
    day = date.fromisoformat(DAY)
    asked = small.deriver.close(day, local_day(day, "UTC")[1] - 1)
    with pytest.raises(Rejected, match="day-not-over"):
        asked.result(timeout=60)
    small.close()


@pytest.mark.parametrize("step", ["store", "put"])
def test_killed_before_the_close_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The log has it; the next start makes the same device-days again."""
    small = begun(tmp_path)
    version = small.sequencer.heads.version
    target = small.engine._storer
    monkeypatch.setattr(target, "_store" if step == "store" else "put", lambda _: True)
    over = local_day(date.fromisoformat(DAY), "UTC")[1] + 86_400_000_000
    asked = small.deriver.close(date.fromisoformat(DAY), over)
    with pytest.raises(Timeout):
        asked.result(timeout=0.5)
    assert small.sequencer.heads.version > version
    small.kill()
    small = Small(tmp_path)
    [close] = small.stores.book.closes()
    assert len(device_days(small, close)) == 5
    small.start()
    small.take("headend", cim(2, METERS))
    assert small.close_day(DAY).k == 2
    small.close()
    check(tmp_path, 2)


def test_without_a_projection_it_is_made_from_archive_and_log(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.close_day(DAY)
    small.take("headend", cim(2, METERS))
    small.close_day(DAY)
    small.take("headend", cim(5, METERS))
    closes, folder = small.stores.book.closes(), small.folder.customer_db
    small.close()
    for path in folder.iterdir():
        path.unlink()
    small = Small(tmp_path)
    assert small.stores.book.closes() == closes
    small.start()
    small.close()
    check(tmp_path, 2)


def test_ticks_close_what_is_over(tmp_path: Path) -> None:
    """A day's end, then nothing, then late data, which waits an hour for more of it."""
    small = begun(tmp_path)
    book, deriver = small.stores.book, small.deriver
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]

    def after(now_us: int, closes: int) -> None:
        deriver.tick(now_us)
        asked = deriver.close(date.fromisoformat("2025-01-01") + timedelta(days=book_size()), 0)
        with pytest.raises(Rejected):
            asked.result(timeout=60)  # the thread has done what was asked before
        assert len(book.closes()) == closes

    def book_size() -> int:
        return len(book.closes())

    after(end_us - 1, 0)
    after(end_us, 1)
    after(end_us + 1, 1)
    small.take("headend", cim(2, METERS))
    after(end_us + LATE_GATHER_US - 1, 1)
    after(end_us + LATE_GATHER_US, 2)
    small.take("headend", cim(97, METERS))  # of the next day, which is not over
    after(end_us + 2 * LATE_GATHER_US, 2)
    after(end_us + 86_400_000_000, 3)
    small.close()
    check(tmp_path, 3)


def test_a_day_of_silence_is_closed_too(tmp_path: Path) -> None:
    """Nobody sends anything for days: the meters are missed on each of them."""
    small = begun(tmp_path)
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    small.deriver.tick(end_us)
    small.deriver.tick(end_us + 2 * DAY_US)  # the platform stood still for a day
    small.take("headend", cim(4 * 96 + 1, [0]))  # on the fifth day
    small.deriver.tick(end_us + 4 * DAY_US)
    closes = idle(small)
    assert [close.date for close in closes] == [f"2026-01-0{day}" for day in range(1, 6)]
    for close in closes[1:]:
        assert len(device_days(small, close)) == len(METERS)
    small.close()
    check(tmp_path, 5)


def test_silence_ends_with_the_last_device(tmp_path: Path) -> None:
    """Where no device-day goes on, no day is closed that has no records; nor long ago."""
    small = begun(tmp_path)
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    small.close_day("2025-12-30")  # without any
    small.deriver.tick(end_us - 1)
    assert len(idle(small)) == 1
    small.deriver.tick(end_us + 20 * DAY_US)
    assert [close.date for close in idle(small)][:2] == ["2025-12-30", DAY]
    for info in small.stores.registry.devices(None):
        small.command(command="device", device=info.device, state="revoked")
    closes = len(idle(small))
    small.deriver.tick(end_us + 22 * DAY_US)
    assert len(idle(small)) == closes + 1  # the first date without device-days, and no more
    small.deriver.tick(end_us + 25 * DAY_US)
    assert len(idle(small)) == closes + 1
    small.close()


def many_dates(first: date, count: int) -> bytes:
    """One message of one meter with a quarter-hour on each date."""
    days = [first + timedelta(days=n) for n in range(count)]
    raw = cim(1, [0]).decode()
    begin, rest = raw.split("<m:Readings>")
    reading, end = rest.split("</m:Readings>")
    readings = (f"<m:Readings>{reading}</m:Readings>".replace(DAY, str(day)) for day in days)
    return (begin + "".join(readings) + end).encode()


def test_a_message_about_many_years_makes_few_closes(tmp_path: Path) -> None:
    """Each close is a transaction: what is older than `day.back_days` waits for the operator."""
    small = begun(tmp_path, back_days=3)
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    small.take("headend", many_dates(date(2017, 10, 16), 3_000))  # up to 2026-01-01
    small.deriver.tick(end_us + 2 * DAY_US)
    closes = ["2025-12-31", DAY, "2026-01-02", "2026-01-03"]
    assert [close.date for close in idle(small)] == closes
    days = small.deriver.status(end_us + 2 * DAY_US)
    assert days["newest"] == {"k": "4", "date": "2026-01-03", "prefix": days["newest"]["prefix"]}
    assert days["waiting"] == {"count": "0", "dates": []}
    assert days["by_command"]["count"] == "2998"
    assert days["by_command"]["dates"][0] == "2017-10-16"
    assert len(days["by_command"]["dates"]) == DATES_SHOWN_MAX
    assert small.close_day("2017-10-16").k == 5
    assert small.deriver.status(end_us + 2 * DAY_US)["by_command"]["count"] == "2997"
    small.take("headend", cim(2, [1]).replace(b"2026-01-01", b"2017-10-16"))
    small.deriver.tick(end_us + 2 * DAY_US + 2 * LATE_GATHER_US)
    assert len(idle(small)) == 5  # its late data, too
    assert small.deriver.status(end_us + 3 * DAY_US)["by_command"]["count"] == "2998"
    assert small.close_day("2017-10-16").k == 6
    small.close()
    check(tmp_path, 6)


def test_what_waits_to_be_closed(tmp_path: Path) -> None:
    small = begun(tmp_path)
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    none = {"count": "0", "dates": []}
    assert small.deriver.status(end_us - 1) == {"newest": None, "waiting": none, "by_command": none}
    one_day = {"count": "1", "dates": [DAY]}
    assert small.deriver.status(end_us)["waiting"] == one_day
    assert small.deriver.status(end_us + 31 * DAY_US)["waiting"] == one_day
    assert small.deriver.status(end_us + 31 * DAY_US + 1)["by_command"] == one_day
    small.close_day(DAY)
    assert small.deriver.status(end_us)["waiting"] == none
    assert small.deriver.status(end_us + DAY_US)["waiting"]["dates"] == ["2026-01-02"]  # silent
    small.take("headend", cim(2, METERS))
    assert small.deriver.status(end_us)["waiting"] == one_day
    small.close()


class Defective(DaySources):
    """A defect of ours, or a store that is damaged."""

    error: Exception

    def close(self, day: date, k: int, prefix: int, time_us: int) -> ClosedDay:
        raise type(self).error


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("of m1"), Unavailable("disk"), Rejected("x", "y")]
)
def test_a_defect_while_closing_halts_closing_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    small = begun(tmp_path)
    deriver, sources = small.deriver, small.deriver._sources
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    monkeypatch.setattr(Defective, "error", error, raising=False)
    monkeypatch.setattr(
        deriver, "_sources",
        Defective(sources.rows, sources.vault, sources.book, sources.registry_at),
    )  # fmt: skip
    assert deriver.health() == "ok"
    deriver.tick(end_us)
    assert idle(small) == []
    assert deriver.alarm == "day-not-closed"
    assert deriver.health().startswith(f"day-not-closed: {DAY}: ")
    assert "m1" not in deriver.health()
    asked = deriver.close(date.fromisoformat(DAY), end_us)
    with pytest.raises((Rejected, Unavailable)):
        asked.result(timeout=60)
    small.take("headend", cim(2, METERS))
    assert small.stopped == []
    monkeypatch.setattr(deriver, "_sources", sources)
    deriver.tick(end_us + 60_000_000)
    assert [close.date for close in idle(small)] == [DAY]
    assert deriver.health() == "ok"
    small.close()
    check(tmp_path, 1)


def test_a_close_that_could_not_be_committed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = begun(tmp_path)
    end_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    failed: Future[Close] = Future()
    failed.set_exception(Unavailable("not now"))
    with monkeypatch.context() as patch:
        patch.setattr(small.deriver, "_commit", lambda _: failed)
        small.deriver.tick(end_us)
        assert idle(small) == []
        assert small.deriver.alarm == "day-not-closed"
    small.deriver.tick(end_us + 60_000_000)
    assert len(idle(small)) == 1
    small.close()


def test_a_store_that_is_damaged_stops_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = begun(tmp_path)
    sources = small.deriver._sources
    monkeypatch.setattr(Defective, "error", Stop("store-damaged", "rows"), raising=False)
    small.deriver._sources = Defective(
        sources.rows, sources.vault, sources.book, sources.registry_at
    )
    small.deriver.tick(local_day(date.fromisoformat(DAY), "UTC")[1])
    assert str(small.wait_stop()) == "store-damaged: rows"
    small.close()


def test_a_reading_of_a_date_before_1970_stops_nothing(tmp_path: Path) -> None:
    """It began in 1970 by UTC; where the meter stands it was 1969, which no book has."""
    small = Small(tmp_path)
    small.start()
    small.enrol("headend", zone="America/New_York")
    small.take("headend", cim(1, METERS).replace(b"2026-01-01", b"1970-01-01"))
    small.deriver.tick(small.clock.now)
    assert idle(small) == []
    assert small.stopped == []
    small.close()


@pytest.mark.parametrize("enrolled", [True, False])
@pytest.mark.parametrize(
    ("day", "code"),
    [
        ("1969-12-31", "parameter-invalid"),
        ("2026-01-16", "day-not-over"),
        ("9999-12-30", "day-not-over"),
        ("9999-12-31", "day-not-over"),
    ],
)
def test_a_date_that_no_book_can_have_yet(
    tmp_path: Path, day: str, code: str, *, enrolled: bool
) -> None:
    small = begun(tmp_path) if enrolled else Small(tmp_path)
    if not enrolled:
        small.start()
    asked = small.deriver.close(date.fromisoformat(day), small.clock.now)
    with pytest.raises(Rejected, match=code):
        asked.result(timeout=60)
    assert small.stopped == []
    small.close()


def test_who_waits_no_longer_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gridseal day close` gives up after a while: before its turn came, or amidst of it."""
    small = begun(tmp_path)
    under_way, go_on = Event(), Event()
    made = small.deriver._close

    def slow(day: date, now_us: int) -> Close:
        under_way.set()
        assert go_on.wait(60)
        return made(day, now_us)

    monkeypatch.setattr(small.deriver, "_close", slow)
    over_us = local_day(date.fromisoformat(DAY), "UTC")[1]
    asked = [small.deriver.close(date.fromisoformat(DAY), over_us) for _ in range(2)]
    assert under_way.wait(60)
    for one in asked:
        one.cancel()
    go_on.set()
    assert len(idle(small)) == 1
    assert small.stopped == []
    small.close()


def test_many_days_do_not_hold_up_the_operator(tmp_path: Path) -> None:
    """A year that comes at once is closed in stretches; what is asked meanwhile comes between."""
    small = begun(tmp_path, back_days=400)
    days = DAYS_AT_ONCE + 5
    raw = cim(1, [0]).replace(b"2026-01-01", b"2025-%02d-%02d")
    small.take("headend", *(raw % (1 + n // 28, 1 + n % 28) for n in range(days)))
    small.deriver.tick(small.clock.now)
    asked = small.deriver.close(date(2026, 1, 2), small.clock.now)
    assert asked.result(timeout=60).k <= DAYS_AT_ONCE + 1
    assert len(idle(small)) >= days + 2
    small.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET slot_s = 3600 WHERE k = 1",
        "UPDATE entry SET version = 7 WHERE k = 2",
        "UPDATE entry SET content = zeroblob(32) WHERE k = 1",
        "UPDATE entry SET register = register || '0' WHERE k = 2",
        "UPDATE entry SET device = (SELECT max(device) FROM entry) WHERE k = 1",
        "UPDATE entry SET log_index = log_index - 1 WHERE k = 2",
        "UPDATE entry SET commitment = zeroblob(32) WHERE k = 2",
        "DELETE FROM entry WHERE k = 2",
        f"INSERT INTO entry SELECT '2025-12-31', key, k, {OTHERS} FROM entry WHERE k = 1",
        f"INSERT INTO entry SELECT date, key, 3, {OTHERS} FROM entry WHERE k = 1",
        "UPDATE close SET prefix = prefix - 1 WHERE k = 2",
        "UPDATE close SET day_book = zeroblob(32) WHERE k = 1",
        "DELETE FROM touched",
        "UPDATE touched SET log_index = log_index - 1",
        "UPDATE touched SET date = '2026-01-02'",
    ],
)
def test_fsck_sees_what_was_altered_in_the_book(tmp_path: Path, change: str) -> None:
    """Later closes go by it, and a replay goes by the same file."""
    small = begun(tmp_path)
    small.close_day(DAY)
    small.take("headend", cim(2, [0, 1]))
    small.close_day(DAY)
    path = small.folder.customer_db / "book.db"
    small.close()
    db = sqlite3.connect(path)
    assert db.execute(change).rowcount > 0
    db.commit()
    db.close()
    found = fsck(tmp_path).differences
    assert {difference.check for difference in found} == {"book-differs"}


def test_the_ticks_of_the_log_reach_the_deriver(tmp_path: Path) -> None:
    small = begun(tmp_path)
    seen: list[int] = []
    small.engine._on_tick = seen.append
    small.clock.now += 61_000_000
    small.take("headend", cim(6, METERS))
    small.clock.now += 61_000_000
    small.take("headend", cim(7, METERS))
    assert seen == [small.clock.now - 61_000_000, small.clock.now]
    assert tick(seen[0])
    small.close()
