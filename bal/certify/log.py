"""The certification log: one order, committed by compare-and-swap (ARCHITECTURE §4).

Version v → v+1: stage, swap, integrate; then, at its own pace, sign and publish. Each step can be
repeated after a crash at any line, and only the swap decides who wrote version v+1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES, is_public
from bal.certify.note import checkpoint_text
from bal.certify.tiles import TILE_HEIGHT, TileNodes
from bal.certify.tree import EMPTY_ROOT, Node, leaf_hashes, node_hash, parents, right_edge
from bal.errors import Stop
from bal.model import Digest, TreeHead
from bal.ports import Commit, Heads, LogStore, Signer, TileReader
from bal.times import rfc3339

BATCH_V1 = "gridseal/batch/v1"
_NUMBER_MAX = 1 << 60  # no version has as many batches
OWN_SOURCE = "sequencer"  # of the public records, which no bus message caused


class Frontier:
    """The right edge of a growing tree: what appending needs to know, O(log size)."""

    def __init__(self, size: int, node: Node) -> None:
        self.size = size
        self._pending = {level: node(level, n) for level, n in right_edge(size)}

    @classmethod
    def empty(cls) -> "Frontier":
        """Of a log without entries, which no node needs to be read for."""
        return cls(0, lambda level, n: EMPTY_ROOT)

    def copy(self) -> "Frontier":
        """One to extend, so that a lost swap leaves this as it was."""
        copy = Frontier.__new__(Frontier)
        copy.size, copy._pending = self.size, dict(self._pending)
        return copy

    def extend(self, leaves: Sequence[Digest]) -> dict[int, list[Digest]]:
        """Append leaf hashes; return what this adds to each tile level, in order."""
        added = {0: list(leaves)}
        nodes, level = list(leaves), 0
        while nodes:
            if self.size >> level & 1:
                nodes.insert(0, self._pending.pop(level))
            if len(nodes) & 1:
                self._pending[level] = nodes.pop()
            nodes = parents(nodes)
            level += 1
            if nodes and level % TILE_HEIGHT == 0:
                added[level // TILE_HEIGHT] = list(nodes)
        self.size += len(leaves)
        return added

    def head(self) -> TreeHead:
        """Size and root as of now."""
        found: Digest | None = None
        for level in sorted(self._pending):
            left = self._pending[level]
            found = left if found is None else node_hash(left, found)
        return TreeHead(self.size, EMPTY_ROOT if found is None else found)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker made of one raw message, before it has a place in the log."""

    epoch: str
    partition: int
    offset: int
    prev: int  # the offset that must have been taken last; -1 before the first
    entries: Sequence[bytes]
    inputs: Mapping[str, str]  # what the entries are a function of: rules, registry
    part: int = 0  # of a message with more than 8,192 entries, all in one commit
    again: str = ""  # <epoch>/<partition>/<offset> of the first, where this is a retry

    @property
    def source(self) -> str:
        """The chain of batches that this one belongs to."""
        return f"{self.epoch}/{self.partition}"

    @property
    def rows(self) -> str:
        """Hex SHA-256 of the entries, which are commitments to the rows."""
        return sha256(b"".join(self.entries)).hexdigest()

    def header(self, first: int) -> bytes:
        """The batch header, RFC 8785; `rows` binds the rows through their commitments."""
        header: dict[str, object] = {
            "v": BATCH_V1,
            "epoch": self.epoch,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "part": str(self.part),
            "prev": str(self.prev),
            "first": str(first),
            "count": str(len(self.entries)),
            "inputs": dict(self.inputs),
            "rows": self.rows,
        }
        if self.again:
            header["again"] = self.again
        return jcs.encode(header)


