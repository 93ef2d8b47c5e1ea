"""Planted defects, each of which the simulation must find: else its silence would mean nothing.

A defect is a patch of one function; beside it stands the seed of a world that shows it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bal.certify import order
from bal.certify.order import Order, Outcome
from bal.store import merge
from infra import projected
from infra.projector import Projector
from infra.roles import lane, windows_again
from infra.roles.ports import Position
from infra.roles.storing import Storing
from tests.simulation.__main__ import run
from tests.simulation.log_store import LogView
from tests.simulation.stores import SimDb
from tests.simulation.topics import RawTopic
from tests.simulation.workers import raw_key
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


def rows_stand_where_the_worker_put_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(projected, "housed", lambda rows, _: list(rows))


def redo_without_staging(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogView, "staged", lambda _: [])


def windows_are_not_made_again(patch: pytest.MonkeyPatch) -> None:
    real = windows_again.WindowsAgain

    def again(*args: Any, saved: Position, end: int, **named: Any) -> Any:
        return real(*args, saved=replace(saved, offset=end), end=end, **named)

    patch.setattr(lane, "WindowsAgain", again)


def answered_before_the_bus_has_it(patch: pytest.MonkeyPatch) -> None:
    real = RawTopic.append

    def append(topic: RawTopic, partition: int, intake: Any, registry: int) -> int:
        if intake.format == "cim" and raw_key(intake.raw) % 16 == 3:
            return topic.topic.end(partition)
        return real(topic, partition, intake, registry)

    patch.setattr(RawTopic, "append", append)


def progress_before_the_rows(patch: pytest.MonkeyPatch) -> None:
    real = Projector.store_lane

    def store(self: Projector, lane: int, commits: Any, progress: Any, *rest: Any) -> None:
        self.file.note_stored(lane, [], progress.size)
        self.file.note_synced(progress, lane)
        real(self, lane, commits, progress, *rest)

    patch.setattr(Projector, "store_lane", store)


def synced_without_the_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimDb, "sync", lambda self: None)


def raw_messages_let_go_of_before_they_are_stored(patch: pytest.MonkeyPatch) -> None:
    real = Storing._read

    def read(self: Storing) -> bool:
        busy = real(self)
        taken = self._ports.log.heads().taken.get(self._source, -1)
        self._rows.trim(self._rows_at)
        self._ports.channels.raw.trim(self.partition, taken + 1)
        return busy

    patch.setattr(Storing, "_read", read)


def closes_do_not_wait_for_other_partitions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Storing, "_needed", lambda self, batch: 0)


def header_names_another_registry(patch: pytest.MonkeyPatch) -> None:
    real = order.offers

    def offers(batches: Any, generation: int) -> Any:
        older = [
            replace(one, inputs={**one.inputs, "registry": str(int(one.inputs["registry"]) // 2)})
            for one in batches
        ]
        return real(older, generation)

    patch.setattr(lane, "offers", offers)


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
    (rows_stand_where_the_worker_put_them, 1),
    (redo_without_staging, 1),
    (windows_are_not_made_again, 2),
    (answered_before_the_bus_has_it, 1),
    (progress_before_the_rows, 1),
    (synced_without_the_rows, 1),
    (raw_messages_let_go_of_before_they_are_stored, 1),
    (closes_do_not_wait_for_other_partitions, 1),
    (header_names_another_registry, 1),
    (upsert_that_overwrites, 1),
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
