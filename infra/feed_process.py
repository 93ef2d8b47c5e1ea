"""The feed of Kafka's consumers in a process of its own (docs/decisions/0013-kafka.md).

What a reading takes the place of, its salt, headers and batches are a sixth of what it costs the
platform: in its own process everything on its way to a receipt would wait for that. What was stored
a moment ago (infra/feed_rows.py) is handed over before the step that takes it.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from bal.model import TreeHead
from bal.provide.feed import own_topic, topics_of
from bal.provide.policy import ClientInfo
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_recent import Packed, Stretch, WaitingRows
from infra.child_process import ChildProcess, Work
from infra.config import KafkaConfig
from infra.data_folder import DataFolder
from infra.feed_rows import FeedRows
from infra.kafka_readings import STEP_ENTRIES, KafkaReadings
from infra.outside import OpenCustomerDb, kafka_access, open_customer_db, read
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock

HANDED_BYTES = 1 << 26  # that the process has of rows it has not published: a few steps
NICE = 10  # who waits for a receipt comes first
_Client = tuple[str, tuple[str, ...], tuple[str, ...]]  # id, scopes, groups


class FeedProcess:
    """Feed (infra/feeder.py), started with the first call; where it ends, the next one starts it.

    For one thread, but for `give_up` and `close`. What it sent and nobody knew of, Kafka has: it
    goes on behind that (infra/kafka_readings.py).
    """

    def __init__(
        self,
        folder: Path,
        kafka: KafkaConfig,
        *,
        recent: Callable[[int], Iterable[Stretch]],
        clients: Callable[[], Iterable[ClientInfo]],
    ) -> None:
        """folder: of the data; recent: what was stored last, from an index on; clients: all."""
        self._clients, self._rows = clients, FeedRows(recent)
        self._child = ChildProcess(__name__, (str(folder), asdict(kafka)), "feeds", nice=NICE)
        self._told: int | None = None  # the process that has the rows below `_sent`
        self._sent = 0
        self._at: int | None = None  # below which all is published; None before the first answer
        self._rows.start()

    @property
    def pid(self) -> int | None:
        """Of the process, once there is one."""
        return self._child.pid

    @property
    def fed(self) -> int:
        """As Feed."""
        return self._at or 0

    def publish(self, size: int) -> None:
        """As Feed. Raises Unavailable where the process ended, too; so do the others."""
        at, before = -1, None
        while at < size and at != before:  # no more is stored where a step leads nowhere
            self._hand_over()
            before, at = at, self._child.ask("publish", size, _with_topics(self._clients()))
            self._at, self._sent = at, max(self._sent, at)  # below that it needs none
            self._rows.forget(at)

    def _hand_over(self) -> None:
        """What the next step takes, as far as it is here and there is room there."""
        self._child.start()
        if self._child.pid != self._told:
            self._told, self._sent = self._child.pid, 0
        self._rows.look()
        for packed in self._rows.since(self._sent):
            if self._at is not None and self._sent >= self._at + STEP_ENTRIES:
                break
            if not self._child.ask("rows", *astuple(packed)):
                break
            self._sent = packed.end

    def publish_head(self, head: TreeHead, note: bytes) -> None:
        """As Feed."""
        self._child.ask("head", head.size, bytes(head.root), note)

    def give_up(self) -> None:
        """As Feed."""
        self._child.close()

    def close(self) -> None:
        """As Feed."""
        self._rows.stop()
        self._child.close()


def _with_topics(clients: Iterable[ClientInfo]) -> list[_Client]:
    """Those that have topics of their own; the others are of no matter here."""
    return [
        (client.client_id, tuple(client.scopes), tuple(client.groups))
        for client in clients
        if client.groups is not None and own_topic(client.client_id) in topics_of(client)
    ]


# -- the child ------------------------------------------------------------------------------


def made(begin: Any) -> Work:
    """What the process does."""
    folder, kafka = begin
    return _Feeding(DataFolder(Path(folder)), KafkaConfig(**kafka)).work


class _Feeding:
    """Opened with the first row or size; never closed: the process is killed."""

    def __init__(self, folder: DataFolder, kafka: KafkaConfig) -> None:
        self._folder, self._kafka = folder, kafka
        self._clients: dict[str, ClientInfo] = {}
        self._waiting = WaitingRows(HANDED_BYTES)
        self._opened: tuple[OpenCustomerDb, KafkaReadings] | None = None

    def work(self, command: str, *values: Any) -> int:
        """One question. Of `rows`: whether they are taken; of `publish`: as publish_some."""
        rows, feed = self._open()
        if command == "rows":
            packed = Packed(*values)
            assert isinstance(rows, CassandraCustomerDb), "else there are none"
            rows.note_stored(packed.end)
            return int(self._waiting.add(packed))
        if command == "publish":
            size, clients = values
            self._clients.clear()
            for name, scopes, groups in clients:
                client = ClientInfo(name, b"", frozenset(scopes), frozenset(groups))
                self._clients[name] = client
            at = feed.publish_some(size)
            self._waiting.forget(at)
            return at
        size, root, note = values
        feed.publish_head(TreeHead(size, root), note)
        return 0

    def _open(self) -> tuple[OpenCustomerDb, KafkaReadings]:
        if self._opened is None:
            with ExitStack() as opened:
                vault = SqliteVault(self._folder.vault, SystemClock(), read_only=True)
                opened.callback(vault.close)
                rows = open_customer_db(
                    read(self._folder),
                    self._folder,
                    read_only=True,
                    waiting=self._waiting,
                )
                opened.callback(rows.close)
                feed = KafkaReadings(
                    kafka_access(self._kafka),
                    customer_db=rows,
                    vault=vault,
                    client=self._clients.get,
                )
                opened.pop_all()
                self._opened = rows, feed
        return self._opened
