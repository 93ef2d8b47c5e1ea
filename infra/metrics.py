"""Prometheus metrics of one platform: what is counted as it happens, and what is read when asked.

A table of all stands in docs/operations.md. Nothing is counted by reading: once a commit, a group
of messages or a refusal. The names follow Prometheus' conventions (base units, `_total`).
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from bal.closing import ClosedDay
from bal.model import Digest, RawMessage
from bal.ports import Bus, Commit, Intake, LogStore
from infra.announcer import CertifiedMessage
from infra.thread_times import ThreadTimes

# Of an fsync, a commit: from a fast disk's to one that senders feel.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_DAY_HEADER_BYTES, _SLOT_BYTES = 93, 18  # docs/spec/completeness.md: a slot's state comes first

Gauges = Mapping[str, float | Mapping[str, float]]
"""By name in `MEANINGS` a value, or by partition several."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge beside each counter


class Metrics:
    """One registry. `text` may be called from any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.accepted = Counter(
            "gridseal_intake_accepted_messages_total",
            "Messages that are durable on the bus, by format", ["format"], registry=registry,
        )  # fmt: skip
        self.bytes = Counter(
            "gridseal_intake_accepted_bytes_total",
            "Bytes of accepted messages, by format", ["format"], registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "gridseal_intake_refused_messages_total",
            "Messages that were refused before the bus, by code", ["code"], registry=registry,
        )  # fmt: skip
        self.certified = Counter(
            "gridseal_certified_messages_total",
            "Messages whose entries became visible",
            registry=registry,
        )
        self.findings = Counter(
            "gridseal_findings_total",
            "Findings of certified messages, by code and severity (warning, refused)",
            ["code", "severity"], registry=registry,
        )  # fmt: skip
        self.bus_append = _seconds("bus_append", "One durable append to the bus", self._registry)
        self.log_stage = _seconds("log_stage", "Staging a commit, fsync included", self._registry)
        self.log_swap = _seconds("log_swap", "Swapping the heads row, durably", self._registry)
        self.log_commit = _seconds("log_commit", "A commit as a whole", self._registry)
        self._closed = _LastClose()
        registry.register(ThreadTimes())

    def observe(self, read: Callable[[], Gauges], alarms: Callable[[], Iterable[str]]) -> None:
        """Read these, too, whenever somebody asks: gauges by their name in `MEANINGS`, alarms."""
        self._registry.register(_Read(read, alarms, self._closed))

    def text(self) -> str:
        """Text exposition format 0.0.4."""
        return generate_latest(self._registry).decode()

    # -- what is told -----------------------------------------------------------------------

    def note_appended(self, messages: Sequence[Intake], took_s: float) -> None:
        """A group of messages that is durable on the bus."""
        self.bus_append.observe(took_s)
        count, size = Tally[str](), Tally[str]()
        for message in messages:
            count[message.format] += 1
            size[message.format] += len(message.raw)
        for form in count:
            self.accepted.labels(form).inc(count[form])
            self.bytes.labels(form).inc(size[form])

    def note_refused(self, code: str) -> None:
        """A message that the bus never sees."""
        self.refused.labels(code).inc()

    def note_certified(self, messages: Sequence[CertifiedMessage]) -> None:
        """Messages that became visible."""
        self.certified.inc(len(messages))
        for message in messages:
            for severity in ("findings", "refused"):
                found = message.summary.get(severity)
                if isinstance(found, list) and found:
                    of = "refused" if severity == "refused" else "warning"
                    for code, count in Tally(one["code"] for one in found).items():
                        self.findings.labels(code, of).inc(count)

    def note_closed(self, closed: ClosedDay) -> None:
        """A day that is about to be closed."""
        self._closed.note(closed)


def _seconds(name: str, text: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(f"gridseal_{name}_seconds", text, buckets=_SECONDS, registry=registry)


class _LastClose:
    """Slots of the date closed last, by what is known of each of its device-days."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._date = ""
        self._of_key: dict[bytes, tuple[int, int]] = {}
        self._time_us = 0

    def note(self, closed: ClosedDay) -> None:
        """A later close of the same date tells of the device-days that changed only."""
        found = {made.entry.key: _slots(made.data) for made in closed.made}
        with self._lock:
            if closed.day.isoformat() != self._date:
                self._date, self._of_key = closed.day.isoformat(), {}
            self._of_key.update(found)
            self._time_us = closed.time_us

    def gauges(self) -> dict[str, float]:
        """Empty before the first close since the start."""
        with self._lock:
            if not self._date:
                return {}
            slots = self._of_key.values()
            return {
                "last_close_timestamp_seconds": self._time_us / 1e6,
                "last_close_device_days": len(self._of_key),
                "last_close_slots": sum(count for count, _ in slots),
                "last_close_missing_slots": sum(missing for _, missing in slots),
            }


def _slots(device_day: bytes) -> tuple[int, int]:
    """Slots of a device-day, and how many of them are missing."""
    states = device_day[_DAY_HEADER_BYTES::_SLOT_BYTES]
    return len(states), states.count(0)


