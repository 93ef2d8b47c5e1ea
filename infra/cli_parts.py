"""The commands that have a module of their own; imported once somebody gives one."""

from typing import Any

from infra import (
    dso_cli,
    inspect_cli,
    operate_cli,
    pdc_cli,
    rerequest_cli,
    simulate_cli,
    subject_cli,
    verify_cli,
)
from infra.roles import cli as roles_cli
from infra.servers import cli as servers_cli


def add_commands(commands: Any) -> None:
    """Add all of them to the command line."""
    verify = commands.add_parser("verify", help="check receipts; trusts nothing of the platform")
    verify_cli.add_arguments(verify)
    verify.set_defaults(run=verify_cli.run)
    simulate = commands.add_parser("simulate", help="send a day of a real grid to any platform")
    simulate_cli.add_arguments(simulate)
    simulate.set_defaults(run=simulate_cli.run)
    for one in (
        inspect_cli, operate_cli, subject_cli, rerequest_cli, dso_cli, pdc_cli, roles_cli,
        servers_cli,
    ):  # fmt: skip
        one.add_commands(commands)
