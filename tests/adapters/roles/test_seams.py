"""Where one role looks at, or asks, another: turns, the anchorer's journal, sockets."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Rejected, Stop, Unavailable
from bal.model import Anchor, Close, Digest
from bal.registry import Registry
from infra.anchor_journal import AnchorJournal, Attempt
from infra.control import SOCKET, ControlServer, call
from infra.roles import by_socket
from infra.roles.anchors_seen import AnchorsSeen
from infra.roles.by_socket import ChainBySocket, Closing, DaysBySocket
from infra.roles.turn import Turn
from infra.services import client_of
from infra.sqlite_book import SqliteBook

CONTRACT, LOG = "0x" + "1" * 40, b"\x22" * 32
CLOSE = Close(1, "2026-01-15", 10, 12, Digest(b"\x01" * 32), Digest(b"\x02" * 32))
ANCHOR = Anchor(1, CONTRACT, "0x" + LOG.hex(), 8, 3, "0xaa")


def test_a_turn_is_one_s_at_a_time(tmp_path: Path) -> None:
    first, second = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    assert first.take()
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    assert not first.take()
    second.release()


def test_the_journal_is_seen_as_the_anchorer_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "anchors.db"
    seen = AnchorsSeen(path)
    assert seen.covering(0) is None
    journal = AnchorJournal(path)
    assert seen.covering(0) is None
    journal.bind(1, CONTRACT, LOG)
    for size in (5, 9):
        tx = f"0x{size}"
        journal.intend(
            Attempt(tx, size, bytes(32), b"note %d" % size, 0, b"", "pending", None, None, 0, None)
        )
        assert seen.covering(size - 1) is None
        journal.seen(tx, size + 100, 1, 0)
    journal.finish("0x5")
    for index in range(11):
        assert seen.covering(index) == journal.covering(index)
    journal.close()
    seen.close()


@contextmanager
def served(folder: Path, **handlers: Any) -> Iterator[None]:
    """A control socket in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = ControlServer(folder, {name.replace("_", "-"): one for name, one in handlers.items()})
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_the_chain_is_asked_by_a_socket(tmp_path: Path) -> None:
    chain = ChainBySocket(tmp_path)
    assert chain.status() == {"last_error": "no anchorer answers"}
    with pytest.raises(Unavailable, match="no anchorer answers"):
        chain.anchor_now()

    async def status(_: dict[str, Any]) -> dict[str, object]:
        return {"anchored_size": 8}

    async def anchor(_: dict[str, Any]) -> dict[str, str]:
        return ANCHOR.as_json() | {"tx": "0xaa"}

    with served(tmp_path, status=status, anchor=anchor):
        assert chain.status() == {"anchored_size": 8}
        assert chain.anchor_now() == ANCHOR


def test_a_day_is_closed_by_a_socket(tmp_path: Path) -> None:
    days = DaysBySocket(tmp_path, SqliteBook(tmp_path))
    assert days.status(0) == {"newest": None}
    with pytest.raises(Unavailable, match="no sequencer answers"):
        days.close(date(2026, 1, 15), 0).result(10)
    asked: list[tuple[date, int]] = []

    def close(day: date, now_us: int) -> "Future[Close]":
        asked.append((day, now_us))
        answer: Future[Close] = Future()
        if day.year > 2026:
            answer.set_exception(Rejected("day-not-over", "it is not over", field="date"))
        else:
            answer.set_result(CLOSE)
        return answer

    with served(tmp_path, day_close=Closing(close)):
        assert days.close(date(2026, 1, 15), 7).result(10) == CLOSE
        assert asked == [(date(2026, 1, 15), 7)]
        with pytest.raises(Rejected, match="it is not over") as caught:
            days.close(date(2027, 1, 1), 7).result(10)
        assert caught.value.code == "day-not-over"


def test_a_close_of_minutes_is_asked_for_again_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_socket, "DAY_ASK_S", 0.05)
    days, closing, asked = DaysBySocket(tmp_path, SqliteBook(tmp_path)), Future[Close](), []

    def close(day: date, now_us: int) -> "Future[Close]":
        asked.append((day, now_us))
        return closing

    with served(tmp_path, day_close=Closing(close)):
        waiting = [days.close(date(2026, 1, 15), 7) for _ in range(2)]
        threading.Timer(0.5, closing.set_result, [CLOSE]).start()
        assert [one.result(10) for one in waiting] == [CLOSE, CLOSE]
        assert len(asked) == 1


def test_a_sequencer_that_stands_still_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it will close the day: that is said, and the caller may have left."""
    monkeypatch.setattr(by_socket, "DAY_ANSWER_S", 0.2)
    days = DaysBySocket(tmp_path, SqliteBook(tmp_path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / SOCKET))
        listening.listen()
        with pytest.raises(TimeoutError):
            days.close(date(2026, 1, 15), 7).result(10)
        left = days.close(date(2026, 1, 15), 7)
        left.cancel()
        with pytest.raises(Stop, match="gridseal status") as caught:
            call(tmp_path, "day-close", 0.2, date="2026-01-15")
        assert caught.value.code == "command-under-way"


def test_a_sequencer_that_is_killed_in_the_middle_of_its_answer(tmp_path: Path) -> None:
    """Whoever asked is told, and does not wait for ever."""
    days = DaysBySocket(tmp_path, SqliteBook(tmp_path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / SOCKET))
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as caller:
                caller.recv(1 << 16)
                caller.sendall(b'{"ok": {"k": 1')

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(Unavailable, match="no sequencer answers"):
            days.close(date(2026, 1, 15), 7).result(10)
        thread.join(10)


def test_who_ends_leaves_the_socket_of_the_next_one(tmp_path: Path) -> None:
    async def tell(_: dict[str, Any]) -> str:
        return "here"

    with served(tmp_path, who=tell), served(tmp_path, who=tell):
        assert call(tmp_path, "who") == "here"
    assert not (tmp_path / "control.sock").exists()

    async def run() -> None:
        first, second = ControlServer(tmp_path, {}), ControlServer(tmp_path, {})
        await first.start()
        await second.start()
        await first.stop()
        assert (tmp_path / "control.sock").exists()
        await second.stop()
        assert not (tmp_path / "control.sock").exists()

    asyncio.run(run())


def test_which_role_is_to_be_started(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="gridseal up --data"):
        call(tmp_path, "status")
    (tmp_path / "roles.json").write_text("{}")
    with pytest.raises(Unavailable, match="gridseal run collector --data"):
        call(tmp_path, "status")


def test_a_client_that_nobody_knows() -> None:
    assert client_of(Registry(), "dso-1") is None
