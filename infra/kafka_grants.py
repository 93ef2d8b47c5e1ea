"""Who may read certified readings from Kafka: a client's topic and its certificate's rights.

Source: Apache Kafka documentation, "Authorization and ACLs"; codes as in its AclOperation,
ResourceType and PatternType. A right names a principal, which is the CN of a client certificate.
"""

from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from bal.provide.feed import own_topic, topics_of
from bal.provide.policy import ClientInfo
from infra.kafka_client import (
    KafkaAccess,
    LoopThread,
    administration,
    check_rights,
    create_topic,
    delete_topic,
)
from infra.kafka_feed_topics import RETENTION_DAYS, feed_settings, note_position

_TOPIC, _GROUP = 2, 3  # ResourceType
_LITERAL, _PREFIXED = 3, 4  # PatternType
_READ, _ALLOW, _ANY = 3, 3, 1  # AclOperation, PermissionType; 1 matches everything in a filter
_EVERY_HOST = "*"

Right = tuple[int, str, int]  # kind, name and pattern of what may be read


def put_reader(
    access: KafkaAccess,
    principal: str,
    client: ClientInfo,
    *,
    size: int,
    retention_days: int = RETENTION_DAYS,
) -> frozenset[str]:
    """Let a certificate read what `client` may read now, and nothing else; return the topics.

    A topic of its own, if it needs one, begins with the log's entry `size`: what is older it asks
    the gateway for. May be repeated, and after every change of the client: what it may no longer
    read is taken away. Its consumer groups are `principal` and what begins with `principal:`.
    access: of the administrator. Raises Unavailable.
    """
    topics, own = topics_of(client), own_topic(client.client_id)

    async def put() -> None:
        async with administration(access) as admin:
            if own not in topics:
                await _set_rights(admin, principal, topics)
                await delete_topic(admin, own)
                return
            if own not in await admin.list_topics():
                settings = feed_settings(retention_days)
                await create_topic(admin, own, partitions=1, settings=settings)
                await note_position(access, own, size)
            await _set_rights(admin, principal, topics)

    _run(access, put())
    return topics


def remove_reader(access: KafkaAccess, principal: str, client_id: str) -> None:
    """Take every right of a certificate, and remove the client's topic with what is on it."""

    async def remove() -> None:
        async with administration(access) as admin:
            await _set_rights(admin, principal, frozenset())
            await delete_topic(admin, own_topic(client_id))

    _run(access, remove())


def rights_of(access: KafkaAccess, principal: str) -> set[str]:
    """Names of topics and groups that a principal may read; a prefix ends with an asterisk."""
    found: set[str] = set()

    async def look() -> None:
        async with administration(access) as admin:
            for _, name, pattern in await _found(admin, principal):
                found.add(f"{name}*" if pattern == _PREFIXED else name)

    _run(access, look())
    return found


def readers(access: KafkaAccess, prefix: str) -> dict[str, set[str]]:
    """What each principal whose name begins so may read, by name as `rights_of`; one look at all.

    A right that is no reading stands with its operation's code before it: it is none of ours.
    Raises Unavailable.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)

    async def look() -> None:
        async with administration(access) as admin:
            request = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
            answer = await _ask(admin, request)
            check_rights([(answer.error_code, answer.error_message)])
            for _, name, pattern, rights in answer.resources:
                for principal, _host, operation, _permission in rights:
                    who = principal.removeprefix("User:")
                    what = f"{name}*" if pattern == _PREFIXED else name
                    if who.startswith(prefix):
                        found[who].add(what if operation == _READ else f"{operation} {what}")

    _run(access, look())
    return dict(found)


def _run(access: KafkaAccess, coroutine: Coroutine[Any, Any, None]) -> None:
    loop = LoopThread()
    try:
        loop.call(coroutine, 6 * access.timeout_s)
    finally:
        loop.close()


async def _set_rights(admin: AIOKafkaAdminClient, principal: str, topics: frozenset[str]) -> None:
    wanted: set[Right] = {(_TOPIC, topic, _LITERAL) for topic in topics}
    if topics:  # a prefix ends where no name goes on: a client `a` has nothing of a client `ab`
        wanted |= {(_GROUP, principal, _LITERAL), (_GROUP, f"{principal}:", _PREFIXED)}
    found = await _found(admin, principal)
    for right in sorted(found - wanted):
        answer = await _ask(admin, DeleteAclsRequest(*_coded(principal, right)))
        check_rights([one[:2] for one in answer.filter_responses])
    for right in sorted(wanted - found):
        answer = await _ask(admin, CreateAclsRequest(*_coded(principal, right)))
        check_rights(answer.creation_responses)


async def _found(admin: AIOKafkaAdminClient, principal: str) -> set[Right]:
    request = DescribeAclsRequest(_ANY, None, _ANY, f"User:{principal}", None, _ANY, _ANY)
    answer = await _ask(admin, request)
    check_rights([(answer.error_code, answer.error_message)])
    return {(kind, name, pattern) for kind, name, pattern, _ in answer.resources}


async def _ask(admin: AIOKafkaAdminClient, request: object) -> Any:
    inner = admin._client
    return await inner.send(inner.get_random_node(), request)


def _coded(principal: str, right: Right) -> tuple[int, str, int, str, str, int, int]:
    return *right, f"User:{principal}", _EVERY_HOST, _READ, _ALLOW
