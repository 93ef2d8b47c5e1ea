"""What closed days lack, with the names that their sources know the meters by.

For who asks sources again (infra/rerequest.py). Names come from the vault, so each page stands
behind a record of the log that says whose they were and what for, as every look-up does.
"""

from asyncio import to_thread
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from bal.certify import device_day
from bal.derive.gaps import gaps
from bal.errors import Rejected
from bal.model import DeviceInfo, StoredRecord
from bal.ports import Book, Vault
from bal.registry import Registry
from bal.times import rfc3339

SECOND_US = 1_000_000
PAGES = 256  # of a date's book: the first byte of its keys


class MissingStretch(NamedTuple):
    """A run of slots of a device's register, by the newest close."""

    info: DeviceInfo
    register: str
    begin_s: int
    end_s: int


class Gaps:
    """Answers `gaps` on the control socket."""

    def __init__(
        self,
        book: Book,
        row: Callable[[int], StoredRecord | None],
        registry: Registry,
        vault: Vault,
        record: Callable[[list[str], str], Awaitable[None]],
    ) -> None:
        """row: of an entry. record: puts a look-up of these pseudonyms, with why, into the log."""
        self._book, self._row = book, row
        self._registry, self._vault, self._record = registry, vault, record

    async def page(self, request: dict[str, Any]) -> dict[str, Any]:
        """A 256th of what the newest close of a date says is missing, and the number of the next.

        Of devices that are active, of the named senders, all where none are named.
        """
        date_, number, senders = request["date"], int(request["page"]), set(request["senders"])
        if not 0 <= number < PAGES:
            raise Rejected("parameter-invalid", f"pages are 0 to {PAGES - 1}", field="page")
        closes = [close for close in self._book.closes() if close.date == date_]
        if not closes:
            return {"gaps": [], "next": None}
        found = await to_thread(self._found, date_, closes[-1].k, number, senders)
        if found:
            devices = sorted({one.info.device for one in found})
            await self._record(list(devices), f"values of {date_} are missing")
        items = await to_thread(self.named, found)
        return {"gaps": items, "next": number + 1 if number + 1 < PAGES else None}

    def _found(self, date_: str, k: int, number: int, senders: set[str]) -> list[MissingStretch]:
        found: list[MissingStretch] = []
        for entry in self._book.entries(date_, k, first_byte=number):
            info = self._registry.device(entry.device)
            if info is None or info.state != "active" or (senders and info.sender not in senders):
                continue
            row = self._row(entry.log_index)
            if row is None:  # erased
                continue
            day = device_day.decode(row.record)
            found += (
                MissingStretch(info, entry.register, begin_s, end_s)
                for begin_s, end_s in gaps(day.start_s, day.slot_s, day.slots)
            )
        return found

    def named(self, found: Sequence[MissingStretch]) -> list[dict[str, str]]:
        """Each as JSON with its meter's identity; not of those that the vault has erased."""
        names = {device: self._vault.identity(device) for device in {g.info.device for g in found}}
        return [
            {
                "device": gap.info.device,
                "identity": identity,
                "sender": gap.info.sender,
                "register": gap.register,
                "begin": rfc3339(gap.begin_s * SECOND_US),
                "end": rfc3339(gap.end_s * SECOND_US),
            }
            for gap in found
            if (identity := names[gap.info.device]) is not None
        ]
