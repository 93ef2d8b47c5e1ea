"""The power is cut under several role processes: what has a receipt is there.

As tests/faults/test_power_cut.py, of nine processes of `gridseal run` on one data folder: all are
killed at once, what was not fsynced is gone, and the machine starts with another boot id.
GRIDSEAL_SOAK=1 makes 60 cuts.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from infra.files import sync_folder
from tests.faults.disks import lossy
from tests.faults.load import Sender, check_receipts, check_stores
from tests.faults.reboot import Boots
from tests.journey.roles_platform import PROCESSES, RolesRunning
from tests.journey.test_kill import check_readings
from tests.restarts import Restarts

CUTS = 60 if os.environ.get("GRIDSEAL_SOAK") == "1" else 3
SEED = 20261122
SENDERS = ("meter-1", "meter-2")
LOOKED_AT = 1_000  # newest receipts behind each cut; at the end all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("roles"),
    # paho drops a socket unclosed where the collector is killed in the middle of the TLS handshake
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]


def test_what_has_a_receipt_survives_power_cuts_of_roles(tmp_path: Path) -> None:
    chance, lost = Random(SEED), []
    restarts = Restarts(f"{len(PROCESSES)} roles at once, behind a power cut", len(PROCESSES))
    with ExitStack() as opened:
        disk = opened.enter_context(lossy(tmp_path / "disk"))
        (disk.at / "data").mkdir()
        sync_folder(disk.at)
        boots = Boots(tmp_path / "boot_id")
        roles = RolesRunning(tmp_path, data=disk.at / "data")
        roles.prefix = boots.prefix
        opened.callback(roles.kill)
        roles.start()
        senders = [
            opened.enter_context(Sender(roles.enrol(name), name, roles.mqtt_at, pace_s=0.03))
            for name in SENDERS
        ]
        caller = roles.client("auditor", "readings.read", "--all-devices")
        for _ in range(CUTS):
            what = chance.choice(("accepted", "accepted", "certified"))
            for sender in senders:
                sender.more(what, chance.randint(1, 20))
            time.sleep(chance.uniform(0, 1))
            roles.kill()
            lost.append(disk.cut(chance.choice(("none", "some")), chance.randrange(1 << 30)))
            check_stores(roles.data)  # as an audit of the disk sees it
            boots.again()
            restarts.time(roles.start)
            check_stores(roles.data)
            for sender in senders:
                assert check_receipts(roles.data, sender.receipts[-LOOKED_AT:]) > 0
        for sender in senders:
            sender.finish()
        caller.forget()
        items = caller.readings(versions="all", limit=10_000)
        devices = {sender.name: roles.device_of(sender.name) for sender in senders}
        for sender in senders:
            own = [item for item in items if item["record"]["device"] == devices[sender.name]]
            check_readings(sender, own)
        assert {code for code, _ in roles.stop_all().values()} == {0}
        told = sum(check_receipts(roles.data, sender.receipts) for sender in senders)
        roles.check()
    print(f"{CUTS} cuts, {told} receipts; lost pages/names: {lost}")
    restarts.check()
