"""A small real platform for the intake's tests: a SQLite journal behind the server, a CA, clients.

Run as a program it serves until it is killed: `python intake_support.py FOLDER KEYS PORT`.
"""

import asyncio
import contextlib
import hmac
import json
import socket
import sqlite3
import ssl
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import mqtt5

from bal.collect.guard import Limits, guard
from infra import certificates as pki
from infra.mqtt_packets import Cursor, length_bytes, packet_end
from infra.mqtt_server import MqttLimits, MqttServer


class SystemClock:
    def now_us(self):
        return time.time_ns() // 1000


class ThreeYearsAgo:
    def now_us(self):
        return time.time_ns() // 1000 - 3 * 365 * 86_400 * 1_000_000


class Platform:
    """What the intake needs of a platform: who is enrolled, a guard, a durable journal."""

    def __init__(self, journal, fingerprints, guard_limits=None):
        self.fingerprints = fingerprints  # name → certificate's SHA-256; the password is pw-<name>
        self.guard_limits = guard_limits or Limits()
        self.failure = None  # raised by accept instead of taking a message
        self.gate = None  # an asyncio.Event that accept waits for
        self.accepting = 0
        self.journal = sqlite3.connect(journal, isolation_level=None, check_same_thread=False)
        self.journal.execute("PRAGMA journal_mode=WAL")
        self.journal.execute("PRAGMA synchronous=FULL")
        self.journal.execute(
            "CREATE TABLE IF NOT EXISTS raw(n INTEGER PRIMARY KEY, credential, form, raw BLOB)"
        )
        self.waiting = []
        self.writing = None

    async def authenticate(self, name, certificate_sha256, password):
        known = self.fingerprints.get(name)
        good = hmac.compare_digest(password, f"pw-{name}".encode())
        return known == certificate_sha256 and good

    async def accept(self, credential, form, raw):
        guard(raw, form, self.guard_limits)
        if self.failure is not None:
            raise self.failure
        self.accepting += 1
        if self.gate is not None:
            await self.gate.wait()
        done = asyncio.get_running_loop().create_future()
        self.waiting.append(((credential, form, raw), done))
        if self.writing is None:
            self.writing = asyncio.ensure_future(self._write())
        offset = await done
        self.accepting -= 1
        message = sha256(raw).hexdigest()
        return json.dumps({"type": "accepted", "message": message, "note": f"{offset}"})

    async def _write(self):
        while self.waiting:
            rows, self.waiting = self.waiting, []
            last = await asyncio.to_thread(self._commit, [row for row, _ in rows])
            for n, (_, done) in enumerate(rows, last - len(rows) + 1):
                done.set_result(n)
        self.writing = None

    def _commit(self, rows):
        self.journal.execute("BEGIN")
        self.journal.executemany("INSERT INTO raw(credential,form,raw) VALUES(?,?,?)", rows)
        last = self.journal.execute("SELECT max(n) FROM raw").fetchone()[0]
        self.journal.execute("COMMIT")
        return last

    def rows(self):
        return self.journal.execute("SELECT credential, form, raw FROM raw ORDER BY n").fetchall()


