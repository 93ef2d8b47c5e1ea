"""A connection to Cassandra as one role, with its errors as ours (docs/decisions/0014).

cassandra-driver 3.30 with its libev reactor and protocol 5; its asyncio reactor breaks frames at
that protocol. Every call has a time-out, and TLS is never optional.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    Unauthorized,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import BatchStatement, BatchType, PreparedStatement, tuple_factory

from bal.errors import Stop, Unavailable
from infra.certificates import client_context

PROTOCOL = 5
CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 10
RECONNECT_S, RECONNECT_MAX_S = 0.5, 8.0  # from one try to the next; twice as long each time
RENEW_S = 10.0  # without any node, until the driver's connections are given up for new ones
IN_FLIGHT_MAX = 32  # requests that one call sends ahead of their answers
FETCH_ROWS = 256  # of blobs of some KB, in one page
Statement: TypeAlias = PreparedStatement | BatchStatement

# It tells of every try while a node is away; who calls is told once.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class CassandraAddress:
    """Where Cassandra is and how it is entered: TLS, a client certificate and a role's password."""

    hosts: Sequence[str]  # contact points, as their certificates name them
    port: int
    ca: Path
    certificate: Path
    key: Path
    role: str
    password_file: Path  # the password alone, a newline behind it
    keyspace: str
    datacenter: str | None = None  # the nearest; None where there is one only


