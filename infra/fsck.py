"""`gridseal fsck`: re-derives entries, tiles, roots, signatures and rows, and names what differs.

Reads only. It may run beside a platform, on what was there when it began.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.commitment import commitment, is_public
from bal.certify.log import OWN_SOURCE, Frontier
from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_width
from bal.certify.tree import leaf_hash
from bal.certify.verify import VerifyError
from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import GridsealError
from bal.model import TYPE_PART, Digest, StoredRecord, TreeHead
from bal.pipeline import SLOT_KINDS
from bal.ports import Heads
from bal.registry import KINDS
from bal.times import rfc3339
from infra.anchor_journal import AnchorJournal
from infra.audit import Audit, chunks
from infra.data_folder import Facts
from infra.sqlite_archive import StoredPart
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock

ROWS_AT_ONCE = 4096


def fsck(path: Path) -> Audit:
    """Check the data folder at `path`. Raises Stop where it is none, or a file can't be read."""
    folder = folder_of(path)
    facts = folder.facts()
    assert facts is not None
    stores = Stores.open(folder, SystemClock())
    try:
        journals = sorted(folder.chain.glob("anchors-*.db"))
        anchored = [head for journal in journals for head in _anchored(journal)]
        check = _Check(stores, facts, anchored)
        check.log()
        check.checkpoints()
        check.headers()
        check.rows()
        check.archive()
        return check.audit
    finally:
        stores.close()


