"""The part of fsck that looks at what was projected: rows, registry, raw messages and vault."""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.commitment import commitment
from bal.derive.fold import KINDS as KINDS_OF_SLOTS
from bal.derive.touched import touched_dates
from bal.derive.vee_record import FINDING
from bal.errors import GridsealError, Stop, Unavailable
from bal.harmonise.quality import quality
from bal.model import PHASORS, TYPE_DEVICE_DAY, TYPE_PART, Pseudonym, Rank, StoredRecord
from bal.registry import KINDS, Registry
from bal.subjects import PLATFORM_SHARD, SLOT_KINDS
from bal.times import rfc3339, year
from infra.archive_seal import StoredPart
from infra.audit import Audit, chunks
from infra.fsck_days import day_in_place
from infra.fsck_frames import what_differs
from infra.fsck_log import LogCheck
from infra.stores import Stores

ROWS_AT_ONCE = 4096
Batch = tuple[str, int, int]  # epoch, partition, offset of a message on the bus


@dataclass(slots=True)
class _Message:
    """The message whose parts are looked at."""

    place: Batch
    where: str
    first: int
    count: int = 0  # entries in all its parts
    year: int | None = None  # of its receipt; None where that can't be read
    owners: AbstractSet[Pseudonym] = frozenset()  # whose bytes it has
    evidence: AbstractSet[str] | None = None  # commitments to its parts; None: can't be made
    parts: Sequence[StoredPart] = ()
    summary: dict[str, Any] | None = None


