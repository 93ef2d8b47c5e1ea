"""`gridseal rerequest`: asks the sources of a platform for what its closed days lack.

What is found comes in like any message, by REST, under a client of its own; the next close of the
day makes a new version of the device-day, which names the one with the gap (docs/rerequest.md).
A source that has not got it is asked again, later each time.
"""

import logging
import signal
import sqlite3
import ssl
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import requests
from urllib3.exceptions import HTTPError

from bal.errors import Stop, Unavailable
from bal.harmonise import FORMATS
from bal.harmonise.obis import of_reading_type
from bal.model import Identity, Pseudonym
from bal.times import instant_us
from infra.files import open_sqlite
from infra.rerequest_answer import NotAsked, check_answer

logger = logging.getLogger("gridseal.rerequest")

BACK_OFF_S = (900, 3_600, 4 * 3_600, 86_400)  # after each try that brought nothing; then the last
TRIES_MAX = 14  # about ten days: then it is told, and no longer asked for
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # what a platform takes
TIMEOUT_S = 30  # without a byte
ANSWER_WITHIN_S = 120
LATER_S_MAX = 86_400
_READ_BYTES = 64 * 1024
_DIGITS_MAX = 9
DSO_SERVER, DOCUMENT = "dso-server", "document"
_ALLOWED = {
    "name", "kind", "url", "ca", "token_file", "certificate", "key", "senders", "format", "several",
}  # fmt: skip
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asked(
    source TEXT NOT NULL, device TEXT NOT NULL, register TEXT NOT NULL, begin_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL, tries INTEGER NOT NULL, next_us INTEGER NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY(source, device, register, begin_us)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who can be asked: the DSO Data Server, or whoever gives a document at a URL."""

    name: str
    kind: str  # dso-server, document
    url: str  # of a document with {meter}, {from}, {to}, {register}, {obis} in it
    ca: str  # file of the CA of its certificate; "" for the system's
    token: str  # sent as Authorization: Bearer; "" for none
    senders: frozenset[str]  # of whose devices it is asked; empty: of all
    format: str  # of what it answers
    shown: tuple[str, str] | None = None  # files of the certificate to log in with, and its key
    several: bool = False  # its answers may be of other meters than the one that it is asked for


class Gap(NamedTuple):
    """A stretch of a device's day without a measured value."""

    device: str
    identity: str
    sender: str
    register: str
    begin: str  # RFC 3339
    end: str


class Tally(NamedTuple):
    """What one round did."""

    gaps: int
    asked: int
    answered: int
    given_up: int


def load(path: Path) -> list[Source]:
    """The sources of a TOML file. Raises Stop("config-invalid") that names what is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = [_source(item, path.parent) for item in data.get("source", [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop("config-invalid", f"{path}: {error}") from error
    if not sources:
        raise Stop("config-invalid", f"{path} names no [[source]]")
    if len({one.name for one in sources}) < len(sources):
        raise Stop("config-invalid", f"{path}: two sources of one name")
    return sources


def _source(item: Mapping[str, Any], folder: Path) -> Source:
    if unknown := sorted(set(item) - _ALLOWED):
        raise ValueError(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(_ALLOWED))}")
    for name, value in item.items():
        if name not in {"senders", "several"} and not isinstance(value, str):
            raise ValueError(f"{name} is a text")
    senders = item.get("senders", [])
    if not isinstance(senders, list) or not all(isinstance(one, str) for one in senders):
        raise ValueError("senders is a list of texts")
    kind, url, several = item["kind"], item["url"], item.get("several", False)
    if not isinstance(several, bool):
        raise ValueError("several is true or false")
    if kind not in {DSO_SERVER, DOCUMENT}:
        raise ValueError(f"kind is {DSO_SERVER} or {DOCUMENT}, not {kind}")
    if not url.startswith("https://"):
        raise ValueError(f"{url}: a source is asked over https")
    form = "cim" if kind == DSO_SERVER else item["format"]
    if form not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {form}")
    token = ""
    if "token_file" in item:
        token = (folder / item["token_file"]).read_text(encoding="ascii").strip()
    ca = str(folder / item["ca"]) if "ca" in item else ""
    shown = _shown(item, folder)
    return Source(item["name"], kind, url, ca, token, frozenset(senders), form, shown, several)


def _shown(item: Mapping[str, Any], folder: Path) -> tuple[str, str] | None:
    """Raises OSError, ValueError where the files are no certificate with its key."""
    if "certificate" not in item and "key" not in item:
        return None
    if not ("certificate" in item and "key" in item):
        raise ValueError("certificate and key come together")
    certificate, key = (str(folder / item[name]) for name in ("certificate", "key"))
    try:  # a key under a passphrase would be asked for at a terminal
        ssl.create_default_context().load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise ValueError(f"{certificate}, {key}: no certificate with its open key") from error
    return certificate, key


# -- memory -------------------------------------------------------------------------------------


class Asked:
    """What was asked for, how often, and when it may be again; in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._db: sqlite3.Connection = open_sqlite(path, _SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def due(self, source: str, gap: Gap, now_us: int) -> bool:
        """Whether it may be asked for now."""
        row = self._db.execute(
            "SELECT tries, next_us FROM asked WHERE source = ? AND device = ? AND register = ?"
            " AND begin_us = ?",
            (source, gap.device, gap.register, instant_us(gap.begin)),
        ).fetchone()
        return row is None or (row[0] < TRIES_MAX and row[1] <= now_us)

    def note(self, source: str, gap: Gap, now_us: int, said: str, later_s: int = 0) -> int:
        """It was asked for; how often by now. later_s: what the source asks to be left alone."""
        key = (source, gap.device, gap.register, instant_us(gap.begin))
        row = self._db.execute(
            "SELECT tries FROM asked WHERE source = ? AND device = ? AND register = ?"
            " AND begin_us = ?",
            key,
        ).fetchone()
        tries = 1 if row is None else row[0] + 1
        wait_s = max(later_s, BACK_OFF_S[min(tries, len(BACK_OFF_S)) - 1])
        self._db.execute(
            "INSERT OR REPLACE INTO asked VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, instant_us(gap.end), tries, now_us + wait_s * 1_000_000, said),
        )
        return tries

    def postpone(self, source: str, gap: Gap, now_us: int) -> None:
        """It was not its source's fault: no try, but the others come first for a while."""
        key = (source, gap.device, gap.register, instant_us(gap.begin))
        self._db.execute(
            "INSERT INTO asked VALUES(?, ?, ?, ?, ?, 0, ?, '') ON CONFLICT DO UPDATE"
            " SET next_us = excluded.next_us",
            (*key, instant_us(gap.end), now_us + BACK_OFF_S[0] * 1_000_000),
        )

    def forget(self, before_us: int) -> None:
        """Of gaps that are too old to be asked for."""
        self._db.execute("DELETE FROM asked WHERE end_us < ?", (before_us,))


# -- a round ------------------------------------------------------------------------------------


class Later(Exception):
    """The source has it not, or does not answer; with why, and when it wants to be asked again."""

    def __init__(self, why: str, later_s: int = 0) -> None:
        super().__init__(why)
        self.later_s = later_s


def one_round(
    sources: Iterable[Source],
    gaps: Iterable[Gap],
    asked: Asked,
    now_us: int,
    submit: Callable[[str, bytes], str],
) -> Tally:
    """Ask for every gap that is due, one source after the other until one has it.

    submit: hands a message of a format to the platform, and says what became of it. Raises
    Unavailable as it does: where the platform is away, no source is asked in vain.
    """
    sources = list(sources)
    count = dict.fromkeys(("gaps", "asked", "answered", "given_up"), 0)
    for gap in gaps:
        count["gaps"] += 1
        for source in sources:
            if source.senders and gap.sender not in source.senders:
                continue
            if not asked.due(source.name, gap, now_us):
                continue
            count["asked"] += 1
            try:
                said, later_s = submit(source.format, _asked_for(source, gap, now_us)), 0
                count["answered"] += 1
            except Later as error:
                said, later_s = str(error), error.later_s
            except Unavailable:
                asked.postpone(source.name, gap, now_us)
                raise
            if asked.note(source.name, gap, now_us, said, later_s) == TRIES_MAX:
                count["given_up"] += 1
                logger.warning(
                    "%s: %s to %s of %s is no longer asked for: %s",
                    source.name, gap.begin, gap.end, gap.device, said,
                )  # fmt: skip
            if said == "certified":
                break
    return Tally(**count)


def is_due(sources: Iterable[Source], asked: Asked, now_us: int, gap: Gap) -> bool:
    """Whether any source may be asked for a gap now."""
    return any(
        asked.due(source.name, gap, now_us)
        for source in sources
        if not source.senders or gap.sender in source.senders
    )


def _asked_for(source: Source, gap: Gap, now_us: int) -> bytes:
    """What the source has of a gap, and of nothing else. Raises Later."""
    raw = fetch(source, gap)
    meter = Identity(gap.identity), Pseudonym(gap.device)
    asked = gap.register, gap.begin, gap.end
    try:
        check_answer(raw, source.format, meter, asked, several=source.several, now_us=now_us)
    except NotAsked as error:
        logger.warning("%s, asked for %s: %s", source.name, gap.device, error)
        raise Later(str(error)) from error
    return raw


def fetch(source: Source, gap: Gap) -> bytes:
    """What the source has of a gap, as a message of its format. Raises Later."""
    meter = name_of(gap.identity)
    if meter in {"", ".", ".."}:  # in a path they lead elsewhere
        raise Later("no source can be asked for this meter by its name")
    if source.kind == DSO_SERVER:
        named = {"meter": meter, "register": gap.register, "from": gap.begin, "to": gap.end}
        url = f"{source.url.rstrip('/')}/v1/values"
        if b'"values":[]' in _get(source, url, named).replace(b" ", b""):
            raise Later("the source has no values of it yet")
        return _get(source, url, {**named, "format": "cim", "limit": "10000"})
    obis = of_reading_type(gap.register)
    if obis is None and "{obis}" in source.url:
        raise Later("the register has no OBIS code")
    places = {
        "meter": meter, "from": gap.begin, "to": gap.end, "register": gap.register,
        "obis": obis.text if obis is not None else "",
    }  # fmt: skip
    url = source.url
    for place, text in places.items():
        url = url.replace(f"{{{place}}}", quote(text, safe=""))
    body = _get(source, url, {})
    if not body.strip():
        raise Later("the source has nothing of it yet")
    return body


def _get(source: Source, url: str, params: Mapping[str, str]) -> bytes:
    headers = {"Accept-Encoding": "identity"}  # what unpacks to more than it says is not read
    try:
        with _within(ANSWER_WITHIN_S), requests.get(
            url, params=params, headers=headers, timeout=TIMEOUT_S, stream=True,
            auth=_Bearer(source.token),
            verify=source.ca or True, cert=source.shown, allow_redirects=False,
        ) as answer:  # fmt: skip
            if answer.status_code in {204, 404}:
                raise Later("the source has nothing of it yet")
            if answer.status_code != requests.codes.ok:
                raise Later(f"the source answers {answer.status_code}", _later_s(answer.headers))
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise Later("the source packs its answer, which it was not asked for")
            return _body(answer)
    except (requests.RequestException, HTTPError, OSError) as error:  # urllib3's, of the body
        raise Later(f"the source does not answer: {type(error).__name__}") from error


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """An end for a source that answers a byte at a time: headers, too, come in no limited time."""

    def ring(*_: object) -> None:
        raise TimeoutError("the source is too slow")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Bearer(requests.auth.AuthBase):
    """A source's token, or nothing; where none is given a ~/.netrc would be asked for one."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _later_s(headers: Mapping[str, str]) -> int:
    """How long the source asks to be left alone, a day at most (RFC 9110 §10.2.3)."""
    said, later_s = headers.get("Retry-After", ""), 0
    if said.isdecimal():
        later_s = LATER_S_MAX if len(said) > _DIGITS_MAX else int(said)
    else:
        with suppress(ValueError, TypeError):  # by its own clock
            wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("Date", ""))
            later_s = int(wait.total_seconds())
    return max(0, min(LATER_S_MAX, later_s))


def _body(answer: requests.Response) -> bytes:
    """No more than is taken."""
    body = bytearray()
    while part := answer.raw.read1(_READ_BYTES):
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise Later(f"the source's answer has more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def name_of(identity: str) -> str:
    """What a source knows a meter by: its mRID, or the last part of its name."""
    return unquote(identity.split(":", 1)[1].rsplit("/", 1)[-1])


def dates(now_us: int, days: int) -> Iterator[str]:
    """The last dates (UTC), the newest first; of today nothing is closed yet in most zones."""
    today = datetime.fromtimestamp(now_us // 1_000_000, UTC).date()
    for back in range(days + 1):
        yield (today - timedelta(days=back)).isoformat()
