"""`gridseal fsck`: re-derives entries, tiles, roots, signatures and rows, and names what differs.

Looks only: no file is written or made. It may run beside a platform, on what was there when it
began, and on a copy on read-only media. What can't be read at all is a difference like any other:
the log is looked at without the other stores, and they are where they can be opened.
"""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from heapq import merge
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import BATCH_V1, OWN_SOURCE
from bal.certify.order import CLAIM
from bal.closing import DERIVED
from bal.errors import Stop
from bal.model import Digest, TreeHead
from bal.ports import Heads
from infra.anchor_journal import kept_heads
from infra.audit import Audit, progress
from infra.data_folder import DataFolder, Facts
from infra.file_log import FileLog
from infra.fsck_days import DaysCheck
from infra.fsck_log import PREDECESSOR, LogCheck, Signed
from infra.fsck_rows import RowsCheck
from infra.key_signer import last_signed
from infra.log_reader import batch_headers
from infra.outside import open_log
from infra.outside import read as outside_of
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock

READ_MESSAGES = 256  # at once, of the bus

_EVER_US = (1 << 63) - 1
# Of the others an absent one is told by what it should hold, or is made again at the next start.
_NEVER_ABSENT = (
    "log/heads.db", "log/headers.db", "log/published.db", "archive/archive.db", "vault/vault.db",
)  # fmt: skip


def fsck(path: Path) -> Audit:
    """Check the data folder at `path`. Raises Stop("data-folder") where it is none."""
    folder = folder_of(path)
    audit = Audit()
    with progress(audit), audit.guarded("data folder"):
        facts = folder.facts()
        assert facts is not None
        elsewhere = {"log/heads.db"} if outside_of(folder).cassandra.heads else set()
        for name in _NEVER_ABSENT:
            if name not in elsewhere and not (folder.root / name).exists():
                audit.differ("store-missing", name, "there is no such file")
        with closing(open_log(folder, SystemClock(), read_only=True)) as log:
            check = _Check(audit, log, folder, facts)
            check.run()
            with audit.guarded("data folder"):
                _stores(audit, folder, check)
    return audit


def _stores(audit: Audit, folder: DataFolder, check: "_Check") -> None:
    """What was projected, against a log that was looked at."""
    with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
        stored = min(stores.projector.progress().size, stores.customer_db.size(), check.log.size)
        rows = RowsCheck(audit, stores, check.log, stored)
        with audit.guarded("bus"):
            if folder.has_roles:
                from infra.fsck_topics import TopicsCheck  # noqa: PLC0415 - what makes folders, too

                TopicsCheck(audit, folder, stores, check.heads).run()
            else:
                check.bus(stores)
        with audit.guarded("vault"):
            rows.vault()
        with audit.guarded("customer database"):
            rows.projection()
        with audit.guarded("customer database"):
            rows.rows()
        with audit.guarded("book"):
            days = DaysCheck(audit, stores, check.log, stored, check.heads.taken)
            days.run()
            days.touched(rows.touched)
        with audit.guarded("archive"):
            rows.archive(check.messages())


