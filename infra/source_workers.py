"""Workers that make again what others made of several partitions: one each, as it was then."""

from collections.abc import Iterable

from bal.pipeline import Worker
from bal.ports import Vault
from bal.registry import Registry


class SourceWorkers:
    """One a source, with windows of its own, and the registry as of what a header names.

    Of each source the sizes that are asked for only grow.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._records: list[tuple[int, bytes]] = []  # the registry's, by index
        self._workers: dict[str, tuple[Worker, Registry]] = {}
        self._applied: dict[str, int] = {}  # of the records

    def note(self, records: Iterable[tuple[int, bytes]]) -> None:
        """Records of the registry that the log has next, by index."""
        self._records += records

    def of(self, source: str, size: int) -> Worker:
        """That of a source; its registry knows all records below `size`."""
        if source not in self._workers:
            registry = Registry()
            self._workers[source] = Worker(self._vault, registry), registry
        worker, registry = self._workers[source]
        at = self._applied.get(source, 0)
        while at < len(self._records) and self._records[at][0] < size:
            registry.apply(self._records[at][1])
            at += 1
        self._applied[source] = at
        return worker
