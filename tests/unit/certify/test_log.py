"""The sequencer over the log's real storage: order, growth, recovery, refusals."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.certify.log import Batch, Frontier, Sequencer, genesis, tick
from bal.certify.note import checkpoint_head
from bal.certify.tiles import TileNodes, split_bundle, tile_index_path
from bal.certify.tree import (
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    tree_head,
)
from bal.errors import Stop
from bal.model import Digest, TreeHead
from infra.file_log import SIZE_AT, FileLog
from infra.key_signer import CheckpointSigner

ORIGIN = "gridseal.invalid/0123456789abcdef"


class At:
    """A clock that stands still."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000


class Set(At):
    """A clock that the test sets."""

    def __init__(self, now_us: int) -> None:
        self.now = now_us

    def now_us(self) -> int:
        return self.now


class Crash(BaseException):
    """The process ends here."""


def open_log(folder: Path) -> tuple[FileLog, Callable[[], Sequencer]]:
    log = FileLog(folder / "log", At())
    signer = CheckpointSigner(ORIGIN, b"s" * 32, folder / "signed")
    return log, lambda: Sequencer(log, log, signer, ORIGIN)


def entries(first: int, count: int) -> list[bytes]:
    return [(first + i).to_bytes(32, "big") for i in range(count)]


def batch(offset: int, found: list[bytes], prev: int | None = None) -> Batch:
    return Batch("e" * 16, 0, offset, offset - 1 if prev is None else prev, found, {"rules": "r"})


def check_whole_log(log: FileLog, expected: list[bytes]) -> None:
    """Re-derive everything from storage, as an outsider could."""
    heads = log.heads()
    stored: list[bytes] = []
    for n in range(-(-len(expected) // 256)):
        stored += split_bundle(log.bundle(n, min(256, len(expected) - 256 * n)))
    assert stored == expected
    head = tree_head([leaf_hash(entry) for entry in expected])
    assert (heads.size, heads.root) == (head.size, head.root)
    nodes = TileNodes(log).at(heads.size)
    for index in {0, heads.size // 2, heads.size - 1} if expected else set():
        check_inclusion(
            leaf_hash(expected[index]), index, inclusion_path(index, heads.size, nodes), head
        )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=12), st.data())
def test_the_log_is_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], data: st.DataObject
) -> None:
    log, make = open_log(tmp_path_factory.mktemp("log"))
    sequencer, expected = make(), list[bytes]()
    for offset, count in enumerate(counts):
        found = entries(len(expected), count)
        assert sequencer.commit([batch(offset, found)]) == [len(expected)]
        expected += found
        if data.draw(st.booleans()):
            log.settle()
        if data.draw(st.booleans()):
            sequencer = make()
    check_whole_log(log, expected)
    log.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=8))
def test_a_frontier_gives_each_tile_level_what_it_gains(counts: list[int]) -> None:
    frontier, leaves, levels = Frontier(0, lambda _, __: Digest(b"")), list[Digest](), {}
    for count in counts:
        new = [leaf_hash(e) for e in entries(len(leaves), count)]
        leaves += new
        for level, added in frontier.extend(new).items():
            levels.setdefault(level, []).extend(added)
    assert frontier.head() == tree_head(leaves)
    assert levels.get(0, []) == leaves
    full = len(leaves) // 256
    ones = [tree_head(leaves[256 * i : 256 * i + 256]).root for i in range(full)]
    assert levels.get(1, []) == ones


STEPS = ["before stage", "before swap", "before integrate", "within integrate", "after integrate"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [1, 255, 256, 700])
def test_a_crash_at_each_step_loses_nothing_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    log, make = open_log(tmp_path)
    sequencer = make()
    first = entries(0, 300)
    sequencer.commit([batch(0, first)])
    with monkeypatch.context() as patch:
        crash_at(patch, log, step)
        with pytest.raises(Crash):
            sequencer.commit([batch(1, entries(300, count))])
    log, make = open_log(tmp_path)  # another process
    sequencer = make()
    swapped = step in STEPS[2:]
    expected = first + (entries(300, count) if swapped else [])
    assert sequencer.heads.taken[f"{'e' * 16}/0"] == (1 if swapped else 0)
    check_whole_log(log, expected)
    offset = 2 if swapped else 1
    sequencer.commit([batch(offset, entries(len(expected), 5))])
    check_whole_log(log, expected + entries(len(expected), 5))
    log.close()
    log, make = open_log(tmp_path)
    make()  # what never won its swap is removed at the next start
    log.close()
    assert list((tmp_path / "log" / "staging").iterdir()) == []


def crash_at(patch: pytest.MonkeyPatch, log: FileLog, step: str) -> None:
    def crash(*_: object) -> None:
        raise Crash

    if step.startswith("before"):
        patch.setattr(log, step.split()[1], crash)
    elif step == "within integrate":
        whole = FileLog._extend
        calls = iter([True, False])  # level 0 is written, the entries are not

        def part(self: FileLog, kind: str, start: int, items: list[bytes]) -> None:
            if not next(calls, False):
                raise Crash
            whole(self, kind, start, items)

        patch.setattr(FileLog, "_extend", part)
    else:
        whole_integrate = log.integrate

        def then_crash(*arguments: object) -> None:
            whole_integrate(*arguments)  # type: ignore[arg-type]
            raise Crash

        patch.setattr(log, "integrate", then_crash)


def test_a_second_sequencer_wins_and_the_first_one_stops(tmp_path: Path) -> None:
    log, make = open_log(tmp_path)
    old, new = make(), make()
    new.commit([batch(0, entries(0, 3))])
    with pytest.raises(Stop, match="lost-swap"):
        old.commit([batch(0, entries(100, 9))])
    with pytest.raises(Stop, match="lost-swap"):
        old.publish()
    check_whole_log(log, entries(0, 3))


