"""What the operator's commands do to a running platform; the control socket serves them."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from bal.errors import GridsealError, Rejected, Unavailable
from bal.model import Anchor, Close
from bal.ports import Clock
from bal.trust import as_texts, of_texts
from infra.data_folder import Facts
from infra.enrolment import Enrolment
from infra.identities import Identities
from infra.mosquitto_accounts import MosquittoAccounts
from infra.mqtt_server import MqttServer
from infra.policy_file import policy_of

DAY_CLOSE_S = 600  # a country's device-days take minutes; less than who commands it waits


class Days(Protocol):
    """Who closes days; infra/deriver.py."""

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; done once that is visible."""
        ...

    def status(self, now_us: int) -> dict[str, Any]:
        """The newest close, and what waits."""
        ...


class Chain(Protocol):
    """Who anchors; infra/anchorer.py."""

    def status(self) -> dict[str, object]:
        """How far it is."""
        ...

    def anchor_now(self) -> Anchor | None:
        """Anchor the newest checkpoint; None for an empty log."""
        ...


class BrokerSide(Protocol):
    """A broker that is collected from; infra/mosquitto_intake.py."""

    @property
    def url(self) -> str:
        """Where devices find it."""
        ...

    def disconnect(self, credential: str) -> int:
        """Send a revoked credential no more receipts; how many sessions were closed."""
        ...


