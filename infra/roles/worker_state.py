"""What the lanes of one worker process share: what they ask of outside, and one registry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bal.errors import Stop
from bal.model import RawMessage
from bal.pipeline import Worked, Worker
from bal.ports import Clock, Heads, RawArchive, TileReader, Vault
from bal.registry import Registry
from bal.windows import Windows
from infra.roles.ports import Channels, Positions, Stored


class LogReads(TileReader, Protocol):
    """The log as a worker looks at it: headers of batches, and the heads row."""

    def heads(self) -> Heads:
        """The heads row, read from storage, never from memory."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """What a worker works with; whoever made it closes it."""

    channels: Channels
    log: LogReads
    vault: Vault
    archive: RawArchive
    stored: Stored
    positions: Positions
    clock: Clock
    rules: str  # digest of those that the entries are made by
    elapsed_s: Callable[[], float]  # seconds since any moment; never goes back
    random_bits: Callable[[int], int]  # so many, from 0; no two processes draw the same


class WorkerState:
    """One registry, as of what is stored, and one cache of subjects, for all lanes of a process.

    To apply the registry of 100,000 devices takes four seconds, and a head-end's messages come in
    several partitions: neither is done once a lane. For one thread.
    """

    def __init__(self, vault: Vault, stored: Stored) -> None:
        self._stored = stored
        self.registry = Registry()
        self._worker = Worker(vault, self.registry)
        self.size = 0  # of the log, below which all is stored, and the registry knows it
        self.changed_at = 0  # the registry is the same as of any size from here to `size`
        self.log_size = 0  # as far as it was announced

    def refresh(self) -> None:
        """Look how far the storer is, and bring the registry there. Raises Unavailable, Stop."""
        size = self._stored.size()
        if size <= self.size:
            return
        for index, record in self._stored.registry_records(size, self.size).items():
            apply(self.registry, index, record)
            self.changed_at = index + 1
        self.size = size

    def process(self, message: RawMessage, windows: Windows) -> Worked:
        """What becomes of a message with the registry as of `size`, and a lane's windows."""
        self._worker.windows = windows
        return self._worker.process(message)


def apply(registry: Registry, index: int, record: bytes) -> None:
    """Apply one of its records. Raises Stop("store-damaged") where it is none."""
    try:
        registry.apply(record)
    except (ValueError, TypeError, KeyError) as error:
        text = f"the registry's record {index} can't be read: {error}"
        raise Stop("store-damaged", text) from error
