"""`gridseal replay`: makes every entry again from its raw message, and compares every root.

Order and boundaries come from the batch headers. Where a raw message or a key is gone, the entries
are taken from the log, and what the registry needs from the rows.
"""

from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE, Frontier
from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_width
from bal.certify.tree import leaf_hash
from bal.errors import GridsealError, Unavailable
from bal.model import Digest, Identity, Pseudonym, TreeHead
from bal.pipeline import Worker
from bal.registry import KINDS, Registry
from infra.audit import Audit
from infra.sqlite_vault import SqliteVault
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock


class _KeptVault:
    """The vault as it is: a replay makes no subject and no key."""

    def __init__(self, vault: SqliteVault) -> None:
        self._vault = vault
        self.find, self.identity = vault.find, vault.identity

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """As Vault, of known identities; Unavailable where one is gone."""
        found = self._vault.find(wanted)
        if len(found) < len(set(wanted)):
            raise Unavailable("a subject is no longer in the vault")
        return found

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        """As Vault, of known keys; Unavailable where one is gone."""
        keys = {name: self._vault.salt_key(name, year) for name in wanted}
        kept = {name: key for name, key in keys.items() if key is not None}
        if len(kept) < len(keys):
            raise Unavailable("a key is no longer in the vault")
        return kept


def replay(path: Path) -> Audit:
    """Replay the data folder at `path`. Raises Stop("data-folder") where it is none."""
    folder, audit = folder_of(path), Audit()
    with (
        audit.guarded("data folder"),
        closing(Stores.open(folder, SystemClock(), read_only=True)) as stores,
    ):
        _Replay(stores, audit).run()
    return audit


class _Replay:
    """One run."""

    def __init__(self, stores: Stores, audit: Audit) -> None:
        self._stores = stores
        self._audit = audit
        self._registry = Registry()
        self._worker = Worker(_KeptVault(stores.vault), self._registry)
        self._heads = stores.log.heads()
        self._frontier = Frontier.empty()
        self._made: list[Digest] | None = None  # of the message at hand, still to be compared
        self._where = ""
        self._bundle: tuple[int, list[bytes]] = (-1, [])
        published = stores.log.checkpoint()
        self._roots = {self._heads.size: self._heads.root}
        if published is not None:
            self._roots[published[0].size] = published[0].root

    def run(self) -> None:
        """Follow the headers from the first to the heads row."""
        place = (0, -1)
        while found := self._stores.log.headers(place, 1024):
            for place, header in found:
                if place[0] <= self._heads.version:
                    with self._audit.guarded(f"batch header {place[0]}/{place[1]}"):
                        self._batch(jcs.decode(header))
        self._end_message()
        head = self._frontier.head()
        if head != TreeHead(self._heads.size, self._heads.root):
            text = f"the replay ends at size {head.size}, root {head.root.hex()}"
            self._audit.differ("root-differs", f"heads row, size {self._heads.size}", text)
        self._audit.counts["entries"] = self._frontier.size

    def _batch(self, data: dict[str, Any]) -> None:
        first, count = int(data["first"]), int(data["count"])
        if first != self._frontier.size:
            text = f"it begins at {first}, the one before it ends at {self._frontier.size}"
            self._audit.differ("header-gap", f"entry {first}", text)
        logged = [self._entry(i) for i in range(first, first + count)]
        if data["epoch"] == OWN_SOURCE or "again" in data:
            self._audit.counts["public records" if count else "retries"] += count or 1
        else:
            self._part(data, logged, first)
        self._extend(logged)

    def _part(self, data: dict[str, Any], logged: list[bytes], first: int) -> None:
        """Work the message again; what the log has decides what follows, difference or not."""
        if data["part"] == "0":
            self._end_message()
            self._where = f"message {data['epoch']}/{data['partition']}/{data['offset']}"
            self._made = self._make(data, self._where)
            what = "messages made again"
            if self._made is None:
                self._audit.unchecked["messages whose raw bytes or keys are gone"] += 1
            else:
                self._audit.counts[what] += 1
        if self._made is None:
            with self._audit.guarded(f"rows from entry {first} on"):
                for row in self._stores.customer_db.records(first, first + len(logged)):
                    if row.kind in KINDS:
                        self._registry.apply(row.record)
            return
        made, self._made = self._made[: len(logged)], self._made[len(logged) :]
        for i, (ours, theirs) in enumerate(zip(made, logged, strict=False)):
            if ours != theirs:
                text = f"{self._where} leads to another entry than the log's"
                self._audit.differ("replay-differs", f"entry {first + i}", text)
        if sha256(b"".join(made)).hexdigest() != data["rows"]:
            text = "the header names other entries than the message leads to"
            self._audit.differ("header-differs", self._where, text)

    def _end_message(self) -> None:
        if self._made:
            text = f"it leads to {len(self._made)} more entries than its headers name"
            self._audit.differ("header-differs", self._where, text)
        self._made = None

    def _make(self, data: dict[str, Any], where: str) -> list[Digest] | None:
        place = (data["epoch"], int(data["partition"]), int(data["offset"]))
        try:
            message = self._stores.archive.raw(*place)
            if message is None:
                return None
            worked = self._worker.process(message)
        except Unavailable:
            return None
        except GridsealError as error:
            self._audit.differ("archive-damaged", where, str(error))
            return None
        self._worker.apply(worked.drafts)
        return worked.entries

    def _entry(self, index: int) -> bytes:
        n, i = divmod(index, TILE_WIDTH)
        if self._bundle[0] != n:
            width = tile_width(self._heads.size, 0, n)
            self._bundle = (n, split_bundle(self._stores.log.bundle(n, width)))
        return self._bundle[1][i]

    def _extend(self, entries: list[bytes]) -> None:
        """Grow the tree, and compare with every root that was signed or stands in the heads row."""
        leaves = [leaf_hash(entry) for entry in entries]
        start = self._frontier.size
        cuts = sorted(size for size in self._roots if start < size <= start + len(leaves))
        done = 0
        for size in cuts:
            self._frontier.extend(leaves[done : size - start])
            done = size - start
            self._audit.counts["roots"] += 1
            if self._frontier.head().root != self._roots[size]:
                self._audit.differ("root-differs", f"size {size}", "the entries lead to another")
        self._frontier.extend(leaves[done:])
