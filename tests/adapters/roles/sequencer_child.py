"""A sequencer in a process of its own: `python sequencer_child.py DATA POINT FAULT [CONFIG]`.

On SIGUSR1 it is armed: the next time that it passes the line POINT it says so and stops itself
(FAULT: STOP or KILL) there. It notes each swap that it won in `swaps`, and each checkpoint that it
signed in `signed`, before anybody else can know.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bal.errors import GridsealError
from bal.ports import Commit
from infra.config import load
from infra.file_log import FileLog
from infra.roles import sequencer as module
from infra.roles.channels import open_channels
from infra.roles.making import Made, begin
from infra.roles.ports import Channels
from infra.roles.positions import SqlitePositions
from infra.roles.sequencer import SequencerRole, sequencer_role
from infra.roles.stores import open_stores
from infra.signer_memory import GuardedSigner
from infra.system_clock import SystemClock
from tests.stop_signal import stopped_by

POINTS = ("swap", "integrate", "sign", "publish")  # each is passed before the call of that name


class Line:
    """Where the process stops itself, once it is armed."""

    def __init__(self, point: str, fault: str) -> None:
        self.point, self._fault = point, fault
        self.armed = False

    def before(self, owner: object, name: str) -> None:
        """Stop before the call `owner.name`."""
        whole: Callable[..., object] = getattr(owner, name)

        def stopping(*arguments: object) -> object:
            if self.armed:
                self.armed = False
                note(f"at {self.point}")
                os.kill(os.getpid(), getattr(signal, f"SIG{self._fault}"))
            return whole(*arguments)

        setattr(owner, name, stopping)


def note(text: str) -> None:
    print(text, flush=True)


def noting(data: Path, file: str, line: str) -> None:
    with (data / "keys" / file).open("a") as notes:
        notes.write(f"{os.getpid()} {line}\n")


def watch_log(data: Path, log: FileLog, line: Line) -> FileLog:
    swap = log.swap

    def noted(commit: Commit) -> None:
        swap(commit)
        noting(data, "swaps", f"{commit.new.version} {commit.new.size} {commit.new.root.hex()}")

    log.swap = noted  # type: ignore[method-assign]
    if line.point != "sign":
        line.before(log, line.point)
    return log


def watch_signer(data: Path, signer: GuardedSigner, line: Line) -> GuardedSigner:
    sign = signer.sign

    def noted(text: bytes) -> bytes:
        made = sign(text)
        noting(data, "signed", json.dumps((text + b"\n" + made).decode()))
        return made

    signer.sign = noted  # type: ignore[method-assign]
    if line.point == "sign":
        line.before(signer, "sign")
    return signer


def channels_of(made: Made) -> Channels:
    """Kafka's, where the test made topics there; else files."""
    if not (made.folder.root.parent / "channels.json").exists():
        return open_channels(made)
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "ports")]
    from kafka_support import open_channels as on_kafka

    return on_kafka(made.folder.root.parent)


def role_of(data: Path, config: Path | None, line: Line) -> SequencerRole:
    open_log, log_signer = module.open_log, module.log_signer
    module.open_log = lambda *a, **k: watch_log(data, open_log(*a, **k), line)  # type: ignore[assignment]
    module.log_signer = lambda *a: watch_signer(data, log_signer(*a), line)
    clock = SystemClock()
    made = begin(data, load(config), clock)
    stores = open_stores(made.folder, clock, "sequencer")
    return sequencer_role(
        made.folder,
        made.config,
        made.facts,
        channels=channels_of(made),
        positions=SqlitePositions(data),
        stored=stores.projector,
        rows=stores.customer_db,
        vault=stores.vault,
        book=stores.book,
        clock=clock,
    )


def main() -> int:
    data, point, fault, *config = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    line, stopping = Line(point, fault), stopped_by(signal.SIGTERM)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(line, "armed", True))
    role = role_of(Path(data), Path(config[0]) if config else None, line)
    note("begun")
    try:
        role.run(stopping)
    except GridsealError as error:
        note(f"stopped: {error}")
        return 1
    note("ended")
    return 0


if __name__ == "__main__":
    with closing(sys.stdout):
        code = main()
    os._exit(code)
