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

from bal.found import FindingsQuery, StoredFinding
from bal.model import Pseudonym
from bal.times import rfc3339
from infra.control import settle
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_vault import SqliteVault
from infra.stores import folder_of
from infra.system_clock import SystemClock

PAGE = 1_000
_EVERYTHING = 1 << 62


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
    where = f"{told['format']} {told['batch'] or 'before the bus'}"
    where += f" line {told['line']}" if told["line"] else ""
    text = f"{told['field']}: {told['text']}" if told["field"] else told["text"]
    cells = (told["received"], told["severity"], told["code"], whose or "-", where, text)
    return "\t".join(
        "".join(one if one.isprintable() else "\ufffd" for one in cell) for cell in cells
    )


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
    return {
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
    }
