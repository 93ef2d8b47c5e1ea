"""An event that a signal sets, for a child of the tests.

Not by `signal.signal` and `Event.set`: a handler runs between two steps of the main thread, and
where that thread is within `Event.wait` it has the event's lock, for which `set` waits forever.
"""

import signal
from threading import Event, Thread


def stopped_by(number: signal.Signals) -> Event:
    """Set once the signal came; call it first, threads made before it would take the signal."""
    stopping = Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])

    def wait() -> None:
        signal.sigwait([number])
        stopping.set()

    Thread(target=wait, name="stop-signal", daemon=True).start()
    return stopping
