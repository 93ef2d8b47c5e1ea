"""Notes what the guard refused before the bus, so that the operator finds it in the list, too.

Bus and log never see such a message: nothing is proved of it, and the rows can't be made again. The
sender has its answer already; noting it must not hold anybody up, and may fail.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bal.errors import GridsealError, Rejected
from bal.found import Found, StoredFinding
from bal.harmonise import FORMATS
from bal.model import Finding
from bal.registry import Registry
from infra.sqlite_archive import SqliteArchive

logger = logging.getLogger("gridseal.turned_away")

WAITING_MAX = 1_000  # what comes while so many wait is counted among the metrics only
NO_PARTITION = -1
_NUMBERS = 1 << 31


class TurnedAway:
    """One thread that writes; `note` may be called from any."""

    def __init__(
        self,
        archive: Callable[[], SqliteArchive],
        registry: Callable[[], Registry],
        size: Callable[[], int],
        now_us: Callable[[], int],
    ) -> None:
        """size: entries that are visible now, behind which such an item stands in the list."""
        self._archive, self._registry, self._size = archive, registry, size
        self._now_us = now_us
        self._waiting: deque[StoredFinding] = deque()
        self._thread = ThreadPoolExecutor(1, "turned_away")

    def note(self, credential: str, form: str, error: Rejected) -> None:
        """Have it noted that a message of `credential` was refused."""
        if len(self._waiting) >= WAITING_MAX:
            return
        finding = Finding(error.code, "refused", error.text, error.field, error.line, error.clause)
        sender, found = self._whose(credential, finding)
        at_us, known = self._now_us(), form if form in FORMATS else ""  # else it is anything
        place = (self._size(), NO_PARTITION, at_us, secrets.randbelow(_NUMBERS), "")
        self._waiting.append(
            StoredFinding(place, 0, at_us, known, sender, found.device, found.group, finding)
        )
        try:
            self._thread.submit(self._write)
        except RuntimeError:  # the process ends
            self._waiting.clear()

    def stop(self) -> None:
        """Write what waits, then end."""
        self._thread.shutdown()

    def _whose(self, credential: str, finding: Finding) -> tuple[str, Found]:
        """The pseudonym of the sender's own subject; and its device, where it is one."""
        registry = self._registry()
        sender = registry.senders.get(credential)
        if sender is None:
            return "", Found(finding, "", "")
        info = registry.device(sender.subject)
        if info is None:
            return sender.subject, Found(finding, "", "")
        return sender.subject, Found(finding, info.device, info.group)

    def _write(self) -> None:
        """All that waits by now; others that were called for it find nothing left."""
        items: list[StoredFinding] = []
        while self._waiting and len(items) < WAITING_MAX:
            items.append(self._waiting.popleft())
        if not items:
            return
        try:
            self._archive().note_turned_away(items)
        except GridsealError as error:
            logger.warning("%d refusals are not in the list of findings: %s", len(items), error)
