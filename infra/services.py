"""What the gateways, REST and MQTT, ask of the platform."""

import asyncio
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from joserfc.jwk import ECKey, KeySet

from bal.collect.guard import Limits, guard
from bal.errors import Rejected, Unavailable
from bal.found import FindingsQuery, StoredFinding
from bal.model import DeviceInfo, Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord, TreeHead
from bal.ports import CustomerDb
from bal.provide.device_days import DayRequest
from bal.provide.policy import ClientInfo
from bal.registry import Registry
from infra.day_proofs import DayProofs
from infra.file_log import FileLog
from infra.files import write_new
from infra.http_lanes import Lane, LaneLimits
from infra.http_services import Submitted
from infra.intake_writer import Accepted, IntakeWriter
from infra.notifier import Notifier, certified_summary
from infra.receipts import Receipts
from infra.sqlite_archive import SqliteArchive
from infra.turned_away import TurnedAway
from infra.turns import Turns

SUBMIT_S = 2.5  # for the bus to take what came by REST, before the caller is asked to come again
GUARD_INLINE_BYTES = 16_384  # a larger message is checked in a thread, not on the event loop
COMMAND_S = 30  # for a command of the operator to come into force; less than he waits
COMMAND_AGAIN_S = 1
NO_ANSWER = "the bus does not answer; send it again"


class Sight(Protocol):
    """How far the platform is, as this process sees it."""

    @property
    def published(self) -> TreeHead | None:
        """The newest published head."""
        ...

    @property
    def stored_size(self) -> int:
        """Rows below it are in the customer database."""
        ...

    @property
    def visible_size(self) -> int:
        """Entries below it are published and stored."""
        ...


class Readable(Protocol):
    """The stores that are read for senders and callers; infra/stores.py."""

    @property
    def registry(self) -> Registry:
        """As far as this process knows it."""
        ...

    @property
    def archive(self) -> SqliteArchive:
        """Raw messages and what became of them."""
        ...

    @property
    def customer_db(self) -> CustomerDb:
        """Rows."""
        ...

    @property
    def log(self) -> FileLog:
        """Tiles and checkpoints."""
        ...

    def receipts(self) -> Receipts:
        """Receipts over these stores."""
        ...

    def day_proofs(self) -> DayProofs:
        """Proofs of devices' days over these stores."""
        ...


