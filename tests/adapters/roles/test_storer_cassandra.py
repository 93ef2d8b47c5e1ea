"""The storer where the customer database is Cassandra."""

import time
from pathlib import Path
from secrets import token_hex

import pytest
from cassandra_support import address
from folder_kit import ManualClock, Played
from storer_ground import PARTITIONS, check, make_ground

from bal.errors import Unavailable
from infra.cassandra_schema import migrate
from infra.config import CassandraConfig
from infra.outside import Outside
from infra.profile_local import entered
from infra.roles import storing
from infra.roles.storer import StorerRole
from infra.roles.stores import open_stores
from infra.servers.connect import CassandraAt

WAIT_S = 90


def outside_of(at: CassandraAt) -> Outside:
    migrate(address(at, "migrator"), "customer")
    return Outside(cassandra=entered(at, CassandraConfig()), scd=token_hex(8))


def test_two_storers_at_once_and_turn_about(
    cassandra_server: CassandraAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "VERSIONS_AT_ONCE", 3)
    monkeypatch.setattr(storing, "SYNC_EVERY_S", 0.4)
    ground = make_ground(tmp_path / "data", outside_of(cassandra_server))
    assert 0 < ground.stored < ground.size
    played = Played(ground.root, PARTITIONS, ManualClock(ground.clock_us))
    storers = [played.storer(), played.storer()]
    for _, members in storers:
        members.shares.clear()
    for number in range(4):  # in turn they have one, the others, and both the last one
        one, other = storers[number % 2], storers[1 - number % 2]
        one[1].take((0, 2), 100 + number)
        other[1].take((1, 2), 100 + number)
        for _ in range(4):
            one[0].step()
            other[0].step()
            played.clock.pass_(0.05)
        one[1].shares.clear()
    storer, members = storers[0]
    members.take(range(PARTITIONS), 1000)
    _until_stored(played, storer, ground.size)
    for storer, _ in storers:
        storer.close()
    played.close()
    check(ground, ground.root)


def _until_stored(played: Played, storer: StorerRole, size: int) -> None:
    seen = played.stores("gateway")
    deadline = time.monotonic() + WAIT_S
    while seen.projector.progress().size < size:
        assert time.monotonic() < deadline, storer.status
        storer.step()
        played.clock.pass_(0.05)


def test_a_role_starts_while_cassandra_is_away(tmp_path: Path) -> None:
    """A collector does not need it; a gateway says that it is away; the storer waits."""
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text("")
    (tmp_path / "reader").write_text("p")
    nowhere = CassandraConfig(
        hosts="127.0.0.1",
        port=1,
        **{name: str(tmp_path / name) for name in ("ca", "certificate", "key")},
        passwords=str(tmp_path),
    )
    played = Played(tmp_path / "data", outside=Outside(cassandra=nowhere, scd="x"))
    for role in ("collector", "worker", "gateway"):
        stores = open_stores(played.folder, played.clock, role)
        assert stores.stored.size() == 0
        stores.close()
        with pytest.raises(Unavailable, match="closed"):
            stores.customer_db.size()
    played.close()
