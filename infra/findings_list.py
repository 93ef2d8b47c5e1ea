"""`gridseal findings`: the list of `GET /v1/findings`, read from a data folder, with names.

Looks only, also beside a running platform. Names stand here, as in `gridseal device list`, because
who may read the folder may know them.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from bal.found import About, FindingsQuery, StoredFinding
from bal.model import Pseudonym
from bal.times import rfc3339
from infra.control import settle
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_vault import SqliteVault
from infra.stores import folder_of
from infra.system_clock import SystemClock

PAGE = 1_000
_EVERYTHING = 1 << 62
_OF_NO_RECORD = About("", "", "")


def listing(
    data: Path,
    *,
    code: str | None = None,
    severity: str | None = None,
    device: str | None = None,
    sender: str | None = None,
    limit: int = 0,
) -> Iterator[dict[str, str]]:
    """Items as JSON has them, all strings, the newest first; at most `limit`, if it is not 0.

    device, sender: a pseudonym, an identity, or the mRID or last name in one. Raises
    Stop("data-folder") where `data` is none.
    """
    settle(data)
    folder = folder_of(data)
    query = FindingsQuery(None, code=code, severity=severity, size=_EVERYTHING, limit=PAGE)
    with (
        closing(SqliteVault(folder.vault, SystemClock(), read_only=True)) as vault,
        closing(
            SqliteArchive(folder.archive, vault.archive_key(), vault.salt_key, read_only=True)
        ) as archive,
    ):
        names = _Names(vault)
        wanted = (
            one
            for one in _all(archive, query)
            if names.is_meant(one.device, device) and names.is_meant(one.sender, sender)
        )
        for one in islice(wanted, limit or None):
            yield _told(one, names)


def line(told: dict[str, str]) -> str:
    """An item for people: cells with tabs between them, and nothing that a terminal might obey."""
    whose = told["device_identity"] or told["device"] or told["sender_identity"] or told["sender"]
    field = told["field"] if told["source"] != "vee" else _slot(told)
    text = f"{field}: {told['text']}" if field else told["text"]
    cells = (told["received"], told["severity"], told["code"], whose or "-", _where(told), text)
    return "\t".join(
        "".join(one if one.isprintable() else "\ufffd" for one in cell) for cell in cells
    )


def _where(told: dict[str, str]) -> str:
    """Where what is told stands: in a message, or as a record in the log."""
    if told["source"] == "vee":
        by = told["replaced_by"]
        return f"record {told['index']}" + (f", replaced by {by}" if by else "")
    where = f"{told['format']} {told['batch'] or 'before the bus'}"
    return where + (f" line {told['line']}" if told["line"] else "")


def _slot(told: dict[str, str]) -> str:
    begin, end = told["begin"], told["end"]
    return f"{told['register']} {begin if begin == end else f'{begin} to {end}'}"


def _all(archive: SqliteArchive, query: FindingsQuery) -> Iterator[StoredFinding]:
    while found := archive.findings(query):
        yield from found
        query = replace(query, after=found[-1].place)


class _Names:
    """Identities by pseudonym, each looked up once."""

    def __init__(self, vault: SqliteVault) -> None:
        self._vault = vault
        self._known: dict[str, str] = {"": ""}

    def of(self, pseudonym: str) -> str:
        """The identity; "" where nobody is known, or no longer."""
        if pseudonym not in self._known:
            self._known[pseudonym] = self._vault.identity(Pseudonym(pseudonym)) or ""
        return self._known[pseudonym]

    def is_meant(self, pseudonym: str, asked: str | None) -> bool:
        """Whether who is asked for, if anybody, is the one of this pseudonym."""
        if asked is None or asked == pseudonym:
            return True
        identity = self.of(pseudonym)
        last = identity.rpartition("/")[2] if "/" in identity else identity.partition(":")[2]
        return bool(identity) and asked in {identity, unquote(last)}


def _told(one: StoredFinding, names: _Names) -> dict[str, str]:
    about = one.about or _OF_NO_RECORD
    return {
        "source": one.source,
        "received": rfc3339(one.received_us),
        "batch": "/".join(map(str, one.batch)) if one.on_bus else "",
        "first_index": str(one.place[0]),
        "count": str(one.count),
        "format": one.format,
        "sender": one.sender,
        "sender_identity": names.of(one.sender),
        "device": one.device,
        "device_identity": names.of(one.device),
        **one.finding.as_json(),
        "index": _number(one.index),
        "register": about.register,
        "begin": about.begin,
        "end": about.end,
        "replaced_by": _number(about.replaced_by),
    }


def _number(number: int | None) -> str:
    return "" if number is None else str(number)