class Pki:
    """A CA, a server certificate, and devices `a` and `b`; a foreign CA and an expired device."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.ca = pki.create_ca(folder, ThreeYearsAgo())
        self._put("expired-a", pki.issue_device(self.ca, "a", ThreeYearsAgo()))
        self._put("server", pki.issue_server(self.ca, [], clock))
        for name in ("a", "b"):
            self._put(name, pki.issue_device(self.ca, name, clock))
        (folder / "foreign").mkdir()
        foreign = pki.create_ca(folder / "foreign", clock)
        self._put("foreign-a", pki.issue_device(foreign, "a", clock))

    def _put(self, name, pair):
        (self.folder / f"{name}.crt").write_bytes(pair[0])
        pki.write_private(self.folder / f"{name}.key", pair[1])

    def server(self):
        return pki.server_context(
            self.folder / "server.crt", self.folder / "server.key", self.folder / "ca.crt"
        )

    def client(self, name="a"):
        files = (self.folder / f"{name}.crt", self.folder / f"{name}.key") if name else ()
        return pki.client_context(self.folder / "ca.crt", *files)

    def fingerprints(self):
        return {n: pki.fingerprint((self.folder / f"{n}.crt").read_bytes()) for n in ("a", "b")}


class Running:
    """A platform and its intake server on an event loop in a thread of its own."""

    def __init__(self, keys, journal, *, limits=None, guard_limits=None, port=0):
        self.platform = Platform(journal, keys.fingerprints(), guard_limits)
        self.server = MqttServer(self.platform, limits=limits or MqttLimits(linger_s=0.1))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port = self.do(self.server.start("127.0.0.1", port, keys.server()))
        self.hub = self.server._hub

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, function, *args):
        async def run():
            return function(*args)

        return self.do(run())

    def wait_for(self, condition, what="", timeout_s=10):
        end = time.monotonic() + timeout_s
        while not self.call(condition):
            assert time.monotonic() < end, what or "it did not happen in time"
            time.sleep(0.01)

    def close(self):
        self.do(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        self.platform.journal.close()


@contextlib.contextmanager
def running(keys, journal, **options):
    """A served platform, stopped at the end."""
    it = Running(keys, journal, **options)
    try:
        yield it
    finally:
        it.close()


class RawClient:
    """A client that says whatever bytes it is told to, over TLS."""

    def __init__(self, keys, port, name="a"):
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket = keys.client(name).wrap_socket(plain, server_hostname="127.0.0.1")
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def packet(self):
        """The next whole packet; b"" at the end of the stream."""
        while True:
            ends = packet_end(self.buffer, 0) if self.buffer else None
            if ends and len(self.buffer) >= ends[1]:
                packet, self.buffer = self.buffer[: ends[1]], self.buffer[ends[1] :]
                return packet
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return b""
            self.buffer += data

    def packets(self):
        """All until the server closes."""
        return list(iter(self.packet, b""))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class V5Client(RawClient):
    """Speaks MQTT 5 by the mqtt5 codec; `connect` returns the server's CONNACK."""

    def connect(self, client_id="c", *, name="a", password=None, **properties):
        secret = f"pw-{name}".encode() if password is None else password
        self.send(
            mqtt5.ConnectPacket(client_id, username=name, password=secret, **properties).write()
        )
        return self.read()

    def read(self):
        """The next packet, decoded; None at the end of the stream."""
        packet = self.packet()
        return mqtt5.read(memoryview(packet))[0] if packet else None

    def publish(self, topic, payload, packet_id=None, **properties):
        qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
        qos = properties.pop("qos", qos)
        packet = mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, **properties)
        self.send(packet.write())

    def subscribe(self, *filters, packet_id=9):
        wanted = [mqtt5.TopicFilter(name) for name in filters]
        self.send(mqtt5.SubscribePacket(packet_id, wanted).write())
        return self.read()


def text3(value):
    data = value if isinstance(value, bytes) else value.encode()
    return len(data).to_bytes(2, "big") + data


class V3Client(RawClient):
    """Speaks MQTT 3.1.1 by hand; `connect` returns the server's return code."""

    def connect(self, client_id="c", *, name="a", password=None, flags=0xC2, keep_alive_s=60):
        secret = f"pw-{name}" if password is None else password
        body = text3("MQTT") + bytes((4, flags)) + keep_alive_s.to_bytes(2, "big")
        body += text3(client_id) + text3(name) + text3(secret)
        self.send(b"\x10" + length_bytes(len(body)) + body)
        answer = self.packet()
        return answer[3] if answer[:3] == b"\x20\x02\x00" else answer

    def publish(self, topic, payload, packet_id=None, first=None):
        body = text3(topic) + (b"" if packet_id is None else packet_id.to_bytes(2, "big"))
        kind = first if first is not None else (0x30 if packet_id is None else 0x32)
        self.send(bytes((kind,)) + length_bytes(len(body) + len(payload)) + body + payload)

    def subscribe(self, *filters, packet_id=9):
        body = packet_id.to_bytes(2, "big") + b"".join(text3(each) + b"\x01" for each in filters)
        self.send(b"\x82" + length_bytes(len(body)) + body)
        return self.packet()[4:]

    def receipt(self):
        """(topic, JSON) of the next packet, which is a receipt; it is acknowledged."""
        packet = self.packet()
        assert packet[:1] == b"\x32", packet
        cursor = Cursor(packet, packet_end(packet, 0)[0])
        topic, packet_id = cursor.text(), cursor.u16()
        self.send(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        return topic, json.loads(cursor.rest())


async def serve(folder, keys_folder, port):
    """Serve for ever, with the keys that a test has made."""
    keys = Pki.__new__(Pki)
    keys.folder = keys_folder
    server = MqttServer(Platform(folder / "journal.db", keys.fingerprints()), limits=MqttLimits())
    bound = await server.start("127.0.0.1", port, keys.server())
    print(bound, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
