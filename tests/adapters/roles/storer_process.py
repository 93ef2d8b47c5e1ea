"""A storer in a process of its own, on the files of a folder: `storer_process.py FOLDER`."""

import signal
import sys
import time
from pathlib import Path

from infra.data_folder import DataFolder
from infra.roles.positions import SqlitePositions
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.storer import ROLE, StorerRole
from infra.roles.stores import open_stores
from infra.roles.storing import storer_ports
from infra.system_clock import SystemClock
from tests.stop_signal import stopped_by


def main(root: Path) -> None:
    stopping, folder = stopped_by(signal.SIGTERM), DataFolder(root)
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    channels = SqliteChannels.open(folder.bus)
    stores, positions = open_stores(folder, SystemClock(), ROLE), SqlitePositions(root)
    ports = storer_ports(stores, channels, positions, time.monotonic)
    role = StorerRole(ports, channels.members(ROLE, channels.raw.partitions))
    role.run(stopping)
    for one in (positions, channels, stores):
        one.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