class RowsCheck:
    """One run over the rows of the entries below `stored`, after `log` was looked at."""

    def __init__(self, audit: Audit, stores: Stores, log: LogCheck, stored: int) -> None:
        self.audit = audit
        self._stores, self._stored = stores, stored
        self._entry, self._years, self._size = log.commitment, log.years, log.size
        self._registry = Registry()
        self._message: _Message | None = None
        self._window: tuple[int, int, list[StoredRecord]] = (0, 0, [])
        self._begun: dict[str, list[tuple[int, int, int]]] = {}  # in a stretch of rows, by zone
        self.touched: dict[str, int] = {}  # by local date the highest index of a row

    def projection(self) -> None:
        """What is projected belongs together, and to this log."""
        progress, size = self._stores.projector.progress(), self._stores.customer_db.size()
        if size < progress.size:
            text = f"it holds rows up to {size}, and up to {progress.size} were stored"
            self.audit.differ("projection-differs", "customer database", text)
        ahead, reached = max(size, progress.size), self._stores.log.heads().size  # in this order
        if ahead > reached:
            text = f"rows are stored up to {ahead}, the log ends at {reached}"
            self.audit.differ("projection-ahead", "customer database", text)
        if self._stored < self._size:
            waiting = self._size - self._stored
            self.audit.unchecked["entries whose rows the next start makes"] += waiting

    def vault(self) -> None:
        """Every pseudonym is that of its key."""
        for name in self._stores.vault.misnamed():
            text = f"pseudonym {name} is not that of its key: one of them was altered"
            self.audit.differ("pseudonym-differs", "vault/vault.db", text)

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
            self._note_touched()
            for text in dict.fromkeys(damaged.values()):
                self.audit.differ_at(
                    "store-damaged", [i for i in damaged if damaged[i] == text], text
                )
            seen = {row.index for row in rows} | damaged.keys()
            wanted = (i for i in range(start, end) if self._entry(i) is not None)
            missing = [index for index in wanted if index not in seen]
            self.audit.differ_at("row-missing", missing, "there is no row for it")
            self.audit.step("rows", end, self._stored)
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
        if self._stores.vault.salt_key(row.device, row.year) is None:
            other = next((y for y in sorted(self._years) if self._opens(row, y)), None)
            if other is not None:
                text = f"its row names the key of {row.year}, and it opens with that of {other}"
                self.audit.differ("row-altered", where, text)
            return  # else its message shows whether the key was destroyed: `_keyless`
        if not self._opens(row, row.year):
            text = f"the row of {row.device} does not open the entry: it was altered"
            self.audit.differ("row-altered", where, text)
            return
        if row.kind in KINDS:
            self._registry.apply(row.record)
        if not self._is_in_place(row):
            self.audit.differ("row-misplaced", where, "its key is not what its record says")
        if row.kind == PHASORS:
            self.audit.counts["frames"] += len(row.frames)
            text = what_differs(row, self._stores.vault.salt_key(row.device, row.year) or b"")
            if text:
                self.audit.differ("frames-differ", where, text)
        info = self._registry.device(row.device) if row.kind in KINDS_OF_SLOTS else None
        if info is not None:
            at = row.begin_us, row.end_us, row.index
            self._begun.setdefault(info.zone, []).append(at)

    def _note_touched(self) -> None:
        """Which dates the rows of a stretch are of, each where its device stands."""
        for zone, begun in self._begun.items():
            for day, index in touched_dates(begun, [zone]).items():
                self.touched[day] = max(index, self.touched.get(day, -1))
        self._begun.clear()

    def _opens(self, row: StoredRecord, of_year: int) -> bool:
        """Whether the row and the subject's key of that year lead to the entry."""
        key, entry = self._stores.vault.salt_key(row.device, of_year), self._entry(row.index)
        return None not in {key, entry} and commitment(key or b"", row.type, row.certified) == entry

    def _is_in_place(self, row: StoredRecord) -> bool:
        """The key of a row must be what its record says, or a query would miss or show it."""
        if row.type == TYPE_DEVICE_DAY:
            info = self._registry.device(row.device)
            return info is not None and row.shard == info.shard and day_in_place(row, info.zone)
        record = jcs.decode(row.certified)
        if (record["kind"], record["device"]) != (row.kind, row.device):
            return False
        if row.kind not in SLOT_KINDS and row.kind not in {PHASORS, FINDING}:
            return row.shard == PLATFORM_SHARD
        info = self._registry.device(row.device)
        stated = quality(tuple(record["quality"])).rank if "quality" in record else row.rank
        if row.kind in {"reading", "telemetry"} and "value" not in record:
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

    def archive(self, batches: Iterable[dict[str, Any]]) -> None:
        """Every message that the log took can be read again, and its parts are the evidence.

        batches: the headers of messages, in log order.
        """
        progress, heads = self._stores.projector.progress(), self._stores.log.heads()
        least = 1 if progress.version < heads.version else 0  # one without entries may wait, too
        for data in batches:
            first, count = int(data["first"]), int(data["count"])
            if data["part"] == "0":
                self._end_message()
            if first + max(count, least) > self._stored:
                self._message = None
                continue
            with self.audit.guarded(f"message {_batch_name(_batch(data))}"):
                if "again" in data:
                    self._retry(data)
                else:
                    self._part(data, first, count)
            self.audit.step("messages", first + count, self._stored)
        self._end_message()

    def _retry(self, data: dict[str, Any]) -> None:
        epoch, partition, offset = data["again"].split("/")
        with suppress(Stop):  # one that is damaged is told of at its own place
            if self._stores.archive.parts(epoch, int(partition), int(offset)) is None:
                where, text = _batch_name(_batch(data)), "what it repeats is not archived"
                self.audit.differ("archive-missing", f"message {where}", text)

    def _part(self, data: dict[str, Any], first: int, count: int) -> None:
        if data["part"] == "0":
            self.audit.counts["raw messages"] += 1
            place = _batch(data)
            self._message = _Message(place, f"message {_batch_name(place)}", first)
            self._read(self._message)
        message = self._message
        if message is None:
            return
        message.count += count
        for row in self._rows_of(first, count):
            if self._stores.vault.salt_key(row.device, row.year) is None:
                self._keyless(row, message)
            if (
                row.kind in SLOT_KINDS
                and message.evidence is not None
                and not _names(row, message.evidence)
                and not _names(row, self._own_evidence(row, message))
            ):
                text = "its evidence is no part of the message"
                self.audit.differ("evidence-differs", f"entry {row.index}", text)

    def _rows_of(self, first: int, count: int) -> Sequence[StoredRecord]:
        """The rows of one batch; of many small ones side by side read at once."""
        start, end, rows = self._window
        if not start <= first <= first + count <= end:
            start, end = first, min(self._stored, max(first + count, first + ROWS_AT_ONCE))
            rows = self._records(start, end, {})
            self._window = (start, end, rows)
        return [row for row in rows if first <= row.index < first + count]

    def _keyless(self, row: StoredRecord, message: _Message) -> None:
        """A row whose key is not in the vault: destroyed, or the row names what never was.

        `_row` told of those that another year's key opens.
        """
        if any(self._opens(row, one) for one in self._years):
            return
        where = f"entry {row.index}"
        if message.year not in {None, row.year}:
            text = f"its row names the key of {row.year}, and its message came in {message.year}"
            self.audit.differ("row-altered", where, text)
        elif self._years and not min(self._years) - 1 <= row.year <= max(self._years) + 1:
            text = f"its row names the key of {row.year}, when there was no log"
            self.audit.differ("row-altered", where, text)
        elif (
            row.kind in SLOT_KINDS
            and message.owners
            and row.device not in message.owners
            and self._stores.vault.identity(row.device) is None
        ):
            text = f"its row is of {row.device}: nobody in the vault, and not in its message"
            self.audit.differ("row-altered", where, text)
        else:
            self.audit.unchecked["rows whose key is gone"] += 1

    def _read(self, message: _Message) -> None:
        """What the archive has of a message."""
        archive = self._stores.archive
        try:
            parts, opened = archive.parts(*message.place), archive.raw(*message.place)
        except Unavailable:
            raise
        except GridsealError as error:
            self.audit.differ("archive-damaged", message.where, str(error))
            return
        if parts is None:
            self.audit.differ("archive-missing", message.where, "it is not in the archive")
            return
        message.owners = {owner for _, _, owner, _ in parts}
        if opened is None:
            self.audit.unchecked["messages of which a key is gone"] += 1
            return
        message.year = year(opened.received_us)
        message.evidence, message.parts = self._commitments(parts, message.year), parts
        digest = sha256(opened.raw).digest()
        kept = archive.summary(opened.credential, digest)
        if kept is None:
            text = "without its summary the same message would be taken again"
            self.audit.differ("summary-missing", message.where, text)
            return
        message.summary = json.loads(kept)

    def _commitments(self, parts: Sequence[StoredPart], message_year: int) -> set[str] | None:
        evidence = set()
        for _, _, owner, content in parts:
            key = self._stores.vault.salt_key(owner, message_year)
            if content is None or key is None:
                return None
            evidence.add(commitment(key, TYPE_PART, content).hex())
        return evidence

    def _own_evidence(self, row: StoredRecord, message: _Message) -> set[str]:
        """What a record names that is of another subject epoch than its part (bal/epochs.py)."""
        info = self._registry.device(row.device)
        key = self._stores.vault.salt_key(row.device, row.year)
        if info is None or not info.until_us or key is None:
            return set()
        pieces = [content for _, _, _, content in message.parts if content is not None]
        return {commitment(key, TYPE_PART, content).hex() for content in pieces}

    def _end_message(self) -> None:
        """All parts were seen: the summary must name them."""
        message, self._message = self._message, None
        if message is None or message.summary is None:
            return
        stated = [message.summary.get(name) for name in ("batch", "first_index", "count")]
        if stated != [_batch_name(message.place), message.first, message.count]:
            text = "its summary names another place"
            self.audit.differ("summary-differs", message.where, text)


def _batch(data: dict[str, Any]) -> Batch:
    return data["epoch"], int(data["partition"]), int(data["offset"])


def _batch_name(batch: Batch) -> str:
    return "/".join(map(str, batch))


def _names(row: StoredRecord, evidence: AbstractSet[str]) -> bool:
    """Whether a record names one of these; an altered one is told of elsewhere."""
    try:
        return jcs.decode(row.record)["evidence"] in evidence
    except (ValueError, TypeError, KeyError):
        return True
