"""Certified readings and heads on Kafka, for consumers (docs/kafka.md)."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bal.certify.commitment import salt
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import StoredRecord, TreeHead
from bal.ports import CustomerDb, Vault
from bal.provide.feed import CHECKPOINTS, READINGS, Placed, Superseding, headers, is_for
from bal.provide.policy import ClientInfo
from infra.kafka_client import KafkaAccess, LoopThread, administration, cut_off, open_producer
from infra.kafka_feed_topics import BATCH_BYTES, GROUP, PARTITION, note_position

# Of the log that are read and sent in one go: settled rows are pieces of one device each, which
# many small steps would read many times. About 1 KB each.
STEP_ENTRIES = 16_000
NOTE_ENTRIES = 10_000  # without a row for a topic, after which its position is noted

_Record: TypeAlias = tuple[bytes, bytes, list[tuple[str, bytes]]]  # key, value, headers


@dataclass(frozen=True, slots=True)
class _Position:
    size: int  # log entries that were gone through
    noted: int  # what a restart would find


class KafkaReadings:
    """Publishes rows in order of the log to every topic whose readers may read them.

    What a topic has tells where it goes on: its last record's `index`, or the position that is
    noted for it now and then (log size, in the metadata of GROUP's committed offset). So a crash
    at any line loses nothing and may repeat; a consumer tells a repetition by `index`. Which
    clients have a topic, Kafka says: infra/kafka_grants.py makes and removes them.

    The principal needs Read and Write on topics READINGS* and CHECKPOINTS, Read on GROUP.
    """

    def __init__(
        self,
        access: KafkaAccess,
        *,
        customer_db: CustomerDb,
        vault: Vault,
        client: Callable[[str], ClientInfo | None],
    ) -> None:
        """client: by client id, as it is now. Connects when it is used first."""
        self._access, self._db, self._vault, self._client = access, customer_db, vault, client
        self._superseding = Superseding(customer_db)
        self._lock = Lock()
        self._positions: dict[str, _Position] = {}
        self._head: int | None = None
        self._producer: AIOKafkaProducer | None = None
        self._loop = LoopThread()
        self._closed = False
        self.fed = 0  # as Feed

    def close(self) -> None:
        """Let go of Kafka."""
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
            if producer is not None:
                with suppress(Unavailable):
                    self._loop.last_call(cut_off(producer, self._access.timeout_s), 60)
            self._loop.close()

    def give_up(self) -> None:
        """As KafkaBus.give_up."""
        self._loop.give_up()

    def publish(self, size: int) -> None:
        """Publish every row below `size`, which is visible, that is stored and was not published.

        Raises Unavailable where Kafka does not answer: the next call goes on from what is there.
        """
        at, before = -1, None
        while at < size and at != before:  # no more is stored where a step leads nowhere
            before, at = at, self.publish_some(size)
            self.fed = at

    def publish_some(self, size: int) -> int:
        """The same, of STEP_ENTRIES at most: the log size below which all is published."""
        with self._lock:
            self._check_open()
            try:
                names = self._call(self._topics())
                self._positions = {
                    name: at for name, at in self._positions.items() if name in names
                }
                new = [name for name in names if name not in self._positions]
                if new:
                    self._positions |= self._call(self._read_back(new))
                size = min(size, self._db.size())
                start = min((at.size for at in self._positions.values()), default=size)
                if start >= size:
                    return size
                stop = min(size, start + STEP_ENTRIES)
                self._step(start, stop)
            except GridsealError:
                self._start_again()
                raise
            return stop

    def publish_head(self, head: TreeHead, note: bytes) -> None:
        """Publish a checkpoint, unless one of that size or a larger one is there. As `publish`."""
        with self._lock:
            self._check_open()
            try:
                if self._head is None:
                    self._head = self._call(self._last(CHECKPOINTS, "size"))
                if self._head is not None and head.size <= self._head:
                    return
                name = note.split(b"\n", 1)[0]  # the log's origin
                record = (name, note, [("size", b"%d" % head.size)])
                self._call(self._send_each([(CHECKPOINTS, [record])]))
                self._head = head.size
            except GridsealError:
                self._start_again()
                raise

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the feed is closed")

    # -- rows ----------------------------------------------------------------------------------

    def _step(self, start: int, stop: int) -> None:
        placed = self._superseding.placed(start, stop)
        salts = self._salts([one.row for one in placed])
        placed = [one for one in placed if one.row.index in salts]
        behind = {name: at for name, at in self._positions.items() if at.size < stop}
        wanted = {name: self._for(name, at.size, placed) for name, at in behind.items()}
        self._call(self._send({name: rows for name, rows in wanted.items() if rows}, salts))
        for name, at in behind.items():
            noted = stop if wanted[name] else at.noted
            self._positions[name] = _Position(stop, noted)
            if stop - noted >= NOTE_ENTRIES:
                self._call(note_position(self._access, name, stop))
                self._positions[name] = _Position(stop, stop)

    def _for(self, name: str, size: int, placed: Sequence[Placed]) -> list[Placed]:
        if name == READINGS:
            return [one for one in placed if one.row.index >= size]
        client = self._client(name.removeprefix(f"{READINGS}."))
        return [one for one in placed if one.row.index >= size and is_for(client, one.row)]

    def _salts(self, rows: Sequence[StoredRecord]) -> dict[int, bytes]:
        """By index; none where the key is gone, because it was erased in between."""
        keys: dict[tuple[str, int], bytes] = {}
        for year in {row.year for row in rows}:
            devices = list({row.device for row in rows if row.year == year})
            try:
                found = self._vault.salt_keys(devices, year)
            except KeyError:  # nobody's key is given, where one is unknown
                found = {}
                for device in devices:
                    with suppress(KeyError):
                        found |= self._vault.salt_keys([device], year)
            keys |= {(device, year): key for device, key in found.items()}
        return {
            row.index: salt(keys[row.device, row.year], row.type, row.certified)
            for row in rows
            if (row.device, row.year) in keys
        }

    # -- Kafka ---------------------------------------------------------------------------------

    def _call(self, coroutine: Any) -> Any:
        return self._loop.call(coroutine, 4 * self._access.timeout_s)

    def _start_again(self) -> None:
        """Forget what we think is there, and end a producer that may still send."""
        self._positions, self._head = {}, None
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Unavailable):
                self._loop.last_call(cut_off(producer, self._access.timeout_s), 60)

    async def _topics(self) -> list[str]:
        producer = self._producer or await self._opened()
        names = (await producer.client.fetch_all_metadata()).topics()
        return [name for name in names if name == READINGS or name.startswith(f"{READINGS}.")]

    async def _send(
        self, wanted: Mapping[str, Sequence[Placed]], salts: Mapping[int, bytes]
    ) -> None:
        """A record is made when it is taken: 16,000 at once are 160,000 objects to look after."""
        await self._send_each(
            (topic, (_record(one, salts[one.row.index]) for one in rows))
            for topic, rows in wanted.items()
        )

    async def _send_each(self, wanted: Iterable[tuple[str, Iterable[_Record]]]) -> None:
        producer = self._producer or await self._opened()
        async with asyncio.timeout(2 * self._access.timeout_s):
            sent = []
            for topic, records in wanted:
                batch = producer.create_batch()
                for key, value, named in records:
                    one = {"key": key, "value": value, "timestamp": None, "headers": named}
                    if batch.append(**one) is None:
                        sent.append(await self._queue(producer, batch, topic))
                        batch = producer.create_batch()
                        batch.append(**one)
                sent.append(await self._queue(producer, batch, topic))
            await asyncio.gather(*sent)

    async def _queue(self, producer: AIOKafkaProducer, batch: Any, topic: str) -> Any:
        batch.close()
        return await producer.send_batch(batch, topic, partition=PARTITION)

    async def _opened(self) -> AIOKafkaProducer:
        self._producer = await open_producer(
            self._access, batch_bytes=BATCH_BYTES, request_bytes=2 * BATCH_BYTES
        )
        return self._producer

    async def _read_back(self, names: Sequence[str]) -> dict[str, _Position]:
        positions = {}
        places = [TopicPartition(name, PARTITION) for name in names]
        async with administration(self._access) as client:
            noted = await client.list_consumer_group_offsets(GROUP, partitions=places)
        for place in places:
            text = noted[place].metadata if place in noted else ""
            last = await self._last(place.topic, "index")
            size = max(int(text or 0), 0 if last is None else last + 1)
            positions[place.topic] = _Position(size, size)
        return positions

    async def _last(self, topic: str, header: str) -> int | None:
        """The number in a header of the last record of a topic; None where there is none."""
        place = TopicPartition(topic, PARTITION)
        consumer = AIOKafkaConsumer(
            **self._access.options(), enable_auto_commit=False, auto_offset_reset="none"
        )
        try:
            await consumer.start()
            consumer.assign([place])
            low = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            if low == end:
                return None
            consumer.seek(place, end - 1)
            record = await consumer.getone(place)
            try:
                return int(dict(record.headers)[header])
            except (KeyError, ValueError) as error:
                text = f"record {end - 1} of {topic} has no header {header}: it is none of ours"
                raise Stop("store-damaged", text) from error
        finally:
            await consumer.stop()


def _record(placed: Placed, its_salt: bytes) -> _Record:
    return placed.row.device.encode(), placed.row.certified, headers(placed, its_salt)
