"""Which processes of a role live, on one host: locks of the kernel tell, and a beat.

Each member holds a lock on a file of its own (flock), which the kernel frees the moment that the
process ends, however it ends, and writes the time into it once a second, which one that is stopped
does not. Who has which share stands in `members.db`.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from threading import Event, Lock, Thread

from bal.errors import Unavailable
from infra.files import make_folder
from infra.sqlite_file import SqliteFile, translated

SESSION_S = 6  # without a beat, after which a member counts as stopped
_BEAT_S = 1.0
_LOOK_NS = 100_000_000  # `mine` looks no more often
_OFFERED_NS = 2_000_000_000  # a share given up waits for whom it was given up for
_SECOND_NS = 1_000_000_000

_FILE = "members.db"
_SCHEMA = """
CREATE TABLE shares(role TEXT, share INTEGER, owner TEXT NOT NULL, number INTEGER NOT NULL,
    freed_ns INTEGER NOT NULL, PRIMARY KEY(role, share)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Share:
    """Who has a share; all times are of this host's monotonic clock."""

    share: int
    owner: str = ""  # empty: given up
    number: int = 0  # grows with every owner
    freed_ns: int = 0  # when it was given up


def wanted(
    me: str, shares: Sequence[Share], living: Collection[str], now_ns: int
) -> tuple[set[int], set[int]]:
    """The shares that a member is to give up, and those that it is to take.

    living: the members' names, with `me`. Nobody gets more than ceil(shares / members), and in the
    end nobody has two more than another. Who has too many gives up; nobody takes from the living.
    """
    counts = dict.fromkeys(living, 0)
    for one in shares:
        if one.owner in counts:
            counts[one.owner] += 1
    mine = [one.share for one in shares if one.owner == me]
    free = [one for one in shares if one.owner not in counts]
    most = -(-len(shares) // len(counts))
    if len(mine) > most:
        return set(mine[most:]), set()
    top = max(counts.values())
    first = min(name for name, count in counts.items() if count == top)
    if not free and top - min(counts.values()) > 1 and me == first:
        return {mine[-1]}, set()
    taken: set[int] = set()
    for one in free:
        waited = one.owner or now_ns - one.freed_ns > _OFFERED_NS
        if counts[me] < most and (waited or counts[me] == min(counts.values())):
            taken.add(one.share)
            counts[me] += 1
    return set(), taken


class SqliteMembers:
    """Members (infra/roles/ports.py) of one role, for processes that share `folder`."""

    def __init__(self, folder: Path, role: str, shares: int) -> None:
        """Join. Raises Unavailable where the disk refuses."""
        self._role, self._shares = role, shares
        self._lock = Lock()
        self._looked_ns, self._mine = -_SECOND_NS, dict[int, int]()
        self._end = Event()
        with translated(folder.name):
            self._folder = make_folder(folder / role)
            self._file = SqliteFile(folder / _FILE, _SCHEMA, form=1, lazy=True)
            self.name, self._descriptor = self._join()
        self._thread = Thread(target=self._go_on_beating, name=f"beat {role}", daemon=True)
        self._thread.start()

    def mine(self) -> Mapping[int, int]:
        """This process's shares now, each with a number that is another where it was lost between.

        Raises Unavailable where the disk refuses.
        """
        with self._lock:
            if self._end.is_set():
                raise Unavailable(f"{self._role} has left")
            now_ns = time.monotonic_ns()
            if now_ns - self._looked_ns < _LOOK_NS:
                return dict(self._mine)
            with translated(_FILE):
                self._beat()
                living = self._living(now_ns)
            with self._file.reading() as db:
                shares = self._read(db)
            if any(wanted(self.name, shares, living, now_ns)):
                with self._file.writing() as db:
                    shares = self._read(db)
                    self._change(db, shares, living, now_ns)
                    shares = self._read(db)
            self._mine = {one.share: one.number for one in shares if one.owner == self.name}
            self._looked_ns = now_ns
            return dict(self._mine)

    def close(self) -> None:
        """Leave; what one had is free at once."""
        with self._lock:
            if self._end.is_set():
                return
            self._end.set()
        self._thread.join()
        with suppress(Unavailable), self._file.writing() as db:
            db.execute("UPDATE shares SET owner = '' WHERE owner = ?", (self.name,))
        self._path(self.name).unlink(missing_ok=True)
        os.close(self._descriptor)
        self._file.close()

    def _read(self, db: Connection) -> list[Share]:
        sql = "SELECT share, owner, number, freed_ns FROM shares WHERE role = ?"
        found = {row[0]: Share(*row) for row in db.execute(sql, (self._role,))}
        return [found.get(share, Share(share)) for share in range(self._shares)]

    def _change(
        self, db: Connection, shares: Sequence[Share], living: Collection[str], now_ns: int
    ) -> None:
        given_up, taken = wanted(self.name, shares, living, now_ns)
        for one in shares:
            if one.share in given_up:
                row = (self._role, one.share, "", one.number, now_ns)
            elif one.share in taken:
                row = (self._role, one.share, self.name, one.number + 1, 0)
            else:
                continue
            db.execute("INSERT OR REPLACE INTO shares VALUES(?, ?, ?, ?, ?)", row)

    # -- who lives -----------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _join(self) -> tuple[str, int]:
        while True:
            name = f"{os.getpid()}-{secrets.token_hex(4)}"
            descriptor = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write_beat(descriptor)
                self._path(name).stat()  # else another one took it for a dead one's
            except (BlockingIOError, FileNotFoundError):
                os.close(descriptor)
                continue
            return name, descriptor

    def _beat(self) -> None:
        _write_beat(self._descriptor)

    def _go_on_beating(self) -> None:
        while not self._end.wait(_BEAT_S):
            with suppress(OSError):
                self._beat()

    def _living(self, now_ns: int) -> set[str]:
        """Those who hold their lock and beat; files of the dead are removed."""
        found = {self.name}
        for path in self._folder.glob("*.lock"):
            if path.stem == self.name:
                continue
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    beat_ns = int(os.pread(descriptor, 20, 0) or 0)
                    if now_ns - beat_ns <= SESSION_S * _SECOND_NS:
                        found.add(path.stem)
                finally:
                    os.close(descriptor)
        return found


def _write_beat(descriptor: int) -> None:
    os.pwrite(descriptor, b"%020d" % time.monotonic_ns(), 0)
