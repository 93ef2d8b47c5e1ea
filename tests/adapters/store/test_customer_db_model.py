"""CustomerDb against its definition: any history of storing, any question."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from customer_db_support import ADAPTERS, DAY_US, Adapter, a_row, definition, pages
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bal.model import Pseudonym, Rank, ReadingsQuery, StoredRecord

ENDS = st.sampled_from([0, 1, 900, DAY_US - 1, DAY_US, DAY_US + 1, 3 * DAY_US])


class CustomerDbMachine(RuleBasedStateMachine):
    """Any history of storing and opening again; every question answered as the definition says."""

    adapter: Callable[[Path], Adapter]

    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        self.db = self.adapter(Path(self.folder.name))
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
        self.db = self.adapter(Path(self.folder.name))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        query = ReadingsQuery(
            groups=data.draw(st.sampled_from([None, frozenset("n"), frozenset(["n", "s"])])),
            device=data.draw(st.sampled_from([None, "A"])),
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


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.__name__)
def test_any_history_reads_as_defined(adapter: Callable[[Path], Adapter]) -> None:
    machine = type("Machine", (CustomerDbMachine,), {"adapter": staticmethod(adapter)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
