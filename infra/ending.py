"""The end of a process that ran a platform or a role."""

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from bal.errors import GridsealError, Stop
from infra.troubles import ending

logger = logging.getLogger("gridseal")


def unclosed(error: Exception, failure: GridsealError | None) -> GridsealError:
    """Why a process ends that could not close all: what it was stopped for, if it was, comes first.

    Else that, as an end of its own: what was not written is made again by the next start.
    """
    if failure is not None:
        logger.warning("not everything was closed: %s", error)
        return failure
    if isinstance(error, GridsealError):
        return ending(error, "not everything was written when it ended")
    logger.critical("unexpected", exc_info=error)
    return Stop("internal-error", f"{type(error).__name__}: {error}")


def end(failure: GridsealError | None) -> NoReturn:
    """End it now, with 0, or with 1 and the sentence of what made it stop by itself.

    All is closed; Python would wait for every thread that a client of a server has left.
    """
    with suppress(OSError):  # who writes down what we say may have a full disk, too
        if failure is not None:
            sys.stderr.write(f"gridseal: stopped by itself: {failure}\n")
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(0 if failure is None else 1)
