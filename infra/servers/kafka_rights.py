"""Which role may do what in Kafka; of aggregators infra/kafka_grants.py says it.

Source: Apache Kafka documentation, "Authorization and ACLs"; codes as in its AclOperation,
ResourceType and PatternType.
"""

import asyncio
from dataclasses import dataclass

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from bal.provide.feed import CHECKPOINTS, READINGS
from infra.kafka_client import check_rights
from infra.servers.connect import KafkaAt
from infra.servers.kafka import admin

_KINDS = {2: "topic", 3: "group"}  # ResourceType
_LITERAL, _PREFIXED = 3, 4  # PatternType
_ANY, _ALLOW = 1, 3  # 1 matches everything in a filter; PermissionType
_OPERATIONS = {
    "read": 3,
    "write": 4,
    "delete": 6,
    "describe": 8,
    "describe_configs": 10,
}  # AclOperation
_NO_HOST = "*"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One ACL: allow `operation` on a topic or group of this name, or of names that begin so."""

    operation: str  # read, write, delete, describe, describe_configs
    kind: str  # topic, group
    name: str
    prefix: bool = False


def _topics(operation: str, *names: str) -> list[Right]:
    """Rights on topics whose names begin so: an epoch may stand behind (ARCHITECTURE §1)."""
    return [Right(operation, "topic", name, prefix=True) for name in names]


def _group(name: str) -> Right:
    return Right("read", "group", name, prefix=True)


# Role → what it may do, beside describing what it may read or write. To make topics is the admin's.
RIGHTS: dict[str, list[Right]] = {
    "collector": [
        *_topics("write", "bal.raw"),
        *_topics("read", "bal.raw", "bal.announcements"),
        _group("collector"),
    ],
    "worker": [
        *_topics("read", "bal.raw", "bal.rows", "bal.commitments", "bal.announcements"),
        *_topics("write", "bal.raw", "bal.rows", "bal.commitments"),  # raw: flushes of its own
        _group("worker"),
    ],
    "sequencer": [
        *_topics("read", "bal.commitments", "bal.announcements"),
        *_topics("write", "bal.announcements"),
        *_topics("delete", "bal.commitments"),  # it alone knows what is needed no more
        _group("sequencer"),
    ],
    "storer": [
        *_topics("read", "bal.rows", "bal.announcements", READINGS, CHECKPOINTS),
        *_topics("write", READINGS, CHECKPOINTS),
        # It trims what is stored; commitments by the sequencers' saved position.
        *_topics("delete", "bal.raw", "bal.rows", "bal.commitments", "bal.announcements"),
        _group("storer"),
    ],
    "anchorer": [*_topics("read", "bal.announcements", CHECKPOINTS), _group("anchorer")],
    "gateway": [
        *_topics("write", "bal.raw"),
        *_topics("read", "bal.raw", "bal.announcements", READINGS, CHECKPOINTS),
        _group("gateway"),
    ],
    # All of them in one process (`gridseal up`), which trims the bus, too.
    "platform": [
        *_topics("write", "bal.raw", READINGS, CHECKPOINTS),
        *_topics("read", "bal.raw", READINGS, CHECKPOINTS),
        *_topics("delete", "bal.raw"),
        _group("platform"),
        _group("storer"),  # the feed's position
    ],
    # Whoever only looks: fsck, replay, doctor, backup.
    "auditor": _topics("read", "bal.raw", "bal.rows", "bal.commitments", "bal.announcements"),
}


def ensure_rights(at: KafkaAt) -> None:
    """Give each role exactly RIGHTS, and take what it has beyond; may be repeated."""
    asyncio.run(_ensure({role: set(rights) for role, rights in RIGHTS.items()}, at))


async def _ensure(wanted: dict[str, set[Right]], at: KafkaAt) -> None:
    async with admin(at) as client:
        for principal, rights in wanted.items():
            found = await _found(client, principal)
            for right in sorted(rights - found):
                answer = await client._client.send(
                    client._client.get_random_node(),
                    CreateAclsRequest(*_coded(principal, right)),
                )
                check_rights(answer.creation_responses)
            for right in sorted(found - rights):
                answer = await client._client.send(
                    client._client.get_random_node(),
                    DeleteAclsRequest(*_coded(principal, right)),
                )
                check_rights([one[:2] for one in answer.filter_responses])


async def _found(client: object, principal: str) -> set[Right]:
    inner = client._client  # type: ignore[attr-defined]
    request = DescribeAclsRequest(_ANY, None, _ANY, f"User:{principal}", None, _ANY, _ANY)
    answer = await inner.send(inner.get_random_node(), request)
    check_rights([(answer.error_code, answer.error_message)])
    operations = {code: name for name, code in _OPERATIONS.items()}
    return {
        Right(operations[operation], _KINDS[kind], name, pattern == _PREFIXED)
        for kind, name, pattern, acls in answer.resources
        for _principal, host, operation, permission in acls
        if kind in _KINDS and operation in operations and (host, permission) == (_NO_HOST, _ALLOW)
    }


def _coded(principal: str, right: Right) -> tuple[int, str, int, str, str, int, int]:
    kind = next(code for code, name in _KINDS.items() if name == right.kind)
    pattern = _PREFIXED if right.prefix else _LITERAL
    operation = _OPERATIONS[right.operation]
    return kind, right.name, pattern, f"User:{principal}", _NO_HOST, operation, _ALLOW
