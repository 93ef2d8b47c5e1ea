"""A real Mosquitto with our collector behind it: SqliteBus, the intake's writer, real guard."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

from bal.collect.guard import Limits, guard
from bal.errors import Rejected
from field.mqtt_client import FieldClient
from infra.certificates import client_context, issue_device, load_ca
from infra.files import replace_file
from infra.intake_writer import IntakeWriter, on_bus
from infra.key_signer import KeySigner
from infra.mosquitto_connection import Broker
from infra.mosquitto_intake import MosquittoIntake
from infra.servers import mosquitto, process
from infra.sqlite_bus import SqliteBus
from infra.system_clock import SystemClock
from tests.broker_accounts import accounts

WAIT_S = 30


def eventually(holds, what="", timeout_s=WAIT_S):
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, what or "it did not happen in time"
        time.sleep(0.01)


class Service:
    """`PlatformServices.accept` without the platform behind the bus."""

    def __init__(self, folder, loop):
        self.bus = SqliteBus(folder)
        signer = KeySigner("gridseal.invalid/test/intake", bytes(32))
        self.writer = IntakeWriter(
            on_bus(self.bus), signer, "gridseal.invalid/test", SystemClock(), lambda: None,
            answer=loop.call_soon_threadsafe,
        )  # fmt: skip
        self.writer.start()
        self.revoked = ()
        self.failure = None  # raised instead of taking a message
        self.gate = None  # an asyncio.Event that accept waits for
        self.accepting = self.accepting_max = self.calls = 0

    async def accept(self, credential, form, raw):
        self.calls += 1
        if credential in self.revoked:
            raise Rejected("sender-revoked", "this credential may not send")
        guard(raw, form, Limits())
        if self.failure is not None:
            raise self.failure
        self.accepting += 1
        self.accepting_max = max(self.accepting, self.accepting_max)
        try:
            if self.gate is not None:
                await self.gate.wait()
            durable = asyncio.get_running_loop().create_future()
            self.writer.put(credential, form, raw, durable)
            return (await durable).as_json()
        finally:
            self.accepting -= 1

    def close(self):
        self.writer.stop()
        self.bus.close()


def broker(at, user):
    login, own = at.users[user], at.client
    return Broker(
        host=at.host, port=at.port, ca=at.ca, certificate=own.certificate, key=own.key,
        user=user, password_file=login.password_file, client_id=f"gridseal-{user}",
    )  # fmt: skip


class Collecting:
    """The collector on an event loop in a thread of its own."""

    def __init__(self, at, folder, *, limits=None, revoked=(), receipts=None, **options):
        """options: of both connections' Broker; receipts: of that of the receipts alone."""
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.service = Service(folder, self.loop)
        self.service.revoked = revoked
        brokers = [broker(at, user) for user in ("collector", "receipts")]
        brokers = [replace(one, **options) for one in brokers]
        brokers[1] = replace(brokers[1], **(receipts or {}))
        self.intake = MosquittoIntake(self.service, *brokers, limits=limits)
        try:
            self.do(self.intake.start())
        except BaseException:
            self._end()
            raise

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def call(self, function, *args):
        async def run():
            return function(*args)

        return self.do(run())

    def set(self, **values):
        """Change attributes of the service, in its thread."""
        self.call(lambda: [setattr(self.service, name, value) for name, value in values.items()])

    def rows(self):
        return [(m.credential, m.format, m.raw) for m in self.service.bus.read(0, 100_000)]

    def raws(self):
        return [raw for _, _, raw in self.rows()]

    def close(self):
        self.do(self.intake.stop())
        self._end()

    def _end(self):
        self.service.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@contextmanager
def collecting(at, folder, **options):
    it = Collecting(at, folder, **options)
    try:
        yield it
    finally:
        it.close()


class Device:
    """An enrolled device's files, and the clients that it could use."""

    def __init__(self, at, folder, name, *, authority=None):
        self.at, self.name, self.folder = at, name, folder / name
        self.folder.mkdir(exist_ok=True)
        self.password = f"secret of {name}"
        authority = authority or load_ca(at.place.data / "keys")
        pair = issue_device(authority, name, SystemClock())
        self.certificate, self.key = self.folder / "device.crt", self.folder / "device.key"
        replace_file(self.certificate, pair[0])
        replace_file(self.key, pair[1])

    def field(self, **options):
        """Our own client, with its spool."""
        return FieldClient(
            url=f"mqtts://{self.at.host}:{self.at.port}",
            tls=client_context(self.at.ca, self.certificate, self.key),
            name=self.name,
            password=self.password,
            spool=self.folder / "spool.db",
            **{"retry_s_max": 0.3, "resend_s": 1.0, **options},
        )

    def code(self):
        """What CONNECT is answered with."""
        context = client_context(self.at.ca, self.certificate, self.key)
        at = self.at
        return mosquitto.connect_code(at.host, at.port, context, self.name, self.password)

    def command(self, program, *arguments, certificate=True, version="mqttv5"):
        """A command line of Mosquitto's own clients."""
        line = [program, "-h", self.at.host, "-p", str(self.at.port), "-V", version]
        line += ["--cafile", str(self.at.ca), "-u", self.name, "-P", self.password, "-q", "1"]
        line += ["-i", self.name]  # a session that stays wants a name; the broker has its own
        if certificate:
            line += ["--cert", str(self.certificate), "--key", str(self.key)]
        return [*line, *arguments]

    def pub(self, topic, text, *more, **options):
        """mosquitto_pub."""
        command = self.command("mosquitto_pub", "-t", topic, "-m", text, *more, **options)
        return _run(command)

    def feed(self, lines, qos=1):
        """Each line a message, by mosquitto_pub; returns when all are acknowledged."""
        command = self.command("mosquitto_pub", "-t", f"in/{self.name}/der", "-l", "-q", str(qos))
        text = "\n".join(lines)
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

    def sub(self, count, *more, **options):
        """mosquitto_sub with a session that stays: what it reads on the receipts' topic."""
        more = ("-c", "-x", "3600", "-W", "10", *more)
        command = self.command(
            "mosquitto_sub", "-t", f"receipts/{self.name}", "-C", str(count), *more, **options
        )
        return [json.loads(line) for line in _run(command).stdout.splitlines()]

    def keep_session(self):
        """Subscribe once with a session that stays, and leave: the device is away now."""
        topic = ("-t", f"receipts/{self.name}", "-c", "-x", "3600", "-E")
        assert _run(self.command("mosquitto_sub", *topic)).returncode == 0


def _run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def enrolled(at, folder, *names):
    """Devices with an account, once the broker knows of it."""
    devices = [Device(at, folder, name) for name in names]
    accounts(at).put({device.name: device.password for device in devices})
    for device in devices:
        eventually(lambda device=device: device.code() == 0)
    return devices


async def hung_up(client):
    """Let no socket of a gmqtt client outlast its loop: its own `disconnect` waits for nothing."""
    transport = client._connection._transport
    transport.abort()
    while transport._ssl_protocol._transport is not None:
        await asyncio.sleep(0.01)


def kill(at):
    """kill -9 the broker; returns once it is gone."""
    child = process.found(at.place.folder)
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: not process.running(child))


def log_of(at):
    return at.place.log.read_text()
