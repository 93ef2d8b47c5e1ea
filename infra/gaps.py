"""What closed days lack, with the names that their sources know the meters by.

For who asks sources again (infra/rerequest.py). Names come from the vault, so they are given for
what is asked now alone, behind a record of the log that says whose they were and what for.
"""

from asyncio import to_thread
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from bal.certify import device_day
from bal.derive.gaps import gaps
from bal.errors import Rejected
from bal.model import DeviceInfo, Pseudonym, StoredRecord
from bal.ports import Book, Vault
from bal.registry import Registry
from bal.times import rfc3339

SECOND_US = 1_000_000
NAMES_MAX = 1_000  # asked for at once
PAGES = 256  # of a date's book: the first byte of its keys


class MissingStretch(NamedTuple):
    """A run of slots of a device's register, by the newest close."""

    info: DeviceInfo
    register: str
    begin_s: int
    end_s: int


class Gaps:
    """Answers `gaps` and `gap-names` on the control socket."""

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
        items = [_as_json(one) for one in found]
        return {"gaps": items, "next": number + 1 if number + 1 < PAGES else None}

    async def names(self, request: dict[str, Any]) -> dict[str, str]:
        """The identities of some devices, behind a record of the log; not of erased ones."""
        devices = [Pseudonym(name) for name in request["devices"]]
        if not 1 <= len(devices) <= NAMES_MAX:
            raise Rejected("parameter-invalid", f"1 to {NAMES_MAX} devices", field="devices")
        await self._record(sorted(devices), f"values of {request['date']} are missing")
        found = await to_thread(lambda: {name: self._vault.identity(name) for name in devices})
        return {name: identity for name, identity in found.items() if identity is not None}

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
            if 0 < info.until_us <= day.start_s * SECOND_US:  # it was taken away that day
                continue
            found += (
                MissingStretch(info, entry.register, begin_s, end_s)
                for begin_s, end_s in gaps(day.start_s, day.slot_s, day.slots)
            )
        return found


def _as_json(gap: MissingStretch) -> dict[str, str]:
    return {
        "device": gap.info.device,
        "sender": gap.info.sender,
        "register": gap.register,
        "begin": rfc3339(gap.begin_s * SECOND_US),
        "end": rfc3339(gap.end_s * SECOND_US),
    }
