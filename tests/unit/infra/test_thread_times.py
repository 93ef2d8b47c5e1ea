"""Threads by name, with what they took."""

import threading
import time

from infra.thread_times import NAME, ThreadTimes, thread_times


def test_who_works_is_named() -> None:
    stop, spent = threading.Event(), threading.Event()

    def work() -> None:
        while time.thread_time() < 0.05:
            sum(range(1000))
        spent.set()
        stop.wait()

    worker = threading.Thread(target=work, name="busy-3_1")
    idle = threading.Thread(target=stop.wait, name="idle")
    worker.start()
    idle.start()
    try:
        spent.wait()
        found = thread_times()
        assert found["busy"] >= 0.03  # clock ticks of 10 ms
        assert found["idle"] <= 0.02
        assert found["MainThread"] > 0
        [family] = ThreadTimes().collect()
        assert family.name == NAME
        assert {sample.labels["thread"] for sample in family.samples} >= {"busy", "idle"}
        assert all(sample.name == f"{NAME}_total" for sample in family.samples)
    finally:
        stop.set()
        worker.join()
        idle.join()
    assert "busy" not in thread_times()
