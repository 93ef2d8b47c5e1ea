"""Only what was pinned is run: by hash, whoever brought it, and again after a break."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bal.errors import Stop, Unavailable
from infra.servers import fetch, java
from infra.servers.fetch import Jar

GOOD = b"a jar"
ONE = Jar("org.example", "one", "1.0", "", hashlib.sha256(GOOD).hexdigest())
TWO = Jar("org.example", "two", "2.0", "linux-x86_64", hashlib.sha256(GOOD).hexdigest())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A lock of two jars, and no Maven."""
    monkeypatch.setattr(fetch, "locked", lambda _server: (ONE, TWO))
    monkeypatch.setattr(fetch.shutil, "which", lambda _name: None)
    yield
    fetch.locked.cache_clear() if hasattr(fetch.locked, "cache_clear") else None


class Repository:
    """What jgo would find."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]) -> None:
        self.content, self.asked = content, list[str]()
        module = ModuleType("jgo.maven")
        module.MavenContext = self  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "jgo.maven", module)

    def __call__(self, repo_cache: Path, remote_repos: object, timeout: int) -> "Repository":
        self.folder, self.remote = repo_cache, remote_repos
        return self

    def project(self, _group: str, artifact: str) -> "Repository":
        self.name = artifact
        return self

    def at_version(self, _version: str) -> "Repository":
        return self

    def artifact(self, classifier: str) -> "Repository":
        del classifier
        return self

    def resolve(self) -> Path:
        self.asked.append(self.name)
        if self.name not in self.content:
            raise RuntimeError(f"Artifact {self.name} not found")
        path = self.folder / self.name
        path.write_bytes(self.content[self.name])
        return path


def test_it_fetches_once_and_what_a_break_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(monkeypatch, {"one": GOOD})
    seen: list[tuple[int, int]] = []
    with pytest.raises(Unavailable, match="two"):
        fetch.jars("kafka", tmp_path, lambda *at: seen.append(at))
    repository.content["two"] = GOOD
    paths = fetch.jars("kafka", tmp_path, lambda *at: seen.append(at))
    assert [path.name for path in paths] == ["one-1.0.jar", "two-2.0-linux-x86_64.jar"]
    assert fetch.jars("kafka", tmp_path, lambda *at: seen.append(at)) == paths
    assert repository.asked == ["one", "two", "two"]
    assert seen[0] == (0, 2)
    assert seen[-1] == (2, 2)


def test_maven_is_told_where_to_put_them_even_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mvn").write_text(
        """#!/bin/sh
for word in "$@"; do case $word in -DoutputDirectory=*) cd "${word#*=}" || exit 1;; esac; done
printf 'a jar' > one-1.0.jar
printf 'a jar' > two-2.0-linux-x86_64.jar
"""
    )
    (programs / "mvn").chmod(0o755)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: str(programs / name))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    paths = fetch.jars("kafka", Path("cache"), lambda *_: None)
    assert [path.read_bytes() for path in paths] == [GOOD, GOOD]


def test_a_damaged_file_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository(monkeypatch, {"one": GOOD, "two": GOOD})
    path = fetch.jars("kafka", tmp_path, lambda *_: None)[0]
    path.write_bytes(GOOD[:-1])
    assert fetch.jars("kafka", tmp_path, lambda *_: None)[0].read_bytes() == GOOD


def test_another_file_than_was_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Repository(monkeypatch, {"one": b"a backdoor", "two": GOOD})
    with pytest.raises(Stop, match="servers-hash"):
        fetch.jars("kafka", tmp_path, lambda *_: None)
    assert not list(tmp_path.rglob("*.jar"))


def test_a_mirror_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(monkeypatch, {"one": GOOD, "two": GOOD})
    monkeypatch.setenv("GRIDSEAL_MAVEN_URL", "https://mirror.example/maven/")
    fetch.jars("kafka", tmp_path, lambda *_: None)
    assert repository.remote == {"mirror": "https://mirror.example/maven"}


def test_what_is_missing_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(Stop, match=r"servers-missing: .*install the extra gridseal\[servers\]"):
        fetch.jars("kafka", tmp_path, lambda *_: None)
    with pytest.raises(Stop, match=r"servers-missing: .*install Node\.js"):
        fetch.node_modules(tmp_path, lambda *_: None)


def test_a_java_that_does_not_fit_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = {Path("/a/java"): 25, Path("/b/java"): 0, Path("/c/java"): 21}
    monkeypatch.setattr(java, "_release", lambda path: releases[path])
    monkeypatch.setattr(java, "_candidates", lambda: list(releases))
    java.find_java.cache_clear()
    assert java.find_java() == (Path("/c/java"), 21)
    monkeypatch.setattr(java, "_candidates", lambda: list(releases)[:2])
    java.find_java.cache_clear()
    with pytest.raises(Stop, match=r"need Java 17 or 21: .*; /a/java is 25$"):
        java.find_java()
    java.find_java.cache_clear()


def test_the_locks_name_versions_and_hashes_and_no_address() -> None:
    lines = (fetch.HERE / "jars.lock").read_text().splitlines()
    form = r"(?:kafka|cassandra) [\w.-]+:[\w.-]+:[\w.-]+(?::[\w-]+)? [0-9a-f]{64}"
    assert [line for line in lines if not re.fullmatch(form, line)] == []
    assert lines == sorted(set(lines))
    assert sum("org.apache.kafka:kafka_2.13:4.4.0 " in line for line in lines) == 1
    assert sum("org.apache.cassandra:cassandra-all:5.0.9 " in line for line in lines) == 1
    packages = json.loads((fetch.HERE / "package-lock.json").read_text())["packages"]
    bare = {name for name, one in packages.items() if "integrity" not in one}
    assert all(not name or packages[name].get("inBundle") for name in bare)
