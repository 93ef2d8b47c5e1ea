"""The part of fsck that looks at the log: entries, tiles, roots and signed checkpoints.

One pass over the entry bundles; what is in memory does not grow with the log.
"""

from collections.abc import Iterator

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES, is_public
from bal.certify.log import Frontier
from bal.certify.note import checkpoint_head
from bal.certify.tiles import TILE_WIDTH, tile_width
from bal.certify.tree import leaf_hash
from bal.certify.verify import VerifyError
from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import ProofInvalid
from bal.model import Digest, TreeHead
from bal.ports import Heads, TileReader
from infra.audit import Audit
from infra.data_folder import Facts
from infra.log_reader import Entries

UNREADABLE = b"\0" * COMMITMENT_BYTES  # stands in for an entry whose bundle can't be read

PREDECESSOR = "predecessor"  # the head that another log ended with and this one goes on behind
Signed = tuple[TreeHead, str, bytes]  # head as its row has it, what it is, its note


class LogCheck:
    """One run over the entries of one log."""

    def __init__(self, audit: Audit, tiles: TileReader, heads: Heads, facts: Facts) -> None:
        self.audit = audit
        self.rules: dict[int, str] = {}  # index of a `rules` record → its digest
        self.years: set[int] = set()  # that public records name
        self.size = heads.size
        self._tiles, self._root = tiles, heads.root
        self._entries = Entries(tiles, self.size)
        self._origin = facts.origin
        self._key = parse_vkey(facts.log_key)
        self._levels: dict[int, _Level] = {}

    def entry(self, index: int) -> bytes:
        """One entry, or what stands in for it. Raises IndexError beyond the log."""
        try:
            return self._entries[index]
        except (KeyError, ValueError):
            return UNREADABLE

    def commitment(self, index: int) -> bytes | None:
        """One entry; None for a public record."""
        entry = self.entry(index)
        return entry if len(entry) == COMMITMENT_BYTES else None

    def run(self, signed: Iterator[Signed]) -> None:
        """Bundles, entry forms, tiles of every level, the root of the heads row, checkpoints.

        signed: in order of size.
        """
        size, frontier = self.size, Frontier.empty()
        one = next(signed, None)
        for n in range(-(-size // TILE_WIDTH)):
            leaves = [leaf_hash(entry) for entry in self._bundle(n, tile_width(size, 0, n))]
            end = frontier.size + len(leaves)
            while one is not None and one[0].size <= end:
                cut = max(0, one[0].size - frontier.size)
                self._extend(frontier, leaves[:cut])
                leaves = leaves[cut:]
                self._signed(one, frontier.head())
                one = next(signed, None)
            self._extend(frontier, leaves)
            self.audit.step("log", frontier.size, size)
        while one is not None:
            self._signed(one, frontier.head())
            one = next(signed, None)
        for level in self._levels.values():
            level.flush(self)
        head = frontier.head()
        if head != TreeHead(size, self._root):
            self.audit.differ(
                "root-differs",
                f"heads row, size {size}",
                f"the entries lead to {head.root.hex()}, the row has {self._root.hex()}",
            )
        self.audit.counts["log entries"] = size

    # -- entries ----------------------------------------------------------------------------

    def _bundle(self, n: int, width: int) -> list[bytes]:
        try:
            entries = self._entries.bundle(n)
        except (KeyError, ValueError) as error:
            self.audit.differ("bundle-missing", f"entry bundle {n}", str(error))
            return [UNREADABLE] * width
        for i, entry in enumerate(entries):
            if len(entry) != COMMITMENT_BYTES:
                self._public(n * TILE_WIDTH + i, entry)
        return entries

    def _public(self, index: int, entry: bytes) -> None:
        try:
            is_public(entry)
            data = jcs.decode(entry)
            if data["type"] == "rules":
                self.rules[index] = data["digest"]
            if "time" in data:
                self.years.add(int(data["time"][:4]))
        except (ValueError, TypeError, KeyError) as error:
            self.audit.differ("entry-form", f"entry {index}", str(error))

    # -- tiles ------------------------------------------------------------------------------

    def _extend(self, frontier: Frontier, leaves: list[Digest]) -> None:
        for number, hashes in frontier.extend(leaves).items():
            level = self._levels.setdefault(number, _Level(number))
            level.hashes += hashes
            while len(level.hashes) >= TILE_WIDTH:
                level.flush(self)

    def tile(self, level: int, n: int, expected: list[Digest]) -> None:
        """One tile against the hashes that the entries lead to."""
        where = f"tile {level}/{n}"
        self.audit.counts["tiles"] += 1
        try:
            stored = self._tiles.tile(level, n, len(expected))
        except KeyError as error:
            self.audit.differ("tile-missing", where, str(error))
            return
        for i, one in enumerate(expected):
            if stored[32 * i : 32 * i + 32] != one:
                entry = (n * TILE_WIDTH + i) << 8 * level
                text = f"hash {i} is not that of the entries from {entry} on"
                self.audit.differ("tile-differs", where, text)
                break

    # -- checkpoints ------------------------------------------------------------------------

    def _signed(self, signed: Signed, reached: TreeHead) -> None:
        """Signature, text and root of one checkpoint; `reached` as far as the log goes."""
        head, kind, note = signed
        where = f"{kind} {head.size}"
        if kind == PREDECESSOR:
            if reached.root != head.root:
                text = f"the log goes on behind {head.root.hex()}, the entries lead to"
                self.audit.differ("fork", where, f"{text} {reached.root.hex()}")
            return
        self.audit.counts["signed checkpoints"] += 1
        try:
            if not signed_by(parse_note(note.decode()), [self._key]):
                self.audit.differ("signature-missing", where, "no signature of the log's key")
            if checkpoint_head(note) != (self._origin, head):
                text = "its note is of another origin, size or root than its row"
                self.audit.differ("checkpoint-differs", where, text)
        except (VerifyError, ProofInvalid, ValueError) as error:
            self.audit.differ("signature-invalid", where, str(error))
        if head.size > reached.size:
            self.audit.differ("checkpoint-ahead", where, "the log has not reached it")
        elif reached.root != head.root:
            text = f"it signs {head.root.hex()}, the entries lead to {reached.root.hex()}"
            self.audit.differ("fork", where, text)


class _Level:
    """The hashes of one tile level that are not compared yet: less than one tile, mostly."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tiles = 0  # compared
        self.hashes: list[Digest] = []

    def flush(self, check: LogCheck) -> None:
        """Compare the next tile, full or the last partial one."""
        if self.hashes:
            check.tile(self.number, self.tiles, self.hashes[:TILE_WIDTH])
            self.tiles += 1
            del self.hashes[:TILE_WIDTH]
