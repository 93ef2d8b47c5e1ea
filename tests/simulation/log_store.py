"""The tile log's storage, as little kind as a folder of files: what is not settled may be lost.

`LogDisk` is what several sequencers share; each works through a `LogView` of its own, at whose
calls it may crash or be stopped. As infra/file_log.py has it: heads row and staging are durable at
once, tiles, headers and the published checkpoint only after `settle`; a power cut takes some of
them, or leaves a torn one.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from bal import jcs
from bal.certify.note import checkpoint_head
from bal.certify.tiles import split_bundle
from bal.certify.tree import EMPTY_ROOT
from bal.errors import Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Commit, Heads
from infra.key_signer import KeySigner
from tests.simulation.world import Failed, Process, World

WIDTH = 256
ENTRIES = -1  # the level of entry bundles


class LogDisk:
    """Files and rows, and what must be true of them at every moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.row = Heads(0, 0, EMPTY_ROOT, {})
        self.staging: dict[tuple[int, bytes], Commit] = {}
        self.headers: dict[int, list[bytes]] = {}
        self.published: tuple[TreeHead, bytes] | None = None
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}  # every root ever swapped in or signed
        self.versions = 0  # swaps that won
        self.sizes: dict[int, int] = {}  # by version
        self.by_batch: dict[tuple[str, int], dict[str, Any]] = {}  # headers of first parts
        self._tiles: dict[tuple[int, int], dict[int, tuple[bytes, bool]]] = {}
        self._new_headers: set[int] = set()
        self._durable_published: tuple[TreeHead, bytes] | None = None
        self._unsettled: list[tuple[int, bytes]] = []
        self._dirty: set[tuple[int, int]] = set()

    def note_root(self, head: TreeHead) -> None:
        """Never two roots at one size."""
        if self.roots.setdefault(head.size, head.root) != head.root:
            raise Failed(f"two roots at size {head.size}")

    def check_redone(self, version: int) -> None:
        """After a start from a version all its headers are there again, whatever was lost."""
        missing = [at for at in range(1, version + 1) if at not in self.headers]
        if missing:
            raise Failed(f"version {missing[0]} of {version} has no headers after a start")

    def settle(self) -> None:
        """fsync: what could redo it is no longer needed."""
        for key in self._dirty:
            widths = self._tiles[key]
            widest = max(widths)
            self._tiles[key] = {widest: (widths[widest][0], True)}
        self._dirty.clear()
        self._new_headers.clear()
        self._durable_published = self.published
        for place in self._unsettled:
            self.staging.pop(place, None)
        self._unsettled.clear()

    def power_cut(self, dice: Random) -> None:
        """Some of what is not settled is lost, some of it is torn."""
        for key in sorted(self._dirty):
            widths = self._tiles[key]
            for width, (data, durable) in sorted(widths.items()):
                fate = dice.random()
                if not durable and fate < 0.4:
                    del widths[width]
                elif not durable and fate < 0.6:
                    widths[width] = data[: dice.randrange(len(data))], False
            if not widths:
                del self._tiles[key]
        self._dirty &= self._tiles.keys()
        for version in sorted(self._new_headers):
            if dice.random() < 0.5:
                self.headers.pop(version, None)
        if dice.random() < 0.5:
            self.published = self._durable_published
        self._unsettled.clear()

    def write(self, level: int, n: int, width: int, data: bytes) -> None:
        widths = self._tiles.setdefault((level, n), {})
        for old in [w for w, (_, durable) in widths.items() if w < width and not durable]:
            del widths[old]
        known = widths.get(width)
        if known is None or known[0] != data:  # on a redo it may be the one copy that is fsynced
            if known is not None and known[1]:
                raise Failed(f"tile {level}/{n} of {width} is written anew with other bytes")
            widths[width] = data, False
        self._dirty.add((level, n))

    def read(self, level: int, n: int, width: int) -> bytes:
        widths = self._tiles.get((level, n), {})
        wide = [width] if width in widths else sorted(w for w in widths if w >= width)
        if not wide:
            raise KeyError(f"tile {level}/{n} of {width}")
        return widths[wide[0]][0]

    def keep_headers(self, version: int, headers: Sequence[bytes]) -> None:
        if self.headers.get(version) == headers:
            return
        if version in self.headers:
            raise Failed(f"version {version} is written anew with other headers")
        self.headers[version] = list(headers)
        self._new_headers.add(version)
        for header in headers:
            data = jcs.decode(header)
            if data["part"] == "0":
                self.by_batch[f"{data['epoch']}/{data['partition']}", int(data["offset"])] = data

    def integrated(self, place: tuple[int, bytes]) -> None:
        self._unsettled.append(place)

    def files(self) -> list[tuple[tuple[int, int], dict[int, bytes]]]:
        """By level and number, the bytes by width."""
        return [
            (key, {width: data for width, (data, _) in widths.items()})
            for key, widths in sorted(self._tiles.items())
        ]

    # -- TileReader -----------------------------------------------------------------------

    def tile(self, level: int, n: int, width: int) -> bytes:
        data = self.read(level, n, width)
        if len(data) < 32 * width:
            raise KeyError(f"tile {level}/{n} has fewer than {width} hashes")
        return data[: 32 * width]

    def bundle(self, n: int, width: int) -> bytes:
        try:
            found = split_bundle(self.read(ENTRIES, n, width))
        except ValueError as error:
            raise KeyError(str(error)) from error
        if len(found) < width:
            raise KeyError(f"bundle {n} has fewer than {width}")
        return b"".join(len(one).to_bytes(2, "big") + one for one in found[:width])

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        return self.published

    def headers_after(
        self, after: tuple[int, int], limit: int
    ) -> list[tuple[tuple[int, int], bytes]]:
        found: list[tuple[tuple[int, int], bytes]] = []
        version = max(1, after[0])
        last = max(self.row.version, max(self._new_headers, default=0))
        while version <= last and len(found) < limit:
            for number, header in enumerate(self.headers.get(version, ())):
                if (version, number) > after:
                    found.append(((version, number), header))
            version += 1
        return found[:limit]


