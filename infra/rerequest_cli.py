"""`gridseal rerequest` on the command line: rounds for ever, or one."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import requests

from bal.errors import Stop, Unavailable
from infra import log_output
from infra.control import UNDER_WAY, call
from infra.files import make_folder
from infra.gaps import NAMES_MAX
from infra.rerequest import Asked, Gap, Later, dates, is_due, load, one_round
from infra.system_clock import SystemClock

logger = logging.getLogger("gridseal.rerequest")

ROUND_S = 300
REFRESH_S = 60  # before a token ends
SUBMIT_S = 30
_AWAY = (requests.codes.unauthorized, requests.codes.too_many)  # once more, with another token


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    text = "ask sources again for what closed days lack, later each time, until it is there"
    command = commands.add_parser("rerequest", help=text, description=f"{text}. docs/rerequest.md.")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    command.add_argument(
        "--sources", type=Path, required=True, metavar="FILE", help="TOML: whom to ask"
    )
    command.add_argument(
        "--client", type=Path, required=True, metavar="FILE",
        help="what `gridseal client add` printed, with the scope messages.write",
    )  # fmt: skip
    command.add_argument(
        "--state", type=Path, required=True, metavar="DIR", help="where it keeps what it asked for"
    )
    command.add_argument(
        "--days", type=int, default=7, metavar="N", help="how far back: %(default)s days"
    )
    command.add_argument("--once", action="store_true", help="one round, then end")
    command.set_defaults(run=_run)


class Platform:
    """The gateway of a platform, for one client."""

    def __init__(self, data: Path, client: Path) -> None:
        status = call(data, "status")
        self._url, self._ca = str(status["http"]), str(status["ca"])
        try:
            known = json.loads(client.read_text(encoding="utf-8"))
            self._auth = known["client_id"], known["client_secret"]
        except (OSError, ValueError, KeyError) as error:
            raise Stop("usage", f"--client {client}: {error}") from error
        self._token, self._until_s = "", 0.0

    def submit(self, form: str, raw: bytes) -> str:
        """Hand a message in: `certified` or `accepted`.

        Raises Later where the message is refused, Unavailable where the platform is away, and
        Stop where this client may not.
        """
        try:
            answer = requests.post(
                f"{self._url}/v1/messages", params={"format": form}, data=raw, verify=self._ca,
                headers={"Authorization": f"Bearer {self._bearer()}"}, timeout=SUBMIT_S,
            )  # fmt: skip
            said = answer.json()
        except (requests.RequestException, ValueError) as error:
            text = f"the platform does not answer: {type(error).__name__}"
            raise Unavailable(text, retry_after_s=ROUND_S) from error
        if answer.status_code == requests.codes.unauthorized:
            self._until_s = 0.0  # of a platform that was set up anew, or a grant that was
        if answer.status_code == requests.codes.forbidden:
            raise Stop("usage", "--client has not the scope messages.write, or was withdrawn")
        if answer.status_code in _AWAY or answer.status_code >= 500:
            raise _away(answer.status_code)
        if answer.status_code >= 400:
            raise Later(f"the platform refuses it: {said.get('type', answer.status_code)}")
        return str(said.get("type", "accepted"))

    def _bearer(self) -> str:
        if time.monotonic() >= self._until_s:
            answer = requests.post(
                f"{self._url}/oauth/token", data={"grant_type": "client_credentials"},
                auth=self._auth, verify=self._ca, timeout=SUBMIT_S,
            )  # fmt: skip
            if answer.status_code == requests.codes.too_many or answer.status_code >= 500:
                raise _away(answer.status_code)
            if answer.status_code != requests.codes.ok:
                raise Stop("usage", f"the platform gives this client no token: {answer.text}")
            said = answer.json()
            self._token = str(said["access_token"])
            self._until_s = time.monotonic() + int(said["expires_in"]) - REFRESH_S
        return self._token


def _away(status: int) -> Unavailable:
    return Unavailable(f"the platform answers {status}", retry_after_s=ROUND_S)


def _run(arguments: argparse.Namespace) -> int:
    log_output.begin("info")
    return rounds(arguments)


def rounds(arguments: argparse.Namespace) -> int:
    """Ask for ever, or once. Raises Stop for what the operator has to mend.

    A platform that does not run, or answers late, is asked again in the next round.
    """
    sources, clock = load(arguments.sources), SystemClock()
    if not 1 <= arguments.days <= 31:
        raise Stop("usage", "--days is 1 to 31")
    senders = sorted({name for source in sources for name in source.senders})
    if any(not source.senders for source in sources):
        senders = []
    asked = Asked(make_folder(arguments.state) / "rerequest.db")
    platform: Platform | None = None
    try:
        while True:
            now_us = clock.now_us()
            asked.forget(now_us - (arguments.days + 2) * 86_400_000_000)
            try:
                platform = platform or Platform(arguments.data, arguments.client)
                days = dates(now_us, arguments.days)
                gaps = _gaps(arguments.data, days, senders, partial(is_due, sources, asked, now_us))
                done = one_round(sources, gaps, asked, now_us, platform.submit)
            except (Unavailable, Stop) as error:
                if arguments.once or (isinstance(error, Stop) and error.code != UNDER_WAY):
                    raise
                platform = None  # started anew it may be at another place
                logger.warning("%s", error)
            else:
                sys.stdout.write(json.dumps(done._asdict()) + "\n")
                sys.stdout.flush()
            if arguments.once:
                return 0
            time.sleep(ROUND_S)
    finally:
        asked.close()


def _gaps(
    data: Path, days: Iterator[str], senders: list[str], due: Callable[[Gap], bool]
) -> Iterator[Gap]:
    """What is missing; with names, which the log records, where it is due to be asked for."""
    for day in days:
        page: int | None = 0
        while page is not None:
            found = call(data, "gaps", date=day, page=page, senders=senders)
            gaps = [Gap(identity="", **one) for one in found["gaps"]]
            asked_for = sorted({one.device for one in gaps if due(one)})
            names: dict[str, str] = {}
            for at in range(0, len(asked_for), NAMES_MAX):
                some = asked_for[at : at + NAMES_MAX]
                names |= call(data, "gap-names", date=day, devices=some)
            yield from (
                one._replace(identity=names.get(one.device, ""))
                for one in gaps
                if one.device in names or one.device not in asked_for  # else erased
            )
            page = found["next"]
