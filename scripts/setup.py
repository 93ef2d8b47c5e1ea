"""Make `.venv` from the committed locks; instant when nothing changed, safe to run twice at once.

Standard library only, and syntax that Python 3.6 can read: it has to be able to say that it is too
old. Downloads are kept in `.cache`.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
STAMP = VENV / "gridseal-setup"
INPUTS = ("requirements-uv.txt", "requirements-dev.txt", "pyproject.toml", "scripts/setup.py")


def stop(sentence: str) -> None:
    """End with one sentence that says what to do."""
    sys.stderr.write(f"setup: {sentence}\n")
    sys.exit(1)


def wanted() -> str:
    """What the environment is made from: the interpreter, the checkout's place, the locks."""
    digest = hashlib.sha256(repr((sys.version, sys.prefix, str(ROOT))).encode())
    for name in INPUTS:
        digest.update(hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()


def found() -> str:
    """What the environment was made from; empty when there is none or it was left half made."""
    return STAMP.read_text().strip() if STAMP.exists() else ""


def usable() -> bool:
    """Whether `.venv` has a working pip of the same Python release as the one that runs this."""
    check = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    command = [str(python), "-c", check]
    done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def run(what: str, command: "list[str]") -> None:
    """Run one step quietly; its output is shown only when it fails."""
    sys.stderr.write(f"setup: {what}\n")
    sys.stderr.flush()
    environment = dict(os.environ, UV_CACHE_DIR=str(CACHE / "uv"), VIRTUAL_ENV=str(VENV))
    with subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        output = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode:
        sys.stderr.write(output)
        stop(f"{what} failed (see above); nothing outside this folder was changed.")


def fill() -> None:
    """Exactly what the locks name, each file checked against its hash, then Gridseal itself."""
    uv = [str(VENV / "bin" / "uv"), "--system-certs", "--quiet", "pip"]
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--cache-dir", str(CACHE / "pip"), "--require-hashes"]
    run("installing uv", [*pip, "-r", "requirements-uv.txt"])
    locks = ["requirements-dev.txt", "requirements-uv.txt"]
    run("installing what the lock names", [*uv, "sync", "--require-hashes", *locks])
    run("installing gridseal", [*uv, "install", "--no-deps", "--no-build-isolation", "-e", "."])


def refuse() -> None:
    """Stop where this Python can't do it."""
    if sys.version_info < OLDEST:
        seen = ".".join(str(part) for part in sys.version_info[:3])
        stop(
            f"Python 3.11 or newer is needed and {sys.executable} is {seen}: "
            "install one and run, for example, make PYTHON=python3.11 demo."
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian ships Python without it
        import venv  # noqa: F401, PLC0415
    except ImportError:
        stop(
            "Python's venv module is missing: install the package python3-venv and run make again."
        )


def main() -> None:
    """Bring `.venv` up to date, or say in one sentence why that can't be."""
    refuse()
    import fcntl  # noqa: PLC0415 - after the refusals: absent on Windows

    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits here, then finds the work done
        target = wanted()
        if found() == target:
            return
        if found():
            STAMP.unlink()  # from here on it is half made
        if not usable():
            run("creating .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
        fill()
        STAMP.write_text(target + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        stop("interrupted; run make again to go on.")
