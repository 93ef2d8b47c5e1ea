"""Makes a partition's windows of phasor frames again, for a worker that goes on behind another.

Each message is read with the registry that its header in the log names (decision 0017).
"""

from bal import jcs
from bal.errors import Unavailable
from bal.harmonise.phasors import rate_of
from bal.model import RawMessage
from bal.pipeline import WINDOW_FORMATS, Worker
from bal.registry import Registry
from bal.windows import Windows
from infra.log_reader import batch_headers
from infra.roles.ports import Position
from infra.roles.worker_state import WorkerPorts, WorkerState, apply

STEP_MESSAGES = 64


class WindowsAgain:
    """The windows after the last message that was taken, made in steps.

    After Unavailable out of `step` they are half made: begin anew.
    """

    def __init__(
        self,
        ports: WorkerPorts,
        shared: WorkerState,
        partition: int,
        *,
        saved: Position,
        end: int,
        last: int,
    ) -> None:
        """saved: no message before it is needed; end: the offset behind the last one taken.

        last: version of the log by which that was taken.

        Raises Unavailable, also where the log lacks a header.
        """
        self._ports, self._shared, self._partition = ports, shared, partition
        self.windows = Windows(rate_of)
        self.versions: list[tuple[int, int]] = []  # first offset of each version, and which
        self._at, self._end = min(saved.offset, end), end
        self._registries: dict[int, int] = {}  # by offset, of all that are not retries
        self._history = Registry()
        self._size = 0  # of the log, up to which `_history` is
        self.fed = 0  # messages
        self._reader = Worker(ports.vault, self._history, self.windows)
        if self._at < end:
            self._read_headers(saved.version, last)

    def step(self) -> bool:
        """Feed some messages; whether there are more. Raises Unavailable, Stop."""
        raw = self._ports.channels.raw
        if self._at < self._end:
            limit = min(STEP_MESSAGES, self._end - self._at)
            found = raw.read(self._partition, self._at, limit)
            for message, _ in found:
                if message.format in WINDOW_FORMATS and message.offset in self._registries:
                    self._feed(message, self._registries[message.offset])
            self._at += len(found)
        return self._at < self._end

    def _read_headers(self, since: int, last: int) -> None:
        epoch, partition = self._ports.channels.raw.epoch, str(self._partition)
        missing = set(range(self._at, self._end))
        for (version, _), header in batch_headers(self._ports.log, after=since, last=last):
            data = jcs.decode(header)
            if (data["epoch"], data["partition"], data["part"]) != (epoch, partition, "0"):
                continue
            offset = int(data["offset"])
            missing.discard(offset)
            if not self.versions or self.versions[-1][1] < version:
                self.versions.append((offset, version))
            if "again" not in data:
                self._registries[offset] = int(data["inputs"]["registry"])
        if missing:  # after a power cut a sequencer that starts makes them again
            text = f"the log lacks the header of batch {epoch}/{partition}/{min(missing)}"
            raise Unavailable(f"{text}, which its heads row says is taken", retry_after_s=5)

    def _feed(self, message: RawMessage, size: int) -> None:
        """Let the windows take the frames of a message, as they did with a registry of `size`."""
        shared = self._shared
        self.fed += 1
        if shared.changed_at <= size <= shared.size:  # the registry has not changed since
            shared.process(message, self.windows)
            return
        if size > self._size:
            records = self._ports.stored.registry_records(size, self._size)
            for index, record in records.items():
                apply(self._history, index, record)
            self._size = size
        self._reader.process(message)
