"""Connections to the Cassandra of a test session, with the tables made."""

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal.errors import Unavailable
from infra.cassandra_schema import DATA, migrate
from infra.cassandra_session import CassandraAddress, CassandraSession
from infra.servers.connect import CassandraAt


def address(at: CassandraAt, role: str, keyspace: str = DATA) -> CassandraAddress:
    """How a role enters a keyspace."""
    return CassandraAddress(
        hosts=[at.host],
        port=at.port,
        ca=at.ca,
        certificate=at.client.certificate,
        key=at.client.key,
        role=role,
        password_file=at.roles[role].password_file,
        keyspace=keyspace,
    )


def scd_of(folder: Path) -> str:
    """The database of a test: the tables are shared by all workers of a session.

    By the whole path: its last part is a test's name cut to 30 characters, and a number that each
    worker counts for itself.
    """
    return sha256(str(folder).encode()).hexdigest()[:16]


def configured(at: CassandraAt) -> str:
    """The table of the configuration for it, heads row included."""
    return (
        f'[cassandra]\nhosts = "{at.host}"\nport = {at.port}\nca = "{at.ca}"\n'
        f'certificate = "{at.client.certificate}"\nkey = "{at.client.key}"\n'
        f'passwords = "{at.roles["writer"].password_file.parent}"\nheads = true\n'
    )


@dataclass(frozen=True, slots=True)
class Sessions:
    """Shared by many databases under test."""

    reader: CassandraSession
    writer: CassandraSession

    @classmethod
    def open(cls, at: CassandraAt) -> "Sessions":
        """Makes the tables first."""
        migrate(address(at, "migrator"), "customer")
        return cls(CassandraSession(address(at, "reader")), CassandraSession(address(at, "writer")))

    def close(self) -> None:
        """End both."""
        self.reader.close()
        self.writer.close()


class Patient:
    """An adapter whose calls are repeated after Unavailable, as its port allows, for a minute.

    A machine that does much else lets a server miss its own time limits.
    """

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._whole, name)

        def call(*values: Any) -> Any:
            deadline = time.monotonic() + 60
            while True:
                try:
                    found = method(*values)
                    return list(found) if name == "of_shard" else found
                except Unavailable:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)

        return call
