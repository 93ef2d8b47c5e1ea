"""How the platform's processes run Python: what `gridseal up` sets before anything else."""

import gc
import sys

SWITCH_INTERVAL_S = 0.0005  # the chain in the process is pure Python and would hold the others up
TLS_BUFFER_BYTES = 64 * 1024  # of each connection; four TLS records


def tune_interpreter() -> None:
    """Let threads take turns soon, look for cycles seldom, and spend little on a connection.

    A message of 1,000 meters makes 10,000 objects and no cycle: left as it is, the collector takes
    a sixth of the worker's time. asyncio gives each TLS connection a buffer of 256 KiB, and one
    that fails is a cycle, which keeps it until the collector comes.
    """
    from asyncio.sslproto import SSLProtocol  # noqa: PLC0415 - a child has no connections

    SSLProtocol.max_size = TLS_BUFFER_BYTES
    tune_threads()


def tune_threads() -> None:
    """The same for a child process, which has no connections."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # what is imported stays
    gc.set_threshold(100_000, 20, 50)
