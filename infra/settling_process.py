"""Settling in a process of its own, at a lower priority (docs/decisions/0014-cassandra-layout.md).

Rows are taken apart and put together for it, which takes the interpreter's time: in the platform's
own process all that is on its way to a receipt would wait for that.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.cassandra_layout import Home, Layout
from infra.cassandra_reads import Reads
from infra.cassandra_session import CassandraAddress, CassandraSession
from infra.cassandra_settling import Blocks
from infra.child_process import ChildProcess, Work

NICE = 10
_FILES = ("ca", "certificate", "key", "password_file")


class SettlingProcess:
    """Started with the first block. For one thread, but for `close`."""

    def __init__(self, at: CassandraAddress, scd: str, lanes: int, layout: Layout) -> None:
        """at: as who writes. The others: as CassandraCustomerDb."""
        address = asdict(at) | {key: str(getattr(at, key)) for key in _FILES}
        begin = (address | {"hosts": list(at.hosts)}, scd, lanes, asdict(layout))
        self._child = ChildProcess(__name__, begin, "settles", nice=NICE)

    @property
    def pid(self) -> int | None:
        """Of the process, once there is one."""
        return self._child.pid

    def settle(self, home: Home, block: int) -> None:
        """As infra.cassandra_settling.Blocks. Raises Unavailable where the process ended, too."""
        self._child.ask(tuple(home), block)

    def close(self) -> None:
        """End it; a block that it has begun is settled later. From any thread."""
        self._child.close()


def made(begin: Any) -> Work:
    """What the process does."""
    address, scd, lanes, layout = begin
    at = CassandraAddress(**address | {key: Path(address[key]) for key in _FILES})
    opened: list[Blocks] = []

    def work(home: tuple[str, str, int], block: int) -> None:
        if not opened:
            session = CassandraSession(at)
            reads = Reads(session, scd, lanes)
            opened.append(Blocks(session, scd, Layout(**layout), reads.visible))
        opened[0].settle(Home(*home), block)

    return work
