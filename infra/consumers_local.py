"""Consumers at the local profile's Kafka: what a client enters with, and may read there.

The platform itself can't give rights: this is done with the administrator's certificate, beside it.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from bal.errors import Stop
from bal.provide.policy import ClientInfo
from infra.data_folder import DataFolder
from infra.kafka_client import KafkaAccess
from infra.kafka_grants import put_reader, readers, remove_reader
from infra.outside import read as outside_of
from infra.servers.connect import KafkaAt, identity, read

AGGREGATOR = "aggregator."  # before the client's id, so that none is taken for a role
CN_MAX = 64
ADMIN = "admin"  # whose certificate gives rights


def admit(
    data: Path, client_id: str, scopes: Sequence[str], groups: Sequence[str] | None, size: int
) -> dict[str, object]:
    """Let a client read from Kafka what it may read by REST; what it needs to enter.

    size: of the log as it is visible now; a topic of its own begins there. Raises
    Stop("servers-state") where no Kafka was started for `data` or its administrator's certificate
    is not to be had here, Unavailable where it is away.
    """
    at = _kafka(data)
    principal = principal_of(client_id)
    at.place.client(principal)
    given = None if groups is None else frozenset(groups)
    client = ClientInfo(client_id, b"", frozenset(scopes), given)
    topics = put_reader(admin_access(at), principal, client, size=size)
    entry = identity(at.place, principal)
    return {
        "bootstrap": at.bootstrap,
        "ca": str(at.ca),
        "certificate": str(entry.certificate),
        "key": str(entry.key),
        "principal": principal,
        "topics": sorted(topics),
    }


def dismiss(data: Path, client_id: str) -> bool:
    """Take a client's rights and its topic, if it had any; whether it had. Raises as `admit`."""
    at = _kafka(data)
    principal = principal_of(client_id)
    if principal not in at.principals:
        return False
    remove_reader(admin_access(at), principal, client_id)
    return True


def rights_now(data: Path) -> dict[str, set[str]]:
    """By an aggregator's principal what it may read, as `readers`. Raises as `admit`."""
    return readers(admin_access(_kafka(data)), AGGREGATOR)


def _kafka(data: Path) -> KafkaAt:
    """The one of `gridseal servers`, as its administrator may enter it."""
    own = outside_of(DataFolder(data)).kafka.bootstrap  # of the platform, whosever it is
    at = read(data).kafka if (data / "servers").exists() or not own else None
    if at is None and own:
        text = f"Kafka at {own} is not of `gridseal servers`: its administrator gives rights there"
        raise Stop("servers-state", f"{text}, and takes them (docs/kafka.md says how)")
    if at is None:
        raise Stop("servers-state", f"no Kafka was started for {data}")
    if ADMIN not in at.principals:  # as in compose's containers of roles
        text = f"the certificate of Kafka's administrator is not in {at.place.certificates}"
        raise Stop("servers-state", f"{text}: give the command where it is (docs/deploy.md)")
    return at


def admin_access(at: KafkaAt) -> KafkaAccess:
    """How the operator enters Kafka."""
    one = at.principals[ADMIN]
    return KafkaAccess(at.bootstrap, at.ca, one.certificate, one.key)


def principal_of(client_id: str) -> str:
    """The certificate's CN, which has 64 characters at most."""
    whole = f"{AGGREGATOR}{client_id}"
    if len(whole) <= CN_MAX:
        return whole
    return f"{whole[: CN_MAX - 17]}-{sha256(client_id.encode()).hexdigest()[:16]}"
