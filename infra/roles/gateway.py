"""The role `gateway`: REST and its tokens, any number of processes, each on an address of its own.

Behind one name they share an issuer and the keys in the data folder, so each takes the others'
tokens. What a client may do is as its process knows the registry: a moment late at most.
"""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bal.provide.dataset import DatasetFacts
from infra.addresses import host_in_url
from infra.certificates import issue_server, load_ca
from infra.files import write_new
from infra.http_api import create_app
from infra.http_gateway import Gateway, Limits
from infra.http_server import HttpServer, listen
from infra.metrics import Metrics
from infra.roles.front import Front
from infra.roles.making import note_ready
from infra.roles.role import Process
from infra.rpc_url import shown

ROLE = "gateway"


class GatewayRole:
    """Role (infra/roles/role.py)."""

    def __init__(self, process: Process, http: tuple[str, int], issuer: str) -> None:
        """issuer: the URL that clients reach all gateways by; "": the address of this one."""
        self._process, self._http_at, self._issuer = process, http, issuer
        self._front: Front | None = None
        self._server: HttpServer | None = None
        self._gateway: Gateway | None = None
        self._metrics = Metrics()  # until there are some

    @property
    def metrics(self) -> Metrics:
        """What this process counts and measures."""
        return self._front.metrics if self._front is not None else self._metrics

    async def start(self) -> dict[str, Any]:
        """Listen. Raises Stop, Unavailable."""
        made, loop = self._process.made, asyncio.get_running_loop()
        listener = listen(self._http_at)
        try:
            front = await asyncio.to_thread(Front, ROLE, self._process, loop, self._revoked)
            self._front = front
            host, port = host_in_url(self._http_at[0]), listener.getsockname()[1]
            front.services.issuer = self._issuer or f"https://{host}:{port}"
            told = made.config.dataset
            app = create_app(
                front.services,
                limits=Limits(message_bytes_max=made.config.limits.message_bytes),
                dataset=DatasetFacts(told.title, told.licence, told.publisher),
            )
            self._gateway = app.state.gateway
            await asyncio.to_thread(front.start, tuple, lambda _, __: None)
            named = urlsplit(self._issuer).hostname
            hosts = [self._http_at[0], *([named] if named else [])]
            certificate, key = server_files(self._process, hosts)
            try:
                self._server = HttpServer(app, certificate, key)
                await self._server.start(listener)
            finally:
                certificate.unlink()
                key.unlink()
        except BaseException:
            listener.close()
            raise
        url = front.services.issuer
        rpc = shown(made.config.anchor.rpc_url) or f"{url}/rpc"
        note_ready(made.folder, http=url, rpc=rpc, depth=made.config.anchor.depth)
        return {"http": f"https://{host}:{port}", "issuer": url, "rpc": rpc}

    async def stop(self) -> None:
        """Answer what was begun, then end."""
        if self._front is None:
            return
        self._front.refuse("this gateway is stopping")
        await asyncio.to_thread(self._front.drain)
        if self._server is not None:
            await self._server.stop()
        await asyncio.to_thread(self._front.stop)

    def ready(self) -> Mapping[str, str]:
        """For each part `ok` or what is wrong."""
        return self._front.health() if self._front is not None else {"http": "it is starting"}

    def _revoked(self, kind: str, name: str) -> None:
        if kind == "grant" and self._gateway is not None:
            self._gateway.end(name)


def server_files(process: Process, hosts: list[str]) -> tuple[Path, Path]:
    """A certificate of the platform's CA for this process alone, and its key; to be removed."""
    keys = process.made.folder.keys
    certificate, key = issue_server(load_ca(keys), hosts, process.clock)
    name = secrets.token_hex(8)
    paths = keys / f"server-{name}.crt", keys / f"server-{name}.key"
    for path, data in zip(paths, (certificate, key), strict=True):
        write_new(path, data)
    return paths
