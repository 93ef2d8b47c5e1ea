"""Where the servers of a data folder are, and what to enter them with: `read(DIR)`.

What adapters and tests lean on; docs/servers.md has the file it is read from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bal.errors import Stop
from infra.servers.place import Entry, Place, host_of, read_state


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate and its key, PEM, in files (0600)."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Login:
    """A user and the file (0600) that holds the password alone, with a newline behind it."""

    user: str
    password_file: Path

    @property
    def password(self) -> str:
        """What stands in the file."""
        return self.password_file.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class KafkaAt:
    """Kafka over TLS with client certificates; a principal is the certificate's CN."""

    bootstrap: str  # host:port
    ca: Path
    principals: Mapping[str, Identity]  # admin, collector, worker, sequencer, …
    cluster_id: str
    place: Place


@dataclass(frozen=True, slots=True)
class CassandraAt:
    """Cassandra's native protocol over TLS with a client certificate, and a role's password."""

    host: str
    port: int
    ca: Path
    client: Identity
    roles: Mapping[str, Login]  # admin, migrator, writer, reader, sequencer
    cluster: str
    place: Place


@dataclass(frozen=True, slots=True)
class MosquittoAt:
    """Mosquitto over TLS with client certificate and password.

    ca: the platform's authority, which devices have from their enrolment; the platform's own
    users enter with `client`, devices with the certificate that they were given.
    """

    host: str
    port: int
    ca: Path
    client: Identity
    users: Mapping[str, Login]  # collector, monitor, receipts
    password_file: Path  # Mosquitto's own, hashed
    acl_file: Path
    place: Place


@dataclass(frozen=True, slots=True)
class ChainAt:
    """An Ethereum node without authentication: on loopback, for tests and for trying things."""

    url: str
    chain_id: int


@dataclass(frozen=True, slots=True)
class Servers:
    """All of them; one that was never started is None, a chain is absent."""

    kafka: KafkaAt | None
    cassandra: CassandraAt | None
    mosquitto: MosquittoAt | None
    chains: Mapping[str, ChainAt]  # anvil, ganache


def read(data: Path) -> Servers:
    """What `gridseal servers up --data DIR` wrote; whether they run now is not looked at.

    Raises Stop("servers-state") where nothing was ever started, or the file is damaged.
    """
    data = data.resolve()
    state = read_state(data)
    if not state:
        text = f"no servers were started for {data}: run `gridseal servers up --data {data}`"
        raise Stop("servers-state", text)
    places = {name: (Place(data, name), entry) for name, entry in state.items()}
    return Servers(
        kafka=kafka_at(*places["kafka"]) if "kafka" in places else None,
        cassandra=cassandra_at(*places["cassandra"]) if "cassandra" in places else None,
        mosquitto=mosquitto_at(*places["mosquitto"]) if "mosquitto" in places else None,
        chains={name: chain_at(places[name][1]) for name in ("anvil", "ganache") if name in places},
    )


def kafka_at(place: Place, entry: Entry) -> KafkaAt:
    """From one server's part of the state."""
    names = sorted(path.stem for path in place.certificates.glob("*.pem"))
    return KafkaAt(
        bootstrap=f"{host_of(entry)}:{entry['port']}",
        ca=place.certificates / "ca.crt",
        principals={name: identity(place, name) for name in names if name != "broker"},
        cluster_id=str(entry["cluster_id"]),
        place=place,
    )


def cassandra_at(place: Place, entry: Entry) -> CassandraAt:
    """From one server's part of the state."""
    return CassandraAt(
        host=host_of(entry),
        port=int(entry["port"]),
        ca=place.certificates / "ca.crt",
        client=identity(place, "client"),
        roles=logins(place),
        cluster=str(entry["cluster"]),
        place=place,
    )


def mosquitto_at(place: Place, entry: Entry) -> MosquittoAt:
    """From one server's part of the state."""
    return MosquittoAt(
        host=host_of(entry),
        port=int(entry["port"]),
        ca=place.certificates / "ca.crt",
        client=identity(place, "client"),
        users=logins(place),
        password_file=place.folder / "passwd",
        acl_file=place.folder / "acl",
        place=place,
    )


def chain_at(entry: Entry) -> ChainAt:
    """From one server's part of the state."""
    return ChainAt(url=f"http://{host_of(entry)}:{entry['port']}", chain_id=int(entry["chain_id"]))


def identity(place: Place, name: str) -> Identity:
    """Certificate and key that this server's authority gave out."""
    return Identity(place.certificates / f"{name}.crt", place.certificates / f"{name}.key")


def logins(place: Place) -> dict[str, Login]:
    """Every user of a server that has a password."""
    folder = place.folder / "passwords"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: Login(path.name, path) for path in paths}
