"""What of a platform is read when somebody asks for its metrics."""

from dataclasses import dataclass

from bal.certify.log import Sequencer
from bal.closing import DERIVED
from bal.errors import Unavailable
from infra.anchorer import Anchorer
from infra.disk_watch import DiskWatch
from infra.engine import Engine
from infra.intake_writer import IntakeWriter
from infra.mqtt_server import MqttServer
from infra.stores import Stores


@dataclass(frozen=True, slots=True)
class Readings:
    """The gauges of one platform, by their names in `infra.metrics.MEANINGS`."""

    sequencer: Sequencer
    stores: Stores
    engine: Engine
    anchorer: Anchorer
    writer: IntakeWriter
    mqtt: MqttServer
    disk: DiskWatch

    def __call__(self) -> dict[str, float]:
        """As of now; what is not known is left out."""
        heads, published = self.sequencer.heads, self.engine.published
        taken = heads.taken.get(f"{self.stores.bus.epoch}/0", -1)
        anchor, closes = self.anchorer.status(), self.anchorer.closer.status()
        found: dict[str, object] = {
            "log_entries": heads.size,
            "published_entries": published.size if published else 0,
            "stored_entries": self.engine.stored_size,
            "visible_entries": self.engine.visible_size,
            "anchored_entries": self.anchorer.anchored_size(),
            "final_entries": self.anchorer.final_size(),
            "anchor_age_seconds": anchor["age_s"],
            "anchor_gas_used": anchor["gas"],
            "anchor_pending_heads": _count(anchor["pending_sizes"]),
            "closes": heads.taken.get(f"{DERIVED}/0", -1) + 1,
            "closes_anchored": closes["anchored"],
            "bus_lag_messages": self._bus_lag(taken),
            "intake_waiting_bytes": self.writer.waiting_bytes,
            "mqtt_sessions": len(self.mqtt.sessions()),
            "disk_free_bytes": self.disk.free_bytes,
        }
        return {name: value for name, value in found.items() if isinstance(value, int)}

    def _bus_lag(self, taken: int) -> int | None:
        """None where the bus is a server's that is away: the others are wanted then."""
        try:
            return max(0, self.stores.bus.end() - taken - 1)
        except Unavailable:
            return None


def _count(items: object) -> int:
    return len(items) if isinstance(items, list) else 0
