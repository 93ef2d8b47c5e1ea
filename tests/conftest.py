"""Fixtures that more than one folder of tests uses, and what CI asks of skipped tests.

A test that can't run says why with `pytest.skip(reason)`. With GRIDSEAL_REQUIRE_ALL=1 and CI=true
(`.ci/run`) a skip fails the run, unless its reason starts with "optional:".
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public material beside the checkout; a test that needs it skips aloud without it."""
    data = REPOSITORY.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("../shared/data is absent: this test reads published inputs from there")
    return data


class RequireAll:
    """Remembers which tests were skipped, and fails the run for those that should have run."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            reason = str(reason).removeprefix("Skipped: ")
            if not reason.startswith(OPTIONAL):
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


def pytest_configure(config: pytest.Config) -> None:
    wanted = os.environ.get("GRIDSEAL_REQUIRE_ALL") == "1" and os.environ.get("CI") == "true"
    if wanted and not hasattr(config, "workerinput"):  # xdist's workers report to this process
        config.pluginmanager.register(RequireAll())
