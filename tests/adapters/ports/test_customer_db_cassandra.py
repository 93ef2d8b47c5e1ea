"""The customer database in Cassandra against the suite, and what is its own."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cassandra_support import Patient, Sessions
from customer_db_suite import Adapter, CustomerDbSuite

from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_layout import Layout
from infra.servers.connect import CassandraAt


@pytest.fixture(scope="module")
def sessions(cassandra_server: CassandraAt) -> Iterator[Sessions]:
    """Connections as reader and as writer: making one costs a second."""
    opened = Sessions.open(cassandra_server)
    yield opened
    opened.close()


class CassandraSuite(CustomerDbSuite):
    model_examples = 25
    layout = Layout()

    @pytest.fixture(autouse=True)
    def over(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def open(self, folder: Path) -> Adapter:
        """A folder is known by its name: the tables are shared."""
        scd = sha256(str(folder).encode()).hexdigest()[:16]
        reader, writer = self.sessions.reader, self.sessions.writer
        made: Adapter = Patient(CassandraCustomerDb(scd, reader, writer, layout=self.layout))
        return made


class TestCassandra(CassandraSuite):
    pass


class TestCassandraSettling(CassandraSuite):
    """So eager to settle, and with pieces so small, that a few rows pass through all of it."""

    layout = Layout(direct_devices=0, direct_rows=1000, piece_bytes=16, settle_at=2)
