"""What a copy of a data folder takes from servers, so that it is a folder of files alone.

The heads row, the messages that the bus still has, and the rows: each by the port that the platform
itself uses, and written by the adapter that keeps them in files.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.data_folder import DataFolder
from infra.files import make_folder
from infra.first_kept import first_kept
from infra.heads_row import FIRST, SqliteHeads
from infra.kafka_bus import KafkaBus
from infra.kafka_channels import KafkaChannels
from infra.outside import kafka_access, open_customer_db, open_heads
from infra.outside import read as outside_of
from infra.roles.making import layout_of
from infra.roles.ports import RawTopic
from infra.roles.sqlite_channels import SqliteChannels
from infra.sqlite_bus import SqliteBus
from infra.sqlite_customer_db import SqliteCustomerDb

MESSAGES_AT_ONCE, ROWS_AT_ONCE = 256, 8_192
_WAIT_S = 5.0  # for messages that the server says it has

_Kept = tuple[RawMessage, int]  # a message, and the size of the registry that its collector knew


class Servers:
    """The stores of one data folder that are servers, as one copy looks at them.

    `begin`, then `see_heads` and `see_messages` at the moments that data_copy chooses, and right
    behind them `take_messages`; then the `write_…`. Every call raises Unavailable where a server
    does not answer.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._outside = outside_of(folder)
        self.has_messages, self.has_rows, self.has_heads = self._outside.servers
        self._opened = ExitStack()
        self._parts: list[_Part] = []  # by partition
        self._ends: Callable[[], list[int]] = list
        self._heads = FIRST

    def close(self) -> None:
        """Let go of them."""
        self._opened.close()

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.has_messages or self.has_rows or self.has_heads

    def begin(self, to: DataFolder) -> None:
        """Enter the bus, and copy what it keeps, before anything else is looked at.

        As files of the same epoch and offsets. What it has let go of by now, or while it is read,
        is stored, and the stores are looked at later: then the copy begins behind that.
        """
        if not self.has_messages:
            return
        access = kafka_access(self._outside.kafka, read_only=True)
        layout = layout_of(self._folder)
        if layout is None:
            bus = KafkaBus(access, self._outside.kafka.topic, read_only=True)
            self._opened.callback(bus.close)
            self._parts, self._ends = [self._part_of_bus(bus, to)], lambda: [bus.end()]
        else:
            channels = KafkaChannels(access, layout.epoch, layout.partitions)
            self._opened.callback(channels.close)
            self._parts, self._ends = self._parts_of(channels.raw, to), channels.raw.ends
        for part, end in zip(self._parts, self._ends(), strict=True):
            part.take_kept(end)

    def _part_of_bus(self, bus: KafkaBus, to: DataFolder) -> "_Part":
        SqliteBus(to.bus).close()
        with closing(sqlite3.connect(to.bus / "bus.db")) as db, db:
            db.execute("UPDATE topic SET epoch = ?", (bus.epoch,))
        file = SqliteBus(to.bus)
        self._opened.callback(file.close)

        def read(at: int, limit: int) -> list[_Kept]:
            return [(message, 0) for message in bus.read(at, limit)]

        def write(found: Sequence[_Kept]) -> None:
            file.append([_intake(message) for message, _ in found])

        def begin_at(first: int) -> None:
            file.trim(first)
            with closing(sqlite3.connect(to.bus / "bus.db")) as db, db:
                db.execute("UPDATE topic SET next = ?", (first,))

        return _Part("the bus", read, write, begin_at)

    def _parts_of(self, raw: RawTopic, to: DataFolder) -> "list[_Part]":
        SqliteChannels.make(make_folder(to.bus), raw.epoch, raw.partitions)
        channels = SqliteChannels.open(to.bus, epoch=raw.epoch)
        self._opened.callback(channels.close)

        def part(partition: int) -> _Part:
            def read(at: int, limit: int) -> list[_Kept]:
                return raw.read(partition, at, limit, _WAIT_S)

            def write(found: Sequence[_Kept]) -> None:
                for registry, some in groupby(found, key=lambda one: one[1]):
                    channels.raw.append([_intake(m) for m, _ in some], registry, partition)

            def begin_at(first: int) -> None:
                channels.raw.trim(partition, first)
                with closing(sqlite3.connect(to.bus / "raw.db")) as db, db:
                    sql = "UPDATE ends SET low = ?, next = ? WHERE partition = ?"
                    db.execute(sql, (first, first, partition))

            return _Part(f"partition {partition}", read, write, begin_at)

        return [part(partition) for partition in range(raw.partitions)]

    def see_heads(self) -> int:
        """Look at the heads row; its version."""
        with closing(open_heads(self._outside, self._folder, read_only=True)) as heads:
            self._heads = heads.read()
        return self._heads.version

    def see_messages(self) -> None:
        """Note where the bus ends: of what was accepted before, nothing is missing in the copy."""
        for part, end in zip(self._parts, self._ends(), strict=True):
            part.end = end

    def take_messages(self, needed_from: int | None) -> None:
        """Copy what came between `begin` and `see_messages`.

        needed_from: of a platform that is one process, what its projection may ask for. Raises
        Stop("bus-trimmed") where the platform that runs has let go of some meanwhile: it may have
        stored them behind the look at its stores.
        """
        for part in self._parts:
            if needed_from is not None and part.first > min(needed_from, part.end):
                raise Stop("bus-trimmed", f"message {needed_from} is no longer on the bus")
            part.take()

    # -- into the copy ----------------------------------------------------------------------

    def write_heads(self, to: DataFolder) -> None:
        """As `heads.db`."""
        if self.has_heads and self._heads != FIRST:
            with closing(SqliteHeads(make_folder(to.log))) as row:
                row.swap(FIRST, self._heads)

    def write_rows(self, to: DataFolder, size: int) -> None:
        """Those of entries below `size`, which are stored, as `customer.db`."""
        if not self.has_rows or not size:
            return
        with (
            closing(open_customer_db(self._outside, self._folder, read_only=True)) as rows,
            closing(SqliteCustomerDb(make_folder(to.customer_db))) as file,
        ):
            if rows.size() < size:
                text = f"the customer database has rows up to {rows.size()}, {size} were stored"
                raise Stop("projection-differs", text)
            for start in range(0, size, ROWS_AT_ONCE):
                stop = min(size, start + ROWS_AT_ONCE)
                file.store(rows.records(start, stop), stop)