class _Read:
    """Collector (prometheus_client) of what is read when asked."""

    def __init__(
        self,
        read: Callable[[], Gauges],
        alarms: Callable[[], Iterable[str]],
        closed: _LastClose,
    ) -> None:
        self._read, self._alarms, self._closed = read, alarms, closed

    def collect(self) -> Iterable[Metric]:
        """As the client library asks."""
        for name, value in {**self._read(), **self._closed.gauges()}.items():
            if isinstance(value, Mapping):
                of = GaugeMetricFamily(f"gridseal_{name}", MEANINGS[name], labels=["partition"])
                for partition, one in value.items():
                    of.add_metric([partition], one)
                yield of
            else:
                yield GaugeMetricFamily(f"gridseal_{name}", MEANINGS[name], value)
        alarms = GaugeMetricFamily("gridseal_alarm", MEANINGS["alarm"], labels=["code"])
        for code in self._alarms():
            alarms.add_metric([code], 1)
        yield alarms


MEANINGS: Mapping[str, str] = {
    "log_entries": "Entries in the log: committed",
    "published_entries": "Entries below the published checkpoint",
    "stored_entries": "Entries whose rows are in the customer database",
    "visible_entries": "Entries that are published and stored",
    "anchored_entries": "Entries below the newest head on chain, final or not",
    "final_entries": "Entries below the newest head on chain that can't be taken back",
    "anchor_age_seconds": "Since the newest anchored head was first seen on chain",
    "anchor_gas_used": "Gas of the newest anchored head",
    "anchor_pending_heads": "Heads that are sent and in no block yet",
    "closes": "Closes of the book in the log",
    "closes_anchored": "Closes of the book on chain",
    "last_close_timestamp_seconds": "When the newest close since the start was made",
    "last_close_device_days": "Device-days of the date closed last, made since the start",
    "last_close_slots": "Slots of these device-days",
    "last_close_missing_slots": "Slots of these device-days that are missing",
    "sequencer_active": "1 where this process is the active sequencer, 0 where it stands by",
    "halted_partitions": "Partitions of which something between is missing",
    "worker_messages": "Messages that this worker worked on since its start",
    "worker_partitions": "Partitions that are this worker's",
    "storer_active": "1 where this process stores, 0 where it stands by",
    "storer_partitions": "Partitions that are this storer's",
    "partition_stored_entries": "Size of the log below which a partition's part is stored",
    "partitions_behind": "Partitions that did not get on for ten seconds, though there is more",
    "synced_entries": "Entries whose rows survive a power cut",
    "fed_entries": "Entries that Kafka's consumers have",
    "unsettled_blocks": "Blocks of landed rows that Cassandra's storer still has to settle",
    "bus_lag_messages": "Messages on the bus that the log has not taken yet",
    "intake_waiting_bytes": "Bytes that wait for their fsync",
    "mqtt_sessions": "MQTT sessions that are open",
    "disk_free_bytes": "Free bytes where the data folder is",
    "alarm": "1 for each alarm that stands, by code",
}


# -- ports that take the time -------------------------------------------------------------------


class MeasuredBus:
    """Bus (bal.ports) that counts what is appended and how long that takes.

    `known_end` is the end as far as it was seen here: who asks for it waits for no server.
    """

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus, self._metrics = bus, metrics
        self.trim = bus.trim
        self.known_end = 0

    @property
    def epoch(self) -> str:
        """As Bus."""
        return self._bus.epoch

    def append(self, messages: Sequence[Intake]) -> list[int]:
        """As Bus."""
        began = perf_counter()
        offsets = self._bus.append(messages)
        self._metrics.note_appended(messages, perf_counter() - began)
        if offsets:
            self.known_end = max(self.known_end, offsets[-1] + 1)
        return offsets

    def read(self, offset: int, limit: int) -> list[RawMessage]:
        """As Bus."""
        found = self._bus.read(offset, limit)
        if found:
            self.known_end = max(self.known_end, found[-1].offset + 1)
        return found

    def end(self) -> int:
        """As Bus."""
        end = self._bus.end()
        self.known_end = max(self.known_end, end)
        return end


class MeasuredLog:
    """LogStore (bal.ports) that measures each step of a commit."""

    def __init__(self, log: LogStore, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        self.heads, self.publish, self.staged = log.heads, log.publish, log.staged
        self._began = 0.0

    def stage(self, commit: Commit) -> None:
        """As LogStore."""
        self._began = perf_counter()
        self._log.stage(commit)
        self._metrics.log_stage.observe(perf_counter() - self._began)

    def swap(self, commit: Commit) -> None:
        """As LogStore."""
        began = perf_counter()
        self._log.swap(commit)
        self._metrics.log_swap.observe(perf_counter() - began)

    def integrate(self, commit: Commit, hashes: Mapping[int, Sequence[Digest]]) -> None:
        """As LogStore."""
        self._log.integrate(commit, hashes)
        if self._began:  # not at the redo of the start
            self._metrics.log_commit.observe(perf_counter() - self._began)
