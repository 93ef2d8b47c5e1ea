"""How the platform's processes run Python: what `gridseal up` sets before anything else."""

import gc
import sys

SWITCH_INTERVAL_S = 0.0005  # the chain in the process is pure Python and would hold the others up


def tune_interpreter() -> None:
    """Let threads take turns soon, and look for cycles seldom.

    A message of 1,000 meters makes 10,000 objects and no cycle: left as it is, the collector takes
    a sixth of the worker's time.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # what is imported stays
    gc.set_threshold(100_000, 20, 50)
