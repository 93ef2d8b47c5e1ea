"""Who may read what: the one decision that every read goes through, receipts included.

A client is given groups when it is added, or every device. No group, no row.
"""

from dataclasses import dataclass, field
from typing import Literal

SCOPES = {
    "messages.write": "hand in messages and ask what became of them",
    "readings.read": "read certified records and their receipts",
    "devices.read": "list devices by pseudonym, and ask the metadata graph by named queries",
    "metadata.query": "ask the metadata graph by queries of one's own",
    "findings.read": "list what was refused or doubtful in messages and closed days",
}


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A client of the REST gateway, as the registry knows it at this moment."""

    client_id: str
    secret_sha256: bytes = field(repr=False)  # of a random secret of 256 bits: no salt, no KDF
    scopes: frozenset[str]  # members of SCOPES
    groups: frozenset[str] | None  # None = every device
    state: Literal["active", "revoked"] = "active"


def readable_groups(client: ClientInfo) -> frozenset[str] | None:
    """The groups whose records `client` may read; None = every group, empty = nothing."""
    return client.groups if client.state == "active" else frozenset()


def may_read(client: ClientInfo, group: str) -> bool:
    """Whether `client` may read the records, devices and receipts of `group`."""
    groups = readable_groups(client)
    return groups is None or group in groups


def usable_scopes(client: ClientInfo, granted: frozenset[str]) -> frozenset[str]:
    """What a token that was given `granted` is still good for: a scope taken away is gone."""
    return granted & client.scopes if client.state == "active" else frozenset()


def group_of(shard: str) -> str:
    """The group of a row's shard, which is `group/<ordinal>`."""
    return shard.rpartition("/")[0]
