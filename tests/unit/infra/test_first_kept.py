"""A topic trimmed from its beginning, as bisection sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Stop, Unavailable
from infra.first_kept import first_kept


@given(st.data())
def test_it_is_found_and_a_topic_that_is_whole_costs_one_read(data: st.DataObject) -> None:
    end = data.draw(st.integers(0, 5_000))
    low = data.draw(st.integers(0, end))
    kept = data.draw(st.integers(0, end))
    tried = []

    def read(offset: int) -> None:
        assert low <= offset < end
        tried.append(offset)
        if offset < kept:
            raise Stop("bus-trimmed", "gone")

    assert first_kept(read, low, end) == max(low, kept)
    assert len(tried) <= (1 if kept <= low else 2 + (end - low).bit_length())


@pytest.mark.parametrize(
    "fault", [Stop("log-differs", "another"), Unavailable("busy", retry_after_s=1)]
)
def test_another_fault_is_not_taken_for_what_is_trimmed(fault: Exception) -> None:
    def read(offset: int) -> None:
        raise fault

    with pytest.raises(type(fault)):
        first_kept(read, 0, 9)
