"""What a storer does with a partition: its rows, and announcements, become database and archive.

One `Storing` is one stretch of having one partition, from a take-over to its loss;
infra/roles/storer.py says when. It may end anywhere, and be stopped anywhere while another goes on,
since whatever it stores may be stored again. Decision 0018 says why that is right.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby

from bal.closing import DERIVED, ClosedDay
from bal.errors import Stop
from bal.ports import Vault
from bal.store.merge import Announced, Merge, Merged, Place
from infra.committed import Committed, CommittedClose, Progress
from infra.deriver import DaySources
from infra.first_kept import first_kept
from infra.projector import Projector
from infra.roles.ports import Channels, Position, Positions, Topic
from infra.roles.rows_item import RowsItem, UnknownSubject, decode, worked_of
from infra.roles.storer_begin import (
    LogReads,
    Lost,
    announcements_position,
    checked,
    rows_position,
    taken_at,
)
from infra.roles.storer_state import StorerState
from infra.stores import Stores

READ_ITEMS = 64  # of each topic, in one step
VERSIONS_AT_ONCE = 64
ENTRIES_AT_ONCE = 16_384  # about so many are stored in one go: 50 MB in memory
SYNC_EVERY_S = 5.0  # what was stored since is stored again after a power cut
LOST_S = 10.0  # after which what the log took, and no topic has, is given up
GAP_S = 20.0  # after which what should stand at a topic's end, and can't be read, is not there

FIRST = 0  # the partition whose storer stores what is of none: closes of days
WORKER_POSITION = "worker"  # of infra/roles/lane.py: what workers still need of raw messages


def _nobody(commits: Sequence[Committed]) -> None:
    del commits


@dataclass(frozen=True, slots=True)
class StorerPorts:
    """What a storer works with; whoever made it closes it."""

    channels: Channels
    log: LogReads
    vault: Vault
    projector: Projector  # with a lane for each partition
    days: DaySources
    positions: Positions
    elapsed_s: Callable[[], float]  # seconds since any moment; never goes back
    on_stored: Callable[[Sequence[Committed]], None] = _nobody  # messages that nobody stored before


@dataclass(frozen=True, slots=True)
class Held:
    """One item of rows, and where it stands in its topic."""

    position: int
    item: RowsItem


@dataclass(slots=True)
class _Batch:
    """One that is to be stored."""

    parts: Sequence[tuple[Place, Held | None]]
    committed: Committed | None = None  # made of its rows once

    @property
    def place(self) -> Place:
        return self.parts[0][0]


@dataclass(frozen=True, slots=True)
class _End:
    """All of one version stands before this."""

    version: int
    size: int


class Storing:
    """One partition in the hands of one storer; all calls in one thread."""

    def __init__(self, ports: StorerPorts, state: StorerState, partition: int) -> None:
        """Take over from what is synced. Raises Unavailable, Stop as Projector.check_lane, Lost."""
        self._ports, self._state, self.partition = ports, state, partition
        projector, raw = ports.projector, ports.channels.raw
        heads = checked(ports.log, projector, partition)
        progress, before = projector.file.synced(partition), projector.file.sizes()[partition]
        self._source = f"{raw.epoch}/{partition}"
        taken = taken_at(ports.log, progress.version, heads)
        self._taken = taken.get(self._source, -1)  # as of the version that is stored
        self._merge: Merge[Held] = Merge(progress.version, taken, self._is_mine)
        self._rows = ports.channels.rows(partition)
        self._rows_at = self._begin(rows_position(partition), self._rows)
        self._announcements_at = self._begin(
            announcements_position(partition), ports.channels.announcements
        )
        self._announced_at: dict[int, int] = {}  # by version its place in the topic
        self._due: deque[_Batch | _End] = deque()  # given out by the merge, and not stored yet
        self._due_entries = self._due_versions = 0
        self._open: list[Held] = []  # stored, of a version that is not yet stored whole
        self._known_before = before  # others stored below it, not synced
        self.stored = progress  # its size may be within the version behind
        self.synced = progress
        self.dropped = 0  # items of rows that the log never took, or that came twice
        self.announced = progress.version  # the newest version that was told of, and the log's
        self.announced_size = progress.size  # size then
        self.waits_for: int | None = None  # the size that all partitions must have stored first
        self._synced_s = self._going_s = ports.elapsed_s()  # it synced, it went on
        self._gap_s: float | None = None  # since when it can't read what should be there
        self._saved: dict[str, int] = {}  # by name the offset, of this stretch

    def step(self) -> bool:
        """Read, store, and now and then sync; whether there may be more at once.

        Raises Unavailable: the same step may be tried again; Stop, Lost.
        """
        busy = self._due_versions < VERSIONS_AT_ONCE and self._read()  # else enough is in memory
        self._give_out()
        busy |= self._store()
        waits = self.waits_for is not None  # for another one, not for what may be lost
        if busy or waits or self.announced <= self.stored.version:
            self._going_s, self._gap_s = self._ports.elapsed_s(), None
        elif self._ports.elapsed_s() - self._going_s >= LOST_S:
            self._check_lost()
        if self._ports.elapsed_s() - self._synced_s >= SYNC_EVERY_S:
            self.sync()
        return busy

    def sync(self) -> None:
        """Make all that is stored survive a power cut; then let go of what it was made of."""
        ports, stored = self._ports, self.stored
        ports.projector.sync_lane(self.partition, stored)
        self.synced, self._synced_s = stored, ports.elapsed_s()
        needed = [one.position for one in [*self._merge.held(), *self._unstored()]]
        offset = min(needed, default=self._rows_at)
        self._save(rows_position(self.partition), offset, self._rows.trim)
        self._trim_raw()
        self._announced_at = {v: at for v, at in self._announced_at.items() if v > stored.version}
        offset = min(self._announced_at.values(), default=self._announcements_at)
        self._save(announcements_position(self.partition), offset, self._trim_announcements)

    def is_overtaken(self) -> bool:
        """Whether another storer let go of what this one has not read yet."""
        places = {
            announcements_position(self.partition): self._announcements_at,
            rows_position(self.partition): self._rows_at,
        }
        return any(self._ports.positions.get(name).offset > at for name, at in places.items())

    @property
    def held(self) -> int:
        """Items of rows that wait until the log has taken them."""
        return len(self._merge.held()) + len(self._unstored())

    # -- reading ----------------------------------------------------------------------------

    def _begin(self, name: str, topic: Topic) -> int:
        """Where a topic is read from. Raises Lost where what is synced is older than that."""
        saved, synced = self._ports.positions.get(name), self._merge.version
        if saved.version > self._ports.log.heads().version:
            text = f"{name} in roles.db is of version {saved.version}, which the log has not"
            raise Stop("projection-ahead", text)
        if saved.version > synced:
            text = f"version {synced} of the log is stored, and the topics begin behind"
            raise Lost(f"{text} version {saved.version}")
        return first_kept(lambda offset: topic.read(offset, 1), saved.offset, topic.end())

    def _read(self) -> bool:
        found = self._rows.read(self._rows_at, READ_ITEMS)
        for position, data in found:
            self._take(Held(position, _item(data)))
            self._rows_at = position + 1
        # Behind the rows: whatever is announced here, its rows stood in their topic before.
        heard = self._state.announcements.read(self._announcements_at, READ_ITEMS)
        for position, announced in heard:
            self._hear(position, announced)
            self._announcements_at = position + 1
        return bool(found or heard)

    def _take(self, held: Held) -> None:
        item = held.item
        if not self._merge.rows(item.source, item.offset, item.part, item.digest, held):
            self.dropped += 1

    def _hear(self, position: int, announced: Announced) -> None:
        if self._merge.announce(announced):
            self._announced_at[announced.version] = position
        if announced.version > self.announced:
            self.announced, self.announced_size = announced.version, announced.size

    def _give_out(self) -> None:
        """The next versions that are complete, as many as are stored in one go."""
        while (
            self._due_versions < VERSIONS_AT_ONCE
            and self._due_entries < ENTRIES_AT_ONCE
            and (one := self._merge.next()) is not None
        ):
            self._due.extend(self._batches(one))
            self._due.append(_End(one.version, one.size))
            self._due_versions += 1

    def _batches(self, version: Merged[Held]) -> list[_Batch]:
        """What of a version this one stores; the parts of a batch stand side by side."""

        def name(part: tuple[Place, Held | None]) -> tuple[str, int]:
            return part[0].source, part[0].offset

        found = []
        for (source, _), parts in groupby(version.parts, key=name):
            batch = _Batch(list(parts))
            close = self.partition == FIRST and _is_close(batch.place)
            if close or (source == self._source and not batch.place.again):
                found.append(batch)
                self._due_entries += sum(place.count for place, _ in batch.parts)
        return found

    def _is_mine(self, place: Place) -> bool:
        """Closes have no rows, they are made again."""
        return place.source == self._source

    def _check_lost(self) -> None:
        """A version that was announced can't be stored, and nothing comes any more."""
        if self._rows_at < self._rows.end() and not self._is_gap():
            return
        missing = [f"the rows of batch {one.source}/{one.offset}" for one in self._merge.missing()]
        heard = self._announcements_at >= self._state.announcements.end()
        if not missing and (heard or self._is_gap()):
            missing = [f"the announcement of version {self._merge.version + 1}"]
        if missing:
            raise Lost(f"{missing[0]} can't be found, and the log has it: a topic lost what it had")

    def _is_gap(self) -> bool:
        """Whether the end of a topic, which should be there, could not be read for long."""
        if self._gap_s is None:
            self._gap_s = self._ports.elapsed_s()
        return self._ports.elapsed_s() - self._gap_s >= GAP_S

    # -- storing ----------------------------------------------------------------------------

    def _store(self) -> bool:
        """Store what was given out, or as much of it as may be now; whether it was anything."""
        busy = False
        while self._due and self._store_some():
            busy = True
        return busy

    def _store_some(self) -> bool:
        """In one go, what stands before the next batch that goes by what is stored before it."""
        at, done = self.stored, 0
        commits: list[Committed] = []
        closes: list[CommittedClose] = []
        self.waits_for = None
        for one in self._due:
            if isinstance(one, _End):
                at = Progress(one.version, one.size, 0, 0)
            else:
                at = Progress(at.version, max(at.size, one.place.first), 0, 0)
                needed = self._needed(one)
                if not self._state.knows(needed):
                    self.waits_for = needed  # for what others store, or for what is before it here
                    break
                if _is_close(one.place):
                    if commits or closes or self.stored.size < one.place.first:
                        break
                    closes.append(self._close(one))
                else:
                    commits.append(self._commit(one))
            done += 1
        if at == self.stored and not done:
            return False
        self._ports.projector.store_lane(self.partition, commits, at, closes, self._state.registry)
        self._note_stored(commits, at, done)
        return True

    def _note_stored(self, commits: Sequence[Committed], at: Progress, done: int) -> None:
        self.stored = at
        for _ in range(done):
            one = self._due.popleft()
            if isinstance(one, _End):
                self._due_versions -= 1
                self._open.clear()
                continue
            self._due_entries -= sum(place.count for place, _ in one.parts)
            self._open += [held for _, held in one.parts if held is not None]
            if one.place.source == self._source:
                self._taken = one.place.offset
        new = [one for one in commits if one.first >= self._known_before]
        if new:
            self._ports.on_stored(new)

    def _needed(self, batch: _Batch) -> int:
        """The size of the log below which all must be stored, of every partition, before it.

        A close is made of all rows below its prefix. Rows go where the first record of their device
        says, and there may be one between the registry that the worker knew and its own.
        """
        inputs = batch.place.inputs
        if _is_close(batch.place):
            return int(inputs["prefix"])
        if any(draft.kind == "device" for draft in self._commit(batch).worked.drafts):
            return batch.place.first
        return int(inputs.get("registry", 0))

    def _commit(self, batch: _Batch) -> Committed:
        if batch.committed is None:
            place, items = batch.place, [held.item for _, held in batch.parts if held is not None]
            try:
                worked = worked_of(items, self._ports.vault)
            except UnknownSubject as error:
                text = f"vault.db does not know {error}, of whom rows are to be stored: restore it"
                raise Stop("store-damaged", text) from error
            except ValueError as error:
                name = f"{place.source}/{place.offset}"
                text = f"the rows of {name} can't be read: {error}"
                raise Stop("store-damaged", text) from error
            digest = sha256(worked.message.raw).digest()
            batch.committed = Committed(worked, place.first, digest)
        return batch.committed

    def _close(self, batch: _Batch) -> CommittedClose:
        closed = close_again(self._ports.days, batch.place.inputs)
        if closed.row_digests() != [one.rows for one, _ in batch.parts]:
            text = f"close {closed.k} leads to other device-days than those in the log"
            raise Stop("worker-differs", text)
        return CommittedClose(closed, batch.place.first)

    # -- letting go -------------------------------------------------------------------------

    def _unstored(self) -> list[Held]:
        """Items of what is not stored, or stored of a version that is not stored whole."""
        due = [part for one in self._due if isinstance(one, _Batch) for part in one.parts]
        return [*self._open, *(held for _, held in due if held is not None)]

    def _save(self, name: str, offset: int, trim: Callable[[int], None]) -> None:
        self._ports.positions.save(name, Position(offset, self.synced.version))
        if self._saved.get(name) != offset:
            self._saved[name] = offset
            trim(offset)

    def _trim_announcements(self, own: int) -> None:
        """What no partition needs any more."""
        names = map(announcements_position, range(self._ports.channels.raw.partitions))
        self._ports.channels.announcements.trim(
            min(own, *(self._ports.positions.get(name).offset for name in names))
        )

    def _trim_raw(self) -> None:
        """Raw messages that are archived, and that no worker's windows need."""
        raw, name = self._ports.channels.raw, f"{WORKER_POSITION}.{self.partition}"
        offset = min(self._ports.positions.get(name).offset, self._taken + 1)
        if offset > self._saved.get(name, 0):
            self._saved[name] = offset
            raw.trim(self.partition, offset)


def close_again(days: DaySources, inputs: Mapping[str, str]) -> ClosedDay:
    """The close that a derived batch's header names. Raises Stop("projection-differs")."""
    try:
        return days.again({"inputs": inputs})
    except (ValueError, KeyError) as error:
        text = f"close {inputs.get('k')}, which the log has, can't be made again: {error}"
        raise Stop("projection-differs", text) from error


def _item(data: bytes) -> RowsItem:
    try:
        return decode(data)
    except ValueError as error:
        raise Stop("store-damaged", f"an item of rows can't be read: {error}") from error


def _is_close(place: Place) -> bool:
    return place.source.startswith(f"{DERIVED}/")


def storer_ports(
    stores: Stores,
    channels: Channels,
    positions: Positions,
    elapsed_s: Callable[[], float],
    on_stored: Callable[[Sequence[Committed]], None] = _nobody,
) -> StorerPorts:
    """Over what `open_stores` opened for the role `storer` (infra/roles/stores.py)."""
    days = stores.day_sources()
    return StorerPorts(
        channels, stores.log, stores.vault, stores.projector, days, positions, elapsed_s, on_stored
    )
