"""When a process is the sequencer, and when it stands by; and the days that it closes."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from bal.certify.log import Sequencer
from bal.closing import DERIVED, ClosedDay
from bal.errors import Rejected, Stop, Unavailable
from bal.model import Close
from bal.ports import BookEntry, Commit, Heads
from bal.store.merge import parse
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner
from infra.roles.closes import Closes
from infra.roles.sequencer import SequencerRole
from infra.system_clock import SystemClock
from tests.unit.infra.sequencing_kit import (
    EPOCH,
    ORIGIN,
    MemoryChannels,
    MemoryPositions,
    MemoryStored,
    offer,
)

SOURCE = f"{EPOCH}/0"
PATIENCE_S = 20
DAY = date(2026, 1, 14)
NOW_US = 1_768_485_600_000_000  # 2026-01-15T14:00:00Z: the day before is over everywhere


class NoRows:
    def of_shard(self, *_: object) -> Iterator[Any]:
        return iter(())


class MemoryBook:
    """Which closes are stored."""

    def __init__(self) -> None:
        self.stored: list[Close] = []

    def closes(self, after: int = 0) -> list[Close]:
        return [close for close in self.stored if close.k > after]

    def entries(self, *_: object, **__: object) -> list[BookEntry]:
        return []

    def touched(self) -> dict[str, int]:
        return {}


class Ground:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.channels, self.positions = MemoryChannels(), MemoryPositions()
        self.stored, self.book = MemoryStored(1 << 40), MemoryBook()
        self.running: list[tuple[SequencerRole, Event, Thread, list[Exception]]] = []
        self.opened: list[FileLog] = []
        self.prepare: Callable[[FileLog], None] = lambda log: None

    def role(self, write_public: Callable[[Sequencer], object] = lambda _: None) -> SequencerRole:
        nothing: Any = None
        rows, book = NoRows(), self.book
        closes = Closes(
            rows, nothing, book, stored=self.stored, rules="r", grace_s=0, back_days=31,  # type: ignore[arg-type]
            now_s=time.monotonic,
        )  # fmt: skip
        role = SequencerRole(
            open_log=self._open,
            signer=CheckpointSigner(ORIGIN, b"s" * 32, self.folder / "log.signed"),
            origin=ORIGIN,
            channels=self.channels,
            positions=self.positions,
            clock=SystemClock(),
            interval_s=0.02,
            closes=closes,
            write_public=write_public,
        )
        stopping, failed = Event(), list[Exception]()

        def run() -> None:
            try:
                role.run(stopping)
            except Stop as stop:
                failed.append(stop)

        thread = Thread(target=run)
        self.running.append((role, stopping, thread, failed))
        thread.start()
        return role

    def _open(self) -> FileLog:
        self.opened.append(FileLog(self.folder / "log", SystemClock()))
        self.prepare(self.opened[-1])
        return self.opened[-1]

    def heads(self) -> Heads:
        log = FileLog(self.folder / "log", SystemClock())
        try:
            return log.heads()
        finally:
            log.close()

    def stop(self) -> list[Exception]:
        found = []
        for _, stopping, thread, failed in self.running:
            stopping.set()
            thread.join(10)
            assert not thread.is_alive()
            found += failed
        self.running.clear()
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.stop()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def taken(ground: Ground, offset: int) -> Callable[[], bool]:
    return lambda: ground.heads().taken.get(SOURCE, -1) >= offset


def test_one_that_stands_by_does_nothing_until_it_is_its_turn(ground: Ground) -> None:
    role = ground.role()
    until(lambda: role.active)
    ground.channels.joined[0].shares = {}
    until(lambda: not role.active)
    version = ground.heads().version
    ground.channels.commitments.append(offer(0))
    time.sleep(0.4)
    assert ground.heads().version == version
    assert role.gauges() == {"sequencer_active": 0}
    assert set(role.health().values()) == {"ok"}
    ground.channels.joined[0].shares = {0: 3}
    until(taken(ground, 0))
    until(lambda: role.gauges().get("published_entries") == ground.heads().size)
    assert ground.stop() == []
    assert ground.channels.joined[0].closed


def test_one_that_can_not_ask_whether_another_is_at_work_waits(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    """The heads row's server may go away in the very moment in which that is to be asked."""
    caplog.set_level("INFO", "gridseal")
    role = ground.role()
    until(lambda: role.active)
    log = ground.opened[-1]

    def away() -> Heads:
        raise Unavailable("the heads row does not answer")

    def refuses(head: object, note: object) -> None:
        log.heads = away  # type: ignore[method-assign]
        raise Stop("signer-refuses", "a size below the last")

    log.publish = refuses  # type: ignore[method-assign]
    ground.channels.commitments.append(offer(0))
    until(lambda: "sequencing-waits: nothing new is put into the log" in caplog.text)
    until(lambda: role.active and len(ground.opened) > 1)
    until(lambda: role.alarms() == [] and "sequencing-waits is over" in caplog.text)
    assert ground.stop() == []


