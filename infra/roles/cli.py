"""`gridseal run ROLE`: one process of a platform that is several (docs/roles.md)."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bal.errors import Stop
from infra import log_output
from infra.addresses import address

NAMES = ("collector", "worker", "sequencer", "storer", "anchorer", "gateway")


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    run = commands.add_parser(
        "run",
        help="run one role of a platform: several processes share a data folder",
        description="Runs one role until SIGTERM or Ctrl-C; the six of them are a platform. The"
        " first start of any makes keys, CA, contract and topics. Prints one line of JSON once it"
        " works; logs go to stderr. docs/roles.md",
    )
    run.add_argument("role", choices=NAMES, metavar="ROLE", help=", ".join(NAMES))
    run.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    text = "embedded (files of the folder) or local (the servers of `gridseal servers up`)"
    run.add_argument("--profile", choices=("embedded", "local"), default="embedded", help=text)
    run.add_argument("--config", type=Path, metavar="FILE", help="TOML; docs/configuration.md")
    run.add_argument(
        "--partitions", type=int, metavar="N",
        help="of the topics, 4 if not given: so many workers can share them; at the first start",
    )  # fmt: skip
    for option, default, what in (
        ("--http", "127.0.0.1:8443", "gateway: where it listens"),
        ("--mqtt", "127.0.0.1:8883", "collector: where it listens"),
    ):
        text = f"{what}, %(default)s if not given; port 0 picks a free one"
        run.add_argument(option, default=default, metavar="HOST:PORT", help=text)
    run.add_argument(
        "--issuer", default="", metavar="URL",
        help="gateway: the https URL that all gateways are reached by; its own if not given",
    )  # fmt: skip
    run.add_argument(
        "--status", metavar="HOST:PORT", help="serve /health/live, /health/ready and /metrics there"
    )
    log_output.add_arguments(run)
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    log_output.begin(arguments.log_level, arguments.log_file, arguments.log_file_bytes)
    import asyncio  # noqa: PLC0415 - as infra/cli.py

    from infra.config import load  # noqa: PLC0415
    from infra.ending import end  # noqa: PLC0415
    from infra.interpreter import tune_interpreter  # noqa: PLC0415
    from infra.roles.compose import Wanted, run  # noqa: PLC0415

    tune_interpreter()
    wanted = Wanted(
        role=arguments.role,
        data=arguments.data,
        config=load(arguments.config),
        local=arguments.profile == "local",
        partitions=arguments.partitions,
        http=address(arguments.http),
        mqtt=address(arguments.mqtt),
        status=address(arguments.status) if arguments.status else None,
        issuer=_issuer(arguments.issuer),
    )
    with asyncio.Runner() as runner:
        end(runner.run(run(wanted)))


def _issuer(text: str) -> str:
    """Raises Stop("usage") for what is no https URL of a host."""
    if text:
        parts = urlsplit(text)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise Stop("usage", "--issuer is a URL like https://gridseal.example:8443")
    return text.rstrip("/")
