"""All the servers of a data folder: brought up together, looked at, taken down."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bal.errors import GridsealError, Stop, Unavailable
from infra.files import make_folder
from infra.servers import cassandra, chains, fetch, kafka, mosquitto, process
from infra.servers.connect import cassandra_at, kafka_at
from infra.servers.java import find_java
from infra.servers.kafka_rights import ensure_rights
from infra.servers.place import NAMES, Entry, Place, Say, Seen, kept_ports, read_state, write_state


@dataclass(frozen=True, slots=True)
class _Recipe:
    version: Callable[[], str]
    ports: tuple[str, ...]
    prepare: Callable[[Place, Entry], None]
    command: Callable[[Place, Entry, "Material"], list[str]]
    prove: Callable[[Place, Entry], None]
    settle: Callable[[Place, Entry], None]  # roles and rights, each time
    start_timeout_s: int
    stop_grace_s: int
    timer_slack_us: int = 0


@dataclass(frozen=True, slots=True)
class Material:
    """What was fetched for one server."""

    java: Path | None = None
    jars: tuple[Path, ...] = ()
    modules: Path | None = None


def up(data: Path, names: Sequence[str], cache: Path, say: Say) -> list[Seen]:
    """Start those that don't run, all at once, and wait until each has proved itself.

    What is kept of an earlier start (data, ports, passwords, certificates) is used again. One
    that can't be had, or does not start, says so in its `state`; the others stay up.
    Raises Stop("servers-state").
    """
    with _held(_home(data) / "lock"):
        state = read_state(data)
        taken = {int(v) for e in state.values() for k, v in e.items() if k.endswith("port")}
        keeping = threading.Lock()

        def keep(name: str, entry: Entry) -> None:
            with keeping:
                state[name] = entry
                write_state(data, state)

        def one(name: str) -> Seen:
            place, entry = Place(data, name), dict(state.get(name, {}))
            since = time.monotonic()
            try:
                child = _answering(place, entry)
                if child is None:
                    material = _material(name, cache, say)
                    with keeping:
                        entry.update(kept_ports(entry, RECIPES[name].ports, taken))
                    child = _start(place, entry, material, lambda: keep(name, entry), say)
            except (GridsealError, OSError) as error:
                say(name, "failed", 1, 1)
                return _failed(place, entry, error)
            say(name, "up", 1, 1)
            return _as_seen(place, entry, child, "up", time.monotonic() - since)

        with ThreadPoolExecutor(len(NAMES)) as pool:
            return list(pool.map(one, names))


def fetch_all(cache: Path) -> None:
    """Fetch what all of them run on, without starting any. Raises Stop."""
    for name in NAMES:
        _material(name, cache, lambda *_: None)


def down(data: Path, names: Sequence[str], say: Say) -> list[Seen]:
    """Stop those that run, all at once: SIGTERM, and SIGKILL where that does not help."""

    def one(name: str) -> Seen:
        say(name, "stopping", 0, 1)
        how = _stop(data, name)
        say(name, how, 1, 1)
        return Seen(name, how)

    lock = _home(data) / "lock"
    with _held(lock), ThreadPoolExecutor(len(NAMES)) as pool:
        return list(pool.map(one, names))


def status(data: Path, names: Sequence[str] = NAMES) -> list[Seen]:
    """Each server as it is now; one that runs is asked to prove itself."""
    state = read_state(data)
    with ThreadPoolExecutor(len(NAMES)) as pool:
        return list(pool.map(lambda name: _seen(Place(data, name), state.get(name)), names))


def running(data: Path, names: Sequence[str]) -> list[str]:
    """Names of those whose process is alive; they are not asked anything."""
    return [name for name in names if _child(data, name) is not None]


# --- one server -----------------------------------------------------------------------------------


def _answering(place: Place, entry: Entry) -> process.Child | None:
    """The child that runs already and proves to be ours; None when there is none, or it ends."""
    child, recipe = process.found(place.folder), RECIPES[place.name]
    if child is None:
        return None
    try:
        prove = partial(recipe.prove, place, entry)
        process.wait_ready(child, prove, place.log, recipe.start_timeout_s)
    except Stop:
        if process.running(child):
            raise
        return None
    return child


def _start(
    place: Place, entry: Entry, material: Material, keep: Callable[[], None], say: Say
) -> process.Child:
    """Configure, start, wait for the proof, and see to roles and rights. A failed one is ended."""
    recipe = RECIPES[place.name]
    say(place.name, "starting", 0, 0)
    make_folder(place.folder)
    recipe.prepare(place, entry)
    entry.update(version=recipe.version(), files=place.files)
    keep()  # before there is data that belongs to it
    command = recipe.command(place, entry, material)
    child = process.spawn(place.folder, place.log, command, timer_slack_us=recipe.timer_slack_us)
    try:
        prove = partial(recipe.prove, place, entry)
        process.wait_ready(child, prove, place.log, recipe.start_timeout_s)
        recipe.settle(place, entry)
    except BaseException:
        process.stop(child, recipe.stop_grace_s)
        raise
    return child


def _material(name: str, cache: Path, say: Say) -> Material:
    def report(done: int, of: int) -> None:
        say(name, "fetching", done, of)

    store = make_folder(cache / "servers")
    try:
        if name in {"kafka", "cassandra"}:
            return Material(java=find_java()[0], jars=tuple(fetch.jars(name, store, report)))
        if name in chains.NAMES:
            with _held(store / "npm.lock"):  # Anvil and Ganache come together
                return Material(modules=fetch.node_modules(store, report))
    except Unavailable as error:
        raise Stop("servers-fetch", f"{error}: try again, or look at the network") from error
    return Material()


def _stop(data: Path, name: str) -> str:
    folder = Place(data, name).folder
    child = process.found(folder)
    if child is None:
        return "not running"
    how = process.stop(child, RECIPES[name].stop_grace_s)
    (folder / "pid").unlink(missing_ok=True)
    return how


def _child(data: Path, name: str) -> process.Child | None:
    return process.found(Place(data, name).folder)


def _seen(place: Place, entry: Entry | None) -> Seen:
    if entry is None:
        return Seen(place.name, "never started")
    child = process.found(place.folder)
    if child is None:
        version = str(entry.get("version", ""))
        return Seen(place.name, "down", version=version, log=str(place.log))
    try:
        RECIPES[place.name].prove(place, entry)
        state = "up"
    except (OSError, GridsealError) as error:
        state = f"runs but does not answer: {error}"
    return _as_seen(place, entry, child, state, 0.0)


def _as_seen(place: Place, entry: Entry, child: process.Child, state: str, took_s: float) -> Seen:
    return Seen(
        name=place.name,
        state=state,
        version=str(entry.get("version", "")),
        pid=child.pid,
        address=f"127.0.0.1:{entry['port']}",
        memory_bytes=process.memory_bytes(child),
        log=str(place.log),
        ready_s=round(took_s, 1),
    )


def _failed(place: Place, entry: Entry, error: Exception) -> Seen:
    return Seen(
        name=place.name,
        state=error.text if isinstance(error, Stop) else str(error),
        code=error.code if isinstance(error, Stop) else "servers-start",
        version=str(entry.get("version", "")),
        log=str(place.log),
    )


def _home(data: Path) -> Path:
    make_folder(data)  # each with its own mode
    return make_folder(data / "servers")


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """One command at a time, and one thread of it, goes in; the others wait."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- what each one needs --------------------------------------------------------------------------


