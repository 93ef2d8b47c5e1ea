"""What the active storer does: rows and announcements become database, archive and registry.

One `Storing` is one stretch of being it, from a take-over to its loss; infra/roles/storer.py says
when. It does what the model in tests/simulation/storer.py does: it may end anywhere, and be stopped
anywhere while another goes on, since whatever it stores may be stored again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Protocol

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED, ClosedDay
from bal.errors import Stop, Unavailable
from bal.ports import Heads, TileReader, Vault
from bal.registry import Registry
from bal.store.merge import Merge, Merged, Place, parse
from infra.committed import Committed, CommittedClose, Progress
from infra.deriver import DaySources
from infra.log_reader import batch_headers
from infra.projector import Projector
from infra.roles.ports import Channels, Position, Positions, Topic
from infra.roles.rows_item import RowsItem, UnknownSubject, decode, worked_of
from infra.stores import Stores, apply

READ_ITEMS = 64  # of each topic, in one step
VERSIONS_AT_ONCE = 64
ENTRIES_AT_ONCE = 16_384  # about so many are stored in one go: 50 MB in memory
SYNC_EVERY_S = 5.0  # what was stored since is stored again after a power cut
LOST_S = 10.0  # after which what the log took, and no topic has, is given up

ROWS_POSITION, ANNOUNCEMENTS_POSITION = "storer.rows", "storer.announcements"
WORKER_POSITION = "worker"  # of infra/roles/lane.py: what workers still need of raw messages


class LogReads(TileReader, Protocol):
    """The log as a storer looks at it."""

    def heads(self) -> Heads:
        """The heads row, read from storage, never from memory."""
        ...


@dataclass(frozen=True, slots=True)
class StorerPorts:
    """What a storer works with; whoever made it closes it."""

    channels: Channels
    log: LogReads
    vault: Vault
    projector: Projector  # one that `applies`
    days: DaySources
    positions: Positions
    elapsed_s: Callable[[], float]  # seconds since any moment; never goes back


@dataclass(frozen=True, slots=True)
class Held:
    """One item of rows, and where it stands in its topic."""

    partition: int
    position: int
    item: RowsItem


class Storing:
    """One active storer; all calls in one thread."""

    def __init__(self, ports: StorerPorts) -> None:
        """Take over from what is synced. Raises Unavailable, Stop as Projector.check, Lost."""
        self._ports, projector = ports, ports.projector
        heads = ports.log.heads()
        try:
            projector.check(heads.version, heads.size)
        except Stop:  # the one before stored while this one looked
            heads = ports.log.heads()
            projector.check(heads.version, heads.size)
        progress, registry = projector.progress(), Registry()
        apply(projector.registry_records(progress.size), registry)
        projector.begin(registry)
        self._taken = taken_at(ports.log, progress.version, heads)  # as of what is stored
        self._merge: Merge[Held] = Merge(progress.version, self._taken, _has_rows)
        self._rows = [ports.channels.rows(p) for p in range(ports.channels.raw.partitions)]
        self._rows_at = [self._begin(rows_position(p), t) for p, t in enumerate(self._rows)]
        self._announcements_at = self._begin(ANNOUNCEMENTS_POSITION, ports.channels.announcements)
        self._announced_at: dict[int, int] = {}  # by version its place in the topic
        self._given: list[Merged[Held]] = []  # of the merge, and not stored yet
        self.stored = progress
        self.synced = progress
        self.dropped = 0  # items of rows that the log never took, or that came twice
        self.announced = progress.version  # the newest version that was told of
        self._synced_s = self._going_s = ports.elapsed_s()  # it synced, it went on
        self._saved: dict[str, int] = {}  # by name the offset, of this stretch

    def step(self) -> bool:
        """Read, store, and now and then sync; whether there may be more at once.

        Raises Unavailable: the same step may be tried again; Stop, Lost.
        """
        busy = self._read()
        self._give_out()
        if self._given:
            self._store()
            busy = True
        if busy or self.announced <= self.stored.version:
            self._going_s = self._ports.elapsed_s()
        elif self._ports.elapsed_s() - self._going_s >= LOST_S:
            self._check_lost()
        if self._ports.elapsed_s() - self._synced_s >= SYNC_EVERY_S:
            self.sync()
        return busy

    def sync(self) -> None:
        """Make all that is stored survive a power cut; then let go of what it was made of."""
        ports = self._ports
        self.synced = ports.projector.sync()
        self._synced_s = ports.elapsed_s()
        held = [*self._merge.held(), *self._unstored()]
        for partition, topic in enumerate(self._rows):
            needed = [one.position for one in held if one.partition == partition]
            offset = min(needed, default=self._rows_at[partition])
            self._save(rows_position(partition), offset, topic)
            self._trim_raw(partition)
        waiting = [at for v, at in self._announced_at.items() if v > self.synced.version]
        self._announced_at = {
            v: at for v, at in self._announced_at.items() if v > self.synced.version
        }
        offset = min(waiting, default=self._announcements_at)
        self._save(ANNOUNCEMENTS_POSITION, offset, ports.channels.announcements)

    def is_overtaken(self) -> bool:
        """Whether another storer let go of what this one has not read yet."""
        places = {ANNOUNCEMENTS_POSITION: self._announcements_at}
        places |= {rows_position(partition): at for partition, at in enumerate(self._rows_at)}
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
        return first_kept(topic, saved.offset)

    def _read(self) -> bool:
        busy = False
        for partition, topic in enumerate(self._rows):
            found = topic.read(self._rows_at[partition], READ_ITEMS)
            for position, data in found:
                self._take(Held(partition, position, _item(data)))
                self._rows_at[partition] = position + 1
            busy |= bool(found)
        # Behind the rows: whatever is announced here, its rows stood in their topics before.
        found = self._ports.channels.announcements.read(self._announcements_at, READ_ITEMS)
        for position, data in found:
            self._hear(position, data)
            self._announcements_at = position + 1
        return busy or bool(found)

    def _take(self, held: Held) -> None:
        item = held.item
        if not self._merge.rows(item.source, item.offset, item.part, item.digest, held):
            self.dropped += 1

    def _hear(self, position: int, data: bytes) -> None:
        try:
            announced = parse(data)
        except ValueError as error:
            raise Stop("store-damaged", f"an announcement can't be read: {error}") from error
        if self._merge.announce(announced):
            self._announced_at[announced.version] = position
        self.announced = max(self.announced, announced.version)

    def _give_out(self) -> None:
        """The next versions that are complete, as many as are stored in one go."""
        size = self._given[-1].size if self._given else self.stored.size
        while (
            len(self._given) < VERSIONS_AT_ONCE
            and size - self.stored.size < ENTRIES_AT_ONCE
            and (one := self._merge.next()) is not None
        ):
            self._given.append(one)
            size = one.size

    def _check_lost(self) -> None:
        """A version that was announced can't be stored, and nothing comes any more."""
        announcements = self._ports.channels.announcements
        if any(at < topic.end() for at, topic in zip(self._rows_at, self._rows, strict=True)):
            return
        missing = [f"the rows of batch {one.source}/{one.offset}" for one in self._merge.missing()]
        if not missing and self._announcements_at >= announcements.end():
            missing = [f"the announcement of version {self._merge.version + 1}"]
        if missing:
            raise Lost(f"{missing[0]} can't be found, and the log has it: a topic lost what it had")

    # -- storing ----------------------------------------------------------------------------

    def _store(self) -> None:
        """Store all that was given out; closes go by what is stored before them."""
        while self._given:
            versions = _until_close(self._given)
            commits: list[Committed] = []
            closes: list[CommittedClose] = []
            for version in versions:
                for parts in _batches(version):
                    self._batch(parts, commits, closes)
            last = versions[-1]
            progress = Progress(last.version, last.size, 0, 0)
            self._ports.projector.store(commits, progress, closes)
            self.stored = progress
            for version in versions:
                self._taken |= {place.source: place.offset for place, _ in version.parts}
            del self._given[: len(versions)]

    def _batch(
        self,
        parts: Sequence[tuple[Place, Held | None]],
        commits: list[Committed],
        closes: list[CommittedClose],
    ) -> None:
        place = parts[0][0]
        items = [held.item for _, held in parts if held is not None]
        if _is_close(place):
            closed = close_again(self._ports.days, place.inputs)
            if closed.row_digests() != [one.rows for one, _ in parts]:
                text = f"close {closed.k} leads to other device-days than those in the log"
                raise Stop("worker-differs", text)
            closes.append(CommittedClose(closed, place.first))
        elif items and not place.again:
            try:
                worked = worked_of(items, self._ports.vault)
            except UnknownSubject as error:
                text = f"vault.db does not know {error}, of whom rows are to be stored: restore it"
                raise Stop("store-damaged", text) from error
            except ValueError as error:
                batch = f"{place.source}/{place.offset}"
                raise Stop(
                    "store-damaged", f"the rows of {batch} can't be read: {error}"
                ) from error
            digest = sha256(worked.message.raw).digest()
            commits.append(Committed(worked, place.first, digest))

    # -- letting go -------------------------------------------------------------------------

    def _unstored(self) -> list[Held]:
        return [held for one in self._given for _, held in one.parts if held is not None]

    def _save(self, name: str, offset: int, topic: Topic) -> None:
        self._ports.positions.save(name, Position(offset, self.synced.version))
        if self._saved.get(name) != offset:
            self._saved[name] = offset
            topic.trim(offset)

    def _trim_raw(self, partition: int) -> None:
        """Raw messages that are archived, and that no worker's windows need."""
        raw, name = self._ports.channels.raw, f"{WORKER_POSITION}.{partition}"
        taken = self._taken.get(f"{raw.epoch}/{partition}", -1)
        offset = min(self._ports.positions.get(name).offset, taken + 1)
        if offset > self._saved.get(name, 0):
            self._saved[name] = offset
            raw.trim(partition, offset)


