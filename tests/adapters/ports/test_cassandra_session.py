"""The connection to Cassandra where the driver has lost it."""

import time
from contextlib import closing
from itertools import islice

import pytest
from cassandra_support import address

from bal.errors import Unavailable
from infra import cassandra_session
from infra.cassandra_schema import migrate
from infra.cassandra_session import CassandraSession
from infra.servers.connect import CassandraAt

pytestmark = pytest.mark.xdist_group("kafka")  # as the others that use the session's servers

PATIENCE_S = 120
ASKED = "SELECT cluster_name FROM system.local"


def test_connections_that_the_driver_gave_up_are_made_anew(
    cassandra_server: CassandraAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that it holds for up and has no connection to is never tried again by itself."""
    monkeypatch.setattr(cassandra_session, "RENEW_S", 0.5)
    migrate(address(cassandra_server, "migrator"), "customer")
    with closing(CassandraSession(address(cassandra_server, "writer"))) as session:
        before, statement = session.rows(ASKED), session.prepared(ASKED)
        for pool in list(session._session._pools.values()):
            pool.shutdown()
        session._session._pools.clear()
        until, refused = time.monotonic() + PATIENCE_S, 0
        while True:
            try:
                found = session.rows(ASKED)
                break
            except Unavailable:
                refused += 1
                assert time.monotonic() < until, "it stays away"
                time.sleep(0.1)
        assert refused > 1
        assert found == before == next(session.each([(statement, None)]))


def test_who_can_not_enter_tries_ever_more_seldom_and_not_in_step(
    cassandra_server: CassandraAt,
) -> None:
    """Each try costs the node a bcrypt: of all clients twice a second, it never gets done."""
    with closing(CassandraSession(address(cassandra_server, "reader"))) as session:
        policy = session._cluster.reconnection_policy
        one, other = (list(islice(policy.new_schedule(), 100)) for _ in range(2))
    assert max(one[:2]) < 2
    assert min(one[6:]) > 5
    assert max(one) <= 10
    assert one != other
