"""What of a platform is read when somebody asks for its metrics."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.app import Platform


class Readings:
    """The gauges of one platform, by their names in `infra.metrics.MEANINGS`."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform

    def __call__(self) -> dict[str, float]:
        """As of now; what is not known is left out."""
        of = self._platform
        heads = of.sequencer.heads
        taken = heads.taken.get(f"{of.stores.bus.epoch}/0", -1)
        anchor, closes = of.anchorer.status(), of.anchorer.closer.status()
        found: dict[str, object] = {
            "log_entries": heads.size,
            "published_entries": of.services.published_size(),
            "stored_entries": of.engine.stored_size,
            "visible_entries": of.engine.visible_size,
            "anchored_entries": of.anchorer.anchored_size(),
            "final_entries": of.anchorer.final_size(),
            "anchor_age_seconds": anchor["age_s"],
            "anchor_gas_used": anchor["gas"],
            "anchor_pending_heads": _count(anchor["pending_sizes"]),
            "closes": heads.taken.get("derive/0", -1) + 1,
            "closes_anchored": closes["anchored"],
            "bus_lag_messages": max(0, of.stores.bus.end() - taken - 1),
            "intake_waiting_bytes": of.writer.waiting_bytes,
            "mqtt_sessions": len(of.mqtt.sessions()),
            "disk_free_bytes": of.disk.free_bytes,
        }
        return {name: value for name, value in found.items() if isinstance(value, int)}


def _count(items: object) -> int:
    return len(items) if isinstance(items, list) else 0
