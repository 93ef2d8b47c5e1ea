"""`gridseal replay`: makes every entry again from its raw message, and compares every root.

Order and boundaries come from the batch headers. Where a raw message or a key is gone, or other
rules made the entries and the ones of this version lead elsewhere, the entries are taken from the
log, and what the registry needs from the rows.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE, Frontier
from bal.certify.order import CLAIM
from bal.certify.tree import leaf_hash
from bal.closing import DERIVED, is_close
from bal.errors import GridsealError, Unavailable
from bal.model import PHASORS, Digest, Draft, Identity, Pseudonym, TreeHead
from bal.registry import KINDS
from infra.audit import Audit
from infra.log_reader import Entries, batch_headers
from infra.rules import described, parse_rules, running_rules
from infra.source_workers import SourceWorkers
from infra.sqlite_vault import SqliteVault
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock

_ALL = 1 << 62  # beyond every size


class _KeptVault:
    """The vault as it is: a replay makes no subject and no key."""

    def __init__(self, vault: SqliteVault) -> None:
        self._vault = vault
        self.find, self.identity, self.epochs = vault.find, vault.identity, vault.epochs

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


@dataclass(frozen=True, slots=True)
class _Made:
    """What a message or a close leads to."""

    entries: Sequence[Digest]
    drafts: Sequence[Draft] = ()  # what may change the registry
    public: bytes = b""  # the public record that must follow


@dataclass(slots=True)
class _Message:
    """The message or close at hand: what it leads to by the rules of this version."""

    where: str
    rules: str  # that its header names
    worked: _Made | None = None  # None: it can't be made again
    compared: int = 0  # of its entries

    def take(self, count: int) -> list[Digest]:
        """The entries that belong to its next part."""
        if self.worked is None:
            return []
        start, self.compared = self.compared, self.compared + count
        return list(self.worked.entries[start : self.compared])

    def left(self) -> int:
        """Entries that no part had."""
        return 0 if self.worked is None else max(0, len(self.worked.entries) - self.compared)


def replay(path: Path, rules: str = "") -> Audit:
    """Replay the data folder at `path`. Raises Stop("data-folder") where it is none.

    rules: digest of those that the worker goes by; "": those of this version.
    """
    folder, audit = folder_of(path), Audit()
    with (
        audit.guarded("data folder"),
        closing(Stores.open(folder, SystemClock(), read_only=True)) as stores,
    ):
        _Replay(stores, audit, rules or running_rules(), has_roles=folder.has_roles).run()
    return audit


def _rows(entries: Sequence[bytes]) -> str:
    """What a header names as `rows`."""
    return sha256(b"".join(entries)).hexdigest()


class _Replay:
    """One run."""

    def __init__(self, stores: Stores, audit: Audit, rules: str, *, has_roles: bool) -> None:
        """has_roles: workers went by the registry that their headers name, each with windows."""
        self._stores = stores
        self._audit = audit
        self._has_roles = has_roles
        self._workers = SourceWorkers(_KeptVault(stores.vault))
        self._sources = stores.day_sources(_KeptVault(stores.vault))
        self._heads = stores.log.heads()
        self._frontier = Frontier.empty()
        self._rules = rules
        self._named: dict[str, dict[str, str]] = {}  # rules records so far; the newest is last
        self._message: _Message | None = None
        self._lost = False  # a message is gone, perhaps with frames that windows have
        self._entries = Entries(stores.log, self._heads.size)
        published = stores.log.checkpoint()
        self._roots = {self._heads.size: self._heads.root}
        if published is not None:
            self._roots[published[0].size] = published[0].root

    def run(self) -> None:
        """Follow the headers from the first to the heads row."""
        for place, header in batch_headers(self._stores.log, last=self._heads.version):
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
        logged = [self._entries[i] for i in range(first, first + count)]
        if data["epoch"] == OWN_SOURCE:
            self._note_rules(logged)
            self._check_close(logged, first)
        if str(data["epoch"]).startswith(CLAIM):
            self._audit.counts["claims"] += 1
        elif data["epoch"] == OWN_SOURCE or "again" in data:
            self._audit.counts["public records" if count else "retries"] += count or 1
        else:
            self._part(data, logged, first)
        self._extend(logged)

    def _check_close(self, entries: Sequence[bytes], first: int) -> None:
        """A close record stands right behind the device-days that it closes, and nowhere else."""
        at = self._message
        wanted = at.worked.public if at is not None and at.worked is not None else b""
        if at is not None and at.where.startswith("close"):
            self._end_message()
            if at.worked is not None and list(entries) != [wanted]:
                text = f"{at.where} leads to another close record than the log's"
                self._audit.differ("replay-differs", f"entry {first}", text)
        elif any(is_close(entry) for entry in entries):
            text = "a close record that no device-days stand before"
            self._audit.differ("replay-differs", f"entry {first}", text)

    def _note_rules(self, entries: Sequence[bytes]) -> None:
        for entry in entries:
            rules = parse_rules(entry)
            if rules is not None:
                self._named.pop(rules[0], None)  # the newest is last
                self._named[rules[0]] = rules[1]

    def _part(self, data: dict[str, Any], logged: list[bytes], first: int) -> None:
        """Work the message again; what the log has decides what follows, difference or not."""
        if data["part"] == "0":
            self._end_message()
            self._message = self._begin(data)
        at = self._message
        if at is None:
            return
        made = at.take(len(logged))
        if at.worked is not None:
            if at.rules != self._rules and _rows(made) != data["rows"]:
                self._made_by_others(at)
            elif self._lost and _rows(made) != data["rows"] and self._has_window(at, first, made):
                self._without_frames(at)
            else:
                self._compare(at, data, made, logged, first)
        if at.worked is None:
            if _rows(logged) != data["rows"]:
                text = "the header names other entries than the log has"
                self._audit.differ("header-differs", at.where, text)
            self._apply_rows(first, len(logged))
        elif data["part"] == "0":
            self._workers.note(
                (first + at_, draft.record)
                for at_, draft in enumerate(at.worked.drafts)
                if draft.kind in KINDS
            )

    def _begin(self, data: dict[str, Any]) -> _Message:
        derived = data["epoch"] == DERIVED
        what = "close" if derived else "message"
        where = f"{what} {data['epoch']}/{data['partition']}/{data['offset']}"
        rules = str(data["inputs"].get("rules", ""))
        if rules != next(reversed(self._named), "") and not (
            self._has_roles and rules in self._named  # of a worker that was not ended yet
        ):
            # Else whoever alters a header could have any difference put down to other rules.
            text = "the header names other rules than the newest rules record of the log"
            self._audit.differ("header-differs", where, text)
            rules = self._rules
        made = self._close(data) if derived else self._make(data, where)
        found = _Message(where, rules, made)
        if found.worked is None:
            self._lost = self._lost or not derived
            self._audit.unchecked["messages whose raw bytes or keys are gone"] += 1
        return found

    def _compare(
        self,
        at: _Message,
        data: dict[str, Any],
        made: list[Digest],
        logged: list[bytes],
        first: int,
    ) -> None:
        if data["part"] == "0":
            closed = data["epoch"] == DERIVED
            self._audit.counts["closes made again" if closed else "messages made again"] += 1
        for i, (ours, theirs) in enumerate(zip(made, logged, strict=False)):
            if ours != theirs:
                text = f"{at.where} leads to another entry than the log's"
                self._audit.differ("replay-differs", f"entry {first + i}", text)
        if _rows(made) != data["rows"]:
            text = "the header names other entries than the message leads to"
            self._audit.differ("header-differs", at.where, text)

    def _made_by_others(self, at: _Message) -> None:
        """No difference: the version that made the entries could make them again."""
        at.worked = None
        text = f"messages that this version maps otherwise: {described(self._named.get(at.rules))}"
        self._audit.unchecked[text] += 1
        self._audit.other_rules += 1

    def _has_window(self, at: _Message, first: int, made: Sequence[Digest]) -> bool:
        """Whether windows of phasor frames are among what was made, or what the log has."""
        if at.worked is not None and any(one.kind == PHASORS for one in at.worked.drafts):
            return True
        rows = self._stores.customer_db.records(first, first + max(1, len(made)))
        return any(row.kind == PHASORS for row in rows)

    def _without_frames(self, at: _Message) -> None:
        """Its windows have frames of a message that can't be made again."""
        at.worked = None
        self._audit.unchecked["windows that have frames of messages that are gone"] += 1

    def _apply_rows(self, first: int, count: int) -> None:
        with self._audit.guarded(f"rows from entry {first} on"):
            rows = self._stores.customer_db.records(first, first + count)
            self._workers.note((row.index, row.record) for row in rows if row.kind in KINDS)

    def _end_message(self) -> None:
        at, self._message = self._message, None
        if at is None or not at.left():
            return
        if at.rules != self._rules:
            self._made_by_others(at)
            return
        if self._lost and self._has_window(at, self._frontier.size, ()):
            self._without_frames(at)
            return
        text = f"it leads to {at.left()} more entries than its headers name"
        self._audit.differ("header-differs", at.where, text)

    def _close(self, data: dict[str, Any]) -> _Made | None:
        """The close that a derived batch names; None where a device's key is gone."""
        try:
            closed = self._sources.again(data)
        except Unavailable:
            return None
        return _Made(closed.entries, public=closed.record)

    def _make(self, data: dict[str, Any], where: str) -> _Made | None:
        place = (data["epoch"], int(data["partition"]), int(data["offset"]))
        try:
            message = self._stores.archive.raw(*place)
            if message is None:
                return None
            size = int(data["inputs"]["registry"]) if self._has_roles else _ALL
            worked = self._workers.of(f"{data['epoch']}/{data['partition']}", size).process(message)
        except Unavailable:
            return None
        except GridsealError as error:
            self._audit.differ("archive-damaged", where, str(error))
            return None
        return _Made(worked.entries, worked.drafts)

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
