"""Looking for a group whose fate is not known, where the partition was trimmed meanwhile."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from bal.ports import Intake
from infra.kafka_client import KafkaAccess
from infra.kafka_partition import HEADERS, PartitionReader, facts_of, parser

AT = TopicPartition("bal.raw.0123456789abcdef", 0)


class Consumer:
    """Messages `low` to 9, each with its offset as its bytes."""

    def __init__(self, low: int) -> None:
        self.low, self.at = low, 0

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {AT: self.low}

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {AT: 10}

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    async def getmany(self, *_: object, max_records: int, **__: object) -> dict[Any, list[Any]]:
        if self.at < self.low:
            raise OffsetOutOfRangeError({AT: self.at})
        first, self.at = self.at, min(10, self.at + max_records)
        return {AT: [record(offset) for offset in range(first, self.at)]}

    async def stop(self) -> None: ...


def record(offset: int) -> Any:
    headers = list(zip(HEADERS, (b"a", b"cim", b"1"), strict=True))
    return SimpleNamespace(headers=headers, value=b"%d" % offset, offset=offset)


@pytest.mark.parametrize(
    ("low", "found"),
    [(0, 5), (5, 5), (6, None), (10, None)],  # a part, or all, was stored and trimmed
)
def test_a_group_in_doubt_is_looked_for_where_something_is_left(
    low: int, found: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Path()
    access = KafkaAccess("", nowhere, nowhere, nowhere)
    reader = PartitionReader(access, AT, parser("0123456789abcdef", 0))

    async def opened() -> Consumer:
        return Consumer(low)

    monkeypatch.setattr(reader, "_opened", opened)
    group = [Intake("a", "cim", 1, b"5"), Intake("a", "cim", 1, b"6")]
    assert asyncio.run(reader.find([facts_of(one) for one in group], facts_of, 4)) == found
