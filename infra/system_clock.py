"""The host's clock."""

import time


class SystemClock:
    """Clock (bal.ports)."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1000