class CassandraSession:
    """Prepared statements over pooled connections; safe to use from several threads."""

    def __init__(
        self, at: CassandraAddress, *, request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        """Raises Unavailable where it does not answer, Stop("cassandra-refuses") where it does."""
        self._prepared: dict[tuple[str, int | None], PreparedStatement] = {}
        self._closed = False
        try:
            password = at.password_file.read_text(encoding="ascii").strip()
            context = client_context(at.ca, at.certificate, at.key)
        except (OSError, ValueError) as error:
            text = f"what opens Cassandra can't be read: {error}"
            raise Stop("cassandra-refuses", text) from error
        self._at, self._context, self._password = at, context, password
        self._request_timeout_s = request_timeout_s
        self._away_since_s: float | None = None  # none of its nodes answers, says the driver
        self._entering = Lock()
        self._cluster, self._session = self._enter()

    def _enter(self) -> tuple[Cluster, Session]:
        """Connections of their own. Raises as `__init__`."""
        at = self._at
        policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=at.datacenter or ""))
        profile = ExecutionProfile(
            load_balancing_policy=policy,
            request_timeout=self._request_timeout_s,
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.SERIAL,
            row_factory=tuple_factory,
        )
        cluster = Cluster(
            list(at.hosts),
            port=at.port,
            ssl_context=self._context,
            ssl_options={"server_hostname": at.hosts[0]} if len(at.hosts) == 1 else None,
            auth_provider=PlainTextAuthProvider(at.role, self._password),
            protocol_version=PROTOCOL,
            connection_class=LibevConnection,
            connect_timeout=CONNECT_TIMEOUT_S,
            control_connection_timeout=CONNECT_TIMEOUT_S,
            idle_heartbeat_interval=5,
            idle_heartbeat_timeout=5,
            # Each try costs the node a bcrypt: all clients at once, in steps of the same length,
            # can keep a busy one from ever letting any in before its time is up.
            reconnection_policy=ExponentialReconnectionPolicy(RECONNECT_S, RECONNECT_MAX_S, None),
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )
        try:
            with translated():
                session = cluster.connect(at.keyspace)
        except BaseException:
            cluster.shutdown()
            raise
        session.default_fetch_size = FETCH_ROWS
        return cluster, session

    def close(self) -> None:
        """End the connections."""
        self._closed = True
        self._cluster.shutdown()

    def prepared(self, cql: str, consistency: int | None = None) -> PreparedStatement:
        """The statement, prepared when it is asked for first. Raises as `rows`."""
        found = self._prepared.get((cql, consistency))
        if found is None:
            self._check_open()
            with self._asking():
                found = self._session.prepare(cql)
            found.consistency_level = consistency
            self._prepared[cql, consistency] = found
        return found

    def rows(
        self, cql: str, values: Sequence[object] = (), *, consistency: int | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of one statement, as tuples.

        Raises Unavailable, or Stop("cassandra-refuses") where the role has no right or the tables
        are others than this program's.
        """
        statement = self.prepared(cql, consistency)
        self._check_open()
        with self._asking():
            return list(self._session.execute(statement, values))

    def plain(self, cql: str) -> list[tuple[Any, ...]]:
        """One statement that is not prepared: of the schema and of rights."""
        self._check_open()
        with self._asking():
            return list(self._session.execute(cql, timeout=60))

    def each(
        self,
        requests: Iterable[tuple[Statement, Sequence[object] | None]],
        *,
        ahead: int = IN_FLIGHT_MAX,
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of each request, in order, with at most `ahead` on their way. Raises as `rows`.

        Of requests that write all were answered once this is exhausted.
        """
        sent: deque[ResponseFuture] = deque()
        self._check_open()
        for statement, values in requests:
            if len(sent) >= ahead:
                yield self._answer(sent.popleft())
            with self._asking():
                sent.append(self._session.execute_async(statement, values))
        while sent:
            yield self._answer(sent.popleft())

    def all(self, requests: Iterable[tuple[Statement, Sequence[object] | None]]) -> None:
        """Send all and wait for every answer. Raises as `rows`; some may have been taken then."""
        for _ in self.each(requests):
            pass

    @staticmethod
    def batch(pairs: Iterable[tuple[PreparedStatement, Sequence[object]]]) -> BatchStatement:
        """Statements of one partition, which take place together or not at all."""
        made = BatchStatement(BatchType.UNLOGGED)
        for statement, values in pairs:
            made.add(statement, values)
        return made

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """`translated`, and new connections where the driver has given the old ones up.

        A node that went away in the middle of coming back may be one that cassandra-driver 3.30
        holds for up, has no connection to, and never tries again.
        """
        try:
            with translated():
                yield
        except Unavailable as error:
            if isinstance(error.__cause__, NoHostAvailable):
                self._enter_again()
            raise
        self._away_since_s = None

    def _enter_again(self) -> None:
        """Where no node answered for RENEW_S. Never raises for a Cassandra that is away."""
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if now_s - self._away_since_s < RENEW_S or not self._entering.acquire(blocking=False):
            return
        try:
            self._away_since_s = now_s
            with suppress(Unavailable):
                made = self._enter()
                before, (self._cluster, self._session) = self._cluster, made
                before.shutdown()
                if self._closed:
                    self._cluster.shutdown()
        finally:
            self._entering.release()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("Cassandra: the connection is closed")

    def _answer(self, sent: ResponseFuture) -> list[tuple[Any, ...]]:
        with self._asking():
            return list(sent.result())


@contextmanager
def translated() -> Iterator[None]:
    """The driver's errors as ours; see `CassandraSession.rows`."""
    try:
        yield
    except NoHostAvailable as error:
        causes = list(error.errors.values()) if isinstance(error.errors, dict) else []
        if any(isinstance(cause, AuthenticationFailed) for cause in causes):
            raise Stop("cassandra-refuses", "Cassandra refuses the role or password") from error
        raise Unavailable("Cassandra does not answer", retry_after_s=2) from error
    except (Unauthorized, AuthenticationFailed, InvalidRequest, SyntaxException) as error:
        raise Stop("cassandra-refuses", f"Cassandra refuses: {_first_line(error)}") from error
    except (DriverException, ConnectionException, ErrorMessage, OSError) as error:
        text = f"Cassandra: {type(error).__name__}: {_first_line(error)}"
        raise Unavailable(text, retry_after_s=2) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
