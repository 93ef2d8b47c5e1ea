"""Cassandra: one node, TLS with client certificates, passwords, and an authorizer.

Configuration: Apache Cassandra 5.0 documentation, cassandra.yaml. The role `cassandra`, which
every installation has, is switched off as soon as our own superuser is there.
"""

import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cassandra import AuthenticationFailed, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.policies import WhiteListRoundRobinPolicy

from bal.errors import Stop, Unavailable
from infra.certificates import client_context
from infra.files import make_folder
from infra.servers import process
from infra.servers.connect import CassandraAt, cassandra_at
from infra.servers.java import FIRST_COMPILER, LEAST_MEMORY
from infra.servers.place import Entry, Place, host_of, write_text

NAME = "cassandra"
VERSION = "5.0.9"
PORTS = ("port", "storage_port", "ssl_storage_port")
START_TIMEOUT_S = 180
STOP_GRACE_S = 60  # it drains: memtables to disk
ADMIN = "admin"
PROTOCOL = 5
_DEFAULT_ROLE = "cassandra"
# Its workers ask for work every 10 µs for a while after they had some. With Linux's usual 50 µs of
# slack that is 17,000 switches a second and a fifth of a core (docs/servers.md); a request waits
# the longer for it.
TIMER_SLACK_US = 400

# Role → keyspace → rights on all of it. The others' are by table, from infra/cassandra_schema.py.
RIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "migrator": dict.fromkeys(("gridseal", "gridseal_log"), ("CREATE", "ALTER", "DROP")),
    "writer": {},
    "reader": {},
    "sequencer": {},
}

# The least there is, 1/64 of the work at Cassandra's own 10, which each connection costs the node
# anew. More is against guessing; these passwords have 256 bits of chance.
BCRYPT_LOG2_ROUNDS = 4

LOGBACK = """\
<configuration>
 <appender name="S" class="ch.qos.logback.core.ConsoleAppender"><encoder>
  <pattern>%-5level [%thread] %date{ISO8601} %logger{0} - %msg%n</pattern></encoder></appender>
 <root level="WARN"><appender-ref ref="S"/></root>
 <logger name="org.apache.cassandra.service.CassandraDaemon" level="INFO"/>
</configuration>
"""
# What Cassandra's own jvm17-server.options opens of the JDK.
EXPORTS = (
    "java.base/jdk.internal.misc", "java.base/jdk.internal.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server", "java.rmi/sun.rmi.transport.tcp", "java.sql/java.sql",
)  # fmt: skip
OPENS = (
    "java.base/java.io", "java.base/java.lang", "java.base/java.lang.module",
    "java.base/java.lang.reflect", "java.base/java.math", "java.base/java.net",
    "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math", "java.base/jdk.internal.module", "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect", "java.base/jdk.internal.util.jar",
    "java.base/jdk.internal.vm", "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
    "jdk.management.jfr/jdk.management.jfr",
)  # fmt: skip


def prepare(place: Place, entry: Entry) -> None:
    """Certificates, the superuser's and every role's password, configuration. Completes `entry`."""
    entry.setdefault("cluster", f"gridseal-{secrets.token_hex(8)}")
    place.node("node", host_of(entry))
    place.client("client")
    for role in (ADMIN, *RIGHTS):
        place.password(role)
    make_folder(place.folder / "data")
    write_text(place.folder / "logback.xml", LOGBACK)
    write_text(place.folder / "cassandra.yaml", yaml(place, entry))


def yaml(place: Place, entry: Entry) -> str:
    """cassandra.yaml. A write is acknowledged when it is synced (commitlog_sync: batch)."""
    data, certificates = place.folder / "data", place.certificates
    tls = f"""\
  keystore: {_quoted(certificates / "node.pem")}
  truststore: {_quoted(certificates / "ca.crt")}
  require_client_auth: true
  accepted_protocols: [TLSv1.2, TLSv1.3]
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
"""
    return f"""\
cluster_name: {entry["cluster"]}
num_tokens: 1
initial_token: 0
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: {host_of(entry)}
rpc_address: {host_of(entry)}
native_transport_port: {entry["port"]}
storage_port: {entry["storage_port"]}
ssl_storage_port: {entry["ssl_storage_port"]}
auto_bootstrap: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{host_of(entry)}:{entry["storage_port"]}"}}]
data_file_directories: [{_quoted(data / "data")}]
commitlog_directory: {_quoted(data / "commitlog")}
saved_caches_directory: {_quoted(data / "saved_caches")}
hints_directory: {_quoted(data / "hints")}
cdc_raw_directory: {_quoted(data / "cdc_raw")}
commitlog_sync: batch
commitlog_segment_size: 32MiB
commitlog_total_space: 256MiB
disk_failure_policy: die
commit_failure_policy: die
concurrent_reads: 2
concurrent_writes: 4
concurrent_compactors: 1
compaction_throughput: 16MiB/s
native_transport_max_threads: 4
memtable_flush_writers: 1
trickle_fsync: true
trickle_fsync_interval: 4MiB
memtable_heap_space: 96MiB
memtable_offheap_space: 96MiB
memtable_allocation_type: offheap_objects
key_cache_size: 8MiB
counter_cache_size: 0MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
roles_validity: 2000ms
permissions_validity: 2000ms
credentials_validity: 2000ms
auth_cache_warming_enabled: false
hinted_handoff_enabled: false
storage_compatibility_mode: NONE
sstable:
  selected_format: bti
client_encryption_options:
  enabled: true
  optional: false
{tls}server_encryption_options:
  internode_encryption: all
{tls}"""


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def command(place: Place, entry: Entry, java: Path, jars: list[Path]) -> list[str]:
    """Its command line: no script, no JMX."""
    del entry
    folder = place.folder
    agent = next(jar for jar in jars if jar.name.startswith("jamm-"))
    opened = [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS]
    opened += [f"--add-opens={name}=ALL-UNNAMED" for name in OPENS]
    return [
        # As large from the start as it is after some minutes of load: each step on the way would
        # be a full collection, half a second in which nothing is stored. Metaspace, too.
        str(java), "-Xms192m", "-Xmn48m", "-XX:MetaspaceSize=128m", "-Xmx384m", "-Xss512k",
        "-XX:MaxDirectMemorySize=128m",
        *LEAST_MEMORY, FIRST_COMPILER, *opened,
        "-Djdk.attach.allowAttachSelf=true", "-Djava.security.manager=allow",
        "-Dio.netty.tryReflectionSetAccessible=true", f"-javaagent:{agent}",
        f"-Dcassandra.config={(folder / 'cassandra.yaml').as_uri()}",
        f"-Dcassandra.storagedir={folder / 'data'}",
        f"-Dlogback.configurationFile={folder / 'logback.xml'}",
        "-Dcassandra-foreground=yes", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=100", "-Dcassandra.superuser_setup_delay_ms=0",
        f"-Dcassandra.auth_bcrypt_gensalt_log2_rounds={BCRYPT_LOG2_ROUNDS}",
        "-cp", ":".join(str(jar) for jar in jars),
        "org.apache.cassandra.service.CassandraDaemon",
    ]  # fmt: skip


