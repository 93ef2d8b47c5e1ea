"""The process that works through bulk messages for the platform, on a core of its own.

It harmonises and commits by the platform's own functions, and knows of registry and vault only
what it was told. Whatever it is not sure of it leaves to the platform. It ends with its input, so
that a platform that was killed leaves none behind.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

from bal.harmonise import MeterNames
from bal.model import Part, RawMessage, Sealed, Subject
from bal.pipeline import WINDOW_FORMATS, Known, read, work
from infra.archive_seal import Sealer
from infra.bulk_wire import (
    LENGTH,
    READY,
    Columns,
    Places,
    Row,
    Task,
    columns,
    frame,
    frame_columns,
    read_frame,
    read_row,
)
from infra.interpreter import tune_threads


class _UnknownDevice(Exception):
    """The platform has not told about it."""


class Table:
    """The subjects that one sender may speak for, as far as the platform has told."""

    def __init__(self) -> None:
        self._subjects: list[Subject] = []  # the platform's and the sender's own first
        self._named: dict[MeterNames, Subject] = {}
        self.numbers: dict[int, int] = {}  # by id(subject), which stays while the table does

    def add(self, rows: Iterable[Row]) -> None:
        """Take what is new."""
        for names, subject in map(read_row, rows):
            if len(self._subjects) >= 2:
                self._named[names] = subject
            self.numbers[id(subject)] = len(self._subjects)
            self._subjects.append(subject)

    def known(self) -> Known:
        """What messages are worked with."""
        platform, own = self._subjects[:2]
        return Known(self._named, platform, own)

    def resolve(self, names: MeterNames) -> Subject:
        """Whose a device is."""
        found = self._named.get(names)
        if found is None:
            raise _UnknownDevice
        return found


class Answers:
    """Makes an answer of each task, in order."""

    def __init__(self) -> None:
        self._tables: dict[int, Table] = {}
        self._sealer = Sealer()

    def to(self, task: Task) -> tuple[int, list[Columns | None]]:
        """Number and each message's columns; None where the platform must see for itself."""
        if task.forget:
            self._tables.clear()
        for number, new in task.tables:
            self._tables.setdefault(number, Table()).add(new)
        return task.number, [self._columns(task.place, *sent) for sent in task.messages]

    def _columns(
        self, place: tuple[str, int], table_number: int, offset: int, *more: Any
    ) -> Columns | None:
        table = self._tables[table_number]
        *header, tag = more
        message = RawMessage(*place, offset, *header)
        try:
            if message.format in WINDOW_FORMATS:  # the windows are the platform's
                found = read(message, table.known(), table.resolve)
                return frame_columns(found, table.numbers, self._seal(message, tag, found.parts))
            worked = work(message, table.known(), table.resolve)
            return columns(worked, table.numbers, self._seal(message, tag, worked.parts))
        except Exception:  # noqa: BLE001 - refusals and defects are the platform's to judge about
            return None

    def _seal(self, message: RawMessage, tag: bytes, parts: Iterable[Part]) -> Sealed | None:
        if not tag:
            return None
        spans = [(part.start, part.end, part.subject) for part in parts]
        return self._sealer.seal(message, tag, spans)


def _read(tasks: "SimpleQueue[Task]") -> None:
    """Take in what is sent, also while another is worked on: the platform must never wait."""
    with os.fdopen(0, "rb", buffering=1 << 20) as source:
        while len(head := source.read(LENGTH.size)) == LENGTH.size:
            (size,) = LENGTH.unpack(head)
            if len(data := source.read(size)) < size:
                break
            tasks.put(Task(*read_frame(data)))
    os._exit(0)  # the platform has ended; there is nothing to tidy up


def _write(target: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]


def main(memory: int) -> None:
    """Answer until the input ends. memory: descriptor of what is shared with the platform."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the platform, which tells us
    tune_threads()
    target = os.dup(1)
    os.dup2(2, 1)  # nothing else may come between the frames
    tasks: SimpleQueue[Task] = SimpleQueue()
    Thread(target=_read, args=(tasks,), daemon=True).start()
    answers, places = Answers(), Places(memory)
    with suppress(OSError):  # nobody reads any more
        _write(target, frame(READY))
        while True:
            _write(target, places.put(answers.to(tasks.get())))
