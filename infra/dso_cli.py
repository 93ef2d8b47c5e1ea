"""`gridseal dso-server` and `gridseal dso-client`: the DSO Data Server (docs/dso-server.md)."""

import argparse
import asyncio
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bal.errors import GridsealError, Rejected, Stop, Unavailable
from infra import log_output
from infra.addresses import address, host_in_url

log = logging.getLogger("gridseal.dso")

REFUSED_S = 30  # before a platform that refused is asked again
_DATABASE = "dso.db"
_SPOOL = "spool.db"
EPILOG = """
first: gridseal dso-client NAME --data DIR      prints the token of one who may ask
       gridseal device enrol dso --subjects any --data PLATFORM --out ENROLMENT
"""


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    text = "unify telemetering centres' exports, answer queries, publish to a platform"
    server = commands.add_parser(
        "dso-server",
        help=text,
        description=f"{text}. Prints one line of JSON once it serves; SIGTERM or Ctrl-C ends it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = server.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="its own data folder")
    add(
        "--import", dest="folders", type=Path, action="append", default=[], metavar="FOLDER",
        help="exports of one centre, with its centre.toml; may be given again",
    )  # fmt: skip
    add("--http", default="127.0.0.1:8444", metavar="HOST:PORT", help="query API, %(default)s")
    add(
        "--certificate", type=Path, metavar="PEM", help="of the API; made by an own CA if not given"
    )
    add("--key", type=Path, metavar="PEM", help="of that certificate")
    add(
        "--platform", type=Path, metavar="ENROLMENT",
        help="folder of `gridseal device enrol --out`: publish there; else nothing is published",
    )  # fmt: skip
    add("--to", metavar="mqtts://HOST:PORT", help="the platform; else where it was at enrolment")
    add(
        "--every", type=int, default=900, metavar="SECONDS",
        help="publish at each full multiple of it, %(default)s if not given",
    )  # fmt: skip
    add(
        "--look",
        type=int,
        default=10,
        metavar="SECONDS",
        help="between two looks at the folders: %(default)s",
    )
    log_output.add_arguments(server)
    server.set_defaults(run=_serve)
    text = "let a client ask the DSO Data Server, or no more"
    client = commands.add_parser(
        "dso-client", help=text, description=f"{text}. A new token ends the one before."
    )
    client.add_argument("name", metavar="NAME", help="of the client")
    client.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    client.add_argument("--revoke", action="store_true", help="its token is refused from now on")
    client.set_defaults(run=_client)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise Stop("data-folder", f"{path}: {error.strerror}") from error
    return path


def _client(arguments: argparse.Namespace) -> int:
    from field.dso_store import DsoStore  # noqa: PLC0415 - each command imports what it needs
    from infra.certificates import check_name  # noqa: PLC0415

    check_name(arguments.name)
    store = DsoStore(_folder(arguments.data) / _DATABASE)
    if arguments.revoke:
        store.revoke_client(arguments.name)
        sys.stdout.write(json.dumps({"name": arguments.name, "state": "revoked"}) + "\n")
    else:
        token = secrets.token_urlsafe(32)
        store.add_client(arguments.name, token)
        sys.stdout.write(json.dumps({"name": arguments.name, "token": token}) + "\n")
    store.close()
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.every <= 86_400 or not 1 <= arguments.look <= 3_600:
        raise Stop("usage", "--every is 1 to 86400 seconds, --look 1 to 3600")
    if (arguments.certificate is None) != (arguments.key is None):
        raise Stop("usage", "--certificate and --key are given both or neither")
    at = address(arguments.http)
    log_output.begin(arguments.log_level, arguments.log_file, arguments.log_file_bytes)
    folder = _folder(arguments.data)
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop("data-folder", f"{folder}: a DSO Data Server runs on it") from None
        asyncio.run(_run(arguments, folder, at))
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, GridsealError):
            raise error from group
        raise
    finally:
        os.close(held)
    return 0


async def _run(arguments: argparse.Namespace, folder: Path, at: tuple[str, int]) -> None:
    from field.dso_api import app  # noqa: PLC0415
    from field.dso_centre import load  # noqa: PLC0415
    from field.dso_publisher import publish_for_ever  # noqa: PLC0415
    from field.dso_server import Importer, import_for_ever  # noqa: PLC0415
    from field.dso_store import DsoStore  # noqa: PLC0415
    from field.mqtt_client import FieldClient  # noqa: PLC0415
    from infra.http_server import HttpServer, listen  # noqa: PLC0415
    from infra.system_clock import SystemClock  # noqa: PLC0415

    clock = SystemClock()
    centres = [load(one) for one in arguments.folders]
    if len({centre.name for centre in centres}) != len(centres):
        raise Stop("config-invalid", "two centres have one name")
    ended = _ended()
    async with AsyncExitStack() as stack:
        store = DsoStore(folder / _DATABASE)
        stack.callback(store.close)
        client = None
        if arguments.platform is not None:
            client = FieldClient.from_folder(
                arguments.platform, spool=folder / _SPOOL, url=arguments.to
            )
            stack.push_async_callback(client.close)
        certificate, key = _certificate(arguments, folder, at[0])
        listener = listen(at)
        server = HttpServer(app(store), certificate, key)
        await server.start(listener)
        stack.push_async_callback(server.stop)
        port = listener.getsockname()[1]
        ready = {
            "http": f"https://{host_in_url(at[0])}:{port}",
            "centres": [c.name for c in centres],
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(import_for_ever(Importer(store, centres, clock),
                                                       arguments.look))]  # fmt: skip
            if client is not None:
                tasks.append(group.create_task(_connected(client)))
                publishing = publish_for_ever(store, client, clock, period_s=arguments.every)
                tasks.append(group.create_task(publishing))
            await ended.wait()
            for task in tasks:
                task.cancel()


async def _connected(client: Any) -> None:
    """Have the line; a platform that is not there yet is waited for, one that refuses is told."""
    while True:
        try:
            await client.connect()
        except Unavailable:
            await asyncio.sleep(1)
        except Rejected as error:  # the exports are read and the clients answered all the same
            log.error("the platform refuses this server: %s", error)  # noqa: TRY400
            await asyncio.sleep(REFUSED_S)
        else:
            return


def _ended() -> asyncio.Event:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


def _certificate(arguments: argparse.Namespace, folder: Path, host: str) -> tuple[Path, Path]:
    """The API's certificate and key: those given, or made anew by the folder's own CA."""
    from infra.certificates import ensure_ca, issue_server  # noqa: PLC0415
    from infra.files import replace_file  # noqa: PLC0415
    from infra.system_clock import SystemClock  # noqa: PLC0415

    if arguments.certificate is not None:
        return arguments.certificate, arguments.key
    clock = SystemClock()
    certificate, key = issue_server(ensure_ca(folder, clock), [host], clock)
    replace_file(folder / "server.key", key)
    replace_file(folder / "server.crt", certificate)
    return folder / "server.crt", folder / "server.key"
