"""The end of a process that ran a platform or a role."""

import logging
import os
import sys
from typing import NoReturn

from bal.errors import GridsealError


def end(failure: GridsealError | None) -> NoReturn:
    """End it now, with 0, or with 1 and the sentence of what made it stop by itself.

    All is closed; Python would wait for every thread that a client of a server has left.
    """
    if failure is not None:
        sys.stderr.write(f"gridseal: stopped by itself: {failure}\n")
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0 if failure is None else 1)
