"""Cassandra answers to our certificate and passwords only; a role may do what it is for."""

import logging
import socket
import ssl
import time
from dataclasses import replace

import pytest
from cassandra import InvalidRequest, Unauthorized
from cassandra.cluster import Session

from bal.errors import Stop, Unavailable
from infra.certificates import client_context
from infra.servers import cassandra
from infra.servers.connect import CassandraAt, Identity
from infra.servers.place import read_state


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="cassandra")


def answers(at: CassandraAt, port: int, context: ssl.SSLContext | None) -> bool:
    """Whether OPTIONS of the native protocol, version 5, gets an answer of that version."""
    try:
        plain = socket.create_connection((at.host, port), 5)
        wire = context.wrap_socket(plain, server_hostname=at.host) if context else plain
        with plain, wire:
            wire.sendall(b"\x05\x00\x00\x00\x05\x00\x00\x00\x00")
            return wire.recv(9)[:1] == b"\x85"
    except OSError:  # refused in the handshake, ssl.SSLError among them
        return False


def test_who_has_no_certificate_of_ours_is_refused(
    cassandra_server: CassandraAt, foreign: Identity
) -> None:
    at = cassandra_server
    ours = client_context(at.ca, at.client.certificate, at.client.key)
    assert answers(at, at.port, ours)
    for context in (
        client_context(at.ca),
        client_context(at.ca, foreign.certificate, foreign.key),
        None,
    ):
        assert not answers(at, at.port, context)


def test_between_nodes_it_speaks_tls_only(cassandra_server: CassandraAt) -> None:
    at = cassandra_server
    port = read_state(at.place.data)["cassandra"]["storage_port"]
    assert not answers(at, port, client_context(at.ca))
    assert not answers(at, port, None)


def test_wrong_passwords_and_the_role_that_everybody_knows_are_refused(
    cassandra_server: CassandraAt,
) -> None:
    for role, password in (("reader", "wrong"), ("cassandra", "cassandra"), ("nobody", "x")):
        with (
            pytest.raises(Stop, match="servers-password"),
            cassandra.session(cassandra_server, role, password),
        ):
            raise AssertionError(f"{role} came in")


def test_a_role_has_no_right_but_what_a_migration_gives_it(cassandra_server: CassandraAt) -> None:
    at = cassandra_server
    insert = "INSERT INTO gridseal.rights_test(a, b) VALUES(1, 2)"
    select = "SELECT b FROM gridseal.rights_test WHERE a = 1"
    with cassandra.session(at, "migrator") as one:
        one.execute("CREATE TABLE IF NOT EXISTS gridseal.rights_test(a int PRIMARY KEY, b int)")
        one.execute("GRANT MODIFY ON TABLE gridseal.rights_test TO writer")
        one.execute("GRANT SELECT ON TABLE gridseal.rights_test TO reader")
    with cassandra.session(at, cassandra.ADMIN) as one:
        one.execute("GRANT SELECT ON KEYSPACE gridseal TO sequencer")
    cassandra.ensure_roles(at)  # takes what is beyond the table, and leaves the migration's
    with cassandra.session(at, "writer") as one:
        one.execute(insert)
        for refused in (
            select,
            "DROP TABLE gridseal.rights_test",
            "CREATE TABLE gridseal.x(a int PRIMARY KEY)",
        ):
            with pytest.raises((Unauthorized, InvalidRequest)):
                one.execute(refused)
    with cassandra.session(at, "reader") as one:
        assert one.execute(select).one()[0] == 2
        for refused in (insert, "CREATE ROLE evil", "SELECT * FROM system_auth.roles"):
            with pytest.raises(Unauthorized):
                one.execute(refused)
    with cassandra.session(at, "sequencer") as one:
        assert eventually_refused(one, select)


def eventually_refused(one: Session, statement: str) -> bool:
    """Rights are remembered for two seconds."""
    for _ in range(60):
        try:
            one.execute(statement)
        except Unauthorized:
            return True
        time.sleep(0.1)
    return False


def test_another_cluster_is_not_taken_for_ours(cassandra_server: CassandraAt) -> None:
    place = cassandra_server.place
    entry = read_state(place.data)["cassandra"]
    cassandra.prove(place, entry)
    with pytest.raises(Unavailable, match="another cluster"):
        cassandra.prove(place, {**entry, "cluster": "gridseal-0"})
    assert replace(cassandra_server) == cassandra_server


def test_a_password_of_chance_costs_the_node_little_at_each_connection(
    cassandra_server: CassandraAt,
) -> None:
    with cassandra.session(cassandra_server, cassandra.ADMIN) as one:
        rows = one.execute("SELECT role, salted_hash FROM system_auth.roles")
        hashes = {row.role: row.salted_hash for row in rows}
    for role in (cassandra.ADMIN, *cassandra.RIGHTS):
        assert hashes[role].startswith("$2a$04$"), role
