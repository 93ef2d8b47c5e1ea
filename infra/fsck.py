"""`gridseal fsck`: re-derives entries, tiles, roots, signatures and rows, and names what differs.

Reads only. It may run beside a platform, on what was there when it began. What can't be read at
all is a difference like any other: the rest is looked at all the same.
"""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.commitment import is_public
from bal.certify.log import BATCH_V1, OWN_SOURCE, Frontier
from bal.certify.note import checkpoint_head
from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_width
from bal.certify.tree import leaf_hash
from bal.certify.verify import VerifyError
from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import ProofInvalid, Stop
from bal.model import Digest, TreeHead
from bal.ports import Heads
from infra.anchor_journal import AnchorJournal
from infra.audit import Audit
from infra.data_folder import DataFolder, Facts
from infra.fsck_rows import RowsCheck
from infra.key_signer import last_signed
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock

HEADERS_AT_ONCE = 4096
_EVER_US = (1 << 63) - 1


def fsck(path: Path) -> Audit:
    """Check the data folder at `path`. Raises Stop("data-folder") where it is none."""
    folder = folder_of(path)
    audit = Audit()
    with audit.guarded("data folder"):
        facts = folder.facts()
        assert facts is not None
        with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
            _run(audit, stores, folder, facts)
    return audit


def _run(audit: Audit, stores: Stores, folder: DataFolder, facts: Facts) -> None:
    stored = min(stores.projector.progress().size, stores.customer_db.size())
    check = _Check(audit, stores, facts)
    with audit.guarded("log"):
        check.log()
    for journal in sorted(folder.chain.glob("anchors-*.db")):
        with audit.guarded(f"chain/{journal.name}"):
            check.checkpoints(_anchored(journal))
    with audit.guarded("checkpoint"):
        check.published(folder.keys / "log.signed")
    with audit.guarded("batch headers"):
        check.headers()
    with audit.guarded("bus"):
        check.bus()
    rows = RowsCheck(audit, stores, check.entries, stored)
    with audit.guarded("customer database"):
        rows.projection(check.heads)
    with audit.guarded("customer database"):
        rows.rows()
    with audit.guarded("archive"):
        rows.archive(check.batches)


