"""Parts of the platform that the operator's commands ask for and that are other processes'."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from datetime import date
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

from bal.errors import GridsealError, Rejected, Stop, Unavailable
from bal.model import Anchor, Close, Digest
from bal.ports import Book
from infra.control import UNDER_WAY, call

ANCHOR_WAIT_S = 70
STATUS_WAIT_S = 5
# A country's device-days take minutes. The sequencer is asked again and again for the same close:
# so one that stands still is noticed. Who waits for us waits longer (infra/operator.py).
DAY_WAIT_S = 540
DAY_ASK_S = 5  # after which the sequencer says that it is at it still
DAY_ANSWER_S = 15


class ChainBySocket:
    """Chain (infra/operator.py): the anchorer's process."""

    def __init__(self, folder: Path) -> None:
        """folder: the data folder's `chain`, which has the socket."""
        self._folder = folder

    def status(self) -> dict[str, object]:
        """How far it is; only why not, where no anchorer answers."""
        try:
            found: dict[str, object] = call(self._folder, "status", STATUS_WAIT_S)
        except (GridsealError, OSError):
            return {"last_error": "no anchorer answers"}
        return found

    def anchor_now(self) -> Anchor | None:
        """Anchor the newest checkpoint. Raises Unavailable where no anchorer answers, Stop."""
        try:
            found: Mapping[str, str] | None = call(self._folder, "anchor", ANCHOR_WAIT_S)
        except (Unavailable, OSError) as error:
            raise Unavailable("no anchorer answers", retry_after_s=5) from error
        except Stop as error:
            if error.code == UNDER_WAY:
                raise TimeoutError from error
            raise
        if found is None:
            return None
        return Anchor(
            int(found["chain_id"]),
            found["contract"],
            found["log"],
            int(found["size"]),
            int(found["block"]),
            found["tx"],
        )


class DaysBySocket:
    """Days (infra/operator.py): the active sequencer closes them."""

    def __init__(self, folder: Path, book: Book) -> None:
        """folder: the data folder's `log`, where the active sequencer has its socket."""
        self._folder, self._book = folder, book

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; fails with Rejected, or Unavailable where no sequencer answers."""
        answer: Future[Close] = Future()
        Thread(target=self._ask, args=(day, now_us, answer), name="day-close", daemon=True).start()
        return answer

    def status(self, now_us: int) -> dict[str, Any]:
        """The newest close; what waits the sequencer knows."""
        del now_us
        closes = self._book.closes()
        last = closes[-1] if closes else None
        return {
            "newest": last and {"k": str(last.k), "date": last.date, "prefix": str(last.prefix)}
        }

    def _ask(self, day: date, now_us: int, answer: "Future[Close]") -> None:
        if not answer.set_running_or_notify_cancel():
            return
        until_s, asked = monotonic() + DAY_WAIT_S, {"date": day.isoformat(), "now_us": now_us}
        try:
            found: dict[str, Any] = {}
            while not found:
                found = call(self._folder, "day-close", DAY_ANSWER_S, **asked)
                if not found and monotonic() > until_s:
                    raise TimeoutError
        except TimeoutError as error:
            answer.set_exception(error)
        except Stop as error:
            late = error.code == UNDER_WAY
            refused = TimeoutError() if late else Rejected(error.code, error.text, field="date")
            answer.set_exception(refused)
        except (Unavailable, OSError):
            answer.set_exception(Unavailable("no sequencer answers", retry_after_s=5))
        else:
            books = {name: Digest(bytes.fromhex(found[name])) for name in ("day_book", "book")}
            answer.set_result(Close(**{**found, **books}))


class Closing:
    """What the active sequencer answers to DaysBySocket; on its event loop."""

    def __init__(self, close: "Callable[[date, int], Future[Close]]") -> None:
        self._close = close
        self._under_way: dict[str, Future[Close]] = {}

    async def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The close of a date, if it is done within DAY_ASK_S; else nothing: to be asked again.

        Whoever asks for a date that is being closed waits for the same close.
        """
        asked = str(request["date"])
        closing = self._under_way.get(asked)
        if closing is None:
            closing = self._close(date.fromisoformat(asked), int(request["now_us"]))
            self._under_way[asked] = closing
        try:
            made = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(closing)), DAY_ASK_S)
        except TimeoutError:
            return {}
        finally:
            if closing.done():
                self._under_way.pop(asked, None)
        return {**asdict(made), "day_book": made.day_book.hex(), "book": made.book.hex()}
