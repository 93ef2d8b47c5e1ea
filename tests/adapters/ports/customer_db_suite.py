"""What every CustomerDb must do (bal/ports.py): a suite, a definition by sorting, and a model.

A test module subclasses `CustomerDbSuite` and opens its own; DayRows is part of it, since whoever
keeps the rows by shard keeps them for closing a day, too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bal.errors import Rejected
from bal.model import Pseudonym, Rank, ReadingsQuery, StoredRecord
from bal.ports import CustomerDb, DayRows
from infra import squeezed

DAY_US = 86_400_000_000
MEASUREMENTS = {"reading", "telemetry", "event", "phasors"}
ENDS = st.sampled_from([0, 1, 900, DAY_US - 1, DAY_US, DAY_US + 1, 3 * DAY_US])


class Adapter(CustomerDb, DayRows, Protocol):
    """An adapter under test: opened again from the same folder it has what it had."""

    def close(self) -> None: ...


def a_row(index: int, **changes: Any) -> StoredRecord:
    plain = StoredRecord(
        index=index,
        shard="feeder-7/0",
        device=Pseudonym("A"),
        kind="reading",
        register="r1",
        begin_us=0,
        end_us=900,
        rank=Rank.MEASURED,
        type=b"\x01",
        year=2026,
        record=b"record of %d" % index,
    )
    return plain._replace(**changes)


def all_of(groups: Sequence[str] | None = None, **changes: object) -> ReadingsQuery:
    named = None if groups is None else frozenset(groups)
    return replace(ReadingsQuery(named, as_of_size=10**9), **changes)  # type: ignore[arg-type]


def definition(rows: Sequence[StoredRecord], query: ReadingsQuery) -> list[StoredRecord]:
    """What the port promises for a query without cursor and limit, in the plainest words."""
    kinds = MEASUREMENTS if query.kind is None else {query.kind}
    wanted = [
        row
        for row in rows
        if row.index < query.as_of_size
        and row.kind in kinds
        and (row.shard.rsplit("/", 1)[0] == "$platform") == query.of_platform
        and (query.groups is None or row.shard.rsplit("/", 1)[0] in query.groups)
        and (query.device is None or row.device == query.device)
        and (query.register is None or row.register == query.register)
        and (query.from_us is None or query.from_us <= row.end_us)
        and (query.to_us is None or row.end_us < query.to_us)
    ]
    slots: dict[object, list[StoredRecord]] = {}
    for row in sorted(wanted, key=lambda row: row.index):
        slot = slots.setdefault((row.end_us, row.device, row.kind, row.register, row.begin_us), [])
        if row.record not in [other.record for other in slot]:
            slot.append(row)
    shown = [
        row
        for slot in slots.values()
        for row in (
            [max(slot, key=lambda row: (row.rank, row.index))]
            if query.versions == "latest" and (slot[0].kind, slot[0].register) != ("event", "")
            else slot
        )
    ]
    return sorted(
        (row._replace(record=row.certified) for row in shown),
        key=lambda r: (r.end_us, r.device, r.kind, r.register, r.begin_us, r.index),
    )


def pages(db: CustomerDb, query: ReadingsQuery) -> Iterator[list[StoredRecord]]:
    while True:
        page = db.readings(query)
        assert len(page.rows) <= query.limit
        yield page.rows
        if page.after is None:
            return
        assert len(page.rows) == query.limit
        assert page.after != query.after
        query = replace(query, after=page.after)


def indexes(db: CustomerDb, query: ReadingsQuery) -> list[int]:
    page = db.readings(query)
    assert page.after is None
    return [row.index for row in page.rows]


class CustomerDbSuite:
    """`open` opens or makes the database that belongs to a folder."""

    model_examples = 120

    def open(self, folder: Path) -> Adapter:
        raise NotImplementedError

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[[], Adapter]]:
        """Opens the database; closes at the end what was opened."""
        made: list[Adapter] = []

        def open_() -> Adapter:
            made.append(self.open(tmp_path))
            return made[-1]

        yield open_
        for adapter in made:
            adapter.close()

    @pytest.fixture
    def db(self, opened: Callable[[], Adapter]) -> Adapter:
        return opened()

    def test_a_page_of_windows_is_read_without_their_frames(
        self, db: Adapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a second of frames there may be megabytes, of its record a page of text."""
        record = b"a window's record, of some length"
        rows = [
            a_row(n, kind="phasors", record=record + frames)
            for n, frames in enumerate([b"", b"\n", b"\nframe\nframe", b"\n" + bytes(200_000)])
        ]
        db.store(rows, len(rows))
        read: list[int] = []
        decompress = squeezed.zstd.decompress_into

        def noted(frame: memoryview, into: bytearray) -> int:
            read.append(len(into))
            return decompress(frame, into)

        monkeypatch.setattr(squeezed, "zstd", SimpleNamespace(decompress_into=noted))
        page = db.readings(all_of(kind="phasors", versions="all"))
        assert [(row.index, row.record) for row in page.rows] == [(n, record) for n in range(4)]
        assert len(read) < 24
        assert 0 < sum(read) < 200_000
        monkeypatch.undo()
        assert db.records(0, 4) == rows

    # --- storing -----------------------------------------------------------------------------

    def test_a_new_database_has_nothing(self, db: Adapter) -> None:
        assert db.size() == 0
        assert indexes(db, all_of()) == []
        assert db.record(0) is None
        assert db.records(0, 10) == []

    def test_what_was_stored_is_there_after_opening_again(
        self, opened: Callable[[], Adapter]
    ) -> None:
        rows = [a_row(index, device=Pseudonym("AB"[index % 2]), end_us=index) for index in range(7)]
        with closing(opened()) as first:
            first.store(rows, 9)
        db = opened()
        assert db.size() == 9
        assert db.readings(all_of()).rows == rows
        assert db.records(0, 9) == rows
        assert [db.record(index) for index in range(9)] == [*rows, None, None]

    def test_storing_again_changes_nothing(self, db: Adapter) -> None:
        db.store([a_row(0), a_row(1, register="r2")], 2)
        db.store([a_row(0, register="r3"), a_row(1, register="r4")], 2)
        db.store([a_row(1, register="r5")], 1)
        assert db.size() == 2
        assert [row.register for row in db.records(0, 9)] == ["r1", "r2"]

    def test_a_batch_that_overlaps_adds_what_is_new(self, db: Adapter) -> None:
        db.store([a_row(0), a_row(1, register="r2")], 2)
        db.store([a_row(1, register="r9"), a_row(2, register="r3")], 3)
        assert [row.register for row in db.records(0, 9)] == ["r1", "r2", "r3"]

    def test_a_row_at_the_size_is_not_taken_before_its_turn(self, db: Adapter) -> None:
        db.store([a_row(0), a_row(1, register="early")], 1)
        assert db.records(0, 9) == [a_row(0)]
        db.store([a_row(1, register="in time")], 2)
        assert [row.register for row in db.records(0, 9)] == ["r1", "in time"]

    def test_entries_without_rows_move_the_size(self, db: Adapter) -> None:
        db.store([], 5)
        db.store([a_row(7)], 10)
        assert db.size() == 10
        assert [db.record(index) is None for index in (5, 6, 7, 8)] == [True, True, False, True]

    def test_of_two_rows_with_one_index_none_is_stored(self, db: Adapter) -> None:
        with pytest.raises(ValueError, match="one index"):
            db.store([a_row(0), a_row(1), a_row(1, register="r2")], 2)
        assert (db.size(), db.records(0, 9)) == (0, [])
        db.store([a_row(0)], 1)
        assert db.records(0, 9) == [a_row(0)]

    def test_records_of_any_length_come_back(self, db: Adapter) -> None:
        rows = [
            a_row(index, device=Pseudonym(f"D{index:02}"), record=bytes([index]) * length)
            for index, length in enumerate([0, 1, 15, 16, 17, 31, 32, 33, 1000, 70_000, 0])
        ]
        db.store(rows, len(rows))
        assert db.records(0, 99) == rows
        assert db.readings(all_of()).rows == rows

    # --- reading -----------------------------------------------------------------------------

    def test_order_is_by_end_then_device_kind_register_begin_and_index(self, db: Adapter) -> None:
        rows = [
            a_row(0, end_us=2),
            a_row(1, end_us=1, device=Pseudonym("B")),
            a_row(2, end_us=1, kind="telemetry"),
            a_row(3, end_us=1, register="r2"),
            a_row(4, end_us=1, begin_us=1),
            a_row(5, end_us=1, begin_us=1, rank=Rank.CORRECTED),
            a_row(6, end_us=1),
            a_row(7, end_us=1, device=Pseudonym("-")),
        ]
        db.store(rows, 8)
        assert indexes(db, all_of(versions="all")) == [7, 6, 4, 5, 3, 2, 1, 0]

    def test_a_period_is_from_its_begin_up_to_but_without_its_end(self, db: Adapter) -> None:
        ends = [-DAY_US, -1, 0, 1, DAY_US - 1, DAY_US, 40 * DAY_US]
        db.store([a_row(index, end_us=end) for index, end in enumerate(ends)], len(ends))
        assert indexes(db, all_of(from_us=0, to_us=DAY_US)) == [2, 3, 4]
        assert indexes(db, all_of(from_us=-1)) == [1, 2, 3, 4, 5, 6]
        assert indexes(db, all_of(to_us=-1)) == [0]
        assert indexes(db, all_of(from_us=5, to_us=5)) == []
        assert indexes(db, all_of(from_us=9, to_us=5)) == []

    def test_a_page_within_segments_that_begin_before_it(self, db: Adapter) -> None:
        """Several segments reach from before the period into it; found by the model."""
        for call in range(4):
            rows = [a_row(2 * call, end_us=call), a_row(2 * call + 1, end_us=1000 + call)]
            db.store(rows, 2 * call + 2)
        found = [row.index for page in pages(db, all_of(from_us=900, limit=1)) for row in page]
        assert found == [1, 3, 5, 7]

    @pytest.mark.parametrize("far", [2**62, 2**63, 2**80])
    def test_instants_and_sizes_beyond_all_time_are_no_fault(self, db: Adapter, far: int) -> None:
        db.store([a_row(0)], 1)
        assert indexes(db, all_of(from_us=-far, to_us=far, as_of_size=far)) == [0]
        assert indexes(db, all_of(from_us=far)) == []
        assert indexes(db, all_of(to_us=-far)) == []
        assert indexes(db, all_of(as_of_size=-far)) == []
        assert db.records(-far, far) == [a_row(0)]
        assert (db.record(far), db.record(-far)) == (None, None)

    def test_groups_bound_what_is_given(self, db: Adapter) -> None:
        shards = ["north/0", "north/1", "south/0", "north/west/0", "$platform/0", "$platform"]
        db.store([a_row(i, shard=shard, register=shard) for i, shard in enumerate(shards)], 6)
        assert indexes(db, all_of(["north"])) == [0, 1]
        assert indexes(db, all_of(["north/west", "south"])) == [3, 2]
        assert indexes(db, all_of([])) == []
        assert indexes(db, all_of(["north/0", "$platform"])) == []
        assert indexes(db, all_of(None, device="A", kind="reading")) == [0, 1, 3, 2]
        assert [row.shard for row in db.records(0, 9)] == shards

    def test_the_platforms_own_rows_of_a_device_are_given_to_who_names_both(
        self, db: Adapter
    ) -> None:
        """Who looked it up, where it belongs: of an export, and of no client's page."""
        own = {"shard": "$platform/0", "kind": "device", "register": ""}
        hours = [3_600_000_000 * hour for hour in (1, 2, 2, 700)]
        devices = [Pseudonym(name) for name in "AABA"]
        rows = [
            a_row(at, device=device, begin_us=hour, end_us=hour, **own)
            for at, (device, hour) in enumerate(zip(devices, hours, strict=True))
        ]
        rows += [a_row(4), a_row(5, shard="$platform/0", kind="lookup")]
        db.store(rows, 6)
        asked = all_of(None, device="A", kind="device", of_platform=True, versions="all")
        assert [row for page in pages(db, replace(asked, limit=1)) for row in page] == [
            rows[0], rows[1], rows[3],
        ]  # fmt: skip
        assert indexes(db, replace(asked, kind="lookup")) == [5]
        assert indexes(db, replace(asked, device="C")) == []
        assert indexes(db, replace(asked, as_of_size=1)) == [0]
        assert indexes(db, replace(asked, of_platform=False)) == []
        for no_operator in ({"groups": frozenset({"$platform"})}, {"device": None}):
            with pytest.raises(ValueError, match="operator"):
                db.readings(replace(asked, **no_operator))

    def test_a_device_outside_the_groups_is_not_given(self, db: Adapter) -> None:
        db.store([a_row(0, shard="north/0")], 1)
        assert indexes(db, all_of(["north"], device="A")) == [0]
        assert indexes(db, all_of(["south"], device="A")) == []
        assert indexes(db, all_of([], device="A")) == []

    def test_a_device_that_moved_between_two_reads_is_read_whole(self, db: Adapter) -> None:
        day = all_of(["north", "south"], device="A", from_us=0, to_us=DAY_US)
        assert indexes(db, day) == []
        db.store([a_row(0, shard="north/0")], 1)
        for _ in range(2):
            assert indexes(db, day) == [0]
        db.store([a_row(1, shard="south/0", end_us=901), a_row(2, end_us=DAY_US)], 3)
        for _ in range(2):
            assert indexes(db, day) == [0, 1]
        assert indexes(db, replace(day, groups=frozenset(["north"]))) == [0]
        assert indexes(db, replace(day, groups=frozenset(["south"]))) == [1]
        assert indexes(db, replace(day, as_of_size=1)) == [0]

    @pytest.mark.parametrize("device", ["", "B", "A\0", "ä", "\ud800", "A" * 44, "A' OR ''='"])
    def test_a_device_that_is_none_has_no_rows(self, db: Adapter, device: str) -> None:
        db.store([a_row(0)], 1)
        assert indexes(db, all_of(device=device)) == []
        assert indexes(db, all_of(register=device)) == []
        assert indexes(db, all_of(kind=device)) == []
        assert indexes(db, all_of([device])) == []

    def test_without_a_kind_only_measurements_are_given(self, db: Adapter) -> None:
        kinds = [
            "reading",
            "message",
            "telemetry",
            "refused",
            "event",
            "device",
            "phasors",
            "grant",
        ]
        db.store([a_row(i, kind=kind, end_us=i) for i, kind in enumerate(kinds)], len(kinds))
        assert indexes(db, all_of()) == [0, 2, 4, 6]
        assert indexes(db, all_of(kind="refused")) == [3]

    def test_as_of_a_size_later_versions_are_not_there(self, db: Adapter) -> None:
        db.store([a_row(0)], 1)
        db.store([a_row(1, rank=Rank.ESTIMATED)], 2)
        db.store([a_row(2, rank=Rank.CORRECTED)], 3)
        db.store([a_row(3)], 4)
        assert [indexes(db, all_of(as_of_size=size)) for size in range(5)] == [
            [],
            [0],
            [0],
            [2],
            [2],
        ]
        assert indexes(db, all_of(as_of_size=3, versions="all")) == [0, 1, 2]
        assert indexes(db, ReadingsQuery(None)) == []

    def test_a_message_taken_twice_is_shown_once(self, db: Adapter) -> None:
        """Also where the second copy is in another batch, and after a correction."""
        db.store([a_row(0, record=b"one")], 1)
        db.store([a_row(1, record=b"two")], 2)
        db.store([a_row(2, record=b"one"), a_row(3, record=b"one", register="r2")], 4)
        assert indexes(db, all_of()) == [1, 3]
        assert indexes(db, all_of(versions="all")) == [0, 1, 3]
        assert [db.record(index) is None for index in range(4)] == [False] * 4

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 11, 12, 13])
    def test_pages_put_together_are_the_whole(self, db: Adapter, limit: int) -> None:
        rows = [
            a_row(index, device=Pseudonym("ABC"[index % 3]), end_us=index // 4 * DAY_US // 2)
            for index in range(12)
        ]
        for row in rows:
            db.store([row], row.index + 1)
        found = [row for page in pages(db, all_of(limit=limit)) for row in page]
        assert found == definition(rows, all_of())

    def test_a_page_goes_on_where_it_ended_though_rows_came_in_between(self, db: Adapter) -> None:
        db.store([a_row(0, end_us=1), a_row(1, end_us=3)], 2)
        query = all_of(limit=1, as_of_size=2)
        first = db.readings(query)
        db.store([a_row(2, end_us=0), a_row(3, end_us=2), a_row(4, end_us=3)], 5)
        second = db.readings(replace(query, after=first.after))
        assert [row.index for row in [*first.rows, *second.rows]] == [0, 1]
        assert second.after is None

    @pytest.mark.parametrize("after", [[], ["x"], [2**80, "A", "reading", "r1", 0, 0]])
    def test_a_cursor_of_somebody_elses_is_refused_or_finds_nothing(
        self, db: Adapter, after: list[object]
    ) -> None:
        db.store([a_row(0)], 1)
        if len(after) < 6:
            with pytest.raises(Rejected, match="cursor-invalid"):
                db.readings(all_of(after=after))
        else:
            assert indexes(db, all_of(after=after)) == []

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_page_has_at_least_one_row(self, db: Adapter, limit: int) -> None:
        with pytest.raises(ValueError, match="at least one"):
            db.readings(all_of(limit=limit))

    def test_readers_see_whole_batches_while_rows_come_in(self, db: Adapter) -> None:
        """Four rows a batch, one version of the same four slots each: no read mixes two batches."""
        stop, seen, faults = Event(), [], []

        def read() -> None:
            try:
                while not stop.is_set():
                    rows = db.readings(all_of()).rows
                    seen.append({row.index // 4 for row in rows})
                    size = db.size()
                    assert len(db.records(0, size)) == size
            except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                faults.append(error)

        readers = [Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for batch in range(60):
            slots = [a_row(4 * batch + slot, device=Pseudonym("ABCD"[slot])) for slot in range(4)]
            db.store(slots, 4 * batch + 4)
        stop.set()
        for reader in readers:
            reader.join()
        assert faults == []
        assert all(len(batches) <= 1 for batches in seen)

    # --- by shard ----------------------------------------------------------------------------

    def test_a_shards_rows_come_by_device_in_order_of_index(self, db: Adapter) -> None:
        rows = [
            a_row(0, device=Pseudonym("B"), begin_us=0, end_us=900),
            a_row(1, device=Pseudonym("A"), begin_us=900, end_us=1800, kind="telemetry"),
            a_row(2, device=Pseudonym("A"), begin_us=0, end_us=900),
            a_row(3, device=Pseudonym("A"), begin_us=0, end_us=900, rank=Rank.CORRECTED),
            a_row(4, device=Pseudonym("A"), begin_us=0, end_us=900, kind="event"),
            a_row(5, device=Pseudonym("A"), begin_us=-1, end_us=900),
            a_row(6, device=Pseudonym("A"), begin_us=DAY_US - 1, end_us=DAY_US),
            a_row(7, device=Pseudonym("A"), begin_us=DAY_US - 1, end_us=DAY_US + 1),
            a_row(8, device=Pseudonym("C"), shard="feeder-7/1"),
            a_row(9, device=Pseudonym("A")),
        ]
        db.store(rows[:4], 4)
        db.store(rows[4:], 10)
        found = [
            (device, [row.index for row in some])
            for device, some in db.of_shard("feeder-7/0", 0, DAY_US, 9)
        ]
        assert found == [("A", [1, 2, 3, 6]), ("B", [0])]
        assert list(db.of_shard("no/0", 0, DAY_US, 9)) == []

    # --- any history -------------------------------------------------------------------------

    def test_any_history_reads_as_defined(self) -> None:
        machine = type("Machine", (CustomerDbMachine,), {"open": staticmethod(self.open)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=self.model_examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


class CustomerDbMachine(RuleBasedStateMachine):
    """Any history of storing and opening again; every question answered as the definition says."""

    open: Callable[[Path], Adapter]

    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        self.db = self.open(Path(self.folder.name))
        self.rows: list[StoredRecord] = []
        self.size = 0

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    @rule(data=st.data(), count=st.integers(0, 6), gap=st.integers(0, 2))
    def store(self, data: st.DataObject, count: int, gap: int) -> None:
        first = self.size + gap
        rows = [
            a_row(
                first + at,
                shard=data.draw(st.sampled_from(["n/0", "n/1", "s/0", "$platform/0"])),
                device=Pseudonym(data.draw(st.sampled_from("AB"))),
                kind=data.draw(st.sampled_from(["reading", "event", "refused"])),
                register=data.draw(st.sampled_from(["", "r1"])),
                begin_us=data.draw(st.sampled_from([0, 1])),
                end_us=data.draw(ENDS),
                rank=data.draw(st.sampled_from(Rank)),
                record=data.draw(st.sampled_from([b"", b"one", b"two", b"x" * 90])),
            )
            for at in range(count)
        ]
        self.size = first + count
        self.db.store(data.draw(st.permutations(rows)), self.size)
        self.rows += rows

    @rule(back=st.integers(0, 5))
    def store_again(self, back: int) -> None:
        again = [row._replace(record=b"another") for row in self.rows[-3:]]
        self.db.store(again, max(0, self.size - back))

    @rule()
    def open_again(self) -> None:
        self.db.close()
        self.db = self.open(Path(self.folder.name))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        own = data.draw(st.sampled_from([False, False, True]))
        groups = [None] if own else [None, frozenset("n"), frozenset(["n", "s"])]
        query = ReadingsQuery(
            of_platform=own,
            groups=data.draw(st.sampled_from(groups)),
            device="A" if own else data.draw(st.sampled_from([None, "A"])),
            kind=data.draw(st.sampled_from([None, None, "refused"])),
            register=data.draw(st.sampled_from([None, None, "r1"])),
            from_us=data.draw(st.none() | ENDS),
            to_us=data.draw(st.none() | ENDS),
            as_of_size=data.draw(st.integers(0, self.size + 1)),
            versions=data.draw(st.sampled_from(["latest", "all"])),
            limit=data.draw(st.sampled_from([1, 2, 7, 1000])),
        )
        found = [row for page in pages(self.db, query) for row in page]
        assert found == definition(self.rows, query)

    @rule(start=st.integers(0, 40), length=st.integers(0, 40))
    def read_by_index(self, start: int, length: int) -> None:
        inside = [row for row in self.rows if start <= row.index < start + length]
        assert self.db.records(start, start + length) == inside
        by_index = {row.index: row for row in self.rows}
        assert self.db.record(start) == by_index.get(start)

    @invariant()
    def size_is_known(self) -> None:
        if hasattr(self, "db"):
            assert self.db.size() == self.size


class WithLanes(Adapter, Protocol):
    """A customer database that several storers write, each rows of its own entries."""

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None: ...

    def stored(self, lane: int) -> int: ...


def check_lanes(even: WithLanes, odd: WithLanes) -> None:
    """Two that look at one and the same, of two lanes; their rows are in one home.

    What is visible is what both have stored.
    """
    rows = [a_row(index, register=f"r{index}") for index in range(6)]
    shards = [a_row(index, register=f"r{index}", shard="g/1") for index in range(6, 40)]
    even.store(rows[0::2], 6)
    assert (even.stored(0), even.stored(1)) == (6, 0)
    assert (even.size(), even.records(0, 6), even.readings(all_of()).rows) == (0, [], [])
    assert list(even.of_shard(rows[0].shard, 0, DAY_US, 6)) == []
    odd.store(rows[1:4:2], 4, 1)
    for db in (even, odd):
        assert db.size() == 4
        assert db.records(0, 6) == rows[:4]
        assert db.record(4) is None
        assert db.readings(all_of()).rows == rows[:4]
    odd.store(rows[1::2], 6, 1)
    assert even.records(0, 6) == rows
    # Late, and of a window that was cut elsewhere; then of one lane far ahead of the other.
    even.store(rows[0:4:2], 3)
    odd.store(shards[1::2], 40, 1)
    assert (even.size(), odd.stored(0), odd.stored(1)) == (6, 6, 40)
    assert even.readings(all_of()).rows == rows
    for end in (9, 20, 40):
        even.store([row for row in shards[0::2] if row.index < end], end)
        assert odd.size() == end
        assert odd.records(0, 40) == [*rows, *shards][:end]
        for index in range(40):
            assert odd.record(index) == ([*rows, *shards][index] if index < end else None)
    assert odd.records(17, 31) == [*rows, *shards][17:31]


def head_end(number: int, meters: int = 40) -> list[StoredRecord]:
    """A message of many meters of one shard."""
    return [
        a_row(
            number * meters + meter,
            device=Pseudonym(f"meter-{meter:02}"),
            begin_us=number * 1000,
            end_us=number * 1000 + 900,
        )
        for meter in range(meters)
    ]
