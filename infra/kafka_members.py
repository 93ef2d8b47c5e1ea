"""Which processes of a role live, and which of its shares each has: a consumer group of Kafka.

Only the group is used, by aiokafka's coordinator: nobody reads as a member, and shares are
numbers, not partitions. A heartbeat a second goes out from the loop's thread, whatever the role is
busy with.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from aiokafka.errors import KafkaError

from bal.errors import Unavailable
from infra.kafka_client import RETRY_S, KafkaAccess, LoopThread, one_at_a_time

SESSION_S = 6.0  # without a heartbeat, after which Kafka gives the shares on; its least
_BEAT_S = 1.0
_WORD_S = 2.0  # to wait for a heartbeat's answer, where there was none for a session
_LOOK_S = 0.02
_NEVER_MS = 10**15  # aiokafka would leave the group where nobody reads


def balanced(held: Mapping[str, tuple[int, Iterable[int]]], shares: int) -> dict[str, list[int]]:
    """All shares, dealt out: nobody has two more than another, and as few as can be move.

    held: by member what it thinks it has, and since which generation; the later one is right.
    """
    owners: dict[int, str] = {}
    for name, (_, theirs) in sorted(held.items(), key=lambda one: (one[1][0], one[0])):
        owners |= {share: name for share in theirs if share < shares}
    had = {name: sorted(s for s, owner in owners.items() if owner == name) for name in held}
    ranked = sorted(had, key=lambda name: (-len(had[name]), name))
    least, more = divmod(shares, len(held))
    quotas = {name: least + (at < more) for at, name in enumerate(ranked)}
    dealt = {name: had[name][: quotas[name]] for name in ranked}
    kept = {share for theirs in dealt.values() for share in theirs}
    free = [share for share in range(shares) if share not in kept]
    for name in ranked:
        while len(dealt[name]) < quotas[name]:
            dealt[name].append(free.pop(0))
    return dealt


class _Assignor:
    """What aiokafka asks when the group changes (AbstractPartitionAssignor); one of each member."""

    name = "gridseal-shares"

    def __init__(self, topic: str, shares: int) -> None:
        self._topic, self._shares = topic, shares
        self._numbers = count()
        self.coordinator: Any = None
        self.mine: dict[int, int] = {}  # replaced, never changed: other threads read it
        self.heard_s = time.monotonic()  # when what Kafka answered to last was sent
        self._generation, self._member = -1, ""

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        held = json.dumps([self._generation, sorted(self.mine)]).encode()
        return ConsumerProtocolMemberMetadata(0, list(topics), held)

    def assign(
        self, cluster: object, members: Mapping[str, Any]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        del cluster
        held = {name: json.loads(member.user_data) for name, member in members.items()}
        dealt = balanced(held, self._shares)
        return {
            name: ConsumerProtocolMemberAssignment(0, [(self._topic, shares)], b"")
            for name, shares in dealt.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """A share keeps its number only where no generation of the group is between."""
        generation, member = self.coordinator.generation, self.coordinator.member_id
        follows = (generation, member) == (self._generation + 1, self._member)
        had = self.mine if follows else {}
        shares = [at.partition for at in assignment.partitions()]
        self.mine = {s: had[s] if s in had else next(self._numbers) for s in shares}
        self._generation, self._member = generation, member
        self.heard_s = time.monotonic()


class KafkaMembers:
    """Members (infra/roles/ports.py) of `group`. Needs Read on the group, Describe on `topic`."""

    def __init__(
        self, access: KafkaAccess, loop: LoopThread, group: str, topic: str, shares: int
    ) -> None:
        """topic: any that there is. Joins; raises Unavailable where Kafka does not answer."""
        self._access, self._loop = access, loop
        self._group, self._topic, self._shares = group, topic, shares
        self._lock, self._closed = Lock(), False
        self._assignor = _Assignor(topic, shares)
        self._client: Any = None
        self._coordinator: Any = None
        self._loop.call(self._open(), access.timeout_s)

    def mine(self) -> Mapping[int, int]:
        """This process's shares now, each with a number that is another where it was lost between.

        Empty until it has some. Raises Unavailable where Kafka did not answer for a session: then
        others may have them.
        """
        if not self._closed and time.monotonic() - self._assignor.heard_s < SESSION_S / 2:
            return dict(self._assignor.mine)
        with one_at_a_time(self._lock, self._access.timeout_s):
            if self._closed:
                raise Unavailable(f"{self._group} was left")
            return dict(self._loop.call(self._mine(), self._access.timeout_s))

    def close(self) -> None:
        """Leave; what one had is free at once."""
        with one_at_a_time(self._lock, 2 * self._access.timeout_s):
            if not self._closed:
                self._closed = True
                with suppress(Unavailable):
                    self._loop.call(self._leave(), self._access.timeout_s)

    async def _mine(self) -> Mapping[int, int]:
        if self._coordinator is None:
            await self._open()
        try:
            self._coordinator.check_errors()
        except BaseException:
            await self._leave()
            raise
        silent_s = time.monotonic() - self._assignor.heard_s
        if silent_s > 3 * SESSION_S:  # stopped for long, or stuck: begin anew
            await self._leave()
            await self._open()
        asked_s = time.monotonic()
        while time.monotonic() - self._assignor.heard_s > SESSION_S:
            if time.monotonic() - asked_s > _WORD_S:
                raise Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S)
            await asyncio.sleep(_LOOK_S)
        return self._assignor.mine

    async def _open(self) -> None:
        options = self._access.options()
        options["request_timeout_ms"] = int(1000 * (SESSION_S + self._access.timeout_s))
        self._client = AIOKafkaClient(**options)
        try:
            await self._client.bootstrap()
        except BaseException:
            await self._leave()
            raise
        subscription = SubscriptionState()
        subscription.register_fetch_waiters(set())  # nobody reads
        subscription.subscribe({self._topic})
        self._coordinator = self._assignor.coordinator = GroupCoordinator(
            self._client,
            subscription,
            group_id=self._group,
            session_timeout_ms=int(1000 * SESSION_S),
            rebalance_timeout_ms=int(1000 * SESSION_S),
            heartbeat_interval_ms=int(1000 * _BEAT_S),
            max_poll_interval_ms=_NEVER_MS,
            enable_auto_commit=False,
            assignors=(self._assignor,),
        )
        self._assignor.heard_s = time.monotonic()  # it has nothing yet, and knows it
        beat = self._coordinator._do_heartbeat

        async def noted_beat() -> bool:
            sent_s = time.monotonic()
            answered: bool = await beat()
            if answered:
                self._assignor.heard_s = sent_s
            return answered

        self._coordinator._do_heartbeat = noted_beat

    async def _leave(self) -> None:
        coordinator, self._coordinator = self._coordinator, None
        client, self._client = self._client, None
        self._assignor.mine = {}
        for one in (coordinator, client):
            if one is not None:
                with suppress(KafkaError, TimeoutError):
                    await asyncio.wait_for(one.close(), self._access.timeout_s / 3)
