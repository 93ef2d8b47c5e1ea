"""Makes again what a storer lacks the rows of: from raw messages, as the projection of `up` is.

A topic lost rows that the log took, or `progress.db` is older than what was let go of, or gone: the
log says which messages are lacking, and workers of this process make them again, one a partition.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.certify.order import CLAIM
from bal.closing import DERIVED
from bal.errors import Stop
from bal.model import RawMessage
from bal.pipeline import WINDOW_FORMATS
from bal.registry import KINDS, Registry
from infra.committed import Committed, CommittedClose, Progress
from infra.log_reader import batch_headers
from infra.projector import CATCH_UP_MESSAGES
from infra.roles.storing import ENTRIES_AT_ONCE, StorerPorts, close_again
from infra.rules import differs, running_rules
from infra.source_workers import SourceWorkers
from infra.stores import apply

FED_US = 600_000_000  # no window, and no rate of a stream, goes by frames that came before that
FED_MAX = 100_000  # messages of a partition, of these

Header = Mapping[str, Any]


class Remaking:
    """One run, in steps: from what is synced to the log's end of when it begins."""

    def __init__(self, ports: StorerPorts) -> None:
        self._ports = ports
        self._workers = SourceWorkers(ports.vault)
        self._rules = running_rules()
        self._commits: list[Committed] = []
        self._closes: list[CommittedClose] = []
        self._steps = self._run()

    def step(self) -> bool:
        """Make some messages again and store them; whether there are more.

        Raises Unavailable: begin anew then; Stop("bus-went-backwards") where a message is neither
        in its topic nor archived, "worker-differs" or "rules-differ" where one leads to other
        entries than the log's.
        """
        return next(self._steps, None) is not None

    def _run(self) -> Iterator[bool]:
        ports, projector = self._ports, self._ports.projector
        heads = ports.log.heads()
        projector.check(heads.version, heads.size)
        progress, registry = projector.progress(), Registry()
        records = projector.registry_records(progress.size)
        apply(records, registry)
        projector.begin(registry)
        self._workers.note(records.items())
        for source, offset, size in self._open(progress.version):
            self._workers.of(source, size).process(self._message(source, offset))
            yield True
        at, end, expected, made_by = progress.version, progress.size, list[str](), self._rules
        stored = end
        for place, header in batch_headers(ports.log, after=at, last=heads.version):
            data = jcs.decode(header)
            if place[0] != at:
                many = len(self._commits) >= CATCH_UP_MESSAGES or end - stored >= ENTRIES_AT_ONCE
                if many or data["epoch"] == DERIVED:
                    self._store(at, end)
                    stored = end
                    yield True
                at = place[0]
            end = int(data["first"]) + int(data["count"])
            if data["epoch"] == OWN_SOURCE or data["epoch"].startswith(CLAIM) or "again" in data:
                continue
            if data["part"] == "0":
                made_by = data["inputs"].get("rules", "")
                if expected:
                    raise differs(ports.log, heads.size, made_by, self._rules)
                expected = self._again(data)
            if expected[:1] != [data["rows"]]:
                raise differs(ports.log, heads.size, made_by, self._rules)
            expected = expected[1:]
        if expected:
            raise differs(ports.log, heads.size, made_by, self._rules)
        self._store(at, end)
        projector.sync()

    def _store(self, version: int, size: int) -> None:
        self._ports.projector.store(self._commits, Progress(version, size, 0, 0), self._closes)
        self._commits, self._closes = [], []

    def _again(self, data: Header) -> list[str]:
        """Make a message or a close again; digests of what it led to."""
        first = int(data["first"])
        if data["epoch"] == DERIVED:
            closed = close_again(self._ports.days, data["inputs"])
            self._closes.append(CommittedClose(closed, first))
            return closed.row_digests()
        source = f"{data['epoch']}/{data['partition']}"
        message = self._message(source, int(data["offset"]))
        worked = self._workers.of(source, int(data["inputs"]["registry"])).process(message)
        self._workers.note(
            (index, draft.record)
            for index, draft in enumerate(worked.drafts, first)
            if draft.kind in KINDS
        )
        self._commits.append(Committed(worked, first, sha256(message.raw).digest()))
        return worked.row_digests()

    def _open(self, version: int) -> Iterator[tuple[str, int, int]]:
        """The messages that windows may still have frames of after a version.

        Source, offset, and the size of the log whose registry each was read with.
        """
        tails: dict[str, deque[tuple[int, int]]] = {}
        for _, header in batch_headers(self._ports.log, last=version):
            data = jcs.decode(header)
            if data["epoch"] in {OWN_SOURCE, DERIVED} or "registry" not in data["inputs"]:
                continue
            if "again" not in data and data["part"] == "0":
                tail = tails.setdefault(
                    f"{data['epoch']}/{data['partition']}", deque(maxlen=FED_MAX)
                )
                tail.append((int(data["offset"]), int(data["inputs"]["registry"])))
        for source, tail in tails.items():
            newest_us: int | None = None
            found: list[tuple[int, int]] = []
            for offset, size in reversed(tail):
                try:
                    message = self._message(source, offset)
                except Stop:  # a subject of it was erased: the entries behind it will tell
                    break
                newest_us = message.received_us if newest_us is None else newest_us
                if message.received_us < newest_us - FED_US:
                    break
                if message.format in WINDOW_FORMATS:
                    found.append((offset, size))
            for offset, size in reversed(found):
                yield source, offset, size

    def _message(self, source: str, offset: int) -> RawMessage:
        """From its topic or, where that forgot it, from the archive."""
        raw = self._ports.channels.raw
        epoch, _, partition = source.rpartition("/")
        if epoch == raw.epoch:
            with suppress(Stop):  # trimmed
                for message, _ in raw.read(int(partition), offset, 1):
                    return message
        return self._ports.projector.archived(epoch, int(partition), offset)
