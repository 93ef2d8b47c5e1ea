"""Appends to the bus in the folder that it is given until it is killed."""

import sys
from pathlib import Path

from bus_suite import append_for_ever

from infra.sqlite_bus import SqliteBus

if __name__ == "__main__":
    append_for_ever(SqliteBus(Path(sys.argv[1]) / "bus"))
