"""Opens a data folder's stores for the process of one role, beside those of the others.

All of it is files that several processes may use at once: SQLite in WAL mode, tiles that never
change. What a process remembers of them only ever grows (pseudonyms, salt keys, closes), so it is
never wrong; what may be, the registry, is brought up to date by whoever asks (`Stored`).
"""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

from bal.errors import Unavailable
from bal.model import Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from bal.ports import Clock
from infra.data_folder import DataFolder
from infra.file_log import FileLog
from infra.outside import OpenCustomerDb, Outside, open_customer_db, open_heads, read
from infra.stores import Stores

SEQUENCER, STORER = "sequencer", "storer"


def open_stores(
    folder: DataFolder, clock: Clock, role: str, outside: Outside | None = None
) -> Stores:
    """The stores of a folder that is made and held (infra/roles/making.py), for one role.

    outside: how this process enters servers; None: as the last one that started.
    Only the sequencer may commit to the log, and only the storer writes rows. Their projector is
    the port `Stored`; the registry is left empty, for whoever keeps it up to date. Cassandra is
    entered where rows are asked for first, and where the heads row is there. Raises Stop,
    Unavailable.
    """
    outside = read(folder) if outside is None else outside
    return Stores.over(
        folder,
        clock,
        bus=None,
        customer_db=lambda: _rows(outside, folder, role),
        log=lambda: _log(outside, folder, clock, role),
    )


def _rows(outside: Outside, folder: DataFolder, role: str) -> OpenCustomerDb:
    if not outside.cassandra.hosts:
        return open_customer_db(outside, folder)
    return WhenAsked(lambda: open_customer_db(outside, folder, read_only=role != STORER))


def _log(outside: Outside, folder: DataFolder, clock: Clock, role: str) -> FileLog:
    """Not as of an audit, which takes a file that is absent for an empty one, and for ever."""
    as_reader = bool(outside.cassandra.heads) and role != SEQUENCER
    heads = open_heads(outside, folder, read_only=as_reader)
    try:
        log = FileLog(folder.log, clock, heads=heads, reader=role != SEQUENCER)
    except BaseException:
        heads.close()
        raise
    try:
        if role != SEQUENCER:
            log.redone()  # now, while the heads row is there
    except BaseException:
        log.close()
        raise
    return log


class WhenAsked:
    """CustomerDb and DayRows (bal.ports) of a server that is entered when rows are asked for.

    So a role starts while the server is away, and answers Unavailable for as long as it is.
    """

    def __init__(self, enter: Callable[[], OpenCustomerDb]) -> None:
        self._enter = enter
        self._lock = Lock()
        self._found: OpenCustomerDb | None = None
        self._closed = False

    def _rows(self) -> OpenCustomerDb:
        with self._lock:
            if self._closed:
                raise Unavailable("the customer database is closed")
            if self._found is None:
                self._found = self._enter()
            return self._found

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        """As OpenCustomerDb."""
        self._rows().store(rows, size, lane)

    def stored(self, lane: int) -> int:
        """As OpenCustomerDb."""
        return self._rows().stored(lane)

    @property
    def unsettled(self) -> int:
        """As OpenCustomerDb."""
        return 0 if self._found is None else self._found.unsettled

    def tidy(self) -> bool:
        """As CustomerDb."""
        return self._found is not None and self._found.tidy()

    def sync(self) -> None:
        """As CustomerDb."""
        self._rows().sync()

    def size(self) -> int:
        """As CustomerDb."""
        return self._rows().size()

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """As CustomerDb."""
        return self._rows().readings(query)

    def record(self, index: int) -> StoredRecord | None:
        """As CustomerDb."""
        return self._rows().record(index)

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """As CustomerDb."""
        return self._rows().records(start, stop)

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """As DayRows."""
        return self._rows().of_shard(shard, from_us, to_us, size)

    def close(self) -> None:
        """Let go of it, if it was entered."""
        with self._lock:
            self._closed = True
            if self._found is not None:
                self._found.close()
