"""`gridseal edit`: a value in the place of another, for what a meter may have measured alone.

An edit is never deleted (docs/spec/vee.md), so a slip of the pen is refused before it is one.
"""

from asyncio import to_thread
from collections.abc import Callable, Mapping
from typing import Any

from bal.edits import check_edit
from bal.epochs import gone_us
from bal.errors import Rejected
from bal.model import Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from bal.ports import Clock
from bal.registry import Registry
from bal.times import instant_us, rfc3339
from infra.commands import Commands, Seen

_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
_NEAR_MAX = 1_000


class Editing:
    """Answers `reading-edit` on the control socket."""

    def __init__(
        self,
        registry: Registry,
        readings: Callable[[ReadingsQuery], ReadingsPage],
        size: Callable[[], int],
        clock: Clock,
        commands: Commands,
    ) -> None:
        """readings, size: of the customer database, and how much of the log it has."""
        self._registry, self._clock, self._commands = registry, clock, commands
        self._readings, self._size = readings, size

    async def edit(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Put a value in the place of another, as `bal.edits.check_edit` has it.

        Raises Rejected("name-unknown") where the device is not one that is in service, and
        Rejected("parameter-invalid") for what it can't have measured.
        """
        command = check_edit(request)
        begin_us, end_us = instant_us(command["begin"]), instant_us(command["end"])
        self._check_epoch(Pseudonym(command["device"]), begin_us)
        if end_us > self._clock.now_us():
            raise Rejected("parameter-invalid", "that is not over yet", field="end")
        rows = await to_thread(self._near, command["device"], command["register"], begin_us, end_us)
        _check_slot(rows, begin_us, end_us)
        key = ("edit", ":".join(command[name] for name in ("device", "register", "begin", "end")))
        return await self._commands.once(
            key, command, lambda: (command, command), lambda _: Seen.NOTHING
        )

    def _check_epoch(self, device: Pseudonym, begin_us: int) -> None:
        info = self._registry.device(device)
        if info is None or info.state != "active":
            raise Rejected("name-unknown", "no active device has this pseudonym", field="device")
        followed = any(before == device for _, before in list(self._registry.begins.values()))
        until_us = info.until_us if followed or not info.until_us else gone_us(info)
        if begin_us < info.since_us or (until_us and begin_us >= until_us):
            since = rfc3339(info.since_us) if info.since_us else "its first reading"
            until = rfc3339(info.until_us) if info.until_us else "today"
            text = f"this pseudonym is the meter's from {since} to {until}: `gridseal subject show`"
            raise Rejected("parameter-invalid", f"{text} tells the others", field="begin")

    def _near(self, device: str, register: str, begin_us: int, end_us: int) -> list[StoredRecord]:
        """Rows of the register about that time. Raises Rejected where there is none at all."""
        size = self._size()
        for span in ((begin_us - _DAY_US, end_us + _DAY_US, _NEAR_MAX), (None, None, 1)):
            from_us, to_us, limit = span
            query = ReadingsQuery(
                None, device=device, register=register, from_us=from_us, to_us=to_us,
                as_of_size=size, limit=limit,
            )  # fmt: skip
            if rows := self._readings(query).rows:
                return rows
        text = "the device has no reading of this register"
        raise Rejected("parameter-invalid", text, field="register")


def _check_slot(rows: list[StoredRecord], begin_us: int, end_us: int) -> None:
    """An interval lies in the grid of another one; a day's has no grid where clocks change."""
    length_us = end_us - begin_us
    if not 0 < length_us <= _HOUR_US:
        return
    if not any(
        row.end_us - row.begin_us == length_us and (row.begin_us - begin_us) % length_us == 0
        for row in rows
    ):
        text = "no other interval of this register has this length and grid"
        raise Rejected("parameter-invalid", text, field="begin")
