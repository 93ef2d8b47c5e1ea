"""What a process that only looks on sees of a platform that grows."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED
from bal.errors import Unavailable
from bal.model import Digest, RawMessage, TreeHead
from bal.pipeline import OPERATOR
from bal.ports import Heads, Intake
from bal.registry import Registry
from infra.announcer import CertifiedMessage
from infra.heads_row import FIRST
from infra.log_reader import batch_headers
from infra.roles import follow
from infra.roles.follow import LATE_S, Backlog, Follower, message_of, place_of
from tests.journey.small_platform import Hand, Small, cim

WAIT_S = 30


class Seen:
    """What a Follower of a small platform tells."""

    def __init__(self, small: Small, *wanted: str) -> None:
        """wanted: senders that are here; all, where none is named."""
        self.certified: list[CertifiedMessage] = []
        self.revoked: list[tuple[str, str]] = []
        self.registry = Registry()
        stores = small.stores
        self.follower = Follower(
            stored=_Stored(small),
            log=stores.log,
            archive=stores.archive,
            registry=self.registry,
            clock=small.clock,
            wanted=lambda: wanted or ("headend", OPERATOR),
            on_certified=self.certified.extend,
            on_revoked=lambda kind, name: self.revoked.append((kind, name)),
        )


class _Stored:
    """As a storer's process would tell it."""

    def __init__(self, small: Small) -> None:
        self._small = small

    def size(self) -> int:
        return self._small.engine.stored_size

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        return self._small.stores.projector.registry_records(size, first)


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_whoever_follows_knows_registry_sizes_and_messages(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.start()
    seen = Seen(small)
    seen.follower.start()
    small.enrol("headend")
    raws = [cim(number, range(3)) for number in range(5)]
    told = small.take("headend", *raws)
    until(lambda: len(seen.certified) >= 6)
    assert [one.message for one in seen.certified[-5:]] == [one.message for one in told]
    assert [one.summary for one in seen.certified[-5:]] == [one.summary for one in told]
    assert {one.credential for one in seen.certified[-5:]} == {"headend"}
    assert seen.registry.devices(None) == small.stores.registry.devices(None)
    assert "headend" in seen.registry.senders
    small.take("headend", raws[2])  # a retry is told again, with the first one's place
    until(lambda: len(seen.certified) >= 7)
    assert seen.certified[-1].summary == told[2].summary
    small.enrol("headend", command="revoke")
    until(lambda: seen.revoked)
    assert seen.revoked == [("sender", "headend")]
    until(lambda: seen.follower.visible_size == small.engine.visible_size)
    seen.follower.stop()
    small.close()


def test_a_start_tells_what_became_visible_within_the_last_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To whoever is here; messages of others are not opened."""
    clock = Hand()
    small = Small(tmp_path, clock)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(1, range(3)))
    clock.now += 100_000_000
    late = small.take("headend", cim(2, range(3)))
    seen = Seen(small)
    seen.follower.start()
    until(lambda: seen.certified)
    time.sleep(0.2)
    assert [one.message for one in seen.certified] == [late[0].message]
    seen.follower.stop()
    archive, opened = small.stores.archive, list[object]()
    raw = archive.raw
    monkeypatch.setattr(archive, "raw", lambda *place: (opened.append(place), raw(*place))[1])
    elsewhere = Seen(small, "another")
    elsewhere.follower.start()
    time.sleep(0.2)
    assert (elsewhere.certified, opened) == ([], [])
    epoch, _, offset = str(late[0].summary["batch"]).split("/")
    assert archive.sender(epoch, 0, int(offset)) == "headend"
    assert archive.sender(epoch, 0, 10**6) is None
    elsewhere.follower.stop()
    small.close()


def test_a_place_is_found_among_many_versions(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.start()
    small.enrol("headend")
    for number in range(20):
        small.take("headend", cim(number, [number]))
    log = small.stores.log
    firsts = [(place, _first(header)) for place, header in batch_headers(log)]
    for size in range(small.sequencer.heads.size + 1):
        found = log.headers(place_of(log, size), 1000)
        behind = [place for place, _ in found]
        assert all(place in behind for place, first in firsts if first >= size)
        assert len(found) <= sum(first >= size for _, first in firsts) + 4
    small.close()


def _first(header: bytes) -> int:
    return int(jcs.decode(header)["first"])


def test_which_message_a_header_is_of() -> None:
    header = {"epoch": "0123456789abcdef", "partition": "2", "offset": "7", "part": "0"}
    assert message_of(header) == ("0123456789abcdef", 2, 7)
    assert message_of({**header, "part": "1"}) is None
    assert message_of({**header, "again": "0123456789abcdef/2/5"}) == ("0123456789abcdef", 2, 5)
    for epoch in (OWN_SOURCE, DERIVED, "claim.0123456789abcdef"):
        assert message_of({**header, "epoch": epoch}) is None


class _Refused:
    """A log, a storer and an archive: all of one message that led to no entry, and stood still."""

    def __init__(self) -> None:
        self.stored, self.archived = 0, False

    def checkpoint(self) -> tuple[TreeHead, str]:
        return TreeHead(4, Digest(bytes(32))), ""

    def headers(self, place: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        header = {"epoch": "e", "partition": "0", "offset": "7", "part": "0"}
        found = jcs.encode({**header, "first": "4", "count": "0"})
        return [((1, 0), found)] if place < (1, 0) else []

    def size(self) -> int:
        return self.stored

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        return {}

    def sender(self, *message: Any) -> str | None:
        return "headend" if self.archived else None

    def certified(self, *message: Any) -> tuple[str, bytes, str] | None:
        return ("headend", bytes(32), "{}") if self.archived else None


@pytest.mark.parametrize("erased", [False, True])
def test_a_refused_message_is_waited_for_while_storing_stands_still(
    monkeypatch: pytest.MonkeyPatch, erased: bool
) -> None:
    """It is visible before it is stored; only one that is stored, and not there, is erased."""
    parts: Any = _Refused()
    told: list[CertifiedMessage] = []
    now_s = 0.0
    monkeypatch.setattr(follow, "monotonic", lambda: now_s)
    follower = Follower(
        stored=parts, log=parts, archive=parts, registry=Registry(), clock=Hand(),
        wanted=lambda: ["headend"], on_certified=told.extend,
    )  # fmt: skip
    for parts.stored in (4, 4, 4, 5, 5):
        now_s += 2 * LATE_S if parts.stored == 4 else 0.1
        parts.archived = not erased and parts.stored == 5
        follower._look()
        follower._tell()
    assert len(told) == (0 if erased else 1)
    now_s += 2 * LATE_S
    follower._tell()
    assert follower._late == []


class _Raw:
    """Two partitions of a topic."""

    epoch, partitions = "0123456789abcdef", 2

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends

    def append(
        self, messages: list[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        raise NotImplementedError

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        raise NotImplementedError

    def ends(self) -> list[int]:
        return self._ends

    def trim(self, partition: int, offset: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_the_backlog_is_what_no_partition_s_chain_has_taken(tmp_path: Path) -> None:
    taken = {"0123456789abcdef/0": 4, "claim.0123456789abcdef/0": 99}
    heads = type(FIRST)(1, 0, FIRST.root, taken)
    backlog = Backlog(_Raw([10, 3]), lambda: heads)  # type: ignore[arg-type]
    backlog.start()
    assert backlog() == 5 + 3
    assert backlog.health() == "ok"
    backlog.stop()


def test_the_operator_is_told_whether_it_is_the_bus_or_the_heads_row(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins and one when it is over, of each."""
    monkeypatch.setattr(follow, "COUNT_S", 0.001)
    away = dict.fromkeys(("heads-down", "bus-down"), False)

    def heads() -> Heads:
        if away["heads-down"]:
            raise Unavailable("Cassandra does not answer")
        return FIRST

    class Raw(_Raw):
        def ends(self) -> list[int]:
            if away["bus-down"]:
                raise Unavailable("Kafka does not answer")
            return [1, 1]

    caplog.set_level(logging.INFO)
    backlog = Backlog(Raw([]), heads)
    backlog.start()
    for down, up, alarm, health in (
        ("bus-down", "", ["bus-down"], "Kafka does not answer"),
        ("heads-down", "", ["heads-down"], "Cassandra does not answer"),  # it asks this one first
        ("", "bus-down", ["heads-down"], "Cassandra does not answer"),
        ("", "heads-down", [], "ok"),
    ):
        away |= {one: one == down for one in (down, up) if one}
        until(lambda alarm=alarm: backlog.alarms() == alarm)
        assert backlog.health() == health
    backlog.stop()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "bus-down", "bus-down is over", "heads-down", "heads-down is over"
    ]  # fmt: skip