class Sequencer:
    """Gives entries their order. Its whole memory is the heads row; the rest is a cache of it."""

    def __init__(self, store: LogStore, tiles: TileReader, signer: Signer, origin: str) -> None:
        self._store = store
        self._tiles = tiles
        self._signer = signer
        self._origin = origin
        self.heads = store.heads()
        self._frontier = self._recover()

    def _recover(self) -> Frontier:
        """Redo step 3 from staging, then check that all there is agrees with the heads row."""
        try:
            for commit in self._store.staged():
                if commit.new.version <= self.heads.version:  # else it never won the swap
                    edge = self._edge(commit.old.size)
                    self._store.integrate(commit, edge.extend(leaf_hashes(commit.entries)))
            frontier = self._edge(self.heads.size)
            if frontier.head().root != self.heads.root:
                raise Stop("log-damaged", "the tiles' right edge is not the root of the heads row")
            self._check_ahead()
        except KeyError as error:
            raise Stop("log-damaged", f"the log's right edge is not on disk: {error}") from error
        return frontier

    def _edge(self, size: int) -> Frontier:
        return Frontier(size, TileNodes(self._tiles).at(size))

    def _check_ahead(self) -> None:
        """Nothing may be ahead of the heads row, or differ from it: it would be an older one."""
        if self._tiles.headers((self.heads.version, _NUMBER_MAX), 1):
            if self._store.heads().version != self.heads.version:
                raise Stop("lost-swap", "another sequencer is at work")
            raise Stop("log-ahead", "the heads row is older than the log's files: was it restored?")
        published = self._tiles.checkpoint()
        if published is None:
            return
        if published[0].size > self.heads.size:
            raise Stop("checkpoint-ahead", "a checkpoint is published that the log has not reached")
        if self._edge(published[0].size).head() != published[0]:
            raise Stop("checkpoint-differs", "the published checkpoint is of another log")

    def commit(self, batches: Sequence[Batch], public: Sequence[bytes] = ()) -> list[int]:
        """Commit to all entries of `batches`, then to the public records; return first indices.

        A batch whose predecessor is not the last one taken of its source raises Stop: its
        partition halts. Batches already taken must have been left out by the caller.
        Raises Stop("lost-swap") when another sequencer wrote this version: then nothing of this
        call is in the log.
        """
        old = self.heads
        taken, entries, headers, firsts = dict(old.taken), list[bytes](), list[bytes](), []
        for batch in batches:
            expected = batch.offset if batch.part else batch.prev
            if taken.get(batch.source, -1) != expected or batch.offset <= batch.prev:
                raise Stop("batch-out-of-order", f"{batch.source}: {batch.offset} does not follow")
            firsts.append(old.size + len(entries))
            headers.append(batch.header(firsts[-1]))
            entries += batch.entries
            taken[batch.source] = batch.offset
        if public:
            own = Batch(OWN_SOURCE, 0, old.version, old.version - 1, public, {})
            headers.append(own.header(old.size + len(entries)))
            entries += public
        if set(map(len, entries)) - {COMMITMENT_BYTES}:
            for entry in entries:
                is_public(entry)
        frontier = self._frontier.copy()
        added = frontier.extend(leaf_hashes(entries))
        head = frontier.head()
        commit = Commit(old, Heads(old.version + 1, head.size, head.root, taken), entries, headers)
        self._store.stage(commit)  # 1 durable
        self._store.swap(commit)  # 2 the point of no return
        self.heads, self._frontier = commit.new, frontier
        self._store.integrate(commit, added)  # 3 readable
        return firsts

    def publish(self) -> tuple[TreeHead, bytes]:
        """Steps 4 and 5: sign the root read back from the heads row, publish the checkpoint.

        Returns the head and its signed note. Raises Stop("lost-swap") when the row is not ours.
        """
        row = self._store.heads()
        if row.version != self.heads.version:
            raise Stop("lost-swap", f"version {row.version} was written by another sequencer")
        head = TreeHead(row.size, row.root)
        text = checkpoint_text(self._origin, head)
        note = text + b"\n" + self._signer.sign(text)
        self._store.publish(head, note)
        return head, note


def tick(now_us: int) -> bytes:
    """The public record by which time enters the log."""
    return jcs.encode({"type": "tick", "time": rfc3339(now_us), "v": "gridseal/tick/v1"})


def genesis(
    origin: str,
    log_key: str,
    intake_key: str,
    interval_s: int,
    now_us: int,
    *,
    predecessor: Mapping[str, str] | None = None,
) -> bytes:
    """Who this log is, and how often its heads go on chain: entry 0.

    Of a successor log, with its predecessor's origin, log_key, size and root: entry `size`.
    """
    record: dict[str, object] = {
        "type": "genesis",
        "v": "gridseal/genesis/v1",
        "origin": origin,
        "log_key": log_key,
        "intake_key": intake_key,
        "anchor_interval_s": str(interval_s),
        "time": rfc3339(now_us),
        "formats": {"record": "1", "receipt": "1", "batch": "1", "accepted": "1"},
    }
    if predecessor is not None:
        record["predecessor"] = dict(predecessor)
    return jcs.encode(record)


def target(chain_id: int, kind: str, contract: str, code_hash: str) -> bytes:
    """Where heads are anchored from here on."""
    return jcs.encode(
        {
            "type": "target",
            "v": "gridseal/target/v1",
            "chain_id": str(chain_id),
            "chain_kind": kind,
            "contract": contract,
            "code_hash": code_hash,
        }
    )


def rules(digest: str, parts: Mapping[str, str]) -> bytes:
    """What entries are made by from here on: mapper, context and tzdata versions."""
    return jcs.encode({"type": "rules", "v": "gridseal/rules/v1", "digest": digest, **parts})