def _kafka_command(place: Place, entry: Entry, material: Material) -> list[str]:
    assert material.java is not None
    kafka.format_data(place, entry, material.java, list(material.jars))
    return kafka.command(place, entry, material.java, list(material.jars))


def _cassandra_command(place: Place, entry: Entry, material: Material) -> list[str]:
    assert material.java is not None
    return cassandra.command(place, entry, material.java, list(material.jars))


def _chain_command(place: Place, entry: Entry, material: Material) -> list[str]:
    assert material.modules is not None
    return chains.command(place, entry, material.modules)


def _nothing(_place: Place, _entry: Entry) -> None:
    return


def _chain(name: str) -> _Recipe:
    return _Recipe(
        version=lambda: chains.VERSIONS[name],
        ports=chains.PORTS,
        prepare=chains.prepare,
        command=_chain_command,
        prove=chains.prove,
        settle=_nothing,
        start_timeout_s=chains.START_TIMEOUT_S,
        stop_grace_s=chains.STOP_GRACE_S,
    )


RECIPES = {
    "kafka": _Recipe(
        version=lambda: kafka.VERSION,
        ports=kafka.PORTS,
        prepare=kafka.prepare,
        command=_kafka_command,
        prove=kafka.prove,
        settle=lambda place, entry: ensure_rights(kafka_at(place, entry)),
        start_timeout_s=kafka.START_TIMEOUT_S,
        stop_grace_s=kafka.STOP_GRACE_S,
    ),
    "cassandra": _Recipe(
        version=lambda: cassandra.VERSION,
        ports=cassandra.PORTS,
        prepare=cassandra.prepare,
        command=_cassandra_command,
        prove=cassandra.prove,
        settle=lambda place, entry: cassandra.ensure_roles(cassandra_at(place, entry)),
        start_timeout_s=cassandra.START_TIMEOUT_S,
        stop_grace_s=cassandra.STOP_GRACE_S,
        timer_slack_us=cassandra.TIMER_SLACK_US,
    ),
    "mosquitto": _Recipe(
        version=lambda: mosquitto.find()[1],
        ports=mosquitto.PORTS,
        prepare=mosquitto.prepare,
        command=lambda place, _entry, _material: mosquitto.command(place),
        prove=mosquitto.prove,
        settle=_nothing,
        start_timeout_s=mosquitto.START_TIMEOUT_S,
        stop_grace_s=mosquitto.STOP_GRACE_S,
    ),
    "anvil": _chain("anvil"),
    "ganache": _chain("ganache"),
}