class _Check:
    """One run over one data folder."""

    def __init__(
        self, stores: Stores, facts: Facts, anchored: list[tuple[str, TreeHead, bytes]]
    ) -> None:
        self.audit = Audit()
        self._stores, self._facts = stores, facts
        self._stored = stores.projector.progress().size
        self._published = stores.log.checkpoint()
        self._heads: Heads = stores.log.heads()
        self._entries: list[bytes | None] = []  # commitments; None for a public record
        self._roots: dict[int, Digest] = {}
        published = [] if self._published is None else [("checkpoint", *self._published)]
        self._signed = [*published, *anchored]

    # -- the log ----------------------------------------------------------------------------

    def log(self) -> None:
        """Bundles, entry forms, tiles of every level, and the root of the heads row."""
        wanted = {self._heads.size} | {head.size for _, head, _ in self._signed}
        frontier = Frontier(0, _no_node)
        tiles: dict[int, list[Digest]] = {}
        size = self._heads.size
        for n in range(-(-size // TILE_WIDTH)):
            width = tile_width(size, 0, n)
            entries = self._bundle(n, width)
            leaves = [leaf_hash(entry) for entry in entries]
            done = 0
            for stop in sorted(s for s in wanted if n * TILE_WIDTH < s <= n * TILE_WIDTH + width):
                cut = stop - n * TILE_WIDTH
                self._extend(frontier, leaves[done:cut], tiles)
                self._roots[stop] = frontier.head().root
                done = cut
            self._extend(frontier, leaves[done:], tiles)
        for level, hashes in tiles.items():
            self._tiles(level, hashes)
        head = frontier.head()
        if head != TreeHead(size, self._heads.root):
            self.audit.differ(
                "root-differs",
                f"heads row, size {size}",
                f"the entries lead to {head.root.hex()}, the row has {self._heads.root.hex()}",
            )
        self.audit.counts["log entries"] = size

    def _extend(
        self, frontier: Frontier, leaves: list[Digest], tiles: dict[int, list[Digest]]
    ) -> None:
        for level, added in frontier.extend(leaves).items():
            tiles.setdefault(level, []).extend(added)

    def _bundle(self, n: int, width: int) -> list[bytes]:
        try:
            entries = split_bundle(self._stores.log.bundle(n, width))
        except (KeyError, ValueError) as error:
            self.audit.differ("bundle-missing", f"entry bundle {n}", str(error))
            entries = [b"\0" * 32] * width
        for i, entry in enumerate(entries):
            try:
                self._entries.append(None if is_public(entry) else entry)
                if self._entries[-1] is None:
                    jcs.decode(entry)
            except ValueError as error:
                self.audit.differ("entry-form", f"entry {n * TILE_WIDTH + i}", str(error))
                self._entries.append(entry)
        return entries

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

    # -- signatures -------------------------------------------------------------------------

    def checkpoints(self) -> None:
        """The published checkpoint and every anchored one: signature and root."""
        key = parse_vkey(self._facts.log_key)
        for kind, head, note in self._signed:
            where = f"{kind} {head.size}"
            self.audit.counts["signed checkpoints"] += 1
            try:
                if not signed_by(parse_note(note.decode()), [key]):
                    self.audit.differ("signature-missing", where, "no signature of the log's key")
            except (VerifyError, UnicodeDecodeError) as error:
                self.audit.differ("signature-invalid", where, str(error))
            root = self._roots.get(head.size)
            if root is None:
                self.audit.differ("checkpoint-ahead", where, "the log has not reached it")
            elif root != head.root:
                text = f"it signs {head.root.hex()}, the entries lead to {root.hex()}"
                self.audit.differ("fork", where, text)

    def _whole(self, index: int) -> bytes:
        entry = self._entries[index]
        if entry is not None:
            return entry
        n, i = divmod(index, TILE_WIDTH)
        return split_bundle(self._stores.log.bundle(n, i + 1))[i]

    # -- batch headers ----------------------------------------------------------------------

    def headers(self) -> None:
        """Headers tile the log without gap or overlap, and bind the entries that they name."""
        at, place = 0, (0, -1)
        last: dict[str, int] = {}
        while found := self._stores.log.headers(place, ROWS_AT_ONCE):
            place = found[-1][0]
            for _, header in found:
                at = self._header(jcs.decode(header), at, last)
        if at < self._heads.size:
            text = f"they end at {at}, the log has {self._heads.size} entries"
            self.audit.differ("header-missing", "batch headers", text)

    def _header(self, data: dict[str, Any], at: int, last: dict[str, int]) -> int:
        first, count = int(data["first"]), int(data["count"])
        where = f"batch {data['epoch']}/{data['partition']}/{data['offset']}"
        if first + count > self._heads.size:
            return at  # made since this run began
        self.audit.counts["batch headers"] += 1
        if first != at:
            self.audit.differ("header-gap", where, f"it begins at {first}, not {at}")
        source = f"{data['epoch']}/{data['partition']}"
        if data["epoch"] != OWN_SOURCE and data["part"] == "0":
            if int(data["prev"]) != last.get(source, -1):
                self.audit.differ("header-order", where, f"it does not follow {last.get(source)}")
            last[source] = int(data["offset"])
        entries = b"".join(self._whole(i) for i in range(first, first + count))
        if sha256(entries).hexdigest() != data["rows"]:
            self.audit.differ("header-differs", where, "its entries are others")
        return first + count

    # -- rows -------------------------------------------------------------------------------

    def rows(self) -> None:
        """Every row opens its entry; every commitment below the stored size has a row."""
        stop = min(self._stored, len(self._entries))
        registry: list[bytes] = []
        for start, end in chunks(0, stop, ROWS_AT_ONCE):
            seen = set()
            for row in self._stores.customer_db.records(start, end):
                seen.add(row.index)
                self._row(row)
                if row.kind in KINDS:
                    registry.append(row.record)
            for index in range(start, end):
                if self._entries[index] is not None and index not in seen:
                    self.audit.differ("row-missing", f"entry {index}", "there is no row for it")
        if registry != self._stores.projector.registry_records(stop):
            self.audit.differ("registry-differs", "registry", "it is not that of the rows")

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
        self._metadata(row, record, where)

    def _metadata(self, row: StoredRecord, record: dict[str, Any], where: str) -> None:
        """The key of a row must be what its record says, or a query would miss it."""
        same = record["kind"] == row.kind and record["device"] == row.device
        if row.kind in SLOT_KINDS:
            ends = {record.get("end"), record.get("time")}
            same = same and record.get("register", "") == row.register
            if "end" in record:
                same = same and record["begin"] == rfc3339(row.begin_us)
            if ends != {None}:
                same = same and rfc3339(row.end_us) in ends
        if not same:
            self.audit.differ("row-misplaced", where, "its key is not what its record says")

    # -- archive ----------------------------------------------------------------------------

    def archive(self) -> None:
        """Every message that the log took can be read again, and its parts are the evidence."""
        place = (0, -1)
        while found := self._stores.log.headers(place, ROWS_AT_ONCE):
            place = found[-1][0]
            for _, header in found:
                data = jcs.decode(header)
                stored = int(data["first"]) + int(data["count"]) <= self._stored
                if data["epoch"] != OWN_SOURCE and data["part"] == "0" and stored:
                    self._message(data)

    def _message(self, data: dict[str, Any]) -> None:
        place = (data["epoch"], int(data["partition"]), int(data["offset"]))
        where = f"message {'/'.join(str(p) for p in place)}"
        if "again" in data:
            return
        self.audit.counts["raw messages"] += 1
        try:
            parts = self._stores.archive.parts(*place)
        except GridsealError as error:
            self.audit.differ("archive-damaged", where, str(error))
            return
        if parts is None:
            self.audit.differ("archive-missing", where, "it is not in the archive")
            return
        first = int(data["first"])
        rows = self._stores.customer_db.records(first, first + int(data["count"]))
        evidence = self._evidence(parts, rows[0].year) if rows else None
        if evidence is None:
            self.audit.unchecked["messages of which a key is gone"] += 1
            return
        for row in rows:
            if row.kind in SLOT_KINDS and jcs.decode(row.record)["evidence"] not in evidence:
                text = "its evidence is no part of the message"
                self.audit.differ("evidence-differs", f"entry {row.index}", text)

    def _evidence(self, parts: list[StoredPart], message_year: int) -> set[str] | None:
        """The commitments to a message's parts; None where one can't be made any more."""
        evidence = set()
        for _, _, owner, content in parts:
            key = self._stores.vault.salt_key(owner, message_year)
            if content is None or key is None:
                return None
            evidence.add(commitment(key, TYPE_PART, content).hex())
        return evidence


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


def _no_node(level: int, n: int) -> Digest:
    raise KeyError((level, n))