def test_two_that_are_both_told_to_be_it(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    roles = [ground.role(), ground.role()]
    for offset in range(30):
        ground.channels.commitments.append(offer(offset))
        time.sleep(0.02)
    until(taken(ground, 29))
    until(lambda: {parse(i).version for i in ground.channels.announcements.items}
          >= set(range(1, ground.heads().version + 1)))  # fmt: skip
    assert ground.stop() == []
    assert "stands by: lost-swap" in caplog.text
    assert all(not role.alarms() for role in roles)


def test_a_share_that_was_lost_between_is_taken_anew(ground: Ground) -> None:
    role = ground.role()
    until(lambda: role.active)
    ground.channels.joined[0].shares = {0: 9}
    until(lambda: len(ground.opened) == 2 and role.active)


def test_a_full_disk_is_waited_for(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    full = Event()

    def prepare(log: FileLog) -> None:
        stage = log.stage

        def staged(commit: Commit) -> None:
            if full.is_set():
                raise Unavailable("the log's disk refuses: full")
            stage(commit)

        log.stage = staged  # type: ignore[method-assign]

    ground.prepare = prepare
    role = ground.role()
    until(lambda: role.active)
    full.set()
    ground.channels.commitments.append(offer(0))
    until(lambda: "full" in role.health()["sequencer"])
    full.clear()
    until(taken(ground, 0))
    until(lambda: role.health()["sequencer"] == "ok")
    assert caplog.text.count("sequencing-waits: ") == 1
    assert ground.stop() == []


def test_a_log_that_was_put_back_stops_the_process(ground: Ground) -> None:
    role = ground.role()
    until(lambda: role.gauges().get("published_entries", 0) > 0)
    assert ground.stop() == []
    for file in [*(ground.folder / "log").rglob("*")]:
        if file.is_file():
            file.unlink()
    ground.role()
    until(lambda: not ground.running[0][2].is_alive())
    [stop] = ground.stop()
    assert isinstance(stop, Stop)
    assert stop.code == "signer-refuses"


def test_what_is_ready_is_committed_before_the_end(ground: Ground) -> None:
    role = ground.role()
    until(lambda: role.gauges().get("published_entries", 0) > 0)
    ground.channels.commitments.append([item for at in range(200) for item in offer(at)])
    until(lambda: ground.channels.commitments.end() == 200)
    time.sleep(0.05)
    assert ground.stop() == []
    last = ground.heads()
    assert parse(ground.channels.announcements.items[-1]).version == last.version


# --- days -----------------------------------------------------------------------------------------


def stored_by(ground: Ground, k: int) -> Close:
    """The storer stores the close k."""
    close = Close(k, DAY.isoformat(), 0, 0, b"d" * 32, b"b" * 32)  # type: ignore[arg-type]
    ground.book.stored.append(close)
    return close


def asked(role: SequencerRole, day: date = DAY) -> "Future[Close]":
    """A command that is given again as long as it is to come later."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        future = role.close_day(day, NOW_US)
        if not future.done() or not isinstance(future.exception(), Unavailable):
            return future
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_close_is_done_once_it_is_stored_and_published(ground: Ground) -> None:
    ground.stored.stored = 0
    role = ground.role()
    until(lambda: role.active)
    future = asked(role)
    until(lambda: ground.heads().taken.get(f"{DERIVED}/0") == 0)
    until(
        lambda: any(b'\\"epoch\\":\\"derive\\"' in i for i in ground.channels.announcements.items)
    )
    time.sleep(0.3)
    assert not future.done()
    with pytest.raises(Unavailable, match="not stored yet"):
        role.close_day(DAY, NOW_US).result(PATIENCE_S)
    stored_by(ground, 1)
    ground.stored.stored = 1 << 40
    close = future.result(PATIENCE_S)
    assert (close.k, close.date) == (1, DAY.isoformat())
    until(lambda: role.gauges()["published_entries"] > close.index)


def test_a_day_that_is_not_over_is_refused(ground: Ground) -> None:
    role = ground.role()
    until(lambda: role.active)
    with pytest.raises(Rejected, match="day-not-over"):
        asked(role, date(2026, 1, 15)).result(PATIENCE_S)


def test_who_takes_over_derives_nothing_before_the_last_close_is_stored(ground: Ground) -> None:
    ground.stored.stored = 0
    first = ground.role()
    until(lambda: first.active)
    future = asked(first)
    until(lambda: ground.heads().taken.get(f"{DERIVED}/0") == 0)
    assert ground.stop() == []
    with pytest.raises(Unavailable):
        future.result(PATIENCE_S)
    with pytest.raises(Unavailable, match="no longer the active one"):
        first.close_day(DAY, NOW_US).result(PATIENCE_S)
    ground.stored.stored = 1 << 40
    role = ground.role()
    until(lambda: role.active)
    time.sleep(0.5)
    with pytest.raises(Unavailable, match="not stored yet"):
        role.close_day(DAY, NOW_US).result(PATIENCE_S)
    stored_by(ground, 1)
    again = asked(role, date(2026, 1, 13))
    until(lambda: ground.heads().taken[f"{DERIVED}/0"] == 1)
    stored_by(ground, 2)
    assert again.result(PATIENCE_S).k == 2


def test_a_close_of_another_k_is_not_committed(tmp_path: Path) -> None:
    """Even if it was derived: by a book that lagged."""
    nothing: Any = None
    book: Any = MemoryBook()
    closes = Closes(
        nothing, nothing, book, stored=MemoryStored(), rules="r", grace_s=0, back_days=1,
        now_s=lambda: -1e9,
    )  # fmt: skip
    closed = ClosedDay(1, DAY, 0, 0, 0, b"d" * 32, b"b" * 32, [])  # type: ignore[arg-type]
    future = closes._desk.put(closed)

    class Far:
        def last_close(self) -> int:
            return 1

    far: Any = Far()
    assert closes.step(far) is False
    with pytest.raises(Unavailable):
        future.result(0)


class Slow(MemoryBook):
    """Whoever reads it waits, as a close of a country would take minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = Event(), Event()

    def closes(self, after: int = 0) -> list[Close]:
        self.reached.set()
        assert self.go.wait(PATIENCE_S)
        return super().closes(after)


def closes_on(book: Any) -> Closes:
    nothing: Any = NoRows()
    found = Closes(
        nothing, nothing, book, stored=MemoryStored(), rules="r", grace_s=0, back_days=1,
        now_s=lambda: -1e9,
    )  # fmt: skip
    found.begin()
    found._may_derive = True
    return found


def test_who_waits_behind_a_long_close_is_told_when_another_process_takes_over() -> None:
    book = Slow()
    closes = closes_on(book)
    under_way = closes.close(DAY, NOW_US)
    assert book.reached.wait(PATIENCE_S)
    behind, deriver = closes.close(DAY, NOW_US), closes._deriver
    closes.end()
    with pytest.raises(Unavailable, match="another process goes on"):
        behind.result(PATIENCE_S)  # while the first one is still being derived, for nobody
    assert deriver is not None
    with pytest.raises(Unavailable):  # whoever looked for the deriver before it was taken away
        deriver.close(DAY, NOW_US).result(0)
    book.go.set()
    with pytest.raises(Unavailable, match="no longer the active one"):
        under_way.result(PATIENCE_S)


def test_what_an_ended_stretch_finds_does_not_stop_the_next_one() -> None:
    class Damaged(Slow):
        def closes(self, after: int = 0) -> list[Close]:
            super().closes(after)
            raise Stop("store-damaged", "as it was seen in the middle of another's write")

    book = Damaged()
    closes = closes_on(book)
    lost = closes.close(DAY, NOW_US)
    assert book.reached.wait(PATIENCE_S)
    closes.end()
    closes.begin()
    book.go.set()
    with pytest.raises(Stop):
        lost.result(PATIENCE_S)
    assert closes._failure is None
    closes.end()


def test_no_command_is_left_without_an_answer_whenever_a_stretch_ends() -> None:
    closes, answers, stopping = closes_on(MemoryBook()), [], Event()

    def command() -> None:
        while not stopping.is_set():
            answers.append(closes.close(DAY, NOW_US))
            time.sleep(0.0001)

    commanding = [Thread(target=command) for _ in range(2)]
    for one in commanding:
        one.start()
    for _ in range(100):
        closes.end()
        closes.begin()
        closes._may_derive = True
        time.sleep(0.001)
    stopping.set()
    for one in commanding:
        one.join()
    closes.end()
    for answer in answers:
        with pytest.raises(Unavailable):
            answer.result(PATIENCE_S)