@pytest.mark.parametrize("late", ["integrate", "publish"])
def test_a_paused_winner_that_resumes_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    log, make = open_log(tmp_path)
    old = make()
    paused: list[tuple[object, ...]] = []
    if late == "integrate":
        with monkeypatch.context() as patch:
            patch.setattr(log, "integrate", lambda *arguments: paused.append(arguments))
            old.commit([batch(0, entries(0, 100))])
    else:
        old.commit([batch(0, entries(0, 100))])
    other, make_other = open_log(tmp_path)
    new, expected = make_other(), entries(0, 100)
    for offset in range(1, 11):
        new.commit([batch(offset, entries(100 * offset, 100))])
        expected += entries(100 * offset, 100)
        new.publish()
    for arguments in paused:
        log.integrate(*arguments)  # type: ignore[arg-type]
    with pytest.raises(Stop, match="lost-swap"):
        old.publish()
    fresh, _ = open_log(tmp_path)
    check_whole_log(fresh, expected)
    check_whole_log(other, expected)
    published = fresh.checkpoint()
    assert published is not None
    assert published[0].size == 1100


def test_batches_are_taken_in_order_only(tmp_path: Path) -> None:
    log, make = open_log(tmp_path)
    sequencer = make()
    sequencer.commit([batch(0, entries(0, 1))])
    for wrong in (batch(0, entries(1, 1)), batch(2, entries(1, 1)), batch(1, [], prev=1)):
        with pytest.raises(Stop, match="batch-out-of-order"):
            sequencer.commit([wrong])
    sequencer.commit([batch(5, entries(1, 1), prev=0)])
    check_whole_log(log, entries(0, 2))


def test_an_entry_of_another_form_never_enters(tmp_path: Path) -> None:
    log, make = open_log(tmp_path)
    with pytest.raises(ValueError, match="neither"):
        make().commit([batch(0, [b"short"])])
    check_whole_log(log, [])


def test_checkpoints_grow_consistently_and_are_published_once(tmp_path: Path) -> None:
    log, make = open_log(tmp_path)
    sequencer = make()
    now = At().now_us()
    sequencer.commit([], [genesis(ORIGIN, "k", "i", 10, now), tick(now)])
    heads: list[TreeHead] = [sequencer.publish()[0]]
    for offset in range(20):
        sequencer.commit([batch(offset, entries(1000 * offset, 37))])
        head, note = sequencer.publish()
        assert checkpoint_head(note) == (ORIGIN, head)
        heads.append(head)
    nodes = TileNodes(log).at(heads[-1].size)
    for head in heads:
        path = consistency_path(head.size, heads[-1].size, nodes)
        check_consistency(head, heads[-1], path)
    assert log.size_at(At().now_us()) == heads[-1].size
    assert log.size_at(At().now_us() - 1) == 0


def test_an_instant_means_one_size_although_the_clock_steps_back(tmp_path: Path) -> None:
    clock = Set(1_000)
    log = FileLog(tmp_path / "log", clock)
    for size, now in ((1, 1_000), (2, 3_000), (3, 500), (4, 2_999), (5, 4_000)):
        clock.now = now
        log.publish(TreeHead(size, leaf_hash(bytes([size]))), b"note")
    assert [log.size_at(at) for at in (999, 1_000, 2_999, 3_000, 3_999, 4_000)] == [
        0, 1, 1, 4, 4, 5,
    ]  # fmt: skip
    log.close()
    clock.now = 1  # over a restart, too
    log = FileLog(tmp_path / "log", clock)
    log.publish(TreeHead(6, leaf_hash(b"6")), b"note")
    assert (log.size_at(3_999), log.size_at(4_000)) == (4, 6)
    log.close()


def test_a_size_is_found_without_looking_at_every_checkpoint(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log", At())
    with sqlite3.connect(tmp_path / "log" / "published.db") as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {SIZE_AT}", (1,)).fetchall()
    db.close()
    assert [row[3] for row in plan] == [
        "SEARCH history USING COVERING INDEX history_time (time_us<?)"
    ]
    log.close()


def test_the_signer_never_signs_two_roots_at_one_size(tmp_path: Path) -> None:
    signer = CheckpointSigner(ORIGIN, b"s" * 32, tmp_path / "signed")

    def text(size: int, root: bytes) -> bytes:
        from bal.certify.note import checkpoint_text

        return checkpoint_text(ORIGIN, TreeHead(size, Digest(root)))

    signer.sign(text(5, b"a" * 32))
    signer.sign(text(5, b"a" * 32))
    again = CheckpointSigner(ORIGIN, b"s" * 32, tmp_path / "signed")  # a restored process
    for size, root in ((5, b"b" * 32), (4, b"a" * 32)):
        with pytest.raises(Stop, match="signer-refuses"):
            again.sign(text(size, root))
    again.sign(text(6, b"b" * 32))


def test_damage_stops_the_start(tmp_path: Path) -> None:
    log, make = open_log(tmp_path)
    make().commit([batch(0, entries(0, 300))])
    log.settle()
    tile = tmp_path / "log" / "tile" / "0" / "001.p" / "44"
    content = bytearray(tile.read_bytes())
    content[-1] ^= 1
    tile.write_bytes(bytes(content))
    log, make = open_log(tmp_path)
    with pytest.raises(Stop, match="log-damaged"):
        make()


def test_tile_paths_are_those_of_c2sp() -> None:
    assert tile_index_path(1234067) == "x001/x234/067"
    assert tile_index_path(0) == "000"
    assert tile_index_path(1000) == "x001/000"