def prove(place: Place, entry: Entry) -> None:
    """Return if our cluster answers to our superuser, which is made at the first start.

    Raises Unavailable.
    """
    at = cassandra_at(place, entry)
    process.knock(host_of(entry), int(entry["port"]))
    if not (place.folder / "superuser.made").exists():
        _first_start(at)
        write_text(place.folder / "superuser.made", "the role cassandra is switched off\n")
    with session(at, ADMIN) as one:
        found = one.execute("SELECT cluster_name FROM system.local").one()[0]
    if found != at.cluster:
        raise Unavailable(f"a Cassandra of another cluster ({found}) answers there")


def _first_start(at: CassandraAt) -> None:
    """Make our superuser, then let it switch off the one that everybody knows."""
    password = at.roles[ADMIN].password
    try:
        with session(at, _DEFAULT_ROLE, _DEFAULT_ROLE) as one:
            made = "CREATE ROLE IF NOT EXISTS {} WITH SUPERUSER = true AND LOGIN = true"
            one.execute(f"{made.format(ADMIN)} AND PASSWORD = '{password}'")
    except Stop:
        pass  # a start that was broken off had switched it off already
    with session(at, ADMIN) as one:
        off = f"ALTER ROLE {_DEFAULT_ROLE} WITH SUPERUSER = false AND LOGIN = false"
        one.execute(off)


def ensure_roles(at: CassandraAt) -> None:
    """Keyspaces, and roles with exactly the rights of RIGHTS on them; may be repeated.

    Rights on single tables are the migrations' and are left alone.
    """
    keyspaces = {name for rights in RIGHTS.values() for name in rights}
    with session(at, ADMIN) as one:
        for keyspace in sorted(keyspaces):
            one.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication ="
                " {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
        for role, rights in RIGHTS.items():
            login = at.roles[role]
            one.execute(
                f"CREATE ROLE IF NOT EXISTS {role} WITH LOGIN = true AND SUPERUSER = false"
                f" AND PASSWORD = '{login.password}'"
            )
            for change in _changes(role, rights, _permissions(one, role)):
                one.execute(change)


def _permissions(one: Session, role: str) -> set[tuple[str, str]]:
    """(permission, keyspace) of the rights that a role has on whole keyspaces."""
    text = "SELECT resource, permissions FROM system_auth.role_permissions WHERE role = %s"
    return {
        (permission, resource.removeprefix("data/"))
        for resource, permissions in one.execute(text, [role])
        if resource.startswith("data/") and resource.count("/") == 1
        for permission in permissions
    }


def _changes(
    role: str, rights: dict[str, tuple[str, ...]], found: set[tuple[str, str]]
) -> list[str]:
    wanted = {(permission, keyspace) for keyspace, all_ in rights.items() for permission in all_}
    return [
        *(f"GRANT {one} ON KEYSPACE {name} TO {role}" for one, name in sorted(wanted - found)),
        *(f"REVOKE {one} ON KEYSPACE {name} FROM {role}" for one, name in sorted(found - wanted)),
    ]


@contextmanager
def session(at: CassandraAt, role: str, password: str | None = None) -> Iterator[Session]:
    """A connection as one role, closed at the end.

    Raises Unavailable when it does not answer, Stop("servers-password") when it refuses.
    """
    cluster = Cluster(
        [at.host],
        port=at.port,
        ssl_context=tls_context(at),
        ssl_options={"server_hostname": at.host},
        auth_provider=PlainTextAuthProvider(role, password or at.roles[role].password),
        protocol_version=PROTOCOL,
        connect_timeout=10,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=WhiteListRoundRobinPolicy([at.host]), request_timeout=20
            )
        },
    )
    try:
        try:
            one = cluster.connect()
        except NoHostAvailable as error:
            if any(isinstance(e, AuthenticationFailed) for e in error.errors.values()):
                raise Stop("servers-password", f"Cassandra refuses the role {role}") from error
            raise Unavailable("Cassandra does not answer") from error
        except DriverException as error:
            raise Unavailable(f"Cassandra does not answer: {error}") from error
        yield one
    finally:
        cluster.shutdown()


def tls_context(at: CassandraAt) -> ssl.SSLContext:
    """TLS to it, with the platform's client certificate."""
    return client_context(at.ca, at.client.certificate, at.client.key)
