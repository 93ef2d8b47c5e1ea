"""The image: linted, made of what is locked, run by nobody in particular, and asked how it is."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from infra.deploy import probe
from infra.roles.status import StatusServer
from tests.adapters.deploy.deploy_tools import DEPLOY, REPOSITORY, run, unpack_hadolint

DOCKERFILE = DEPLOY / "Dockerfile"


def instructions(name: str) -> list[str]:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line[len(name) :].strip() for line in text.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    hadolint = unpack_hadolint(tmp_path)
    done = run([hadolint, "--failure-threshold", "style", DOCKERFILE], tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text("FROM python\nRUN apt-get install curl\n")
    assert run([hadolint, spoilt], tmp_path).returncode == 1


def test_it_is_made_of_what_has_a_hash() -> None:
    made = instructions("RUN")
    installs = [part for line in made for part in line.split("&&") if "pip " in part]
    assert len(installs) == 4
    for part in installs:
        assert "--require-hashes" in part or "--offline --no-deps" in part
    locked = (REPOSITORY / "requirements-dev.txt").read_text()
    assert re.search(r"^hatchling==[^ ]+ \\$", locked, re.MULTILINE)  # what `grep -o` finds
    assert not re.search(r"https?://|index-url", DOCKERFILE.read_text())


def test_it_has_all_packages_and_no_more_of_the_checkout() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = instructions("COPY")[0].split()[:-1]
    files = {"pyproject.toml", project["project"]["readme"], "LICENSE", *copied}
    assert taken == {*packages, *files}
    assert all((REPOSITORY / one).exists() for one in taken)
    assert any(fnmatch("infra/__pycache__/a.pyc", line.replace("**/", "*")) for line in lines)


def test_it_is_nobody_in_particular_and_reaped_by_an_init() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("ENTRYPOINT") == ['["tini", "--", "gridseal"]']
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["python", "-m", "infra.deploy.probe"]')
    base = DOCKERFILE.read_text().split("ARG PYTHON_IMAGE=")[1].split()[0]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert base.split(":")[1].startswith("3.11.")  # what the locks were made for, at least


def test_the_probe_says_what_the_role_says(monkeypatch) -> None:
    state = {"bus": "ok"}
    server = StatusServer(
        ("127.0.0.1", 0), role="worker", ready=lambda: state, metrics=lambda: "# none\n"
    )
    server.start()
    port = server.url.rpartition(":")[2]
    monkeypatch.setenv("GRIDSEAL_STATUS", f"0.0.0.0:{port}")
    try:
        assert probe.main([]) == probe.main(["live"]) == 0
        state["bus"] = "Kafka does not answer"
        assert (probe.main([]), probe.main(["live"])) == (1, 0)
    finally:
        server.stop()
    assert probe.main(["live"]) == 1
