"""The feeder, where what it feeds fails."""

from threading import Event

import pytest

from bal.errors import GridsealError, Unavailable
from bal.model import TreeHead
from infra import feeder
from infra.feeder import Feeder

WAIT_S = 30


class Broken:
    """A feed that fails until it is mended."""

    def __init__(self, failure: Exception) -> None:
        self.failure: Exception | None = failure
        self.failed, self.published = Event(), Event()
        self.fed = 0

    def publish(self, size: int) -> None:
        failure = self.failure
        if failure is not None:
            self.failed.set()
            raise failure
        self.fed = size
        self.published.set()

    def give_up(self) -> None: ...

    def publish_head(self, head: TreeHead, note: bytes) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("failure", [Unavailable("away", retry_after_s=0), KeyError("a defect")])
def test_it_tells_of_a_failure_and_goes_on(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "DEFECT_S", 0)
    feed, stopped = Broken(failure), list[GridsealError]()
    one = Feeder(feed, visible=lambda: 1, checkpoint=lambda: None, on_stop=stopped.append)
    one.start()
    one.wake()
    assert feed.failed.wait(WAIT_S)
    feed.failure = None
    one.wake()
    assert feed.published.wait(WAIT_S)
    one.stop()
    assert (one.alarm, stopped, one.fed) == ("", [], 1)
