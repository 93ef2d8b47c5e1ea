"""`python -m tests.faults.one_commit`: one message's whole way on a data folder, and a look at it.

It imports once and forks for each command, a line on standard input; each answer is a line:

    commit DATA SAID    a child opens DATA and stops itself, so that a tracer can take hold of it;
                        continued, it appends, commits, publishes, stores, syncs, and writes to the
                        file SAID what it was told, as it was told. Answers "stopped PID"
    wait PID            answers with the status once the child ended
    restart DATA SAID   a child opens DATA again, takes what the bus has and ends; then it looks at
                        all there is, and writes to SAID what it found. Answers "stopped PID", too

One thread does all of `commit`, so that the n-th system call is the same in every run.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED
from bal.errors import GridsealError, Unavailable
from bal.ports import Intake
from infra.committed import Committed, Progress
from infra.fsck import fsck
from infra.log_reader import batch_headers
from infra.replay import replay
from tests.journey.small_platform import Small, cim

SENDER = "headend"
BEFORE = 4  # messages in the folder, the last two not settled
METERS, NEW_METERS = range(45), range(40, 70)  # the last message fills a tile, and begins another
RAW = cim(BEFORE, NEW_METERS)

Say = Callable[..., None]


def prepare(data: Path) -> None:
    """The folder that every case starts with a copy of."""
    small = Small(data)
    small.start()
    small.enrol(SENDER)
    for number in range(BEFORE):
        small.take(SENDER, cim(number, METERS))
    small.kill()


def commit(small: Small, say: Say) -> None:
    """The way of RAW; what fails is tried once more where a platform would try again."""
    stores, sequencer, worker = small.stores, small.sequencer, small.worker

    def append() -> list[int]:
        return stores.bus.append([Intake(SENDER, "cim", small.clock.now_us(), RAW)])

    [offset] = twice(append, say)
    say("accepted", offset)
    [message] = stores.bus.read(offset, 1)
    worked = worker.process(message)
    worker.apply(worked.drafts)
    heads = sequencer.heads
    last = heads.taken[f"{stores.bus.epoch}/0"]
    inputs = {"registry": str(heads.size), "rules": small.rules}
    first, *_ = sequencer.commit(worked.batches(last, inputs))
    say("committed", first)
    twice(sequencer.publish, say)
    say("published", sequencer.heads.size)
    done = [Committed(worked, first, sha256(RAW).digest())]
    heads = sequencer.heads
    progress = Progress(heads.version, heads.size, offset + 1, offset + 1)
    twice(lambda: stores.projector.store(done, progress), say)
    say("certified", first)
    twice(lambda: stores.bus.trim(small.engine.settler.settle()), say)
    say("settled")


def twice(call: Callable[[], Any], say: Say) -> Any:
    try:
        return call()
    except Unavailable as error:
        say("unavailable", str(error))
        return call()


def restart(data: Path, say: Say) -> None:
    """What an operator's restart makes of it, and what all audits say then."""
    small = Small(data)
    small.start()
    end = small.stores.bus.end()
    source = f"{small.stores.bus.epoch}/0"
    while small.sequencer.heads.taken.get(source, -1) + 1 < end:
        small.wait(len(small.certified) + 1)
    small.take(SENDER, cim(BEFORE + 1, METERS))
    small.close()
    differences = [str(one) for audit in (fsck(data), replay(data)) for one in audit.differences]
    say("differences", differences)
    small = Small(data)
    at = [index for index, raw in messages(small) if raw == RAW]
    rows = small.stores.customer_db.records(0, small.stores.customer_db.size())
    count = sum(row.kind == "reading" for row in rows)
    say("found", at, count - (BEFORE + 1) * len(METERS))
    small.release()


def messages(small: Small) -> list[tuple[int, bytes]]:
    """First index and raw bytes of every message that the log took."""
    found = []
    for _, header in batch_headers(small.stores.log):
        data = jcs.decode(header)
        if data["epoch"] not in {OWN_SOURCE, DERIVED} and "again" not in data:
            place = data["epoch"], int(data["partition"]), int(data["offset"])
            raw = small.stores.archive.raw(*place)
            assert raw is not None, place
            found.append((int(data["first"]), raw.raw))
    return found


def child(work: str, data: Path, said: str) -> None:
    """One command in a process of its own; whatever it raises is told."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)

    def say(*what: object) -> None:
        os.write(descriptor, json.dumps(what).encode() + b"\n")

    try:
        if work == "prepare":
            prepare(data)
        elif work == "commit":
            small = Small(data)
            os.kill(os.getpid(), signal.SIGSTOP)
            commit(small, say)
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
            restart(data, say)
    except GridsealError as error:
        say("error", type(error).__name__, str(error))
    except BaseException as error:
        say("defect", type(error).__name__, str(error))
        raise
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        work, *more = line.split()
        if work == "wait":
            _, status = os.waitpid(int(more[0]), 0)
            print("ended", os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                child(work, Path(more[0]), more[1])
            finally:
                os._exit(1)
        if work != "prepare":
            os.waitpid(pid, os.WUNTRACED)
        print("stopped", pid, flush=True)


if __name__ == "__main__":
    main()
