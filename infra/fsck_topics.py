"""The part of fsck that looks at the topics between roles: raw messages, and rows to be stored."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.certify.order import CLAIM
from bal.closing import DERIVED
from bal.errors import Stop
from bal.ports import Heads
from infra.audit import Audit
from infra.data_folder import DataFolder
from infra.first_kept import first_kept
from infra.log_reader import batch_headers
from infra.outside import kafka_access
from infra.outside import read as outside_of
from infra.roles.making import layout_of
from infra.roles.ports import Channels, Positions, Topic
from infra.roles.positions import FILE as POSITIONS
from infra.roles.positions import SqlitePositions
from infra.roles.rows_item import decode
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.storer_begin import rows_position
from infra.stores import Stores

READ_ITEMS = 256  # at once

Part = tuple[str, int, int, str]  # source, offset, part, digest of its rows


@contextmanager
def open_topics(folder: DataFolder) -> Iterator[Channels]:
    """The topics of a folder that roles run on. Raises Stop, Unavailable."""
    layout, outside = layout_of(folder), outside_of(folder)
    assert layout is not None
    if not outside.kafka.bootstrap:
        channels: Channels = SqliteChannels.open(folder.bus, epoch=layout.epoch)
    else:
        from infra.kafka_channels import KafkaChannels  # noqa: PLC0415 - as in outside

        access = kafka_access(outside.kafka, read_only=True)
        channels = KafkaChannels(access, layout.epoch, layout.partitions)
    try:
        yield channels
    finally:
        channels.close()


class TopicsCheck:
    """One run. It may be beside the roles: what they have stored and let go of is not missed."""

    def __init__(self, audit: Audit, folder: DataFolder, stores: Stores, heads: Heads) -> None:
        self._audit, self._folder, self._stores, self._heads = audit, folder, stores, heads

    def run(self) -> None:
        """They are those that the log took from, and have what the projection may still need."""
        with ExitStack() as opened:
            channels = opened.enter_context(open_topics(self._folder))
            with self._audit.guarded("raw messages"):
                self._raw(channels)
            with self._audit.guarded("rows"):
                self._rows(channels, opened)

    def _raw(self, channels: Channels) -> None:
        raw, ends = channels.raw, channels.raw.ends()
        for source in self._heads.taken:
            epoch = source.removeprefix(CLAIM).rpartition("/")[0]
            if epoch not in {raw.epoch, DERIVED}:
                text = f"their epoch is {raw.epoch}, the log took messages from {source}"
                self._audit.differ("bus-went-backwards", "raw messages", text)
        for partition, end in enumerate(ends):
            where = f"raw messages of partition {partition}"
            at = self._heads.taken.get(f"{raw.epoch}/{partition}", -1) + 1
            if end < at:
                text = f"they end at {end}, the log took message {at - 1}"
                self._audit.differ("bus-went-backwards", where, text)
            while at < end:
                try:
                    at += max(1, len(raw.read(partition, at, READ_ITEMS)))
                except Stop as stop:
                    if stop.code != "bus-trimmed":
                        raise
                    break  # the roles that run have taken, stored and trimmed it meanwhile

    def _rows(self, channels: Channels, opened: ExitStack) -> None:
        """What the log took and nobody has stored yet can be stored."""
        waiting = self._waiting()
        positions: Positions | None = None
        if waiting and (self._folder.root / POSITIONS).exists():
            positions = SqlitePositions(self._folder.root)
            opened.callback(positions.close)
        for partition in range(channels.raw.partitions) if waiting else ():
            waiting -= set(_parts(channels.rows(partition), rows_position(partition), positions))
        if waiting:
            for source, offset, part, _ in sorted(waiting & self._waiting()):
                text = "its rows are neither stored nor in their topic"
                self._audit.differ("rows-missing", f"batch {source}/{offset}, part {part}", text)

    def _waiting(self) -> set[Part]:
        """The parts that the log has and the projection has not."""
        found: set[Part] = set()
        projector = self._stores.projector
        synced = projector.progress().version
        each = [projector.file.synced(lane).version for lane in range(projector.file.lanes)]
        for place, header in batch_headers(
            self._stores.log, after=synced, last=self._heads.version
        ):
            data = jcs.decode(header)
            epoch = data["epoch"]
            if epoch in {OWN_SOURCE, DERIVED} or epoch.startswith(CLAIM) or "again" in data:
                continue
            if place[0] <= each[int(data["partition"])]:
                continue
            source = f"{epoch}/{data['partition']}"
            found.add((source, int(data["offset"]), int(data["part"]), data["rows"]))
        return found


def _parts(topic: Topic, name: str, positions: Positions | None) -> Iterator[Part]:
    """Those that a topic of rows has, from the storer's position on."""
    at = positions.get(name).offset if positions else 0
    while at < topic.end():
        try:
            found = topic.read(at, READ_ITEMS)
        except Stop as stop:
            if stop.code != "bus-trimmed":
                raise
            # a storer that runs has stored it meanwhile, or it is gone
            at = first_kept(partial(topic.read, limit=1), at, topic.end())
            continue
        for _, data in found:
            item = decode(data)
            yield item.source, item.offset, item.part, item.digest
        if not found:
            break
        at = found[-1][0] + 1
