"""Parts of the platform that the operator's commands ask for and that are other processes'."""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import date
from pathlib import Path
from typing import Any

from bal.errors import GridsealError, Rejected, Unavailable
from bal.model import Anchor, Close
from bal.ports import Book
from infra.control import call

ANCHOR_WAIT_S = 70
STATUS_WAIT_S = 5


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


class DaysBySchedule:
    """Days (infra/operator.py): the active sequencer closes them when they are due."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Fails with Rejected("day-not-closed")."""
        del day, now_us
        answer: Future[Close] = Future()
        text = "days are closed by schedule where roles run"
        answer.set_exception(Rejected("day-not-closed", text, field="date"))
        return answer

    def status(self, now_us: int) -> dict[str, Any]:
        """The newest close; what waits the sequencer knows."""
        del now_us
        closes = self._book.closes()
        last = closes[-1] if closes else None
        return {
            "newest": last and {"k": str(last.k), "date": last.date, "prefix": str(last.prefix)}
        }
