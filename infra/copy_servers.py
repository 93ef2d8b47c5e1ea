"""What a copy of a data folder takes from servers, so that it is a folder of files alone.

The heads row, the messages that the bus still has, and the rows: each by the port that the platform
itself uses, and written by the adapter that keeps them in files.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.data_folder import DataFolder
from infra.files import make_folder
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

    `begin`, then `see_heads` and `see_messages` at the moments that data_copy chooses, then the
    `write_…`. Every call raises Unavailable where a server does not answer.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._outside = outside_of(folder)
        self.has_messages, self.has_rows, self.has_heads = self._outside.servers
        self._opened = ExitStack()
        self._bus: KafkaBus | None = None
        self._raw: RawTopic | None = None
        self._spans: list[tuple[int, int]] = []  # by partition the offsets that are copied
        self._heads = FIRST

    def close(self) -> None:
        """Let go of them."""
        self._opened.close()

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.has_messages or self.has_rows or self.has_heads

    def begin(self) -> None:
        """Enter the bus, and note what it keeps, before anything else is looked at.

        What it has let go of by now is stored, and the stores are looked at later.
        """
        if not self.has_messages:
            return
        access = kafka_access(self._outside.kafka, read_only=True)
        layout = layout_of(self._folder)
        if layout is None:
            self._bus = KafkaBus(access, self._outside.kafka.topic, read_only=True)
            self._opened.callback(self._bus.close)
            return
        channels = KafkaChannels(access, layout.epoch, layout.partitions)
        self._opened.callback(channels.close)
        self._raw = raw = channels.raw
        self._spans = [(_first_kept(raw, p, end), end) for p, end in enumerate(raw.ends())]

    def see_heads(self) -> int:
        """Look at the heads row; its version."""
        with closing(open_heads(self._outside, self._folder, read_only=True)) as heads:
            self._heads = heads.read()
        return self._heads.version

    def see_messages(self) -> None:
        """Note where the bus ends: of what was accepted before, nothing is missing in the copy."""
        if self._raw is not None:
            spans = zip(self._spans, self._raw.ends(), strict=True)
            self._spans = [(first, end) for (first, _), end in spans]
        elif self._bus is not None:
            self._spans = [(0, self._bus.end())]

    # -- into the copy ----------------------------------------------------------------------

    def write_heads(self, to: DataFolder) -> None:
        """As `heads.db`."""
        if self.has_heads and self._heads != FIRST:
            with closing(SqliteHeads(make_folder(to.log))) as row:
                row.swap(FIRST, self._heads)

    def write_messages(self, to: DataFolder, needed_from: int) -> None:
        """As files of the same epoch and offsets.

        needed_from: of a platform that is one process, what its projection may ask for. Raises
        Stop("bus-trimmed") where the platform that runs has let go of some meanwhile.
        """
        if self._raw is not None:
            self._write_topic(to, self._raw)
        elif self._bus is not None:
            self._write_bus(to, self._bus, needed_from)

    def _write_topic(self, to: DataFolder, raw: RawTopic) -> None:
        SqliteChannels.make(make_folder(to.bus), raw.epoch, raw.partitions)
        with closing(sqlite3.connect(to.bus / "raw.db")) as db, db:
            starts = [(first, first, p) for p, (first, _) in enumerate(self._spans)]
            db.executemany("UPDATE ends SET low = ?, next = ? WHERE partition = ?", starts)
        with closing(SqliteChannels.open(to.bus, epoch=raw.epoch)) as channels:
            for partition, (first, end) in enumerate(self._spans):
                for found in _of_topic(raw, partition, first, end):
                    for registry, some in groupby(found, key=lambda one: one[1]):
                        intakes = [_intake(message) for message, _ in some]
                        channels.raw.append(intakes, registry, partition)

    def _write_bus(self, to: DataFolder, bus: KafkaBus, needed_from: int) -> None:
        [(_, end)] = self._spans
        at = min(needed_from, end)
        SqliteBus(to.bus).close()
        with closing(sqlite3.connect(to.bus / "bus.db")) as db, db:
            db.execute("UPDATE topic SET epoch = ?, next = ?", (bus.epoch, at))
        with closing(SqliteBus(to.bus)) as file:
            while at < end:
                found = bus.read(at, min(MESSAGES_AT_ONCE, end - at))
                if not found:
                    raise Unavailable(f"Kafka does not give message {at}", retry_after_s=5)
                file.append([_intake(message) for message in found])
                at += len(found)

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


def _of_topic(raw: RawTopic, partition: int, at: int, end: int) -> Iterator[Sequence[_Kept]]:
    while at < end:
        found = raw.read(partition, at, min(MESSAGES_AT_ONCE, end - at), _WAIT_S)
        if not found:
            text = f"Kafka does not give message {at} of partition {partition}"
            raise Unavailable(text, retry_after_s=5)
        yield found
        at += len(found)


def _first_kept(raw: RawTopic, partition: int, end: int) -> int:
    """The first offset below which all is trimmed: to try is all that a topic offers."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2 if low else 0
        try:
            raw.read(partition, middle, 1)
        except Stop as stop:
            if stop.code != "bus-trimmed":
                raise
            low = middle + 1
        else:
            high = middle
    return low


def _intake(message: RawMessage) -> Intake:
    return Intake(message.credential, message.format, message.received_us, message.raw)