class Operator:
    """Runs on the platform's event loop."""

    def __init__(
        self,
        *,
        ready: Mapping[str, Any],
        facts: Facts,
        ca: Path,
        depth: int,
        enrolment: Enrolment,
        identities: Identities,
        mqtt: MqttServer,
        broker: BrokerSide | None,
        accounts: MosquittoAccounts | None,
        deriver: Days,
        anchorer: Chain,
        end_requests: Callable[[str], int],
        visible_size: Callable[[], int],
        settle: Callable[[], object],
        clock: Clock,
        health: Callable[[], dict[str, str]],
    ) -> None:
        """ready: what `gridseal up` prints; depth: blocks on top of a head before it is final.

        broker, accounts: of a Mosquitto that is collected from, and in which senders are enrolled.
        end_requests: of a client that was revoked; how many there were. settle: note all that is
        stored, before somebody looks at the data folder.
        """
        self._ready, self._facts, self._ca, self._depth = ready, facts, ca, depth
        self._identities = identities
        self._enrolment, self._mqtt, self._end_requests = enrolment, mqtt, end_requests
        self._broker, self._accounts = broker, accounts
        self._deriver, self._anchorer = deriver, anchorer
        self._visible_size, self._settle_all = visible_size, settle
        self._clock, self._health = clock, health

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """By the name of the command."""
        return {
            "enrol": self._enrol,
            "revoke": self._revoke,
            "restore": self._restore,
            "devices": self._devices,
            "client-add": self._add_client,
            "client-list": self._clients,
            "client-revoke": self._revoke_client,
            "policy": self._policy,
            "status": self._status,
            "anchor": self._anchor_now,
            "day-close": self._close_day,
            "settle": self._settle,
            "trust-set": self._trust,
            "trust-show": self._trusted,
            **self._identities.handlers(),
        }

    async def _settle(self, _: dict[str, Any]) -> dict[str, str]:
        await asyncio.to_thread(self._settle_all)
        return {}

    async def _close_day(self, request: dict[str, Any]) -> dict[str, str]:
        asked = str(request["date"])
        try:
            day = date.fromisoformat(asked)
        except ValueError:
            day = None
        if day is None or day.isoformat() != asked:  # 2026-W03-1 is one to Python, too
            raise Rejected("parameter-invalid", "not a date YYYY-MM-DD", field="date")
        closing = self._deriver.close(day, self._clock.now_us())
        waiting = asyncio.shield(asyncio.wrap_future(closing))  # it goes on where we don't wait
        close = await asyncio.wait_for(waiting, timeout=DAY_CLOSE_S)
        return {
            "k": str(close.k),
            "date": close.date,
            "prefix": str(close.prefix),
            "index": str(close.index),
            "day_book": close.day_book.hex(),
            "book": close.book.hex(),
        }

    async def _enrol(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._accounts is not None:
            self._accounts.check(request["name"])
        made = await self._enrolment.enrol(
            request["name"],
            request["subjects"],
            request["list"],
            request["group"],
            request["zone"],
            bulk=bool(request["bulk"]),
        )
        warning = ""
        if self._accounts is not None:
            try:
                await asyncio.to_thread(self._accounts.put, {request["name"]: made.password})
            except Unavailable as error:  # the account counts once the broker reads its files
                warning = f"the broker does not know it yet: {error}"
            except (OSError, ValueError) as error:  # its password is shown now or never
                warning = f"the broker's accounts can't be changed: {error}; revoke and enrol again"
        return {
            "warning": warning,
            "certificate": made.certificate.decode(),
            "key": made.key.decode(),
            "password": made.password,
            "ca": self._ca.read_text(),
            "mqtt": self._ready["mqtt"],
            "broker": self._broker.url if self._broker else "",
        }

    async def _revoke(self, request: dict[str, Any]) -> dict[str, object]:
        sender = await self._enrolment.revoke(request["name"])
        closed = 0 if sender is None else self._mqtt.disconnect(sender)
        if sender is not None and self._broker is not None:
            closed += self._broker.disconnect(sender)
        warning = ""
        if sender is not None and self._accounts is not None:
            try:
                await asyncio.to_thread(self._accounts.remove, sender)
            except (GridsealError, OSError, ValueError) as error:  # the revocation is in force
                warning = f"its account at the broker stays until the next start: {error}"
        return {"sender": sender, "sessions_closed": closed, "warning": warning}

    async def _restore(self, request: dict[str, Any]) -> None:
        await self._enrolment.restore(request["name"])

    async def _devices(self, request: dict[str, Any]) -> list[dict[str, str | None]]:
        """All of them; with identities, behind records of the log, where a reason is given."""
        found = await asyncio.to_thread(self._enrolment.devices)
        if not str(request.get("why", "")).strip():
            return found
        named = [str(one["device"]) for one in found if one["identity"] is None]
        names = await self._identities.named(named, request["by"], request["why"])
        return [{**one, "identity": one["identity"] or names[str(one["device"])]} for one in found]

    async def _add_client(self, request: dict[str, Any]) -> dict[str, object]:
        client_id, secret = await self._enrolment.add_client(
            request["name"], request["scopes"], request["groups"], request.get("zone", "UTC")
        )
        size = self._visible_size()
        return {"client_id": client_id, "client_secret": secret, "visible_size": size}

    async def _clients(self, _: dict[str, Any]) -> list[dict[str, object]]:
        return self._enrolment.clients()

    async def _revoke_client(self, request: dict[str, Any]) -> dict[str, object]:
        client_id = await self._enrolment.revoke_client(request["name"])
        return {"client_id": client_id, "requests_ended": self._end_requests(client_id)}

    async def _trust(self, request: dict[str, Any]) -> dict[str, int]:
        wanted = of_texts(request["anchors"], request["crls"])
        now = await self._enrolment.trust(wanted.anchors, wanted.crls)
        return {"anchors": len(now.anchors), "crls": len(now.crls)}

    async def _trusted(self, _: dict[str, Any]) -> dict[str, list[str]]:
        now = self._enrolment.trusted()
        return {"anchors": as_texts(now.anchors), "crls": as_texts(now.crls)}

    async def _policy(self, _: dict[str, Any]) -> str:
        return policy_of(self._facts, self._ready["http"], self._ready["rpc"], self._depth)

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        days = await asyncio.to_thread(self._deriver.status, self._clock.now_us())
        health, anchor = self._health(), self._anchorer.status()
        return {**self._ready, "anchor": anchor, "days": days, "health": health}

    async def _anchor_now(self, _: dict[str, Any]) -> dict[str, str] | None:
        anchor = await asyncio.to_thread(self._anchorer.anchor_now)
        return anchor.as_json() if anchor else None