class PlatformServices:
    """One object for both gateways; the composition root makes it."""

    def __init__(
        self,
        *,
        stores: Readable,
        writer: IntakeWriter,
        sight: Sight,
        backlog: Callable[[], int],
        notifier: Notifier,
        limits: Limits,
        backlog_max: int,
        keys: KeySet,
        rpc: Callable[[bytes], bytes],
        health: Callable[[], dict[str, str]],
        metrics: Callable[[], str],
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        """backlog: messages that are on the bus and not worked on yet; Unavailable above its limit.

        on_refused: told of the code of each message that the bus never sees.
        """
        self._stores, self._writer, self._sight, self._backlog = stores, writer, sight, backlog
        self._notifier, self._limits, self._backlog_max = notifier, limits, backlog_max
        self._keys, self._rpc, self._health, self._metrics = keys, rpc, health, metrics
        self._on_refused = on_refused
        self._turned_away = TurnedAway(
            lambda: stores.archive, lambda: stores.registry, lambda: sight.visible_size, _now_us
        )
        self._turns = Turns()
        # A slow database has these threads only, not those of the guard.
        self._summaries = Lane("certified messages", LaneLimits(threads_max=4, waiting_max=512))
        self._receipts = stores.receipts()
        self._day_proofs = stores.day_proofs()
        self.issuer = ""

    # -- intake -----------------------------------------------------------------------------

    async def authenticate(self, name: str, certificate_sha256: str, password: bytes) -> bool:
        """Whether certificate and password are those of the active sender `name`."""
        sender = self._stores.registry.senders.get(name)
        if sender is None or sender.state != "active" or not sender.certificate_sha256:
            return False
        given = sha256(password).hexdigest()
        return hmac.compare_digest(given, sender.password_sha256) and hmac.compare_digest(
            certificate_sha256, sender.certificate_sha256
        )

    async def accept(self, credential: str, form: str, raw: bytes) -> str:
        """Guard a message and put it on the bus; its accepted receipt as JSON text.

        Raises Rejected (the guard's refusal, or a revoked sender) and Unavailable.
        """
        return (await self._accept(credential, form, raw)).as_json()

    async def submit(self, credential: str, form: str, raw: bytes) -> Submitted:
        """As `accept`, for the REST gateway; Unavailable where the bus has no answer in SUBMIT_S.

        Then it may be taken all the same: sent again it is the same message.
        """
        accepted = await self._accept(credential, form, raw, SUBMIT_S)
        return Submitted(accepted.message, accepted.as_json())

    async def command(self, credential: str, form: str, raw: bytes) -> None:
        """Put a command of the platform's own on the bus; return once it is in force.

        Raises Rejected where the worker could not carry it out, Unavailable where the bus was not
        given it, TimeoutError where nobody knows by then: it may come into force later, and the
        same bytes again are the same command.
        """
        message = sha256(raw).hexdigest()
        waiting = self._notifier.wait(credential, message)
        try:
            async with asyncio.timeout(COMMAND_S):
                await self._put_command(credential, form, raw)
                summary = await waiting
        finally:
            self._notifier.forget(credential, message, waiting)
        for refused in summary["refused"]:
            raise Rejected(refused["code"], refused["text"], field=refused["field"])

    async def _put_command(self, credential: str, form: str, raw: bytes) -> None:
        """Until the bus has it, or until it is given up; it may have it without having said so."""
        durable = self._writer.submit(credential, form, raw)
        while True:
            try:
                await asyncio.wrap_future(durable)
            except Unavailable as error:
                await asyncio.sleep(min(error.retry_after_s, COMMAND_AGAIN_S))
            else:
                return
            with suppress(Unavailable):
                durable = self._writer.submit(credential, form, raw)

    async def _accept(
        self, credential: str, form: str, raw: bytes, within_s: float | None = None
    ) -> Accepted:
        try:
            return await self._taken(credential, form, raw, within_s)
        except Rejected as error:
            self._on_refused(error.code)
            self._turned_away.note(credential, form, error)
            raise
        except Unavailable:
            self._on_refused("unavailable")
            raise

    async def _taken(
        self, credential: str, form: str, raw: bytes, within_s: float | None
    ) -> Accepted:
        sender = self._stores.registry.senders.get(credential)
        if sender is None or sender.state != "active":
            raise Rejected("sender-revoked", "this credential may not send")
        large = len(raw) > GUARD_INLINE_BYTES
        if large or credential in self._turns:
            # A correction must not overtake what it corrects: of two versions the later one counts.
            async with self._turns.of(credential) as earlier:
                look = partial(guard, raw, form, self._limits)
                await asyncio.to_thread(look) if large else look()
                await earlier()
                durable = self._put(credential, form, raw, within_s)
        else:
            guard(raw, form, self._limits)
            durable = self._put(credential, form, raw, within_s)
        try:
            return await asyncio.wait_for(durable, within_s)
        except TimeoutError:
            raise Unavailable(NO_ANSWER, retry_after_s=5) from None

    def _put(
        self, credential: str, form: str, raw: bytes, within_s: float | None
    ) -> "asyncio.Future[Accepted]":
        if self._backlog() > self._backlog_max:
            raise Unavailable("more is waiting than the platform has worked on", retry_after_s=5)
        if within_s is not None and self._writer.waited_s > within_s:
            raise Unavailable(NO_ANSWER, retry_after_s=5)  # what came before is sent again, too
        durable: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._writer.put(credential, form, raw, durable)
        return durable

    async def certified(
        self, credential: str, message: str, timeout_s: float
    ) -> Mapping[str, object] | None:
        """The certified summary of a message, waited for; None when there is none by then."""
        waiting = self._notifier.wait(credential, message)
        try:
            digest = bytes.fromhex(message)
            kept = await self._summaries.run(
                credential, lambda: self._stores.archive.summary(credential, digest)
            )
            found: Mapping[str, Any] | None = json.loads(kept) if kept else None
            last = found["first_index"] + found["count"] if found else 0
            if found is None or last > self._sight.visible_size:
                found = await asyncio.wait_for(waiting, timeout_s)
        except TimeoutError:
            return None
        finally:
            self._notifier.forget(credential, message, waiting)
        full = await self._summaries.run(credential, lambda: self._summary(message, found))
        return full | {"type": "certified" if found["good"] else "refused"}

    def _summary(self, message: str, found: Mapping[str, Any]) -> dict[str, Any]:
        published = self._stores.log.checkpoint()
        assert published is not None
        return certified_summary(message, found, self._receipts, published)

    # -- reading ----------------------------------------------------------------------------

    def client(self, client_id: str) -> ClientInfo | None:
        """The client as the registry has it at this moment."""
        return client_of(self._stores.registry, client_id)

    def token_keys(self) -> KeySet:
        """The keys that sign access tokens, newest first."""
        return self._keys

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """Rows that are published and stored."""
        return self._stores.customer_db.readings(query)

    def record(self, index: int) -> StoredRecord | None:
        """One row."""
        return self._stores.customer_db.record(index)

    def devices(self, groups: frozenset[str] | None) -> list[DeviceInfo]:
        """Devices of these groups; None: of all."""
        return self._stores.registry.devices(groups)

    def device(self, pseudonym: str) -> DeviceInfo | None:
        """The device of that pseudonym."""
        return self._stores.registry.device(Pseudonym(pseudonym))

    def registers(self) -> Mapping[Pseudonym, Sequence[str]]:
        """By device those of the newest date that was closed."""
        return self._day_proofs.registers()

    def findings(self, query: FindingsQuery) -> list[StoredFinding]:
        """What was refused or doubtful of messages."""
        return self._stores.archive.findings(query)

    def message_of(self, epoch: str, partition: int, offset: int) -> str:
        """The hash of a message, of its bytes: whose key is gone has none any more."""
        message = self._stores.archive.raw(epoch, partition, offset)
        return "" if message is None else sha256(message.raw).hexdigest()

    def published_size(self) -> int:
        """Size of the checkpoint that is served."""
        published = self._sight.published
        return published.size if published else 0

    def stored_size(self) -> int:
        """Rows below it are in the database."""
        return self._sight.stored_size

    def size_at(self, instant_us: int) -> int:
        """The largest size published by an instant."""
        return self._stores.log.size_at(instant_us)

    def states_of(self, indexes: Sequence[int]) -> list[str]:
        """included, anchored or final, of each entry."""
        return self._receipts.states_of(indexes)

    def receipt(self, index: int, frame: int | None = None) -> str:
        """The best receipt of an entry, or of a frame of its window; KeyError for none."""
        return self._receipts.receipt(index, frame)

    def device_day(self, info: DeviceInfo, asked: DayRequest) -> bytes:
        """The document that proves a device's day."""
        return self._day_proofs.document(info, asked)

    def tile(self, level: int, n: int, width: int) -> bytes:
        """Hashes of a tile; KeyError where there are fewer."""
        return self._stores.log.tile(level, n, width)

    def bundle(self, n: int, width: int) -> bytes:
        """Entries of a bundle; KeyError where there are fewer."""
        return self._stores.log.bundle(n, width)

    def checkpoint(self) -> bytes | None:
        """The newest published checkpoint."""
        published = self._stores.log.checkpoint()
        return published[1] if published else None

    def rpc(self, body: bytes) -> bytes:
        """Answer a JSON-RPC request to the chain."""
        return self._rpc(body)

    def health(self) -> dict[str, str]:
        """For each part `ok` or what is wrong."""
        return self._health()

    def metrics(self) -> str:
        """Prometheus text."""
        return self._metrics()


def _now_us() -> int:
    return time.time_ns() // 1_000


def client_of(registry: Registry, client_id: str) -> ClientInfo | None:
    """A client as a registry has it."""
    found = registry.clients.get(client_id)
    if found is None:
        return None
    state: Any = found.state
    secret = bytes.fromhex(found.secret_sha256)
    return ClientInfo(found.client_id, secret, found.scopes, found.groups, state)


def load_token_keys(path: Path) -> KeySet:
    """The ES256 keys of the token endpoint, made at the first start (0600)."""
    if not path.exists():
        key = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig"}, auto_kid=True)
        write_new(path, json.dumps({"keys": [key.as_dict(private=True)]}).encode())
    return KeySet.import_key_set(json.loads(path.read_text()))
