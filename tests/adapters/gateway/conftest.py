"""A platform held in memory, and a client that checks every answer against the OpenAPI document."""

import asyncio
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, KeySet
from jsonschema import Draft202012Validator

from bal import jcs
from bal.certify.tree import leaf_hash, tree_head
from bal.found import FindingsQuery, StoredFinding
from bal.model import (
    TYPE_RECORD,
    DeviceInfo,
    Pseudonym,
    Rank,
    ReadingsPage,
    ReadingsQuery,
    StoredRecord,
)
from bal.provide.device_days import DayRequest
from bal.provide.policy import SCOPES, ClientInfo, group_of
from bal.times import rfc3339
from infra.http_api import Limits, Submitted, create_app
from infra.oauth_token import issue
from infra.sqlite_archive import SqliteArchive

ISSUER = "https://localhost:8443"
NOW_S = 1_768_471_200  # 2026-01-15T10:00:00Z
SECRET = "b2f7c7d6c1d84d4fa7a1f6a1b6f9b6ce"
QUARTER_US = 900_000_000


def token_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": kid})


def pseudonym(name: str) -> Pseudonym:
    digest = sha256(name.encode()).digest()
    return Pseudonym(urlsafe_b64encode(digest).rstrip(b"=").decode())


@dataclass
class Platform:
    """`Services` over lists: enough of a platform to be read, small enough to be looked through."""

    issuer: str = ISSUER
    clients: dict[str, ClientInfo] = field(default_factory=dict)
    keys: KeySet = field(default_factory=lambda: KeySet([token_key("k1")]))
    rows: list[StoredRecord] = field(default_factory=list)  # entry i is row i
    known: list[DeviceInfo] = field(default_factory=list)
    published: int = 0
    stored: int = 10**9
    sizes: list[tuple[int, int]] = field(default_factory=list)  # (instant_us, size)
    taken: dict[tuple[str, str], bytes] = field(default_factory=dict)
    verdicts: dict[str, Any] = field(default_factory=dict)  # raw text → summary or exception
    well: dict[str, str] = field(default_factory=lambda: {"bus": "ok", "log": "ok"})
    days: dict[str, bytes | Exception] = field(default_factory=dict)  # by device
    calls: list[str] = field(default_factory=list)
    archive: SqliteArchive | None = None  # with the list of findings
    erased: set[int] = field(default_factory=set)  # offsets

    def client(self, client_id: str) -> ClientInfo | None:
        return self.clients.get(client_id)

    def token_keys(self) -> KeySet:
        return self.keys

    async def submit(self, credential: str, form: str, raw: bytes) -> Submitted:
        verdict = self.verdicts.get(raw.decode("utf-8", "replace"))
        if isinstance(verdict, Exception):
            raise verdict
        message = sha256(raw).hexdigest()
        self.taken[credential, message] = raw
        return Submitted(
            message, json.dumps({"type": "accepted", "message": message, "note": "n\n"})
        )

    async def certified(
        self, credential: str, message: str, timeout_s: float
    ) -> Mapping[str, object] | None:
        raw = self.taken.get((credential, message))
        return None if raw is None else self.verdicts.get(raw.decode(), summary(message))

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        found = [r for r in self.rows if r.index < query.as_of_size and _asked_for(query, r)]
        if query.versions == "latest":
            best: dict[Any, StoredRecord] = {}
            for row in sorted(found, key=lambda r: (r.rank, r.index)):
                best[row.device, row.kind, row.register, row.begin_us, row.end_us] = row
            found = list(best.values())
        found.sort(key=_place)
        if query.after is not None:
            found = [row for row in found if _place(row) > list(query.after)]
        page = found[: query.limit]
        return ReadingsPage(page, _place(page[-1]) if len(found) > len(page) else None)

    def record(self, index: int) -> StoredRecord | None:
        return self.rows[index] if index < len(self.rows) else None

    def devices(self, groups: frozenset[str] | None) -> list[DeviceInfo]:
        return [d for d in self.known if groups is None or d.group in groups]

    def device(self, pseudonym: str) -> DeviceInfo | None:
        return next((d for d in self.known if d.device == pseudonym), None)

    def registers(self) -> dict[Pseudonym, list[str]]:
        return {row.device: [row.register] for row in self.rows}

    def findings(self, query: FindingsQuery) -> list[StoredFinding]:
        return [] if self.archive is None else self.archive.findings(query)

    def message_of(self, epoch: str, partition: int, offset: int) -> str:
        return "" if offset in self.erased else sha256(b"message %d" % offset).hexdigest()

    def published_size(self) -> int:
        return self.published

    def stored_size(self) -> int:
        return self.stored

    def size_at(self, instant_us: int) -> int:
        return max((size for at, size in self.sizes if at <= instant_us), default=0)

    def states_of(self, indexes: Sequence[int]) -> list[str]:
        return [("included", "anchored", "final")[index % 3] for index in indexes]

    def receipt(self, index: int, frame: int | None = None) -> str:
        if self.rows[index].kind == "telemetry" or frame is not None:
            raise KeyError(index)
        return f"c2sp.org/tlog-proof@v1\nindex {index}\n"

    def device_day(self, info: DeviceInfo, asked: DayRequest) -> bytes:
        answer = self.days[info.device]
        if isinstance(answer, Exception):
            raise answer
        self.calls.append(f"{asked.date} {asked.register} {asked.close}")
        return answer

    def entries(self) -> list[bytes]:
        return [sha256(row.record).digest() for row in self.rows]

    def tile(self, level: int, n: int, width: int) -> bytes:
        step = 256**level
        starts = range(n * 256 * step, (n * 256 + width) * step, step)
        leaves = [leaf_hash(entry) for entry in self.entries()]
        if starts[-1] + step > len(leaves):
            raise KeyError((level, n, width))
        return b"".join(tree_head(leaves[start : start + step]).root for start in starts)

    def bundle(self, n: int, width: int) -> bytes:
        entries = self.entries()[n * 256 : n * 256 + width]
        if len(entries) < width:
            raise KeyError((n, width))
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)

    def checkpoint(self) -> bytes | None:
        return f"gridseal.invalid/test\n{self.published}\n".encode() if self.published else None

    def rpc(self, body: bytes) -> bytes:
        return b'{"jsonrpc":"2.0","id":1,"result":"0x1"}' if b"id" in body else b""

    def health(self) -> dict[str, str]:
        return self.well

    def metrics(self) -> str:
        return "gridseal_published_size 1\n"

    # -- filling it

    def add(self, group: str, name: str, slot: int, value: str, **more: Any) -> StoredRecord:
        end_us = NOW_S * 1_000_000 + slot * QUARTER_US
        device, kind = pseudonym(name), more.pop("kind", "reading")
        rank = more.pop("rank", Rank.MEASURED)
        record = {
            "begin": rfc3339(end_us - QUARTER_US),
            "device": device,
            "end": rfc3339(end_us),
            "hasResult": {"hasValue": value, "id": "#value"},
            "id": "",
            "kind": kind,
            "register": "0.0.2",
            "unit": "Wh",
            "v": "1",
            "value": value,
            **more,
        }
        row = StoredRecord(
            index=len(self.rows),
            shard=f"{group}/0",
            device=device,
            kind=kind,
            register="0.0.2",
            begin_us=end_us - QUARTER_US,
            end_us=end_us,
            rank=rank,
            type=TYPE_RECORD,
            year=2026,
            record=jcs.encode(record),
        )
        self.rows.append(row)
        self.published = len(self.rows)
        if all(d.device != device for d in self.known):
            zone = "Europe/Berlin"
            info = DeviceInfo(device, group, f"{group}/0", zone, "meter", name, "active")
            self.known.append(info)
        return row

    def enrol(self, client_id: str, scopes: str, groups: str | None) -> ClientInfo:
        info = ClientInfo(
            client_id,
            sha256(SECRET.encode()).digest(),
            frozenset(scopes.split()),
            None if groups is None else frozenset(groups.split()),
        )
        self.clients[client_id] = info
        return info

    def revoke(self, client_id: str) -> None:
        self.clients[client_id] = replace(self.clients[client_id], state="revoked")


