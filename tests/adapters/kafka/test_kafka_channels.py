"""The channels on Kafka against the suite, and what is their own: topics, rights, going back."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from aiokafka.admin import NewTopic
from channels_suite import PARTITIONS, ChannelsSuite, intake, read_all, settled, until
from kafka_support import (
    access,
    administer,
    configure,
    delete_role_topics,
    delete_topics,
    make_channels,
    note,
    open_channels,
    suffix_of,
)

from bal.errors import Stop, Unavailable
from infra.kafka_bus import SETTINGS
from infra.kafka_channels import KafkaChannels
from infra.kafka_client import KafkaAccess
from infra.kafka_members import balanced
from infra.kafka_topic import ensure_role_topics
from infra.servers.connect import KafkaAt

pytestmark = pytest.mark.xdist_group("kafka")


@pytest.fixture
def kafka(kafka_server: KafkaAt, tmp_path: Path) -> Iterator[KafkaAccess]:
    """Kafka as its administrator; topics of this test are removed behind it."""
    at = access(kafka_server)
    yield at
    delete_role_topics(tmp_path, at)


class TestKafkaChannels(ChannelsSuite):
    @pytest.fixture(autouse=True)
    def _kafka(self, kafka: KafkaAccess, tmp_path: Path) -> None:
        self._access = kafka
        note(tmp_path, kafka)  # for other processes

    def make(self, folder: Path, partitions: int = PARTITIONS) -> None:
        make_channels(folder, self._access, partitions)

    def open(
        self, folder: Path, is_bulk: Callable[[str], bool] = lambda credential: False
    ) -> KafkaChannels:
        return open_channels(folder, self._access, is_bulk)

    def destroy(self, folder: Path) -> None:
        epoch, partitions = json.loads((folder / "channels.json").read_text())
        delete_role_topics(folder, self._access)
        anew = [
            NewTopic(f"bal.{name}{suffix_of(folder)}.{epoch}", number, 1, None, SETTINGS)
            for name, number in [("raw", partitions), ("rows", partitions), ("commitments", 1),
                                 ("announcements", 1)]
        ]  # fmt: skip
        administer(self._access, lambda client: client.create_topics(anew))


def test_topics_are_made_once_and_are_as_they_must_be(kafka: KafkaAccess, tmp_path: Path) -> None:
    suffix = suffix_of(tmp_path)
    epoch = ensure_role_topics(kafka, 2, suffix=suffix)
    assert ensure_role_topics(kafka, 2, suffix=suffix) == epoch
    with pytest.raises(Stop, match=r"bus-settings: .* 2 partitions, not 3"):
        ensure_role_topics(kafka, 3, suffix=suffix)
    configure(kafka, f"bal.rows{suffix}.{epoch}", cleanup_policy="compact")
    with pytest.raises(Stop, match=r"bus-settings: .*cleanup\.policy=compact"):
        ensure_role_topics(kafka, 2, suffix=suffix)
    configure(kafka, f"bal.rows{suffix}.{epoch}")
    delete_topics(kafka, f"bal.announcements{suffix}.")
    with pytest.raises(Stop, match=r"bus-went-backwards: bal\.announcements.* is gone"):
        ensure_role_topics(kafka, 2, suffix=suffix)
    with pytest.raises(Stop, match=r"bus-went-backwards: bal\.announcements.* is gone"):
        KafkaChannels(kafka, epoch, 2, suffix=suffix)


def test_two_epochs_are_one_too_many(kafka: KafkaAccess, tmp_path: Path) -> None:
    suffix = suffix_of(tmp_path)
    ensure_role_topics(kafka, 1, suffix=suffix)
    other = NewTopic(f"bal.raw{suffix}.{'0' * 16}", 1, 1, None, SETTINGS)
    administer(kafka, lambda client: client.create_topics([other]))
    with pytest.raises(Stop, match="bus-went-backwards: there are two buses"):
        ensure_role_topics(kafka, 1, suffix=suffix)


def test_topics_made_anew_stop_who_has_them_open(kafka: KafkaAccess, tmp_path: Path) -> None:
    epoch = make_channels(tmp_path, kafka, 1)
    with closing(open_channels(tmp_path, kafka)) as channels:
        topic = channels.announcements
        topic.append([b"%d" % number for number in range(5)])
        channels.raw.append([intake(0)], 0)
        assert len(read_all(topic)) == 5
        assert channels.raw.ends() == [1]
        delete_role_topics(tmp_path, kafka)
        anew = [
            NewTopic(f"bal.{name}{suffix_of(tmp_path)}.{epoch}", 1, 1, None, SETTINGS)
            for name in ("announcements", "raw")
        ]
        administer(kafka, lambda client: client.create_topics(anew))
        for look in (topic.end, lambda: topic.read(5, 10, 1.0), channels.raw.ends):
            with pytest.raises(Stop, match="bus-went-backwards"):
                look()
        with pytest.raises((Stop, Unavailable)) as stopped:
            topic.append([b"next"])
        assert isinstance(stopped.value, Unavailable) or "second time" in str(stopped.value)


def test_an_item_that_is_too_large_is_a_mistake(kafka: KafkaAccess, tmp_path: Path) -> None:
    make_channels(tmp_path, kafka, 1)
    with closing(open_channels(tmp_path, kafka)) as channels:
        rows = channels.rows(0)
        with pytest.raises(ValueError, match="an item has at most"):
            rows.append([b"first", Random(1).randbytes(33 * 1024 * 1024)])
        rows.append([b"second"])
        assert read_all(rows)[-1] == b"second"


def test_a_refused_append_may_be_done_again(kafka: KafkaAccess, tmp_path: Path) -> None:
    epoch = make_channels(tmp_path, kafka, 1)
    with closing(open_channels(tmp_path, kafka)) as channels:
        topic = f"bal.commitments{suffix_of(tmp_path)}.{epoch}"
        channels.commitments.append([b"0"])
        configure(kafka, topic, max_message_bytes="100")
        with pytest.raises(Unavailable):
            channels.commitments.append([Random(1).randbytes(1000)])
        configure(kafka, topic)
        channels.commitments.append([b"1", b"2"])
        assert read_all(channels.commitments) == [b"0", b"1", b"2"]


def test_nothing_listens_there(kafka: KafkaAccess, tmp_path: Path) -> None:
    nowhere = KafkaAccess("127.0.0.1:1", kafka.ca, kafka.certificate, kafka.key, 2)
    with pytest.raises(Unavailable):
        KafkaChannels(nowhere, "0123456789abcdef", 1)
    with pytest.raises(Unavailable):
        ensure_role_topics(nowhere, 1)


def test_each_role_works_with_its_own_rights(
    kafka: KafkaAccess, kafka_server: KafkaAt, tmp_path: Path
) -> None:
    make_channels(tmp_path, kafka, 1)

    def entered(role: str) -> "closing[KafkaChannels]":
        return closing(open_channels(tmp_path, access(kafka_server, role, timeout_s=5)))

    for role in ("collector", "gateway", "worker"):
        with entered(role) as channels:
            channels.raw.append([intake(0)], 0)
            assert channels.raw.ends()[0] >= 1
            assert channels.announcements.end() == 0
            settled(channels.members(role, 1), 1)
    with (
        entered("worker") as worker,
        entered("sequencer") as sequencer,
        entered("storer") as storer,
    ):
        assert len(worker.raw.read(0, 0, 10, 5.0)) == 3
        worker.rows(0).append([b"rows"])
        worker.commitments.append([b"offer"])
        assert read_all(sequencer.commitments) == [b"offer"]
        sequencer.announcements.append([b"announcement"])
        settled(sequencer.members("sequencer", 1), 1)
        for one in (worker, sequencer, storer):
            assert read_all(one.announcements) == [b"announcement"]
        assert read_all(storer.rows(0)) == [b"rows"]
        settled(storer.members("storer", 1), 1)
        storer.rows(0).trim(1)
        storer.announcements.trim(1)
        storer.raw.trim(0, 2)
        sequencer.commitments.trim(1)
        with pytest.raises(Unavailable, match="AuthorizationFailed"):
            worker.announcements.append([b"mine"])
        with pytest.raises(Unavailable, match="AuthorizationFailed"):
            storer.commitments.append([b"mine"])
        with pytest.raises(Unavailable, match="AuthorizationFailed"):
            worker.rows(0).trim(1)
        stranger = storer.members("worker", 1)
        with pytest.raises(Unavailable, match="AuthorizationFailed"):
            until(lambda: bool(stranger.mine()))
    with entered("anchorer") as anchorer:
        assert anchorer.announcements.end() == 1
        settled(anchorer.members("anchorer", 1), 1)


def test_shares_are_dealt_out_evenly_and_few_move() -> None:
    chance = Random(8)
    held: dict[str, tuple[int, list[int]]] = {}
    for generation in range(300):
        shares = 7
        for name in [name for name in held if chance.random() < 0.2]:
            del held[name]
        if not held or chance.random() < 0.3:
            held[f"m{chance.randrange(10**6)}"] = (chance.randrange(-1, generation + 1), [0, 5, 9])
        before = {
            share: name
            for name, (_, mine) in sorted(held.items(), key=lambda one: (one[1][0], one[0]))
            for share in mine
        }
        dealt = balanced(held, shares)
        assert sorted(share for mine in dealt.values() for share in mine) == list(range(shares))
        sizes = [len(mine) for mine in dealt.values()]
        assert max(sizes) - min(sizes) <= 1
        for name, mine in dealt.items():
            owned = [share for share in range(shares) if before.get(share) == name]
            kept = set(mine) & set(owned)
            assert len(kept) >= min(len(owned), shares // len(held))
        held = {name: (generation, mine) for name, mine in dealt.items()}
