"""A platform on servers of its own, with a bad network between all of them, and small disks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest

from infra.config import Config
from infra.files import make_folder
from infra.profile_local import local
from infra.servers import kafka, process
from infra.servers.chains import STATE
from infra.servers.place import kept_ports, write_state
from tests.bounded import until
from tests.faults.disks import Small, small
from tests.faults.link import Link
from tests.faults.load import Sender, check_receipts, check_stores
from tests.journey.conftest import Caller, Running
from tests.servers_fixture import REPOSITORY, start

SERVERS = ("kafka", "cassandra", "mosquitto", "anvil")
DISKS = {"kafka": 256, "cassandra": 640}  # mebibytes
PATIENCE_S = 240
UP_TRIES = 3


class Ground:
    """The platform, its servers, the links by whom they lead to, and two senders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.links: dict[str, Link] = {}
        self.senders: list[Sender] = []
        self.broken = ""  # by what
        make_folder(self.data)
        make_folder(self.data / "servers")
        guard = [sys.executable, "-m", "tests.servers_fixture", str(self.data), str(os.getpid())]
        subprocess.Popen(
            guard, cwd=REPOSITORY, start_new_session=True, stdin=subprocess.DEVNULL
        ).returncode = 0  # not waited for: it ends what a killed session leaves
        self._kafka_behind_a_link()
        start(self.data, *SERVERS)
        self.platform = Running(folder, self._config(), profile="local", data=self.data)

    def _kafka_behind_a_link(self) -> None:
        """Kafka tells its clients where to go: to the link."""
        entry = dict(kept_ports({}, kafka.PORTS, set()))
        self.links["kafka"] = Link("127.0.0.1", entry["port"])
        entry["advertised_port"] = self.links["kafka"].port
        write_state(self.data, {"kafka": entry})

    def _config(self) -> str:
        """The local profile's, each server by its link."""
        made = local(self.data, Config())
        self.links["cassandra"] = Link(made.cassandra.hosts, made.cassandra.port)
        self.links["mosquitto"] = Link(made.mosquitto.host, made.mosquitto.port)
        self.links["chain"] = Link("127.0.0.1", int(made.anchor.rpc_url.rsplit(":", 1)[1]))
        at = {name: link.port for name, link in self.links.items()}
        made = replace(
            made,
            kafka=replace(made.kafka, bootstrap=f"127.0.0.1:{at['kafka']}"),
            cassandra=replace(made.cassandra, port=at["cassandra"]),
            mosquitto=replace(made.mosquitto, port=at["mosquitto"]),
            anchor=replace(made.anchor, rpc_url=f"http://127.0.0.1:{at['chain']}", interval_s=1),
        )
        return toml(made)

    def begin(self) -> None:
        """The platform runs; one sender at its own intake, one at the broker."""
        self.platform.start()
        host, port = self.platform.mqtt_at.rsplit(":", 1)
        self.links["intake"] = Link(host, int(port))
        for name, link in (("meter-own", "intake"), ("meter-broker", "mosquitto")):
            files, at = self.platform.enrol(name), f"127.0.0.1:{self.links[link].port}"
            self.senders.append(Sender(files, name, at, pace_s=0.1))

    def goes_on(self, behind: str, count: int = 5) -> None:
        """So many further messages of each sender are certified, and no restart was needed.

        Where that fails, whatever comes later fails at once.
        """
        assert not self.broken, f"it did not go on behind {self.broken}"
        began, self.broken = time.monotonic(), behind
        try:
            for sender in self.senders:
                sender.more("certified", count, PATIENCE_S)
        except AssertionError as error:
            text = f"it does not go on behind {behind}: {error}: {self.platform.tail()}"
            raise AssertionError(text) from error
        platform = self.platform.process
        assert platform is not None
        assert platform.poll() is None, self.platform.tail()
        self.broken = ""
        child = process.of_pid(platform.pid)
        memory = process.memory_bytes(child) >> 20 if child else 0
        print(f"{behind}: went on after {time.monotonic() - began:.1f} s; {memory} MiB")

    def anchors(self) -> None:
        """A further head comes on chain, and nothing stands in its way for good."""
        before = self.anchored()
        until(
            lambda: self.anchored() > before,
            lambda: f"more than {before} entries on chain: {self.platform.tail()}",
            PATIENCE_S,
        )

    def anchored(self) -> int:
        """How many entries the chain has."""
        status = json.loads(self.platform.cli("status", "--data", self.data))
        assert status["anchor"]["halted"] is None, status["anchor"]
        return int(status["anchor"]["anchored_size"])

    def sends(self, count: int) -> None:
        """Each sender has sent so many further messages; certified or not."""
        assert not self.broken, f"it did not go on behind {self.broken}"
        wanted = [len(sender.sent) + count for sender in self.senders]
        for sender, number in zip(self.senders, wanted, strict=True):
            until(
                lambda: len(sender.sent) >= number,  # noqa: B023 - asked at once
                lambda: f"{sender.name} sends nothing: {self.platform.tail()}",  # noqa: B023
                PATIENCE_S,
            )

    def check(self) -> int:
        """fsck, heads on chain, and every receipt's message where it says; how many receipts."""
        if self.platform.process is not None:
            self.anchors()
        check_stores(self.data)
        told = [receipt for sender in self.senders for receipt in list(sender.receipts)]
        return check_receipts(self.data, told)

    def finish(self) -> None:
        """All that was sent gets certified."""
        for sender in self.senders:
            sender.finish()
        self.platform.stop()  # in time or not: what was accepted is on disk
        self.check()
        self.platform.check()

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
            sender.close()
        if self.platform.process is not None:
            self.platform.kill()
        self.platform.cli("servers", "down", "--data", self.data, "--only", ",".join(SERVERS))
        for link in self.links.values():
            link.close()

    # -- faults -----------------------------------------------------------------------------

    def child(self, server: str) -> process.Child:
        found = process.found(self.data / "servers" / server)
        assert found is not None, f"{server} does not run"
        return found

    @contextmanager
    def paused(self, servers: Iterable[str]) -> Iterator[None]:
        """These stand still meanwhile."""
        with ExitStack() as paused:
            for server in servers:
                child = self.child(server)
                paused.callback(process.send, child, signal.SIGCONT)
                process.send(child, signal.SIGSTOP)
            yield

    def log(self) -> list[dict[str, str]]:
        """The platform's log, a line each."""
        lines = (self.folder / "stderr").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def alarms(self) -> set[str]:
        """Codes of the alarms that stand, as its metrics have them."""
        with Caller(self.platform, "", "").http as http:
            text = http.get("/metrics").text
        return set(re.findall(r'^gridseal_alarm\{code="(.*?)"\} 1', text, re.MULTILINE))

    def standing(self) -> str:
        """What is not as it should be, in words."""
        return f"alarms: {sorted(self.alarms())}"

    def strike(self, faults: Mapping[str, str], pause_s: float) -> None:
        """A fault of each of these servers, at once; returns when all of them run again.

        kill: SIGKILL, and what `gridseal servers up` does. restart: an orderly end, as by
        `gridseal servers down`, and up. pause: SIGSTOP for `pause_s`, or until the others are up.
        """
        assert not self.broken, f"it did not go on behind {self.broken}"
        end = time.monotonic() + pause_s
        with self.paused(server for server, fault in faults.items() if fault == "pause"):
            for server, fault in faults.items():
                if fault == "kill":
                    self._kill(server)
            ended = [server for server, fault in faults.items() if fault == "restart"]
            if ended:
                self.platform.cli("servers", "down", "--data", self.data, "--only", ",".join(ended))
            self.up(*(server for server, fault in faults.items() if fault != "pause"))
            if "pause" in faults.values():
                time.sleep(max(0.0, end - time.monotonic()))

    def _kill(self, server: str) -> None:
        """Anvil not while it writes its state, in place and each second: that it loses by itself,
        and `gridseal servers up` refuses what is left."""
        child = self.child(server)
        if server == "anvil":
            state = self.data / "servers" / "anvil" / "data" / STATE
            until(lambda: _stands_still(child, state), "Anvil's state is whole", PATIENCE_S)
        process.send(child, signal.SIGKILL)

    def up(self, *servers: str) -> None:
        """`gridseal servers up`, and again where a busy machine is too slow for its limits."""
        for left in reversed(range(UP_TRIES)):
            try:
                start(self.data, *servers)
            except AssertionError as error:
                print(f"not up: {error}")
                self.broken = "" if left else f"a start of {servers}: {error}"
                if not left:
                    raise
            else:
                return


