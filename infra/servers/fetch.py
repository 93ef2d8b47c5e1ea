"""What the servers run on, fetched once into the user's cache: jars of Maven's, packages of npm's.

`jars.lock` pins every jar by name, version and SHA-256, `package-lock.json` every package by its
own hash; neither has an address. Where to ask is Maven's own affair where there is a Maven (its
settings and mirrors), else jgo's, and npm's.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from bal.errors import Stop, Unavailable
from infra.files import make_folder

HERE = Path(__file__).parent
_NPM_TIMEOUT_S = 900
_JGO_TIMEOUT_S = 60
Report = Callable[[int, int], None]  # files there, files wanted


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of jars.lock."""

    group: str
    artifact: str
    version: str
    classifier: str  # "" for most
    sha256: str

    @property
    def file_name(self) -> str:
        """As Maven names it."""
        end = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{end}.jar"


def default_cache() -> Path:
    """The user's cache of Gridseal."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridseal"


@cache
def locked(server: str) -> tuple[Jar, ...]:
    """The jars of one server, in the lock's order. Raises Stop("servers-lock")."""
    found = []
    for number, line in enumerate((HERE / "jars.lock").read_text().splitlines(), 1):
        words = line.split()
        parts = words[1].split(":") if len(words) == 3 else []
        if len(parts) not in {3, 4} or len(words[2]) != 64:
            raise Stop("servers-lock", f"jars.lock line {number} is not SERVER G:A:V[:C] SHA256")
        if words[0] == server:
            classifier = parts[3] if len(parts) == 4 else ""
            found.append(Jar(parts[0], parts[1], parts[2], classifier, words[2]))
    return tuple(found)


def jars(server: str, store: Path, report: Report) -> list[Path]:
    """Every jar of one server, each checked against its hash; what is missing is fetched first.

    store: the cache. What arrived before a break is not fetched again. Raises Unavailable when
    something can't be had now, Stop("servers-hash") when it is not what was pinned.
    """
    folder = make_folder(store.absolute() / "jars")  # Maven runs in a folder of its own
    wanted = locked(server)
    missing = [jar for jar in wanted if not _right(folder / jar.sha256[:16] / jar.file_name, jar)]
    report(len(wanted) - len(missing), len(wanted))
    if missing:
        source = _by_maven if shutil.which("mvn") else _by_jgo
        source(
            missing, folder, lambda count: report(len(wanted) - len(missing) + count, len(wanted))
        )
        report(len(wanted), len(wanted))
    return [folder / jar.sha256[:16] / jar.file_name for jar in wanted]


def node_modules(store: Path, report: Report) -> Path:
    """The folder of npm packages as package-lock.json pins them; npm checks every hash.

    Raises Stop("servers-missing") without npm, Unavailable when they can't be had now.
    """
    lock = (HERE / "package-lock.json").read_bytes()
    home = store / "npm" / hashlib.sha256(lock).hexdigest()[:16]
    report(int(home.is_dir()), 1)
    if home.is_dir():
        return home / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        text = "Anvil and Ganache come by npm, which is missing: install Node.js 18 or newer"
        raise Stop("servers-missing", text)
    make_folder(home.parent)
    with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, made / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(  # noqa: S603 - the command stands here
                command,
                cwd=made,
                capture_output=True,
                text=True,
                timeout=_NPM_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"npm did not end within {_NPM_TIMEOUT_S} s") from error
        if done.returncode:
            faults = [line for line in done.stderr.splitlines() if " error " in line]
            raise Unavailable(f"npm could not fetch Anvil and Ganache: {_first(faults)}")
        try:
            made.rename(home)
        except OSError:
            if not home.is_dir():  # else another process was faster
                raise
    report(1, 1)
    return home / "node_modules"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _right(path: Path, jar: Jar) -> bool:
    if not path.exists():
        return False
    if _sha256(path) == jar.sha256:
        return True
    path.unlink()  # damaged: it is fetched anew
    return False


def _keep(folder: Path, jar: Jar, path: Path) -> None:
    if _sha256(path) != jar.sha256:
        text = f"{jar.file_name} is not the published file that jars.lock pins"
        raise Stop("servers-hash", f"{text}: ask whoever runs the repository it came from")
    place = folder / jar.sha256[:16]
    place.mkdir(exist_ok=True)
    beside = place / f".{jar.file_name}.{os.getpid()}"
    shutil.copy(path, beside)
    beside.replace(place / jar.file_name)


def _by_maven(wanted: list[Jar], folder: Path, arrived: Callable[[int], None]) -> None:
    """Let Maven copy exactly these and nothing that they depend on; its settings say from where.

    What it had fetched before a break it still has in its own repository.
    """
    dependencies = "".join(_dependency(jar) for jar in wanted)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        (Path(temporary) / "pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>gridseal</groupId><artifactId>servers</artifactId><version>1</version>"
            f"<dependencies>{dependencies}</dependencies></project>"
        )
        command = ["mvn", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={temporary}"]
        said = []
        with subprocess.Popen(  # noqa: S603 - the command stands here
            command,
            cwd=temporary,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as maven:
            assert maven.stdout is not None
            count = 0
            for line in maven.stdout:
                said.append(line)
                if "Downloaded from" in line and ".jar " in line:
                    count = min(count + 1, len(wanted))
                    arrived(count)
        if maven.returncode:
            faults = [line for line in said if line.startswith("[ERROR]")]
            raise Unavailable(f"Maven could not fetch the jars: {_first(faults or said[-1:])}")
        for jar in wanted:
            _keep(folder, jar, Path(temporary) / jar.file_name)


def _dependency(jar: Jar) -> str:
    names = {"groupId": jar.group, "artifactId": jar.artifact, "version": jar.version}
    names |= {"classifier": jar.classifier} if jar.classifier else {}
    parts = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in names.items())
    none = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
    return f"<dependency>{parts}<exclusions>{none}</exclusions></dependency>"


def _by_jgo(wanted: list[Jar], folder: Path, arrived: Callable[[int], None]) -> None:
    """Fetch them one by one; GRIDSEAL_MAVEN_URL names a mirror, else it is jgo's default."""
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - an extra
    except ImportError:
        text = "Kafka and Cassandra come from Maven Central: install the extra gridseal[servers]"
        raise Stop("servers-missing", f"{text}, or Maven") from None
    mirror = os.environ.get("GRIDSEAL_MAVEN_URL")
    repositories = {"mirror": mirror.rstrip("/")} if mirror else None
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        context = MavenContext(
            repo_cache=Path(temporary), remote_repos=repositories, timeout=_JGO_TIMEOUT_S
        )
        for count, jar in enumerate(wanted, 1):
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                path = component.artifact(classifier=jar.classifier).resolve()
            except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
                text = f"{jar.file_name} could not be fetched: {_first(str(error).splitlines())}"
                raise Unavailable(text) from error
            _keep(folder, jar, path)
            arrived(count)


def _first(lines: list[str]) -> str:
    return lines[0].strip()[:300] if lines else "it gave no reason"
