"""The part of fsck that looks at what was projected: rows, registry and raw messages."""

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.commitment import commitment
from bal.errors import GridsealError, Stop, Unavailable
from bal.harmonise.quality import quality
from bal.model import TYPE_PART, Rank, StoredRecord
from bal.pipeline import SLOT_KINDS
from bal.ports import Heads
from bal.registry import KINDS, Registry
from bal.subjects import PLATFORM_SHARD
from bal.times import rfc3339
from infra.audit import Audit, chunks
from infra.sqlite_archive import StoredPart
from infra.stores import Stores

ROWS_AT_ONCE = 4096
Place = tuple[str, int, int]


class RowsCheck:
    """One run; `entries` are the log's commitments, `stored` the size that was projected."""

    def __init__(
        self, audit: Audit, stores: Stores, entries: Sequence[bytes | None], stored: int
    ) -> None:
        self.audit = audit
        self._stores, self._entries = stores, entries
        self._stored = min(stored, len(entries))
        self._registry = Registry()
        self._evidence: set[str] | None = None  # of the message whose parts are looked at

    def projection(self, heads: Heads) -> None:
        """What is projected belongs together, and to this log."""
        progress, size = self._stores.projector.progress(), self._stores.customer_db.size()
        if size < progress.size:
            text = f"it holds rows up to {size}, and up to {progress.size} were stored"
            self.audit.differ("projection-differs", "customer database", text)
        if self._stored > heads.size:
            text = f"rows are stored up to {self._stored}, the log ends at {heads.size}"
            self.audit.differ("projection-ahead", "customer database", text)
        if self._stored < len(self._entries):
            waiting = len(self._entries) - self._stored
            self.audit.unchecked["entries whose rows the next start makes"] += waiting

    # -- rows -------------------------------------------------------------------------------

    def rows(self) -> None:
        """Every row opens its entry; every commitment below the stored size has a row."""
        registry: dict[int, bytes] = {}
        for start, end in chunks(0, self._stored, ROWS_AT_ONCE):
            damaged: dict[int, str] = {}
            rows = self._records(start, end, damaged)
            for row in rows:
                self._row(row)
                if row.kind in KINDS:
                    registry[row.index] = row.record
            for text in dict.fromkeys(damaged.values()):
                self.audit.differ_at(
                    "store-damaged", [i for i in damaged if damaged[i] == text], text
                )
            seen = {row.index for row in rows} | damaged.keys()
            wanted = (i for i in range(start, end) if self._entries[i] is not None)
            missing = [index for index in wanted if index not in seen]
            self.audit.differ_at("row-missing", missing, "there is no row for it")
        kept = self._stores.projector.registry_records(self._stored)
        for index in sorted(kept.keys() | registry.keys()):
            if kept.get(index) != registry.get(index):
                text = "the registry in progress.db has another record than the row"
                self.audit.differ("registry-differs", f"entry {index}", text)

    def _records(self, start: int, end: int, damaged: dict[int, str]) -> list[StoredRecord]:
        """The rows of a stretch; what can't be read is cut in halves until it stands alone."""
        try:
            return self._stores.customer_db.records(start, end)
        except Exception as error:  # noqa: BLE001 - a damaged key table may raise anything
            if end - start == 1:
                code = getattr(error, "code", type(error).__name__)
                damaged[start] = f"its row can't be read from the customer database: {code}"
                return []
        middle = (start + end) // 2
        return self._records(start, middle, damaged) + self._records(middle, end, damaged)

    def _row(self, row: StoredRecord) -> None:
        where = f"entry {row.index}"
        self.audit.counts["rows"] += 1
        key = self._stores.vault.salt_key(row.device, row.year)
        if key is None:
            self.audit.unchecked["rows whose key is gone"] += 1
            return
        entry = self._entries[row.index]
        if entry is None or commitment(key, row.type, row.record) != entry:
            text = f"the row of {row.device} does not open the entry: it was altered"
            self.audit.differ("row-altered", where, text)
            return
        record = jcs.decode(row.record)
        if row.kind in KINDS:
            self._registry.apply(row.record)
        if not self._is_in_place(row, record):
            self.audit.differ("row-misplaced", where, "its key is not what its record says")

    def _is_in_place(self, row: StoredRecord, record: dict[str, Any]) -> bool:
        """The key of a row must be what its record says, or a query would miss or show it."""
        if (record["kind"], record["device"]) != (row.kind, row.device):
            return False
        if row.kind not in SLOT_KINDS:
            return row.shard == PLATFORM_SHARD
        info = self._registry.device(row.device)
        stated = quality(tuple(record["quality"])).rank if "quality" in record else row.rank
        if row.kind != "event" and "value" not in record:
            stated = Rank.MISSING
        begin, end = record.get("begin"), record.get("end", record.get("time"))
        return (
            row.shard == (PLATFORM_SHARD if info is None else info.shard)
            and row.rank == stated
            and row.register == record.get("register", "")
            and begin in {None, rfc3339(row.begin_us)}
            and end in {None, rfc3339(row.end_us)}
        )

    # -- archive ----------------------------------------------------------------------------

    def archive(self, batches: Sequence[dict[str, Any]]) -> None:
        """Every message that the log took can be read again, and its parts are the evidence."""
        counts: dict[Place, int] = {}
        for data in batches:
            place = _place(data)
            counts[place] = counts.get(place, 0) + int(data["count"])
        for data in batches:
            if int(data["first"]) + int(data["count"]) > self._stored:
                continue
            where = "/".join(map(str, _place(data)))
            with self.audit.guarded(f"message {where}"):
                self._batch(data, counts[_place(data)])

    def _batch(self, data: dict[str, Any], count: int) -> None:
        place, first = _place(data), int(data["first"])
        where = f"message {'/'.join(map(str, place))}"
        if "again" in data:
            epoch, partition, offset = data["again"].split("/")
            with suppress(Stop):  # one that is damaged is told of at its own place
                if self._stores.archive.parts(epoch, int(partition), int(offset)) is None:
                    self.audit.differ("archive-missing", where, "what it repeats is not archived")
            return
        rows = self._records(first, first + int(data["count"]), {})
        if data["part"] == "0":
            self._evidence = None
            self.audit.counts["raw messages"] += 1
            self._evidence = self._message(place, where, rows, first, count)
        for row in rows if self._evidence is not None else []:
            if row.kind in SLOT_KINDS and not _names(row, self._evidence):
                text = "its evidence is no part of the message"
                self.audit.differ("evidence-differs", f"entry {row.index}", text)

    def _message(
        self, place: Place, where: str, rows: list[StoredRecord], first: int, count: int
    ) -> set[str] | None:
        """The commitments to a message's parts; None where they can't be made any more."""
        try:
            parts = self._stores.archive.parts(*place)
            message = self._stores.archive.raw(*place)
        except Unavailable:
            raise
        except GridsealError as error:
            self.audit.differ("archive-damaged", where, str(error))
            return None
        if parts is None:
            self.audit.differ("archive-missing", where, "it is not in the archive")
            return None
        evidence = self._commitments(parts, rows[0].year) if rows else None
        if evidence is None or message is None:
            self.audit.unchecked["messages of which a key is gone"] += 1
            return None
        digest = sha256(message.raw).digest()
        kept = self._stores.archive.summary(message.credential, digest)
        if kept is None:
            text = "without its summary the same message would be taken again"
            self.audit.differ("summary-missing", where, text)
            return evidence
        summary = json.loads(kept)
        batch = "/".join(map(str, place))
        if [summary[name] for name in ("batch", "first_index", "count")] != [batch, first, count]:
            self.audit.differ("summary-differs", where, "its summary names another place")
        return evidence

    def _commitments(self, parts: list[StoredPart], message_year: int) -> set[str] | None:
        evidence = set()
        for _, _, owner, content in parts:
            key = self._stores.vault.salt_key(owner, message_year)
            if content is None or key is None:
                return None
            evidence.add(commitment(key, TYPE_PART, content).hex())
        return evidence


def _place(data: dict[str, Any]) -> Place:
    return data["epoch"], int(data["partition"]), int(data["offset"])


def _names(row: StoredRecord, evidence: set[str] | None) -> bool:
    """Whether a record names one of these; an altered one is told of elsewhere."""
    try:
        return evidence is None or jcs.decode(row.record)["evidence"] in evidence
    except (ValueError, TypeError, KeyError):
        return True