class LogReader:
    """The log as a process looks at it that does not write to it."""

    def __init__(self, disk: LogDisk) -> None:
        self._disk = disk
        self.tile, self.bundle, self.checkpoint = disk.tile, disk.bundle, disk.checkpoint
        self.headers = disk.headers_after

    def heads(self) -> Heads:
        if self._disk.world.hit("heads row refused", 0.0005, 0.005):
            raise Unavailable("the heads row can't be read")
        return self._disk.row


class LogView(LogReader):
    """LogStore and TileReader (bal.ports) of one sequencer process."""

    def __init__(self, disk: LogDisk, process: Process) -> None:
        super().__init__(disk)
        self._process = process

    def stage(self, commit: Commit) -> None:
        self._point("before stage")
        if self._disk.world.hit("staging refused", 0.001, 0.01):
            raise Unavailable("the log's disk refuses")
        self._disk.staging[commit.new.version, commit.new.root] = commit
        self._point("before swap")

    def swap(self, commit: Commit) -> None:
        disk = self._disk
        if (disk.row.version, disk.row.root) != (commit.old.version, commit.old.root):
            raise Stop("lost-swap", f"version {commit.new.version} is another sequencer's")
        disk.note_root(TreeHead(commit.new.size, commit.new.root))
        disk.row = commit.new
        disk.sizes[commit.new.version] = commit.new.size
        disk.versions += 1
        if disk.world.hit("swap answer lost", 0.001, 0.01):
            raise Unavailable("nobody knows whether the heads row was replaced")
        self._point("before tiles")

    def integrate(self, commit: Commit, hashes: Mapping[int, Sequence[Digest]]) -> None:
        for level, added in hashes.items():
            self._extend(level, commit.old.size >> (8 * level), list(added))
            self._point("within tiles", pauses=False)
        framed = [len(entry).to_bytes(2, "big") + entry for entry in commit.entries]
        self._extend(ENTRIES, commit.old.size, framed)
        self._point("before headers", pauses=False)
        self._disk.keep_headers(commit.new.version, commit.headers)
        self._disk.integrated((commit.new.version, commit.new.root))
        self._point("before signature")

    def publish(self, head: TreeHead, note: bytes) -> None:
        self._point("before publish")
        disk = self._disk
        disk.note_root(head)
        if disk.published is None or disk.published[0].size < head.size:
            disk.published = head, note

    def staged(self) -> list[Commit]:
        disk, chain, at = self._disk, list[Commit](), self._disk.row
        while (commit := disk.staging.get((at.version, at.root))) is not None:
            chain.append(commit)
            at = commit.old
        kept = {(one.new.version, one.new.root) for one in chain}
        for place in [p for p in disk.staging if p not in kept and p[0] <= disk.row.version]:
            del disk.staging[place]  # a loser's: its version is somebody else's
        return chain[::-1]

    def _extend(self, level: int, start: int, items: list[bytes]) -> None:
        n, width = divmod(start, WIDTH)
        content = b""
        if width and items:
            content = self.bundle(n, width) if level == ENTRIES else self.tile(level, n, width)
        at = 0
        while at < len(items):
            added = items[at : at + WIDTH - width]
            content += b"".join(added)
            width += len(added)
            self._disk.write(level, n, width, content)
            at += len(added)
            if width == WIDTH:
                n, width, content = n + 1, 0, b""

    def _point(self, where: str, *, pauses: bool = True) -> None:
        """Here the process may end, or be stopped until the next one has committed ten heads."""
        world, process = self._disk.world, self._process
        process.crash_here(f"sequencer {where}", 0.001, 0.01)
        if pauses and world.paused < 2 and world.hit(f"sequencer paused {where}", 0.001, 0.01):
            goal = self._disk.versions + 10
            world.pause(600, lambda: self._disk.versions >= goal)
            if self._disk.versions >= goal:
                world.seen["sequencer resumed ten heads later"] += 1
            process.check_killed()


class SimSigner:
    """The log's key, whose memory all sequencers share (infra/key_signer.py, CheckpointSigner)."""

    def __init__(self, disk: LogDisk, origin: str, seed: bytes) -> None:
        self._disk = disk
        self._key = KeySigner(origin, seed)
        self._last = TreeHead(0, EMPTY_ROOT)

    @property
    def vkey(self) -> str:
        return self._key.vkey

    def sign(self, text: bytes) -> bytes:
        _, head = checkpoint_head(text)
        if head.size < self._last.size or (head.size == self._last.size and head != self._last):
            raise Stop("signer-refuses", f"size {head.size} after {self._last.size}")
        self._last = head
        self._disk.note_root(head)
        return self._key.sign(text)
