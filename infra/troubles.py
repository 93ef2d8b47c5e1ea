"""What a platform waits for: told once when it is away, once when it is back.

One line and one alarm a trouble, however often it is tried again meanwhile.
"""

import logging
from threading import Lock

from bal.errors import GridsealError, Stop, Unavailable

logger = logging.getLogger("gridseal.troubles")

AWAY_S = 1.0  # at most, between two tries where a server is away
BUS, SIGNER = "bus-down", "signer-down"
STORING, SETTLING = "storing-waits", "settling-waits"
# Of roles, whose processes tell these themselves.
WORKING, SEQUENCING, HEADS = "working-waits", "sequencing-waits", "heads-down"
_MEANINGS = {
    BUS: ("bus", "the bus can't be read; nothing new is certified"),
    SIGNER: ("log", "no checkpoint can be signed; what is in the log is shown later"),
    STORING: ("rows", "rows can't be stored; what is in the log is shown later"),
    SETTLING: ("settling", "a power cut now would cost a longer start; nothing that was accepted"),
}


def tell(code: str, text: str, error: Unavailable) -> None:
    """That something is away, when it is noticed first."""
    logger.error("%s: %s; it is tried on: %s", code, text, error)


def tell_over(code: str) -> None:
    """That it is back."""
    logger.info("%s is over", code)


def ending(error: GridsealError, what: str = "the pipeline can't go on") -> GridsealError:
    """Why a process ends: told here, with a code of its own where it could not wait.

    Where a commit is refused only a start can see how far it came.
    """
    if isinstance(error, Unavailable):
        text = f"{what} ({error}): make room or look at the disk, then start"
        error = Stop("store-unavailable", f"{text} again; what was accepted is kept")
    logger.critical("%s", error)
    return error


class Troubles:
    """Those that stand. From any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._standing: dict[str, str] = {}

    def note(self, code: str, error: Unavailable) -> float:
        """It failed once more; seconds until it may be tried again."""
        with self._lock:
            new = code not in self._standing
            self._standing[code] = f"{code}: {error}"
        if new:
            tell(code, _MEANINGS[code][1], error)
        return min(error.retry_after_s, AWAY_S)

    def over(self, code: str) -> None:
        """It succeeded."""
        if code in self._standing:
            with self._lock:
                self._standing.pop(code, None)
            tell_over(code)

    def health(self) -> dict[str, str]:
        """For each part `ok` or what is wrong."""
        with self._lock:
            return {part: self._standing.get(code, "ok") for code, (part, _) in _MEANINGS.items()}

    def alarms(self) -> list[str]:
        """The codes of those that stand."""
        with self._lock:
            return list(self._standing)
