"""Frames of C37.118 out of a stream of bytes: split, checked and read, by one core.

A frame has 4 phasors, frequency, an analog value and a digital word; as floats, then as integers.
"""

import statistics
import time

from bal.c37118.data import Layout
from bal.c37118.splitter import Splitter
from tests.c37118_streams import ALL_FLOAT, config, frame, pmu

FRAMES = 20_000
READ_BYTES = 1_460  # what a segment of TCP carries over Ethernet


def rate(layout: Layout, stream: bytes) -> float:
    """Frames a second of processor time."""
    splitter, read = Splitter(), 0
    started = time.process_time()
    for at in range(0, len(stream), READ_BYTES):
        for piece in splitter.feed(stream[at : at + READ_BYTES]):
            layout.read(piece.frame)
            read += 1
    took_s = time.process_time() - started
    assert read == FRAMES
    return FRAMES / took_s


def main(rounds: int = 5) -> list[float]:
    """Frames a second, of floats and of integers; the median of some rounds."""
    found = []
    for form in (ALL_FLOAT, 0):
        layout = Layout(config(pmu(form=form)))
        stream = b"".join(frame(layout, number) for number in range(FRAMES))
        found.append(statistics.median(rate(layout, stream) for _ in range(rounds)))
    return found


if __name__ == "__main__":
    for figure in main():
        print(f"{figure:,.0f} frames/s")
