"""What the operator hears of a chain that fails: one line when it has lasted, one when it is over.

A node that is restarted, or one of several behind an address that lags, is nobody's business; an
outage of days is, once. Time is the clock's that is handed in.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock

from bal.errors import Unavailable
from bal.ports import Clock
from infra.chain_errors import Contradiction

TELL_AFTER_S = 60  # of an outage
DELAY_AFTER_S = 600  # that a head or a close is in no block


@dataclass(slots=True)
class _Trouble:
    since_us: int
    told: str = ""  # the alarm's code, once it was given


@dataclass(slots=True)
class ChainWatch:
    """on_alarm(code, text) when it is told, on_clear(code) when it is over. From any thread."""

    clock: Clock
    on_alarm: Callable[[str, str], None]
    on_clear: Callable[[str], None]
    _outage: _Trouble | None = None
    _back_us: int = 0  # when a chain that was told away answered again
    _delay: _Trouble | None = None
    _lock: AbstractContextManager[object] = field(default_factory=Lock)

    def failed(self, error: Unavailable) -> None:
        """A turn ended in it."""
        with self._lock:
            now_us = self.clock.now_us()
            trouble = self._outage = self._outage or _Trouble(now_us)
            if trouble.told or now_us - trouble.since_us < TELL_AFTER_S * 1_000_000:
                return
            lies = isinstance(error, Contradiction)
            trouble.told = "chain-contradicts" if lies else "chain-unavailable"
            lasted_s = (now_us - trouble.since_us) // 1_000_000
            text = f"nothing was anchored for {lasted_s} s, it is tried on: {error}"
            self.on_alarm(trouble.told, text)

    def answered(self, waiting_since_us: int | None) -> None:
        """A turn ended well. waiting_since_us: since when something sent is in no block."""
        with self._lock:
            if self._outage is not None and self._outage.told:
                self._back_us = self.clock.now_us()
                if self._delay is not None and not self._delay.told:
                    self._delay = None
            self._tell_over(self._outage)
            self._outage = None
            if waiting_since_us is None:
                self._tell_over(self._delay)
                self._delay = None
                return
            # No block could take it while no node answered: that was told, and is another alarm.
            since_us = max(waiting_since_us, self._back_us)
            trouble = self._delay = self._delay or _Trouble(since_us)
            trouble.since_us = min(trouble.since_us, since_us)
            waited_s = (self.clock.now_us() - trouble.since_us) // 1_000_000
            if not trouble.told and waited_s >= DELAY_AFTER_S:
                trouble.told = "anchor-delayed"
                text = (
                    f"what was sent {waited_s} s ago is in no block; it is sent again, and dearer"
                )
                self.on_alarm(trouble.told, text)

    def outage_s(self) -> int:
        """For how long no turn has ended well; 0 when the last one did."""
        with self._lock:
            trouble = self._outage
            return 0 if trouble is None else (self.clock.now_us() - trouble.since_us) // 1_000_000

    def _tell_over(self, trouble: _Trouble | None) -> None:
        if trouble is not None and trouble.told:
            self.on_clear(trouble.told)
