"""Backups of a folder whose rows are in Cassandra, and restores to there."""

from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import pytest
from cassandra_support import address
from folder_kit import ManualClock, Played
from storer_ground import PARTITIONS, Ground, digest, make_ground, rows_of
from test_roles_backup import clean, go_on, stored_whole

from infra.backup import backup, restore
from infra.cassandra_schema import LOG, migrate
from infra.config import CassandraConfig, Config
from infra.data_folder import DataFolder
from infra.drill import drill, table
from infra.outside import Outside, read
from infra.profile_local import entered
from infra.progress_file import ProgressFile
from infra.servers.connect import CassandraAt

pytestmark = pytest.mark.xdist_group("cassandra")


@pytest.fixture(scope="module")
def cassandra(cassandra_server: CassandraAt) -> CassandraConfig:
    migrate(address(cassandra_server, "migrator"), "customer")
    migrate(address(cassandra_server, "migrator", LOG), "log")
    return entered(cassandra_server, CassandraConfig())


@pytest.fixture(scope="module")
def ground(cassandra: CassandraConfig, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Half of it is stored."""
    outside = Outside(cassandra=cassandra, scd=token_hex(8))
    return make_ground(tmp_path_factory.mktemp("rows") / "data", outside)


@pytest.mark.parametrize("heads", [False, True])
def test_rows_go_to_files_and_back(
    ground: Ground, cassandra: CassandraConfig, tmp_path: Path, *, heads: bool
) -> None:
    backup(ground.root, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "files")
    assert not any(read(DataFolder(tmp_path / "files")).servers)
    clean(tmp_path / "files")
    config = replace(Config(), cassandra=replace(cassandra, heads=heads))
    root = tmp_path / "there"
    done = restore(tmp_path / "b.tar", root, config=config)
    folder = DataFolder(root)
    assert read(folder).servers == (False, True, heads)
    assert read(folder).scd != read(DataFolder(ground.root)).scd
    assert not (folder.customer_db / "customer.db").exists()
    assert (folder.log / "heads.db").exists() == (not heads)
    clean(root)
    stored_whole(ground.root, ground.clock_us)
    whole = digest(rows_of(ground.root))
    assert digest(rows_of(tmp_path / "files")) == digest(rows_of(root)) == whole
    go_on(root, ground.clock_us + 10_000_000, done.origin)
    clean(root)
    backup(root, tmp_path / "again.tar")  # the heads row, too
    assert restore(tmp_path / "again.tar", tmp_path / "third").of.size > done.of.size
    clean(tmp_path / "third")


def test_every_attack_is_caught(ground: Ground, tmp_path: Path) -> None:
    """On what is brought together in a copy; Cassandra is only read."""
    done = drill(ground.root, tmp_path)
    assert done.clean == []
    assert [row.attack for row in done.rows if not row.caught] == [], table(done.rows)


def test_what_one_storer_has_stored_beyond_the_others_is_made_again(
    cassandra: CassandraConfig, tmp_path: Path
) -> None:
    outside = Outside(cassandra=cassandra, scd=token_hex(8))
    ground = make_ground(tmp_path / "data", outside)
    played = Played(ground.root, PARTITIONS, ManualClock(ground.clock_us))
    storer, _ = played.storer(1)
    for _ in range(400):
        storer.step()
        played.clock.pass_(0.05)
    storer.close()
    file = ProgressFile(played.folder.customer_db, lanes=PARTITIONS, read_only=True)
    sizes = [file.synced(lane).size for lane in range(PARTITIONS)]
    file.close()
    played.close()
    assert sizes[1] > max(sizes[0], sizes[2])
    backup(ground.root, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "files")
    clean(tmp_path / "files")
