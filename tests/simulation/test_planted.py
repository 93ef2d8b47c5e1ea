"""Planted defects, each of which the simulation must find: else its silence would mean nothing.

A defect is a patch of one function; beside it stands the seed of a world that shows it.
"""

from collections.abc import Callable
from typing import Any

import pytest

from bal.certify.order import Order, Outcome
from bal.store import merge
from bal.store.merge import Merge
from tests.simulation import storer
from tests.simulation.__main__ import run
from tests.simulation.log_store import LogView
from tests.simulation.sequencers import SequencerProcess
from tests.simulation.stores import SimDb
from tests.simulation.topics import RawTopic
from tests.simulation.workers import Lane, raw_key
from tests.simulation.world import Failed

METERS = 60
Patch = Callable[[pytest.MonkeyPatch], None]


def swap_that_does_not_fence(patch: pytest.MonkeyPatch) -> None:
    real = LogView.swap

    def swap(view: LogView, commit: Any) -> None:
        row = view._disk.row
        if row.version >= commit.new.version:
            view._disk.row = commit.old
        real(view, commit)

    patch.setattr(LogView, "swap", swap)


def storer_takes_rows_of_any_digest(patch: pytest.MonkeyPatch) -> None:
    def found(self: Merge[Any], place: Any) -> Any:
        held = self._rows.get((place.source, place.offset), {})
        return next((rows for (part, _), rows in held.items() if part == place.part), None)

    patch.setattr(Merge, "_found", found)


def rows_stand_where_the_worker_put_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(storer, "housed", lambda rows, _: list(rows))


def redo_without_staging(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogView, "staged", lambda _: [])


def windows_are_not_made_again(patch: pytest.MonkeyPatch) -> None:
    real = Lane._begin

    def begin(lane: Lane) -> None:
        lane._servers.committed[lane.partition] = 1 << 40
        real(lane)

    patch.setattr(Lane, "_begin", begin)


def answered_before_the_bus_has_it(patch: pytest.MonkeyPatch) -> None:
    real = RawTopic.append

    def append(topic: RawTopic, partition: int, intake: Any, registry: int) -> int:
        if intake.format == "cim" and raw_key(intake.raw) % 16 == 3:
            return topic.topic.end(partition)
        return real(topic, partition, intake, registry)

    patch.setattr(RawTopic, "append", append)


def progress_before_the_rows(patch: pytest.MonkeyPatch) -> None:
    real = storer.StorerProcess._store

    def store(self: storer.StorerProcess, merged: Any) -> None:
        self.db.progress(merged[-1].version, merged[-1].size, self._merge.taken)
        real(self, merged)

    patch.setattr(storer.StorerProcess, "_store", store)


def position_ahead_of_the_commit(patch: pytest.MonkeyPatch) -> None:
    real = SequencerProcess._read

    def read(self: SequencerProcess) -> bool:
        busy = real(self)
        self.servers.commitments_from = max(self.servers.commitments_from, self._position)
        return busy

    patch.setattr(SequencerProcess, "_read", read)


def header_names_another_registry(patch: pytest.MonkeyPatch) -> None:
    real = Lane._offer

    def offer(lane: Lane, message: Any, worked: Any) -> None:
        size, lane._size = lane._size, lane._size // 2
        real(lane, message, worked)
        lane._size = size

    patch.setattr(Lane, "_offer", offer)


def announcements_are_not_made_up_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequencerProcess, "_last_announced", lambda self: self._sequencer.heads.version)


def upsert_that_overwrites(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimDb, "_with_known", lambda self, home, rows, first, last: rows)


def doubled_batches_are_taken(patch: pytest.MonkeyPatch) -> None:
    real = Order._source

    def source(self: Order, batch: Any) -> Any:
        found = real(self, batch)
        found.last = min(found.last, batch.prev)
        return found

    patch.setattr(Order, "_source", source)


DEFECTS: list[tuple[Patch, int]] = [
    (swap_that_does_not_fence, 1),
    (storer_takes_rows_of_any_digest, 6),
    (rows_stand_where_the_worker_put_them, 1),
    (redo_without_staging, 1),
    (windows_are_not_made_again, 3),
    (answered_before_the_bus_has_it, 1),
    (progress_before_the_rows, 8),
    (position_ahead_of_the_commit, 1),
    (header_names_another_registry, 1),
    (announcements_are_not_made_up_for, 1),
    (upsert_that_overwrites, 2),
    (doubled_batches_are_taken, 1),
]


@pytest.mark.parametrize(("plant", "seed"), DEFECTS, ids=[plant.__name__ for plant, _ in DEFECTS])
def test_the_simulation_finds(plant: Patch, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(Failed):
        run(seed, METERS, 1)


def test_outcomes_are_those_that_the_plants_know() -> None:
    assert {one.value for one in Outcome} == {"ready", "held", "dropped", "halted"}
    assert merge.ANNOUNCEMENT_V1
