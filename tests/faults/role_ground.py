"""Roles as processes on servers of their own, with a bad network between each and each server."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from bal.certify.note import checkpoint_head
from bal.certify.tiles import TileNodes
from bal.certify.tree import root_of
from infra.data_folder import DataFolder
from infra.files import make_folder
from infra.servers import kafka
from infra.servers.place import kept_ports, read_state, write_state
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.bounded import until
from tests.faults.link import Link, holder
from tests.faults.load import Sender, check_receipts, check_stores
from tests.journey.conftest import Caller, cim
from tests.journey.roles_platform import RolesRunning
from tests.journey.test_kill import check_readings
from tests.servers_fixture import REPOSITORY, start

SERVERS = ("kafka", "cassandra", "mosquitto", "anvil")
CONFIG = "[anchor]\ninterval_s = 1\n[cassandra]\nheads = true\n"
SCOPES = "messages.write readings.read"
PATIENCE_S = 240


class Poster:
    """Sends numbered readings by REST, each until it is answered for; keeps the receipts."""

    def __init__(self, caller: Caller) -> None:
        self.receipts: list[dict[str, Any]] = []
        self.ends: set[str] = set()  # of the intervals that have a receipt
        self._caller, self._ended = caller, Event()
        self._thread = Thread(target=self._post, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "a message by REST is not answered"

    def _post(self) -> None:
        number = 0
        while not self._ended.wait(0.2):
            number += 1
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_768_435_200 + 900 * number))
            raw = cim(("meter-rest", end, f"{number}.125"))
            while not (receipt := self._answer(raw)) and not self._ended.wait(1):
                pass
            if receipt:
                self.receipts.append(receipt)
                self.ends.add(end)

    def _answer(self, raw: bytes) -> dict[str, Any]:
        """The receipt; empty where it is to be sent again."""
        try:
            answer = self._caller.request("POST", "/v1/messages?format=cim", content=raw)
        except httpx.TransportError:
            return {}
        if answer.status_code == 401:  # the token ended
            self._caller.forget()
            return {}
        assert answer.status_code in {200, 202, 503}, answer.text  # certified, accepted, come again
        return dict(answer.json()) if answer.status_code != 503 else {}


class RoleGround:
    """Nine processes of six roles, the links by which they reach the servers, three senders.

    The senders reach collector, Mosquitto and gateway by good links.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.links: dict[str, Link] = {}
        self.broken = ""  # by what
        self.senders: list[Sender] = []
        self.heads = 0  # sizes of the log that were signed, as receipts have them; at the end
        make_folder(self.data)
        make_folder(self.data / "servers")
        guard = [sys.executable, "-m", "tests.servers_fixture", str(self.data), str(os.getpid())]
        subprocess.Popen(
            guard, cwd=REPOSITORY, start_new_session=True, stdin=subprocess.DEVNULL
        ).returncode = 0  # not waited for: it ends what a killed session leaves
        self.roles = RolesRunning(folder, CONFIG, profile="local", data=self.data)
        self._begin_servers()

    def _begin_servers(self) -> None:
        """Then say in their state that each is where its link is: whoever starts goes there."""
        entry = dict(kept_ports({}, kafka.PORTS, set()))
        self.links["kafka"] = self._link(entry["port"])
        entry["advertised_port"] = self.links["kafka"].port  # where Kafka tells its clients to go
        write_state(self.data, {"kafka": entry})
        found = start(self.data, *SERVERS)
        assert found.mosquitto is not None
        self._broker_at = f"127.0.0.1:{found.mosquitto.port}"
        state = read_state(self.data)
        for server in SERVERS:
            if server not in self.links:
                self.links[server] = self._link(int(state[server]["port"]))
            state[server]["port"] = self.links[server].port
        write_state(self.data, state)

    def _link(self, port: int) -> Link:
        return Link("127.0.0.1", port, whose=self._whose)

    def _whose(self, port: int, peer: int) -> str:
        pids = {name: one.pid for name, one in dict(self.roles.processes).items()}
        return holder(pids, port, peer)

    def begin(self) -> None:
        """All run; one sender at the collector, one at the broker, one at the gateway."""
        self.roles.start()
        for name, at in (("meter-own", self.roles.mqtt_at), ("meter-broker", self._broker_at)):
            self.senders.append(Sender(self.roles.enrol(name), name, at, pace_s=0.3))
        self.poster = Poster(self.roles.client("poster", SCOPES, "--all-devices"))
        self.reader = self.roles.client("reader", SCOPES, "--all-devices")

    def spoil(self, toxics: Mapping[str, str], whose: frozenset[str], for_s: float) -> None:
        """The links to these servers are bad for so long; for these processes, or all."""
        assert not self.broken, f"it did not go on behind {self.broken}"
        for server, toxic in toxics.items():
            self.links[server].only, self.links[server].toxic = whose, toxic
        try:
            time.sleep(for_s)
        finally:
            for link in self.links.values():
                link.toxic = ""

    def goes_on(self, behind: str, count: int = 3) -> None:
        """So many further messages of each sender are certified, and no process ended.

        Where that fails, whatever comes later fails at once.
        """
        assert not self.broken, f"it did not go on behind {self.broken}"
        began, self.broken = time.monotonic(), behind
        try:
            for sender in self.senders:
                sender.more("certified", count, PATIENCE_S)
            posted = len(self.poster.receipts)
            until(lambda: len(self.poster.receipts) > posted, "a receipt by REST", PATIENCE_S)
            for name, one in self.roles.processes.items():
                assert one.poll() is None, f"{name} ended"
        except AssertionError as error:
            text = f"it does not go on behind {behind}: {error}: {self.roles.tail()}"
            raise AssertionError(text) from error
        self.broken = ""
        print(f"{behind}: went on after {time.monotonic() - began:.1f} s")

    def finish(self) -> int:
        """What has a receipt is certified, without being sent again, and once in each read.

        Then nothing is wrong anywhere, and the audits find nothing. Returns how many receipts.
        """
        for sender in self.senders:
            sender.stop()
        self.poster.stop()
        until(self._accepted_is_read, self.roles.tail, PATIENCE_S)
        until(lambda: not self.troubles(), lambda: str(self.troubles()), PATIENCE_S)
        for sender in self.senders:
            sender.finish()
        items = self._items()
        for sender in self.senders:
            check_readings(sender, items.pop(self.roles.device_of(sender.name)))
        [posted] = items.values()  # the last one may be there without its receipt
        assert len(posted) - len(self.poster.ends) in {0, 1}
        assert len({item["record"]["end"] for item in posted}) == len(posted)
        assert {code for code, _ in self.roles.stop_all().values()} == {0}
        check_stores(self.data)
        receipts = [receipt for sender in self.senders for receipt in sender.receipts]
        receipts += self.poster.receipts
        self.heads = check_heads(self.data, receipts)
        told = check_receipts(self.data, receipts)
        self.roles.check()
        return told

    def troubles(self) -> dict[str, str]:
        """By process what is not as it should be, and alarms that stand."""
        found = {}
        for name in self.roles.processes:
            at = self.roles.told[name]["status"]
            ready = httpx.get(f"{at}/health/ready", timeout=PATIENCE_S)
            alarms = re.findall(r"^gridseal_alarm\{.*\} 1", _metrics(at), re.MULTILINE)
            if ready.status_code != 200 or alarms:
                found[name] = f"{ready.text} {alarms}"
        return found

    def _accepted_is_read(self) -> bool:
        items = self._items()
        read = {name: {item["record"]["end"] for item in own} for name, own in items.items()}
        for sender in self.senders:
            accepted = {_end_of(sender.sent[message]) for message in sender.accepted}
            if not accepted <= read.pop(self.roles.device_of(sender.name), set()):
                return False
        return self.poster.ends <= set().union(*read.values())

    def _items(self) -> dict[str, list[dict[str, Any]]]:
        """What is read, each version of it, by device."""
        found: dict[str, list[dict[str, Any]]] = {}
        for item in self.reader.readings(versions="all", limit=10_000):
            found.setdefault(item["record"]["device"], []).append(item)
        return found

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
            sender.close()
        self.roles.kill()
        self.roles.cli("servers", "down", "--data", self.data, "--only", ",".join(SERVERS))
        for link in self.links.values():
            link.close()


def check_heads(data: Path, receipts: Iterable[Mapping[str, Any]]) -> int:
    """Never two roots at one size, in all that was signed and given out; how many sizes."""
    roots: dict[int, str] = {}
    for receipt in receipts:
        if receipt["type"] == "certified":
            _, head = checkpoint_head(receipt["checkpoint"].encode())
            assert roots.setdefault(head.size, head.root.hex()) == head.root.hex(), receipt
    stores = Stores.open(DataFolder(data), SystemClock(), read_only=True)
    try:
        for size, root in roots.items():
            assert root_of(size, TileNodes(stores.log).at(size)).hex() == root
    finally:
        stores.close()
    return len(roots)


@contextmanager
def role_ground(folder: Path) -> Iterator[RoleGround]:
    """It all, under way."""
    with ExitStack() as opened:
        made = RoleGround(folder)
        opened.callback(made.close)
        made.begin()
        yield made


def _metrics(at: object) -> str:
    return httpx.get(f"{at}/metrics", timeout=PATIENCE_S).text


def _end_of(raw: bytes) -> str:
    return raw.split(b"<timeStamp>")[1].split(b"<")[0].decode()
