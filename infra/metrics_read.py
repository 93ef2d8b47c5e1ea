"""What of a platform is read when somebody asks for its metrics."""

from dataclasses import dataclass

from bal.certify.log import Sequencer
from bal.closing import DERIVED
from infra.anchorer import Anchorer
from infra.disk_watch import DiskWatch
from infra.engine import Engine
from infra.feeder import Feeder
from infra.intake_writer import IntakeWriter
from infra.metrics import MeasuredBus
from infra.mqtt_server import MqttServer
from infra.outside import OpenCustomerDb


@dataclass(frozen=True, slots=True)
class Readings:
    """The gauges of one platform, by their names in `infra.metrics.MEANINGS`."""

    sequencer: Sequencer
    bus: MeasuredBus
    engine: Engine
    anchorer: Anchorer
    writer: IntakeWriter
    mqtt: MqttServer
    disk: DiskWatch
    feeder: Feeder | None
    customer_db: OpenCustomerDb

    def __call__(self) -> dict[str, float]:
        """As of now; what is not known is left out."""
        heads, published = self.sequencer.heads, self.engine.published
        taken = heads.taken.get(f"{self.bus.epoch}/0", -1)
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
            "bus_lag_messages": max(0, self.bus.known_end - taken - 1),
            "intake_waiting_bytes": self.writer.waiting_bytes,
            "mqtt_sessions": len(self.mqtt.sessions()),
            "disk_free_bytes": self.disk.free_bytes,
            "fed_entries": self.feeder.fed if self.feeder else None,
            "unsettled_blocks": self.customer_db.unsettled,
        }
        return {name: value for name, value in found.items() if isinstance(value, int)}


def _count(items: object) -> int:
    return len(items) if isinstance(items, list) else 0
