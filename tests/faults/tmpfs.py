"""`python -m tests.faults.tmpfs FOLDER MEBIBYTES`: mounts a tmpfs until standard input ends."""

import ctypes
import os
import signal
import sys

MNT_DETACH = 2


def mount(source: str, target: str, kind: str, options: str) -> None:
    """mount(2), nosuid and nodev. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [text.encode() for text in (source, target, kind)]
    if libc.mount(*texts, ctypes.c_ulong(2 | 4), options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unmount(target: str) -> None:
    """Take it out of sight at once; it ends with the last file that is open on it."""
    ctypes.CDLL(None, use_errno=True).umount2(target.encode(), MNT_DETACH)


def only_its_input_ends_it() -> None:
    """A signal to all processes of a test would leave what is mounted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    only_its_input_ends_it()
    target, mebibytes = sys.argv[1:]
    try:
        mount("gridseal-test", target, "tmpfs", f"size={mebibytes}m,mode=0700")
    except OSError as error:
        print(error, flush=True)
        return
    try:
        print("mounted", flush=True)
        sys.stdin.read()
    finally:
        unmount(target)


if __name__ == "__main__":
    main()