@dataclass(slots=True)
class _Part:
    """A partition of the bus, of which the copy has the messages from `first` to `at`."""

    name: str
    read: Callable[[int, int], Sequence[_Kept]]  # from an offset on, so many
    write: Callable[[Sequence[_Kept]], None]
    begin_at: Callable[[int], None]  # empties the copy; its next message has this offset
    first: int = 0
    at: int = 0
    end: int = 0

    def take_kept(self, end: int) -> None:
        """All up to `end` that is not trimmed, and what is trimmed meanwhile is not needed."""
        self.end = end
        while True:  # the first that is kept rises each time, and `end` does not
            self.first = first_kept(lambda offset: self.read(offset, 1), self.at, self.end)
            self.begin_at(self.first)
            self.at = self.first
            try:
                self.take()
            except Stop as stop:
                if stop.code != "bus-trimmed":
                    raise
            else:
                return

    def take(self) -> None:
        """All up to `end`. Raises Stop("bus-trimmed"), Unavailable."""
        while self.at < self.end:
            found = self.read(self.at, min(MESSAGES_AT_ONCE, self.end - self.at))
            if not found:
                text = f"Kafka does not give message {self.at} of {self.name}"
                raise Unavailable(text, retry_after_s=5)
            self.write(found)
            self.at += len(found)


def _intake(message: RawMessage) -> Intake:
    return Intake(message.credential, message.format, message.received_us, message.raw)
