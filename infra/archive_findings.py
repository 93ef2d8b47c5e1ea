"""The list of what was refused or doubtful, beside the messages in the archive's file.

It is written in the transaction that keeps the message, and follows from it: archive and log make
it again. What closes of days found stands in it, too, before the rows of the close are stored. No
row names a sender, a meter or the hash of a message: pseudonyms only, and texts that quote no
identity (bal.model.Finding).
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from bal.closing import DERIVED
from bal.found import About, FindingsQuery, StoredFinding, VeeFindings
from bal.model import Finding
from bal.ports import ArchiveItem

SCHEMA = """
CREATE TABLE finding(
    first INTEGER NOT NULL, lane INTEGER NOT NULL, place INTEGER NOT NULL, number INTEGER NOT NULL,
    epoch TEXT NOT NULL, count INTEGER NOT NULL, received_us INTEGER NOT NULL, format TEXT NOT NULL,
    sender TEXT NOT NULL, device TEXT NOT NULL, grp TEXT NOT NULL,
    code TEXT NOT NULL, severity TEXT NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY(first, lane, place, number, epoch)) WITHOUT ROWID;
CREATE INDEX finding_device ON finding(device);
CREATE INDEX finding_sender ON finding(sender);
CREATE INDEX finding_code ON finding(code);
CREATE INDEX finding_severity ON finding(severity);
CREATE INDEX finding_grp ON finding(grp);
CREATE INDEX finding_received ON finding(received_us);
CREATE INDEX finding_turned_away ON finding(place) WHERE lane < 0;
"""
TURNED_AWAY_MAX = 10_000  # of what the bus never saw, the newest
_INSERT = (
    "INSERT OR IGNORE INTO finding(first, lane, place, number, epoch, count, received_us, format,"
    " sender, device, grp, code, severity, said) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = (
    "first, lane, place, number, epoch, count, received_us, format, sender, device, grp,"
    " code, severity, said"
)
_REPLACED_BY = 7  # its place in `said`
_BY_RARITY = ("device", "sender", "code", "severity")
_SHORT_US, _LAST_US = 3_600_000_000, 1 << 62
_PLACE = "(first, lane, place, number, epoch)"


def has_table(db: sqlite3.Connection) -> bool:
    """Whether the file has the list: one that an earlier version made has not."""
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'finding'"
    return db.execute(sql).fetchone() is not None


def put(db: sqlite3.Connection, items: Iterable[ArchiveItem]) -> None:
    """Keep what the messages' items say; what is kept already stays as it is."""
    rows = [row for item in items for row in _rows(item)]
    if rows:
        db.executemany(_INSERT, rows)


def put_turned_away(db: sqlite3.Connection, items: Iterable[StoredFinding]) -> None:
    """Keep what no message of the bus stands for; its partition is below 0. The oldest ones go."""
    db.executemany(_INSERT, map(_row, items))
    oldest = "SELECT place FROM finding WHERE lane < 0 ORDER BY place DESC LIMIT 1 OFFSET ?"
    sql = f"DELETE FROM finding WHERE lane < 0 AND place <= ({oldest})"  # noqa: S608  no value in it
    db.execute(sql, [TURNED_AWAY_MAX])


def put_vee(db: sqlite3.Connection, found: VeeFindings) -> None:
    """Keep what closes found, and by which record what they found before is replaced."""
    db.executemany(_INSERT, map(_row, found.items))
    db.executemany(
        f"UPDATE finding SET said = json_set(said, '$[{_REPLACED_BY}]', ?)"  # noqa: S608  no value in it
        " WHERE first = ? AND epoch = ?",
        [(by, index, DERIVED) for index, by in found.replaced.items()],
    )


def _row(one: StoredFinding) -> tuple[object, ...]:
    return (
        *one.place, one.count, one.received_us, one.format, one.sender, one.device, one.group,
        one.finding.code, one.finding.severity, _said(one.finding, one.about),
    )  # fmt: skip


def _said(one: Finding, about: About | None = None) -> str:
    said: list[object] = [one.field, one.line, one.clause, one.text]
    if about is not None:
        said += [about.register, about.begin, about.end, about.replaced_by]
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def _rows(item: ArchiveItem) -> Iterator[tuple[object, ...]]:
    doubts, message = item.doubts, item.message
    if doubts is None:
        return
    for number, found in enumerate(doubts.items):
        one = found.finding
        yield (
            doubts.first_index, message.partition, message.offset, number, message.epoch,
            doubts.count, message.received_us, message.format,
            doubts.sender, found.device, found.group,
            one.code, one.severity, _said(one),
        )  # fmt: skip


def select(db: sqlite3.Connection, query: FindingsQuery) -> list[StoredFinding]:
    """At most `query.limit` items, in the order that the query asks for."""
    wheres: list[str] = ["first + count <= ?"]
    values: list[object] = [query.size]
    asked = [(column, getattr(query, column)) for column in _BY_RARITY]
    named = [(column, value) for column, value in asked if value is not None]
    for number, (column, value) in enumerate(named):
        # By the index of the rarest, whose rows stand in the order asked for. SQLite knows nothing
        # of how rare they are; a + keeps it from another index.
        wheres.append(f"{'+' if number else ''}{column} = ?")
        values.append(value)
    if query.groups is not None:  # an item of no device has no group, and is in none of these
        only = not named and len(query.groups) == 1
        places = ",".join("?" * len(query.groups))
        wheres.append(f"{'' if only else '+'}grp IN ({places}) AND +device <> ''")
        values += sorted(query.groups)
    # Of a short time all are looked for and sorted; of a long one they are met on the way.
    period_us = (query.to_us or _LAST_US) - (query.from_us or 0)
    plus = "+" if named or query.groups is not None or period_us > _SHORT_US else ""
    for sign, at_us in ((">=", query.from_us), ("<", query.to_us)):
        if at_us is not None:
            wheres.append(f"{plus}received_us {sign} ?")
            values.append(at_us)
    if query.after is not None:
        sign = "<" if query.newest_first else ">"
        wheres.append(f"{_PLACE} {sign} (?, ?, ?, ?, ?)")
        values += query.after
    way = "DESC" if query.newest_first else "ASC"
    order = ", ".join(f"{column} {way}" for column in _PLACE.strip("()").split(", "))
    sql = f"SELECT {_COLUMNS} FROM finding WHERE {' AND '.join(wheres)} ORDER BY {order} LIMIT ?"  # noqa: S608  no value in it
    return [_stored(row, query.size) for row in db.execute(sql, [*values, query.limit])]


def _stored(row: tuple[Any, ...], size: int) -> StoredFinding:
    """As of `size`. Raises ValueError or TypeError where it is not what was written."""
    first, lane, place, number, epoch, count, received_us, form, sender, device, group = row[:11]
    code, severity, said = row[11:]
    field, line, clause, text, *of = json.loads(said)
    finding = Finding(code, severity, text, field, line, clause)
    about = None
    if of:
        register, begin, end, by = of
        about = About(register, begin, end, by if by is not None and by < size else None)
    where = first, lane, place, number, epoch
    return StoredFinding(where, count, received_us, form, sender, device, group, finding, about)