class Lost(Stop):
    """Rows that the log took, and that are not stored, are no longer in their topics."""

    def __init__(self, text: str) -> None:
        super().__init__("bus-went-backwards", text)


def close_again(days: DaySources, inputs: Mapping[str, str]) -> ClosedDay:
    """The close that a derived batch's header names. Raises Stop("projection-differs")."""
    try:
        return days.again({"inputs": inputs})
    except (ValueError, KeyError) as error:
        text = f"close {inputs.get('k')}, which the log has, can't be made again: {error}"
        raise Stop("projection-differs", text) from error


def first_kept(topic: Topic, position: int) -> int:
    """The first position from that one on below which all is trimmed."""
    low, high = position, topic.end()
    while low < high:  # to try is all that a topic offers
        middle = (low + high) // 2 if low > position else low
        try:
            topic.read(middle, 1)
        except Stop as stop:
            if stop.code != "bus-trimmed":
                raise
            low = middle + 1
        else:
            high = middle
    return low


def rows_position(partition: int) -> str:
    """The saved position of the storer in one partition of the rows."""
    return f"{ROWS_POSITION}.{partition}"


def taken_at(log: LogReads, version: int, heads: Heads) -> dict[str, int]:
    """By source the last offset that was taken as of a version; heads: of now, or later.

    Raises Unavailable where a sequencer has not written all headers of `heads` yet.
    """
    taken = dict(heads.taken)
    seen: set[str] = set()
    last = version
    for place, header in batch_headers(log, after=version, last=heads.version):
        data = jcs.decode(header)
        source = f"{data['epoch']}/{data['partition']}"
        last = place[0]
        if source not in seen and data["epoch"] != OWN_SOURCE:
            seen.add(source)
            taken[source] = int(data["prev"])
    if last != heads.version:
        raise Unavailable("the log's newest headers are not written yet", retry_after_s=1)
    return {source: offset for source, offset in taken.items() if offset >= 0}