class _Check:
    """One run over the log of one data folder."""

    def __init__(self, audit: Audit, log: FileLog, folder: DataFolder, facts: Facts) -> None:
        self.audit = audit
        self._files, self._folder, self._has_roles = log, folder, folder.has_roles
        self._largest = log.size_at(_EVER_US)  # looked at first: a platform may publish meanwhile
        self._published = log.checkpoint()
        self.heads: Heads = log.heads()
        self.log = LogCheck(audit, log, self.heads, facts)
        self._predecessors: list[Signed] = [
            (TreeHead(int(one["size"]), Digest(bytes.fromhex(one["root"]))), PREDECESSOR, b"")
            for one in facts.predecessors
        ]

    def run(self) -> None:
        """Entries, tiles, roots, signatures and headers."""
        with self.audit.guarded("log"):
            streams = [
                self._anchored(path) for path in sorted(self._folder.chain.glob("anchors-*.db"))
            ]
            if self._published is not None:
                head, note = self._published
                streams.append(iter([(head, "checkpoint", note)]))
            streams.append(iter(self._predecessors))
            self.log.run(merge(*streams, key=lambda signed: signed[0].size))
            if number := self._files.redone():  # no difference: a start makes them of it
                self.audit.counts["tiles and headers that are only staged yet"] = number
        with self.audit.guarded("checkpoint"):
            self._signer_memory(self._folder.keys / "log.signed")
        with self.audit.guarded("batch headers"):
            self._headers()

    # -- signatures -------------------------------------------------------------------------

    def _anchored(self, journal: Path) -> Iterator[Signed]:
        with self.audit.guarded(f"chain/{journal.name}"):
            for head, state, note in kept_heads(journal):
                yield head, f"{state} checkpoint", note

    def _signer_memory(self, memory: Path) -> None:
        """What was published before, and what the signer remembers of it."""
        if self._published is None:
            return
        size = self._published[0].size
        if self._largest > size:
            text = f"a larger one than {size} was published before"
            self.audit.differ("checkpoint-behind", "checkpoint", text)
        try:
            last, _ = last_signed(memory)
        except Stop as error:
            self.audit.differ("store-damaged", f"keys/{memory.name}", str(error))
            return
        if last < size:
            text = f"it remembers size {last}, and {size} was signed: it was restored or replaced"
            self.audit.differ("signer-behind", f"keys/{memory.name}", text)

    # -- batch headers ----------------------------------------------------------------------

    def messages(self) -> Iterator[dict[str, Any]]:
        """The headers of messages; of what can't be read `_headers` told."""
        for _, header in batch_headers(self._files, last=self.heads.version):
            try:
                data = jcs.decode(header)
                numbers = [int(data[name]) for name in ("partition", "offset", "first", "count")]
                readable = min(numbers) >= 0 and bool(data["part"])
                of_message = data["epoch"] not in {OWN_SOURCE, DERIVED} and not _is_claim(data)
            except (ValueError, TypeError, KeyError):
                continue
            if readable and of_message:
                yield data

    def _headers(self) -> None:
        """Headers tile the log without gap or overlap, and bind the entries that they name."""
        at, before = 0, (0, -1)
        last: dict[str, dict[str, Any]] = {}
        for place, header in batch_headers(self._files, last=self.heads.version):
            where = f"batch header {place[0]}/{place[1]}"
            if place not in {(before[0], before[1] + 1), (before[0] + 1, 0)}:
                text = f"the one before it is {before[0]}/{before[1]}"
                self.audit.differ("header-missing", where, text)
            before = place
            try:
                data = jcs.decode(header)
                at = self._header(data, at)
                if data["epoch"] == OWN_SOURCE:
                    self._own_header(data, place[0] - 1)
                elif _is_claim(data):
                    self._claim_header(data, last)
                else:
                    self._message_header(data, last)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                self.audit.differ("header-damaged", where, f"{type(error).__name__}: {error}")
        if at < self.heads.size or before[0] < self.heads.version:
            text = f"they end at {at} in version {before[0]}, the log has {self.heads.size} entries"
            text += f" in version {self.heads.version}"
            self.audit.differ("header-missing", "batch headers", text)
        taken = {source: int(data["offset"]) for source, data in last.items()}
        if taken != dict(self.heads.taken):
            text = f"the headers end with {taken}, the row has {dict(self.heads.taken)}"
            self.audit.differ("taken-differs", f"heads row, size {self.heads.size}", text)

    def _header(self, data: dict[str, Any], at: int) -> int:
        """One header; where the next one must begin. Raises ValueError and KeyError."""
        first, count = int(data["first"]), int(data["count"])
        where = _where(data)
        self.audit.counts["batch headers"] += 1
        if first != at:
            self.audit.differ("header-gap", where, f"it begins at {first}, not {at}")
        entries = b"".join(self.log.entry(i) for i in range(first, first + count))
        if sha256(entries).hexdigest() != data["rows"] or data["v"] != BATCH_V1:
            self.audit.differ("header-differs", where, "its entries are others")
        return first + count

    def _own_header(self, data: dict[str, Any], version: int) -> None:
        """Of public records: they belong to the version itself."""
        own = {"partition": "0", "part": "0", "offset": str(version), "prev": str(version - 1)}
        if any(data[name] != expected for name, expected in own.items()):
            self.audit.differ("header-order", _where(data), f"it is not that of version {version}")

    def _claim_header(self, data: dict[str, Any], last: dict[str, dict[str, Any]]) -> None:
        """Of a worker's claim: generations grow, and nothing comes of it."""
        source = f"{data['epoch']}/{data['partition']}"
        before = last.get(source)
        last[source] = data
        prev = -1 if before is None else int(before["offset"])
        follows = int(data["prev"]) == prev < int(data["offset"])
        if not (follows and self._has_roles) or (data["part"], data["count"]) != ("0", "0"):
            self.audit.differ("header-order", _where(data), "it is no next claim of its partition")

    def _message_header(self, data: dict[str, Any], last: dict[str, dict[str, Any]]) -> None:
        """Its place in the chain of its source, and what its entries are a function of."""
        where = _where(data)
        source, first = f"{data['epoch']}/{data['partition']}", int(data["first"])
        before = last.get(source)
        last[source] = data
        if data["part"] == "0":
            if int(data["prev"]) != (-1 if before is None else int(before["offset"])):
                self.audit.differ("header-order", where, "it does not follow the one before it")
            registry = first
        else:
            same = ("offset", "prev", "inputs")
            follows = before is not None and all(before[name] == data[name] for name in same)
            if before is None or not follows or int(data["part"]) != int(before["part"]) + 1:
                self.audit.differ("header-order", where, "it is no next part of its message")
            registry = int(data["inputs"].get("registry", "0"))
        rules = [self.log.rules[index] for index in sorted(self.log.rules) if index < first]
        if data["epoch"] == DERIVED:
            named = data["inputs"]
            registry = int(named.setdefault("registry", str(registry)))
            if int(named["k"]) != int(data["offset"]) + 1 or int(named["prefix"]) > first:
                self.audit.differ("header-inputs", where, "it is of another close or prefix")
        elif self._has_roles:  # a worker's registry, and its rules, are as of when it worked
            least = 0 if before is None else int(before["inputs"]["registry"])
            registry = min(max(int(data["inputs"]["registry"]), least), first)
            rules = [name for name in rules if name == data["inputs"]["rules"]] or rules
        if int(data["inputs"]["registry"]) != registry or (
            rules and data["inputs"]["rules"] != rules[-1]
        ):
            text = "it names another registry or other rules than were in force"
            self.audit.differ("header-inputs", where, text)

    # -- bus --------------------------------------------------------------------------------

    def bus(self, stores: Stores) -> None:
        """It is the one that the log took from, and has what the projection may still need."""
        bus, taken = stores.bus, dict(self.heads.taken)
        last = taken.get(f"{bus.epoch}/0", -1)
        if taken and last < 0:
            text = f"its epoch is {bus.epoch}, the log took messages from {', '.join(taken)}"
            self.audit.differ("bus-went-backwards", "bus", text)
        elif bus.end() <= last:
            text = f"it ends at {bus.end()}, the log took message {last}"
            self.audit.differ("bus-went-backwards", "bus", text)
        offset, end = stores.projector.progress().next_offset, bus.end()
        while offset < end:
            try:
                offset += max(1, len(bus.read(offset, READ_MESSAGES)))
            except Stop as error:
                now = stores.projector.progress().next_offset
                if error.code != "bus-trimmed" or now <= offset:
                    raise
                offset = now  # a platform that runs has stored and trimmed it meanwhile


def _where(data: dict[str, Any]) -> str:
    return f"batch {data['epoch']}/{data['partition']}/{data['offset']}"


def _is_claim(data: dict[str, Any]) -> bool:
    """Whether a header is that of a worker's claim on a partition (bal/certify/order.py)."""
    return str(data["epoch"]).startswith(CLAIM)
