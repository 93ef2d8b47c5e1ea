"""Fixtures that more than one folder of tests uses, and what CI asks of skipped tests.

A test that can't run says why with `pytest.skip(reason)`. With GRIDSEAL_REQUIRE_ALL=1 and CI=true
(`.ci/run`) a skip fails the run, unless its reason starts with "optional:". What is skipped so is
counted by its reason in a section of its own at the end of every run.
"""

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.servers_fixture import (  # noqa: F401 - fixtures
    anvil,
    cassandra_server,
    ganache,
    kafka_server,
    mosquitto_server,
    servers,
    servers_folder,
)

# No test depends on wall-clock speed: a busy machine is no failure.
settings.register_profile("gridseal", deadline=None)
settings.load_profile("gridseal")

REPOSITORY = Path(__file__).resolve().parent.parent
OPTIONAL = "optional:"
_GROUP = re.compile(r'xdist_group\("([a-z-]+)"\)')


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public material beside the checkout; a test that needs it skips aloud without it."""
    data = REPOSITORY.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("../shared/data is absent: this test reads published inputs from there")
    return data


def _skipped(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Why it was skipped; None where it was not."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(reason).removeprefix("Skipped: ")


class OptionalSkips:
    """Says at the end what this machine has no rights or tools for; it fails no run."""

    def __init__(self) -> None:
        self._tests: Counter[str] = Counter()  # by reason

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = _skipped(report)
        if reason is not None and reason.startswith(OPTIONAL):
            self._tests[reason.removeprefix(OPTIONAL).strip()] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._tests:
            terminalreporter.section(f"NOT RUN on this machine: {self._tests.total()} tests")
            for reason, tests in self._tests.most_common():
                terminalreporter.line(f"{tests} of: {reason}")


class RequireAll:
    """Remembers which tests were skipped, and fails the run for those that should have run."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = _skipped(report)
        if reason is not None and not reason.startswith(OPTIONAL):
            self.skipped[report.nodeid] = reason

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("skipped, which fails this run (GRIDSEAL_REQUIRE_ALL)")
            for nodeid, reason in self.skipped.items():
                terminalreporter.line(f"{nodeid}: {reason}")


@cache
def _group_of(file: str) -> str | None:
    """The `xdist_group` that a file of tests marks its tests with."""
    found = _GROUP.search((REPOSITORY / file).read_text(encoding="utf-8"))
    return found[1] if found else None


class ByGroup(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Tests of files of one group in one worker, one after the other; all others by the test.

    What `--dist loadgroup` is for: with pytest 9.2, xdist 3.8 loses the groups on their way from
    its workers.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid.partition("::")[0]) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup | None:
    """Of `-n 2 --dist loadgroup`."""
    return ByGroup(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # xdist's workers report to the process that started them
        return
    config.pluginmanager.register(OptionalSkips())
    if os.environ.get("GRIDSEAL_REQUIRE_ALL") == "1" and os.environ.get("CI") == "true":
        config.pluginmanager.register(RequireAll())