def _item(data: bytes) -> RowsItem:
    try:
        return decode(data)
    except ValueError as error:
        raise Stop("store-damaged", f"an item of rows can't be read: {error}") from error


def _is_close(place: Place) -> bool:
    return place.source.startswith(f"{DERIVED}/")


def _has_rows(place: Place) -> bool:
    """Closes are made again; what else has no rows the merge knows."""
    return not _is_close(place)


def _until_close(given: Sequence[Merged[Held]]) -> list[Merged[Held]]:
    """The versions before the first one with a close, or that one alone."""
    found: list[Merged[Held]] = []
    for version in given:
        closes = any(_is_close(place) for place, _ in version.parts)
        if closes and found:
            break
        found.append(version)
        if closes:
            break
    return found


def _batches(version: Merged[Held]) -> Iterator[list[tuple[Place, Held | None]]]:
    """The parts of each batch; they stand side by side."""

    def name(part: tuple[Place, Held | None]) -> tuple[str, int]:
        return part[0].source, part[0].offset

    for _, parts in groupby(version.parts, key=name):
        yield list(parts)


def storer_ports(
    stores: Stores, channels: Channels, positions: Positions, elapsed_s: Callable[[], float]
) -> StorerPorts:
    """Over what `open_stores` opened for the role `storer` (infra/roles/stores.py)."""
    days = stores.day_sources()
    return StorerPorts(
        channels, stores.log, stores.vault, stores.projector, days, positions, elapsed_s
    )