@contextmanager
def ground(folder: Path) -> Iterator[tuple[Ground, dict[str, Small]]]:
    """It all, under way; the disks of Kafka and Cassandra where they can be mounted."""
    with ExitStack() as opened:
        disks = {}
        for server, mebibytes in DISKS.items():
            at = folder / "data" / "servers" / server / "data"
            with suppress(pytest.skip.Exception):  # what needs them skips, and says so
                disks[server] = opened.enter_context(small(at, mebibytes=mebibytes))
        made = Ground(folder)
        opened.callback(made.close)
        made.begin()
        yield made, disks


def _stands_still(child: process.Child, state: Path) -> bool:
    """Whether it was stopped outside of a write; it goes on else."""
    process.send(child, signal.SIGSTOP)
    try:
        json.loads(state.read_bytes())
    except (OSError, ValueError):
        process.send(child, signal.SIGCONT)
        time.sleep(0.05)
        return False
    return True


def toml(config: Config) -> str:
    """A configuration file that says the same."""
    lines = []
    for table in fields(config):
        lines.append(f"[{table.name}]")
        part = getattr(config, table.name)
        for key in fields(part):
            value = getattr(part, key.name)
            if value != key.default:
                text = str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
                lines.append(f"{key.name} = {text}")
    return "\n".join([*lines, ""])
