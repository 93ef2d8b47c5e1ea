"""Servers die, stand still, fill up and are badly connected, under load: nothing that has a
receipt is lost, and all goes on.

One platform on servers of its own, with two senders that never stop: one at the platform's intake,
one at the broker. GRIDSEAL_SOAK=1: 20 faults of each kind, pauses of 45 s.
"""

import json
import os
import time
from collections.abc import Iterator

import pytest

from tests.faults.disks import Small
from tests.faults.ground import DISKS, SERVERS, Ground, ground
from tests.faults.link import TOXICS

pytestmark = [
    pytest.mark.xdist_group("servers"),
    pytest.mark.slow,
    # paho drops a socket unclosed where its server dies in the middle of the TLS handshake
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
FAULTS = 20 if SOAK else 2
FILLS = 10 if SOAK else 1
PAUSE_S = 45 if SOAK else 8
TOXIC_S = 60 if SOAK else 2
PATIENCE_S = 120
LINKS = ("intake", "mosquitto", "kafka", "cassandra", "chain")
Made = tuple[Ground, dict[str, Small]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with ground(tmp_path_factory.mktemp("dying")) as it:
        it[0].goes_on()
        yield it


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_dies_stands_still_and_is_restarted(made: Made, server: str) -> None:
    it, _ = made
    for _ in range(FAULTS):
        it.kill(server)
        it.goes_on()
        it.pause(server, PAUSE_S)
        it.goes_on()
        it.restart(server)
        it.goes_on()
    assert it.check() > 0


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_slow_cut_and_broken(made: Made, link: str) -> None:
    it, _ = made
    bad, before = it.links[link], it.links[link].passed
    for toxic in TOXICS:
        bad.toxic = toxic
        try:
            time.sleep(TOXIC_S)
        finally:
            bad.toxic = ""
        it.goes_on(3)
    until = time.monotonic() + PATIENCE_S
    while bad.passed == before:  # a head goes on chain now and then, not with each message
        assert time.monotonic() < until, f"nothing went through {link}"
        time.sleep(0.1)
    assert it.check() > 0


@pytest.mark.parametrize("server", DISKS)
def test_a_servers_disk_is_full(made: Made, server: str) -> None:
    """It dies or refuses; once there is room and it runs, the platform goes on by itself."""
    it, disks = made
    if server not in disks:
        pytest.skip("optional: no file system can be mounted here")
    for _ in range(FILLS):
        disks[server].fill()
        sent = [len(sender.sent) + 50 for sender in it.senders]
        while any(len(s.sent) < n for s, n in zip(it.senders, sent, strict=True)):
            time.sleep(0.1)
        disks[server].free()
        it.up()
        it.goes_on()
    assert it.check() > 0


def test_at_the_end_all_is_there_and_the_platforms_log_is_its_own(made: Made) -> None:
    it, _ = made
    it.finish()
    log = (it.folder / "stderr").read_text().splitlines()
    others = [line for line in log if not json.loads(line)["logger"].startswith("gridseal")]
    assert others == []
