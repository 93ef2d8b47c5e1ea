"""What the drill attacks: the newest reading, and what an attack leaves behind."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bal import jcs
from bal.model import StoredRecord
from infra.audit import Audit
from infra.data_folder import DataFolder, Facts
from infra.stores import Stores
from infra.system_clock import SystemClock

LOOKED_THROUGH = 4096  # rows, to find a reading and its neighbours
_KINDS = {"reading", "telemetry"}


class NothingToAttack(Exception):
    """The data folder has nothing that this attack could be made on; the text says what."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attack did, and what the check said."""

    done: str
    where: str  # where the check must find it; "" for any place
    found: Sequence[tuple[str, str]]  # code and place of all that the check found


@dataclass(frozen=True, slots=True)
class Victim:
    """A stored and published reading, and what stands around it."""

    row: StoredRecord
    others: Sequence[StoredRecord]  # stored ones of other devices
    free: int  # the index of a public record, which has no row
    facts: Facts


def find_victim(folder: DataFolder) -> Victim:
    """The newest reading that can be attacked. Raises NothingToAttack."""
    facts = folder.facts()
    assert facts is not None
    with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
        published = stores.log.checkpoint()
        # Rows behind the noted progress the next start makes again, so fsck leaves them out.
        stored = min(stores.projector.progress().size, stores.customer_db.size())
        end = min(stored, published[0].size if published else 0)
        for stop in range(end, 0, -LOOKED_THROUGH):
            start = max(0, stop - LOOKED_THROUGH)
            rows = stores.customer_db.records(start, stop)
            readings = [row for row in rows if row.kind in _KINDS and value_of(row) is not None]
            readings = [r for r in readings if stores.vault.salt_key(r.device, r.year) is not None]
            if not readings:
                continue
            row = readings[-1]
            others = [other for other in readings if other.device != row.device]
            free = set(range(start, stop)) - {one.index for one in rows}
            return Victim(row, others, max(free, default=0), facts)
    raise NothingToAttack("no stored and published reading")


def said(audit: Audit) -> list[tuple[str, str]]:
    """Code and place of all that an audit found."""
    return [(one.check, one.where) for one in audit.differences]


def value_of(row: StoredRecord) -> str | None:
    """What a reading's record says; None where it says nothing."""
    value = _members(row.record).get("value")
    return value if isinstance(value, str) and value else None


def _members(record: bytes) -> Mapping[str, Any]:
    members: Mapping[str, Any] = jcs.decode(record)
    return members


def forged(row: StoredRecord) -> tuple[str, StoredRecord]:
    """The value of a row, and the row with another one, wherever its record says it."""
    before = str(value_of(row))
    after = ("7" if before[-1] != "7" else "1").join([before[:-1], ""])
    record = row.record
    for member in ("value", "hasValue"):
        record = record.replace(f'"{member}":"{before}"'.encode(), f'"{member}":"{after}"'.encode())
    return before, row._replace(record=record)