def _asked_for(query: ReadingsQuery, row: StoredRecord) -> bool:
    return (
        (query.groups is None or group_of(row.shard) in query.groups)
        and query.device in (None, row.device)
        and query.kind in (None, row.kind)
        and query.register in (None, row.register)
        and (query.from_us is None or query.from_us <= row.end_us)
        and (query.to_us is None or row.end_us < query.to_us)
    )


def _place(row: StoredRecord) -> list[object]:
    return [row.end_us, row.device, row.kind, row.register, row.begin_us, row.index]


def summary(message: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "certified",
        "message": message,
        "batch": "0123456789abcdef/0/0",
        "first_index": 0,
        "count": 1,
        "checkpoint": "gridseal.invalid/test\n1\n",
        "findings": [],
        "refused": [],
        **more,
    }


class Api:
    """Requests to the gateway; each answer must be one that the OpenAPI document promises."""

    def __init__(self, platform: Platform, limits: Limits | None = None) -> None:
        self.platform = platform
        self.now_s = NOW_S
        self.app = create_app(platform, limits=limits, now_s=lambda: self.now_s)
        self.document = self.app.openapi()
        self.runner = asyncio.Runner()

    def __call__(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Any = (),
        content: Any = None,
        peer: str = "127.0.0.1",
    ) -> httpx.Response:
        fields = [*(headers.items() if isinstance(headers, dict) else headers)]
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        return self.runner.run(self.send(method, path, fields, content, peer))

    async def send(
        self, method: str, path: str, fields: Any = (), content: Any = None, peer: str = "::1"
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(peer, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            response = await client.request(method, path, headers=fields, content=content)
        self.check(response)
        return response

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self("GET", path, **more)

    def post(self, path: str, content: Any, **more: Any) -> httpx.Response:
        return self("POST", path, content=content, **more)

    def token(self, client_id: str, scope: str | None = None) -> str:
        scopes = " ".join(sorted(self.platform.clients[client_id].scopes))
        keys, issuer = self.platform.keys, self.platform.issuer
        return issue(keys, issuer, client_id, scopes if scope is None else scope, self.now_s)

    def check(self, response: httpx.Response) -> None:
        """Status, media type and shape are as documented; no refusal is anything but a problem."""
        described = self._operation(response.request)
        media = response.headers.get("content-type", "").partition(";")[0]
        if response.request.url.path == "/openapi.json":
            assert response.json() == self.document
            return
        if described is None:
            assert response.status_code in (404, 405, 414, 431), response
            assert media == "application/problem+json" or response.request.method == "HEAD"
            return
        promised = described["responses"].get(str(response.status_code))
        assert promised is not None, f"{response} {response.text[:300]}"
        if response.request.method == "HEAD" or response.status_code == 204:
            assert response.content == b""
            return
        schema = promised["content"][media]["schema"]
        if media.endswith("json"):
            whole = {"components": self.document["components"], **schema}
            Draft202012Validator(whole).validate(response.json())
        if response.status_code >= 400 and media == "application/problem+json":
            assert response.json()["status"] == response.status_code
            assert "cache-control" in response.headers

    def _operation(self, request: httpx.Request) -> Any:
        path = request.url.path
        method = "get" if request.method == "HEAD" else request.method.lower()
        for pattern, operations in self.document["paths"].items():
            named = re.sub(r"\\\{path\\\}", ".+", re.escape(pattern))
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", named), path):
                return operations.get(method)
        return None


def filled() -> Platform:
    """Two groups of two meters with four quarter-hours each, and clients of several rights."""
    found = Platform()
    for slot in range(4):
        for group in ("north", "south"):
            for n in (1, 2):
                found.add(group, f"{group}-{n}", slot, str(100 * n + slot))
    found.sizes = [((NOW_S + second) * 1_000_000, 4 * second + 4) for second in range(4)]
    found.enrol("all", " ".join(SCOPES), None)
    found.enrol("north", "readings.read devices.read", "north")
    found.enrol("nothing", "readings.read devices.read", "")
    found.enrol("sender", "messages.write", "")
    return found


@pytest.fixture
def platform() -> Platform:
    return filled()


@pytest.fixture
def api(platform: Platform) -> Iterator[Api]:
    found = Api(platform)
    yield found
    found.runner.close()


@pytest.fixture(scope="module")
def any_api() -> Iterator[Api]:
    """For Hypothesis, which does not make a new one for each example."""
    found = Api(filled())
    yield found
    found.runner.close()


@pytest.fixture
def make_api(platform: Platform) -> Iterator[Any]:
    made: list[Api] = []

    def make(**limits: Any) -> Api:
        made.append(Api(platform, Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.runner.close()
