"""Which partition of the bus a message goes to (ARCHITECTURE §1): a function of what it is."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from bal.ports import Intake

BULK_KEYS = 64  # over how many keys one bulk sender's messages are spread


def message_key(credential: str, message_id: bytes, *, bulk: bool) -> str:
    """What messages are ordered by: those of one key stay in the order in which they came.

    One sender's messages are ordered. Those of a bulk sender (head-end, DSO server), which speak of
    many meters each, are not: they are spread, so that one sender can keep many workers busy; the
    same bytes always go the same way, so a retry meets the message that it repeats.
    message_id: SHA-256 of the raw message.
    """
    return f"{credential}/{message_id[-1] % BULK_KEYS}" if bulk else credential


def key_of(message: Intake, is_bulk: Callable[[str], bool]) -> str:
    """A message's key; is_bulk: whether a credential's messages need no order."""
    bulk = is_bulk(message.credential)
    digest = sha256(message.raw).digest() if bulk else b""
    return message_key(message.credential, digest, bulk=bulk)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, from 0 to `partitions` - 1; the count never changes in an epoch."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") % partitions


def dealt(
    messages: Sequence[Intake],
    partitions: int,
    is_bulk: Callable[[str], bool],
    partition: int | None = None,
) -> tuple[dict[int, list[Intake]], list[tuple[int, int]]]:
    """The messages by partition, in their order; and of each its partition and place there.

    partition: instead of the key's, for all of them.
    """
    groups: dict[int, list[Intake]] = {}
    places = []
    for message in messages:
        to = partition
        if to is None:
            to = partition_of(key_of(message, is_bulk), partitions)
        group = groups.setdefault(to, [])
        places.append((to, len(group)))
        group.append(message)
    return groups, places
