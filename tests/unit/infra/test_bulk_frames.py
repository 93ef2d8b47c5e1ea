"""Frames that a child process read, over the wire: as the platform would have read them itself."""

from infra.bulk_wire import LENGTH, frame, frame_columns, read_frame, read_frames
from tests.c37118_streams import config, messages, pmu
from tests.unit.harmonise.conftest import take_message


def test_frames_of_c37118_with_their_quality() -> None:
    [raw] = messages(config(pmu(1, station="North"), pmu(2, 0, station="South")), 0, 25)
    found = take_message(raw, "c37118")
    subjects = [found.frames[0].subject, found.frames[1].subject, found.parts[0].subject]
    numbers = {id(subject): number for number, subject in enumerate(subjects)}
    numbers |= {id(one.subject): n % 2 for n, one in enumerate(found.frames)}
    sent = frame(frame_columns(found, numbers))
    back, sealed = read_frames(read_frame(sent[LENGTH.size :]), subjects)
    assert sealed is None
    assert [one._replace(leaf=None) for one in back.frames] == found.frames
    assert all(one.leaf for one in back.frames)
    assert {one.quality for one in back.frames} == {("1.0.0",)}
    assert list(back.parts) == found.parts
