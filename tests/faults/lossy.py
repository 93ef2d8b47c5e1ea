"""`python -m tests.faults.lossy FOLDER`: a file system in memory that loses what is not fsynced.

It speaks the kernel's FUSE protocol itself (linux/fuse.h, 7.31), so that nothing has to be
installed. Commands on standard input:

    cut none SEED    what was not fsynced is gone: content of files, and names in folders
    cut some SEED    any part of it is gone: of a file each page and the length by chance, of the
                     changes of names all behind a point by chance, as a journal would keep them
    lie none 0       from now on fsync keeps nothing, and says that all is well

A file's content is kept by fsync of the file, its name by fsync of its folder: the least that POSIX
promises. It ends with standard input.
"""

import errno
import os
import select
import stat
import struct
import sys
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.faults.tmpfs import mount, only_its_input_ends_it, unmount

ROOT = 1
PAGE = 4096
MAX_WRITE = 1 << 17
FOR_EVER = 10**6  # seconds that the kernel may remember: nobody else changes anything
_IN = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_SETATTR = struct.Struct("<2I6Q8I")
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_SET_MODE, _SET_SIZE = 1, 8


class Failed(Exception):
    """The answer is an error number."""


class Node:
    """A file, folder or socket; what it is now, and what of it a power cut leaves."""

    def __init__(self, number: int, mode: int, uid: int, gid: int) -> None:
        self.number, self.mode, self.uid, self.gid = number, mode, uid, gid
        self.links = 2 if stat.S_ISDIR(mode) else 1
        self.changed_ns = time.time_ns()
        self.data, self.kept = bytearray(), b""
        self.dirty: set[int] = set()  # pages that are not as in `kept`
        self.names: dict[bytes, Node] = {}
        self.kept_names: dict[bytes, Node] = {}

    def attributes(self) -> bytes:
        size, at = len(self.data), divmod(self.changed_ns, 10**9)
        return _ATTR.pack(
            self.number, size, -(-size // 512), at[0], at[0], at[0], at[1], at[1], at[1],
            self.mode, self.links, self.uid, self.gid, 0, PAGE, 0,
        )  # fmt: skip

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.data) < end:
            self.resize(end)
        self.data[offset:end] = data
        self.dirty.update(range(offset // PAGE, -(-end // PAGE)))
        self.changed_ns = time.time_ns()

    def resize(self, size: int) -> None:
        before = len(self.data)
        if size < before:
            del self.data[size:]
        else:
            self.data += bytes(size - before)
        low, high = sorted((before, size))
        self.dirty.update(range(low // PAGE, -(-high // PAGE)))
        self.changed_ns = time.time_ns()

    def sync(self) -> None:
        self.kept = bytes(self.data)
        self.dirty.clear()

    def lose(self, chance: Random | None) -> int:
        """Be as after a power cut; how many pages were lost."""
        if chance is None:
            lost = len(self.dirty)
            self.data = bytearray(self.kept)
        else:
            now, lost = bytes(self.data), 0
            size = chance.choice((len(now), len(self.kept)))
            self.data = bytearray(self.kept[:size].ljust(size, b"\0"))
            for page in sorted(self.dirty):
                cut = slice(page * PAGE, min((page + 1) * PAGE, size))
                if cut.start < size and chance.random() < 0.5:
                    self.data[cut] = now[cut].ljust(cut.stop - cut.start, b"\0")
                else:
                    lost += 1
        self.sync()
        return lost


class Change(NamedTuple):
    """One name of one folder, which was given to another node or taken away."""

    folder: Node
    name: bytes
    node: Node | None


class Disk:
    """The nodes, and the changes of names that are not fsynced, oldest first."""

    def __init__(self) -> None:
        self.root = Node(ROOT, stat.S_IFDIR | 0o700, os.getuid(), os.getgid())
        self.nodes = {ROOT: self.root}
        self._last = ROOT
        self._journal: list[list[Change]] = []

    def make(self, folder: Node, name: bytes, mode: int, uid: int, gid: int) -> Node:
        if name in folder.names:
            raise Failed(errno.EEXIST)
        self._last += 1
        node = self.nodes[self._last] = Node(self._last, mode, uid, gid)
        self.change(Change(folder, name, node))
        return node

    def change(self, *changes: Change) -> None:
        """Give or take names, in one step."""
        for folder, name, node in changes:
            if node is None:
                del folder.names[name]
            else:
                folder.names[name] = node
            folder.changed_ns = time.time_ns()
        self._journal.append(list(changes))

    def sync_folder(self, folder: Node) -> None:
        folder.kept_names = dict(folder.names)
        left = [[one for one in step if one.folder is not folder] for step in self._journal]
        self._journal = [step for step in left if step]

    def cut(self, kept: str, seed: int) -> tuple[int, int]:
        """How many pages and changes of names were lost."""
        chance = Random(seed) if kept == "some" else None
        until = chance.randint(0, len(self._journal)) if chance else 0
        for step in self._journal[:until]:
            for folder, name, node in step:
                if node is None:
                    folder.kept_names.pop(name, None)
                else:
                    folder.kept_names[name] = node
        lost = len(self._journal) - until
        self._journal.clear()
        self.nodes, pages, left = {}, 0, [self.root]
        while left:
            node = left.pop()
            if node.number in self.nodes:
                node.links += 1
                continue
            self.nodes[node.number] = node
            node.links = 2 if stat.S_ISDIR(node.mode) else 1
            pages += node.lose(chance)
            node.names = dict(node.kept_names)
            left += node.names.values()
        return pages, lost


class Server:
    """Answers the kernel's questions about a disk."""

    def __init__(self, disk: Disk, target: str) -> None:
        self._disk, self._target = disk, target
        self.device = -1
        self.lies = False
        self._answers: dict[int, Callable[[Node, bytes, tuple[int, int]], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 8: self._mknod, 9: self._mkdir,
            10: self._unlink, 11: self._rmdir, 12: self._rename, 13: self._link, 14: self._open,
            15: self._read, 16: self._write, 17: self._statfs, 18: self._nothing,
            20: self._fsync, 25: self._nothing, 26: self._init, 27: self._open, 28: self._readdir,
            29: self._nothing, 30: self._fsyncdir, 35: self._create, 38: self._nothing,
            45: self._rename2,
        }  # fmt: skip

    def mount(self) -> None:
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        mount("gridseal-test", self._target, "fuse", options + ",default_permissions")

    def unmount(self) -> None:
        """What the kernel still holds back is lost, as it should be."""
        os.close(self.device)
        unmount(self._target)

    def serve(self) -> None:
        """Answer one question."""
        try:
            question = os.read(self.device, MAX_WRITE + PAGE)
        except OSError as error:
            if error.errno in {errno.EINTR, errno.ENOENT, errno.EAGAIN}:
                return
            raise
        _, code, unique, number, uid, gid, *_ = _IN.unpack_from(question)
        if code in {2, 36, 42}:  # FORGET, INTERRUPT, BATCH_FORGET have no answer
            return
        answer, failed = b"", 0
        try:
            how = self._answers.get(code)
            if how is None:
                raise Failed(errno.ENOSYS)
            if number and number not in self._disk.nodes:
                raise Failed(errno.ESTALE)
            node = self._disk.nodes[number or ROOT]
            answer = how(node, question[_IN.size :], (uid, gid))
        except Failed as error:
            failed = int(error.args[0])
        try:
            os.write(self.device, _OUT.pack(_OUT.size + len(answer), -failed, unique) + answer)
        except OSError as error:
            if error.errno != errno.ENOENT:  # whoever asked was killed meanwhile
                raise

    # -- answers, by opcode (linux/fuse.h) ----------------------------------------------------

    def _init(self, _: Node, body: bytes, __: tuple[int, int]) -> bytes:
        major, _minor, ahead, flags = struct.unpack_from("<4I", body)
        taken = flags & (_BIG_WRITES | _MAX_PAGES)
        out = struct.pack("<4I2H2I2H", major, 31, ahead, taken, 16, 12, MAX_WRITE, 1, 32, 0)
        return out.ljust(64, b"\0")

    def _entry(self, node: Node) -> bytes:
        return _ENTRY.pack(node.number, 0, FOR_EVER, FOR_EVER, 0, 0) + node.attributes()

    def _lookup(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        node = folder.names.get(body.rstrip(b"\0"))
        if node is None:
            raise Failed(errno.ENOENT)
        return self._entry(node)

    def _attributes(self, node: Node) -> bytes:
        return struct.pack("<Q2I", FOR_EVER, 0, 0) + node.attributes()

    def _getattr(self, node: Node, _: bytes, __: tuple[int, int]) -> bytes:
        return self._attributes(node)

    def _setattr(self, node: Node, body: bytes, _: tuple[int, int]) -> bytes:
        fields = _SETATTR.unpack_from(body)
        if fields[0] & _SET_SIZE:
            node.resize(fields[3])
        if fields[0] & _SET_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(fields[11])
        return self._attributes(node)

    def _mknod(self, folder: Node, body: bytes, who: tuple[int, int]) -> bytes:
        (mode,) = struct.unpack_from("<I", body)
        return self._entry(self._disk.make(folder, body[16:].rstrip(b"\0"), mode, *who))

    def _mkdir(self, folder: Node, body: bytes, who: tuple[int, int]) -> bytes:
        (mode,) = struct.unpack_from("<I", body)
        name = body[8:].rstrip(b"\0")
        return self._entry(self._disk.make(folder, name, stat.S_IFDIR | mode, *who))

    def _create(self, folder: Node, body: bytes, who: tuple[int, int]) -> bytes:
        _flags, mode = struct.unpack_from("<2I", body)
        node = self._disk.make(folder, body[16:].rstrip(b"\0"), stat.S_IFREG | mode, *who)
        return self._entry(node) + self._open(node, b"", who)

    def _unlink(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        name = body.rstrip(b"\0")
        node = folder.names.get(name)
        if node is None:
            raise Failed(errno.ENOENT)
        self._disk.change(Change(folder, name, None))
        node.links -= 1
        return b""

    def _rmdir(self, folder: Node, body: bytes, who: tuple[int, int]) -> bytes:
        node = folder.names.get(body.rstrip(b"\0"))
        if node is not None and node.names:
            raise Failed(errno.ENOTEMPTY)
        return self._unlink(folder, body, who)

    def _rename(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        (to,) = struct.unpack_from("<Q", body)
        return self._renamed(folder, self._disk.nodes[to], body[8:])

    def _rename2(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        to, flags = struct.unpack_from("<QI", body)
        if flags:
            raise Failed(errno.EINVAL)
        return self._renamed(folder, self._disk.nodes[to], body[16:])

    def _renamed(self, folder: Node, to: Node, names: bytes) -> bytes:
        old, new, _ = names.split(b"\0", 2)
        node, replaced = folder.names.get(old), to.names.get(new)
        if node is None:
            raise Failed(errno.ENOENT)
        if replaced is not node:
            self._disk.change(Change(to, new, node), Change(folder, old, None))
            if replaced is not None:
                replaced.links -= 1
        return b""

    def _link(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        (number,) = struct.unpack_from("<Q", body)
        node, name = self._disk.nodes[number], body[8:].rstrip(b"\0")
        if name in folder.names:
            raise Failed(errno.EEXIST)
        self._disk.change(Change(folder, name, node))
        node.links += 1
        return self._entry(node)

    def _open(self, _: Node, __: bytes, ___: tuple[int, int]) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0)

    def _read(self, node: Node, body: bytes, _: tuple[int, int]) -> bytes:
        _fh, offset, size = struct.unpack_from("<2QI", body)
        return bytes(node.data[offset : offset + size])

    def _write(self, node: Node, body: bytes, _: tuple[int, int]) -> bytes:
        _fh, offset, size = struct.unpack_from("<2QI", body)
        node.write(offset, body[40 : 40 + size])
        return struct.pack("<2I", size, 0)

    def _statfs(self, _: Node, __: bytes, ___: tuple[int, int]) -> bytes:
        blocks = 1 << 24
        numbers = struct.pack("<5Q4I", blocks, blocks, blocks, blocks, blocks, PAGE, 255, PAGE, 0)
        return numbers.ljust(80, b"\0")

    def _fsync(self, node: Node, _: bytes, __: tuple[int, int]) -> bytes:
        if not self.lies:
            node.sync()
        return b""

    def _fsyncdir(self, folder: Node, _: bytes, __: tuple[int, int]) -> bytes:
        if not self.lies:
            self._disk.sync_folder(folder)
        return b""

    def _readdir(self, folder: Node, body: bytes, _: tuple[int, int]) -> bytes:
        _fh, offset, size = struct.unpack_from("<2QI", body)
        out = bytearray()
        named = [(b".", folder), (b"..", folder), *folder.names.items()]
        for at, (name, node) in enumerate(named[offset:], offset + 1):
            one = struct.pack("<2Q2I", node.number, at, len(name), node.mode >> 12) + name
            one = one.ljust(-(-len(one) // 8) * 8, b"\0")
            if len(out) + len(one) > size:
                break
            out += one
        return bytes(out)

    def _nothing(self, _: Node, __: bytes, ___: tuple[int, int]) -> bytes:
        return b""


def main() -> None:
    only_its_input_ends_it()
    disk = Disk()
    server = Server(disk, sys.argv[1])
    try:
        server.mount()
    except OSError as error:
        print(error, flush=True)
        return
    print("mounted", flush=True)
    try:
        while True:
            ready, _, _ = select.select([server.device, sys.stdin], [], [])
            if server.device in ready:
                server.serve()
            elif not (line := sys.stdin.readline()):
                return
            else:
                what, kept, seed = line.split()
                pages = names = 0
                if what == "lie":
                    server.lies = True
                else:
                    server.unmount()
                    pages, names = disk.cut(kept, int(seed))
                    server.mount()
                print(f"{pages}/{names}", flush=True)
    finally:
        server.unmount()


if __name__ == "__main__":
    main()