class _Check:
    """One run over the log of one data folder."""

    def __init__(self, audit: Audit, stores: Stores, facts: Facts) -> None:
        self.audit = audit
        self._stores, self._facts = stores, facts
        self._published = stores.log.checkpoint()
        self.heads: Heads = stores.log.heads()
        self.entries: list[bytes | None] = []  # commitments; None for a public record
        self.batches: list[dict[str, Any]] = []  # headers of messages that could be read
        self._public: dict[int, bytes] = {}
        self._rules: dict[int, str] = {}  # index of a `rules` record → its digest
        self._leaves: list[Digest] = []

    # -- the log ----------------------------------------------------------------------------

    def log(self) -> None:
        """Bundles, entry forms, tiles of every level, and the root of the heads row."""
        size = self.heads.size
        for n in range(-(-size // TILE_WIDTH)):
            self._leaves += map(leaf_hash, self._bundle(n, tile_width(size, 0, n)))
        frontier = Frontier.empty()
        for level, hashes in frontier.extend(self._leaves).items():
            self._tiles(level, hashes)
        head = frontier.head()
        if head != TreeHead(size, self.heads.root):
            self.audit.differ(
                "root-differs",
                f"heads row, size {size}",
                f"the entries lead to {head.root.hex()}, the row has {self.heads.root.hex()}",
            )
        self.audit.counts["log entries"] = size

    def _bundle(self, n: int, width: int) -> list[bytes]:
        where = f"entry bundle {n}"
        try:
            entries = split_bundle(self._stores.log.bundle(n, width))
        except (KeyError, ValueError) as error:
            self.audit.differ("bundle-missing", where, str(error))
            entries = [b"\0" * 32] * width
        for i, entry in enumerate(entries):
            self._entry(n * TILE_WIDTH + i, entry)
        return entries

    def _entry(self, index: int, entry: bytes) -> None:
        try:
            if not is_public(entry):
                self.entries.append(entry)
                return
            self._public[index] = entry
            self.entries.append(None)
            data = jcs.decode(entry)
            if data["type"] == "rules":
                self._rules[index] = data["digest"]
        except (ValueError, TypeError, KeyError) as error:
            self.audit.differ("entry-form", f"entry {index}", str(error))
            if len(self.entries) == index:
                self.entries.append(entry)

    def _tiles(self, level: int, hashes: list[Digest]) -> None:
        for n in range(-(-len(hashes) // TILE_WIDTH)):
            expected = hashes[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            where = f"tile {level}/{n}"
            self.audit.counts["tiles"] += 1
            try:
                stored = self._stores.log.tile(level, n, len(expected))
            except KeyError as error:
                self.audit.differ("tile-missing", where, str(error))
                continue
            for i, one in enumerate(expected):
                if stored[32 * i : 32 * i + 32] != one:
                    entry = (n * TILE_WIDTH + i) << 8 * level
                    text = f"hash {i} is not that of the entries from {entry} on"
                    self.audit.differ("tile-differs", where, text)
                    break

    def _roots(self, sizes: set[int]) -> dict[int, Digest]:
        """The root at each of these sizes that the log has reached."""
        frontier, roots = Frontier.empty(), dict[int, Digest]()
        for size in sorted(size for size in sizes if size <= len(self._leaves)):
            frontier.extend(self._leaves[frontier.size : size])
            roots[size] = frontier.head().root
        return roots

    # -- signatures -------------------------------------------------------------------------

    def published(self, memory: Path) -> None:
        """The published checkpoint, and what the signer remembers of it."""
        if self._published is None:
            return
        self.checkpoints([("checkpoint", *self._published)])
        size = self._published[0].size
        if self._stores.log.size_at(_EVER_US) > size:
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

    def checkpoints(self, signed: list[tuple[str, TreeHead, bytes]]) -> None:
        """Signature, text and root of each."""
        key = parse_vkey(self._facts.log_key)
        roots = self._roots({head.size for _, head, _ in signed})
        for kind, head, note in signed:
            where = f"{kind} {head.size}"
            self.audit.counts["signed checkpoints"] += 1
            try:
                if not signed_by(parse_note(note.decode()), [key]):
                    self.audit.differ("signature-missing", where, "no signature of the log's key")
                if checkpoint_head(note) != (self._facts.origin, head):
                    text = "its note is of another origin, size or root than its row"
                    self.audit.differ("checkpoint-differs", where, text)
            except (VerifyError, ProofInvalid, ValueError) as error:
                self.audit.differ("signature-invalid", where, str(error))
            root = roots.get(head.size)
            if root is None:
                self.audit.differ("checkpoint-ahead", where, "the log has not reached it")
            elif root != head.root:
                text = f"it signs {head.root.hex()}, the entries lead to {root.hex()}"
                self.audit.differ("fork", where, text)

    # -- batch headers ----------------------------------------------------------------------

    def headers(self) -> None:
        """Headers tile the log without gap or overlap, and bind the entries that they name."""
        at, before = 0, (0, -1)
        last: dict[str, dict[str, Any]] = {}
        for place, header in self._headers():
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

    def _headers(self) -> Iterator[tuple[tuple[int, int], bytes]]:
        place = (0, -1)
        while found := self._stores.log.headers(place, HEADERS_AT_ONCE):
            for place, header in found:
                if place[0] > self.heads.version:
                    return  # made since this run began
                yield place, header

    def _header(self, data: dict[str, Any], at: int) -> int:
        """One header; where the next one must begin. Raises ValueError and KeyError."""
        first, count = int(data["first"]), int(data["count"])
        where = _where(data)
        self.audit.counts["batch headers"] += 1
        if first != at:
            self.audit.differ("header-gap", where, f"it begins at {first}, not {at}")
        entries = b"".join(self._whole(i) for i in range(first, first + count))
        if sha256(entries).hexdigest() != data["rows"] or data["v"] != BATCH_V1:
            self.audit.differ("header-differs", where, "its entries are others")
        return first + count

    def _own_header(self, data: dict[str, Any], version: int) -> None:
        """Of public records: they belong to the version itself."""
        own = {"partition": "0", "part": "0", "offset": str(version), "prev": str(version - 1)}
        if any(data[name] != expected for name, expected in own.items()):
            self.audit.differ("header-order", _where(data), f"it is not that of version {version}")

    def _message_header(self, data: dict[str, Any], last: dict[str, dict[str, Any]]) -> None:
        """Its place in the chain of its source, and what its entries are a function of."""
        self.batches.append(data)
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
            registry = int(data["inputs"]["registry"])
        rules = [self._rules[index] for index in sorted(self._rules) if index < first]
        if int(data["inputs"]["registry"]) != registry or (
            rules and data["inputs"]["rules"] != rules[-1]
        ):
            text = "it names another registry or other rules than were in force"
            self.audit.differ("header-inputs", where, text)

    def _whole(self, index: int) -> bytes:
        entry = self.entries[index]
        return self._public[index] if entry is None else entry

    # -- bus --------------------------------------------------------------------------------

    def bus(self) -> None:
        """It is the one that the log took from, and has what the projection may still need."""
        bus, taken = self._stores.bus, dict(self.heads.taken)
        last = taken.get(f"{bus.epoch}/0", -1)
        if taken and last < 0:
            text = f"its epoch is {bus.epoch}, the log took messages from {', '.join(taken)}"
            self.audit.differ("bus-went-backwards", "bus", text)
        elif bus.end() <= last:
            text = f"it ends at {bus.end()}, the log took message {last}"
            self.audit.differ("bus-went-backwards", "bus", text)
        for offset in range(self._stores.projector.progress().next_offset, bus.end()):
            bus.read(offset, 1)


def _anchored(journal: Path) -> list[tuple[str, TreeHead, bytes]]:
    opened = AnchorJournal(journal)
    try:
        return [
            (f"{state} checkpoint", TreeHead(one.size, Digest(one.root)), one.note)
            for state in ("anchored", "final")
            for one in opened.of_state(state)
        ]
    finally:
        opened.close()


def _where(data: dict[str, Any]) -> str:
    return f"batch {data['epoch']}/{data['partition']}/{data['offset']}"
