"""A worker in a process of its own, on the files of a folder: `worker_child.py FOLDER`."""

import secrets
import signal
import sys
import time
from pathlib import Path

from infra.data_folder import DataFolder
from infra.roles.positions import SqlitePositions
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.stores import open_stores
from infra.roles.worker import ROLE, WorkerRole
from infra.roles.worker_state import WorkerPorts
from infra.rules import running_rules
from infra.system_clock import SystemClock
from tests.stop_signal import stopped_by


def main(root: Path) -> None:
    stopping = stopped_by(signal.SIGTERM)
    clock, folder = SystemClock(), DataFolder(root)
    channels, stores = SqliteChannels.open(folder.bus), open_stores(folder, clock, ROLE)
    positions = SqlitePositions(root)
    ports = WorkerPorts(
        channels=channels, log=stores.log, vault=stores.vault, archive=stores.archive,
        stored=stores.stored, positions=positions, clock=clock, rules=running_rules(),
        elapsed_s=time.monotonic, random_bits=secrets.randbits,
    )  # fmt: skip
    role = WorkerRole(ports, channels.members(ROLE, channels.raw.partitions))
    role.run(stopping)
    sys.stdout.write(f"{role.status.worked}\n")
    for one in (positions, channels, stores):
        one.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
