"""The small databases of the log on a full disk: the same call succeeds once it is not."""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import store_child as child
from test_store_faults import files_limited_to

from bal.certify.tree import EMPTY_ROOT
from bal.errors import Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Commit, Heads
from infra.file_log import FileLog
from infra.heads_row import FIRST


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    with closing(FileLog(tmp_path / "log", child.FixedClock())) as made:
        yield made


def heads(version: int) -> Heads:
    root = Digest(sha256(b"%d" % version).digest()) if version else EMPTY_ROOT
    return Heads(version, version, root, {"e/0": version})


def commit(version: int) -> Commit:
    """One entry; the log does not look at roots."""
    return Commit(heads(version - 1), heads(version), [b"%032d" % version], [b"header"])


def test_a_checkpoint_is_published_once_there_is_room(log: FileLog) -> None:
    for size in range(1, 4):
        head = TreeHead(size, heads(size).root)
        with files_limited_to(0), pytest.raises(Unavailable):
            log.publish(head, b"note")
        log.publish(head, b"note")
        assert log.checkpoint() == (head, b"note")
        assert log.size_at(child.FixedClock().now_us()) == size


def test_a_heads_row_is_swapped_once_there_is_room(log: FileLog) -> None:
    assert log.heads() == FIRST
    for version in range(1, 4):
        with files_limited_to(0), pytest.raises(Unavailable):
            log.swap(commit(version))
        assert log.heads().version == version - 1
        log.swap(commit(version))
        assert log.heads() == heads(version)
    with pytest.raises(Stop, match="lost-swap"):
        log.swap(commit(3))


def test_a_commit_is_integrated_once_there_is_room(log: FileLog) -> None:
    for version in range(1, 4):
        added = {0: [heads(version).root]}
        with files_limited_to(0), pytest.raises(Unavailable):
            log.integrate(commit(version), added)
        log.integrate(commit(version), added)
    assert len(log.headers((0, 0), 10)) == 3
    with files_limited_to(0), pytest.raises(Unavailable):
        log.settle()
    log.settle()
