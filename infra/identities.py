"""Subject epochs and who is behind them: moves, meter exchanges, look-ups, and all about a subject.

What goes on the bus names pseudonyms; identities and holders stay in the vault
(docs/spec/registry.md, subject epochs). Nobody is identified but behind a record of the log.
"""

from asyncio import to_thread
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from bal.closing import DEVICE_DAY
from bal.commands import check_move
from bal.derive.local_day import date_at, local_day
from bal.errors import Rejected
from bal.model import DeviceInfo, Identity, Pseudonym, ReadingsQuery
from bal.ports import Book, Clock
from bal.provide.device_days import parse_request
from bal.registry import Registry
from bal.times import rfc3339
from infra.commands import Command, Commands, Made, Seen
from infra.editing import Editing
from infra.enrolment_list import identity_of
from infra.gaps import NAMES_MAX, Gaps
from infra.services import PlatformServices
from infra.sqlite_vault import Epoch, SqliteVault

PAGE_ITEMS = 200  # of an export; each with its proof, some KB
TEXT_MAX = 200
HOLDER_MAX = 100
AHEAD_DAYS_MAX = 366
OF_PLATFORM = frozenset({"device", "lookup"})  # what the platform itself recorded of a subject


class Identities:
    """Commands of the operator about subjects. On one event loop."""

    def __init__(
        self,
        vault: SqliteVault,
        registry: Registry,
        services: PlatformServices,
        book: Book,
        *,
        clock: Clock,
        put: Callable[[str, str, bytes], Awaitable[None]],
    ) -> None:
        """put: as Enrolment's."""
        self._vault, self._registry, self._services = vault, registry, services
        self._clock = clock
        self._commands = Commands(put)
        self._editing = Editing(
            registry, services.readings, services.stored_size, clock, self._commands
        )
        self._gaps = Gaps(book, services.record, registry, vault, self._recorded)

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """By the name of the command."""
        return {
            "subject-move": self._move,
            "subject-exchange": self._exchange,
            "subject-hold": self._hold,
            "subject-show": self._show,
            "subject-page": self._page,
            "subject-days": self._days,
            "subject-day": self._day,
            "reading-edit": self._editing.edit,
            "gaps": self._gaps.page,
            "gap-names": self._gaps.names,
        }

    # -- epochs -----------------------------------------------------------------------------

    async def _move(self, request: dict[str, Any]) -> dict[str, str]:
        """Another holder, or none, from the beginning of a local date on; the new pseudonym."""
        return await self._begin(request["meter"], None, request)

    async def _exchange(self, request: dict[str, Any]) -> dict[str, str]:
        """Another meter for the same holder, from the beginning of a local date on."""
        return await self._begin(request["meter"], request["new"], request)

    async def _begin(self, meter: str, new: str | None, request: dict[str, Any]) -> dict[str, str]:
        old = self._current(meter)
        holder = _text("holder", request.get("holder", ""), HOLDER_MAX)
        at_us = _midnight_us(request["date"], old, self._clock.now_us())
        key = ("subject", self._vault.identity(old.device) or old.device)  # however it was named

        def make() -> Made[dict[str, str]]:
            return self._made(old, new, holder, at_us)

        return await self._commands.once(key, (new, holder, at_us), make, self._seen)

    def _made(
        self, old: DeviceInfo, new: str | None, holder: str, at_us: int
    ) -> Made[dict[str, str]]:
        epochs = [one for one in self._vault.who(old.device) if one.pseudonym == old.device]
        if not epochs:
            raise Rejected("name-unknown", "the vault does not know this device", field="meter")
        (epoch,) = epochs
        identity = epoch.identity
        former: DeviceInfo | None = old  # of the meter that goes on
        if new is not None:
            identity, holder = identity_of(new), epoch.holder
            if identity == epoch.identity:
                raise Rejected("identity-invalid", "that is the same meter", field="new")
            former = self._newest(identity)
        check_move(self._registry, old, former, at_us)
        if former is not None and former.state != "active":
            text = f"{former.device} is revoked: `gridseal device restore` takes it back first"
            raise Rejected("device-revoked", text, field="meter" if new is None else "new")
        begins = self._vault.begin(identity, holder)
        command: Command = {
            "command": "move",
            "ends": old.device,
            "begins": begins,
            "follows": "" if former is None else former.device,
            "at": rfc3339(at_us),
        }
        return command, {"ends": old.device, "begins": begins, "at": rfc3339(at_us)}

    def _seen(self, command: Command) -> Seen:
        begun = self._registry.device(Pseudonym(command["begins"]))
        return Seen.NOTHING if begun is None else Seen.IN_FORCE

    async def _hold(self, request: dict[str, Any]) -> dict[str, str]:
        """Say whose the present epoch is; nothing else changes."""
        info = self._current(request["meter"])
        self._vault.hold(info.device, _text("holder", request["holder"], HOLDER_MAX))
        return {"device": info.device}

    def _current(self, asked: str) -> DeviceInfo:
        """The newest epoch in force of an identity, or the one of a pseudonym."""
        found = self._registry.device(Pseudonym(asked))
        if found is not None:
            return found
        found = self._newest(identity_of(asked))
        if found is None:
            text = "no device has this identity or pseudonym"
            raise Rejected("name-unknown", text, field="meter")
        return found

    def _newest(self, identity: Identity) -> DeviceInfo | None:
        """The newest epoch in force of an identity."""
        epochs = map(self._registry.device, self._vault.epochs(identity))
        return next((info for info in epochs if info is not None), None)

    # -- look-ups ---------------------------------------------------------------------------

    async def _show(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The epochs of a pseudonym, an identity or a holder; after the record of who asked.

        Raises Rejected("purpose-missing") where no reason is given, and where nobody is known so.
        """
        why = _text("why", request["why"], TEXT_MAX)
        if not why:
            raise Rejected("purpose-missing", "say why: --why TEXT; it is recorded", field="why")
        found = self._vault.who(request["who"]) or self._by_name(request["who"])
        known = [one for one in found if self._registry.device(one.pseudonym) is not None]
        if not known:
            text = "no device has this pseudonym, identity or holder"
            raise Rejected("name-unknown", text, field="who")
        by = _text("by", request["by"], TEXT_MAX)
        purpose = "export" if request.get("export") else "show"
        await self._look_up([str(one.pseudonym) for one in known], by, purpose, why)
        return [self._epoch_json(one) for one in known]

    async def named(self, devices: Sequence[str], by: str, why: str) -> dict[str, Identity | None]:
        """The identities of devices, of erased ones None; behind the records of who asked."""
        by, why = _text("by", by, TEXT_MAX), _text("why", why, TEXT_MAX)
        for at in range(0, len(devices), NAMES_MAX):
            await self._look_up(list(devices[at : at + NAMES_MAX]), by, "list", why)
        names = (Pseudonym(name) for name in devices)
        return await to_thread(lambda: {name: self._vault.identity(name) for name in names})

    async def _recorded(self, devices: list[str], why: str) -> None:
        """A look-up of names for asking their sources again."""
        await self._look_up(devices, "rerequest", "rerequest", why)

    async def _look_up(self, devices: list[str], by: str, purpose: str, why: str) -> None:
        """Record of each of them who asks; of who was erased there is nobody to be named."""
        devices = await to_thread(self._with_names, devices)
        if not devices:
            return
        command: Command = {
            "command": "lookup",
            "by": by,
            "devices": devices,
            "purpose": purpose,
            "time": rfc3339(self._clock.now_us()),
            "why": why,
        }
        key = ("lookup", devices[0])
        # Nothing shows whether one came; given again it is recorded twice, which does no harm.
        asked = (by, why, purpose, devices)
        await self._commands.once(key, asked, lambda: (command, None), lambda _: Seen.OVER)

    def _with_names(self, devices: Sequence[str]) -> list[str]:
        return [one for one in devices if self._vault.identity(Pseudonym(one)) is not None]

    def _by_name(self, asked: str) -> list[Epoch]:
        try:
            return self._vault.who(identity_of(asked))
        except Rejected:
            return []

    def _epoch_json(self, epoch: Epoch) -> dict[str, Any]:
        info = self._registry.device(epoch.pseudonym)
        assert info is not None
        return {
            "identity": epoch.identity,
            "device": epoch.pseudonym,
            "holder": epoch.holder,
            "group": info.group,
            "zone": info.zone,
            "kind": info.kind,
            "state": info.state,
            "since": rfc3339(info.since_us) if info.since_us else "",
            "until": rfc3339(info.until_us) if info.until_us else "",
            "key_years": [str(year) for year in epoch.key_years],
        }

    # -- all about a subject ----------------------------------------------------------------

    async def _page(self, request: dict[str, Any]) -> dict[str, Any]:
        """Some records of one pseudonym, every version, each with its receipt.

        Of the kind that is asked for; None: of all that a device measures or says.
        """
        return await to_thread(self._records, request)

    def _records(self, request: dict[str, Any]) -> dict[str, Any]:
        size = int(request["size"]) or self._services.stored_size()
        after = request["after"]
        page = self._services.readings(
            ReadingsQuery(
                groups=None,
                device=request["device"],
                kind=request["kind"],
                of_platform=request["kind"] in OF_PLATFORM,
                as_of_size=size,
                versions="all",
                after=None if after is None else tuple(after),
                limit=PAGE_ITEMS,
            )
        )
        items = [
            {
                "index": str(row.index),
                "kind": row.kind,
                "record": row.certified.decode(),
                "receipt": self._services.receipt(row.index),
            }
            for row in page.rows
        ]
        return {"items": items, "after": page.after and list(page.after), "size": size}

    async def _days(self, request: dict[str, Any]) -> list[tuple[str, str]]:
        """Dates and registers of which there are device-days of one pseudonym."""
        return await to_thread(self._dates, self._device(request["device"]))

    def _dates(self, info: DeviceInfo) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        query = ReadingsQuery(
            groups=None,
            device=info.device,
            kind=DEVICE_DAY,
            as_of_size=self._services.stored_size(),
            limit=PAGE_ITEMS,
        )
        while True:
            page = self._services.readings(query)
            for row in page.rows:
                found[date_at(row.begin_us, info.zone).isoformat(), row.register] = None
            if page.after is None:
                return list(found)
            query = replace(query, after=page.after)

    async def _day(self, request: dict[str, Any]) -> str:
        """The device-day of one date and register, with the proof of it, as REST gives it."""
        info = self._device(request["device"])
        asked = parse_request(request["date"], f"register={request['register']}".encode())
        return (await to_thread(self._services.device_day, info, asked)).decode()

    def _device(self, pseudonym: str) -> DeviceInfo:
        info = self._registry.device(Pseudonym(pseudonym))
        if info is None:
            raise Rejected("name-unknown", "no device has this pseudonym", field="device")
        return info


def _midnight_us(text: str, info: DeviceInfo, now_us: int) -> int:
    """When a date begins at the metering point: moves and exchanges count from midnight on."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise Rejected("parameter-invalid", "not a date YYYY-MM-DD", field="date")
    if day > date_at(now_us, info.zone) + timedelta(days=AHEAD_DAYS_MAX):
        # Nothing takes it back: the next epoch begins later than the last one.
        text = f"an epoch begins at most {AHEAD_DAYS_MAX} days ahead"
        raise Rejected("parameter-invalid", text, field="date")
    return local_day(day, info.zone)[0]


def _text(field: str, text: str, length_max: int) -> str:
    if len(text) > length_max or not text.isprintable():
        raise Rejected(
            "parameter-invalid", f"at most {length_max} printable characters", field=field
        )
    return text.strip()
