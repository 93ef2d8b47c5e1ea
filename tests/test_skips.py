"""What a run says of tests that it skipped, and which of them fail it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_S = 240

MOUNTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_a_full_disk(number):
    pytest.skip("optional: no file system can be mounted here: not permitted")

def test_a_call():
    pytest.skip("optional: no process may be traced here: not permitted")

def test_another():
    pass
"""
MODULE = 'import pytest\npytest.skip("optional: no such tool", allow_module_level=True)\n'
MUST = 'import pytest\ndef test_one():\n    pytest.skip("java is absent")\n'


def run(folder: Path, *options: str, ci: bool = True, **files: str) -> tuple[int, str]:
    """Exit code and output of pytest with this repository's conftest over some files of tests."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    required = {"GRIDSEAL_REQUIRE_ALL": "1", "CI": "true"} if ci else {"CI": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder),
         "-p", "tests.conftest", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=REPOSITORY, env=os.environ | {"PYTEST_ADDOPTS": ""} | required,
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("ci", [True, False])
@pytest.mark.parametrize("options", [(), ("-n", "1")])
def test_what_the_machine_has_no_rights_for_is_counted(
    tmp_path: Path, options: tuple[str, ...], ci: bool
) -> None:
    code, said = run(tmp_path, *options, ci=ci, mounts=MOUNTS, module=MODULE)
    assert code == 0, said
    assert "NOT RUN on this machine: 5 tests" in said
    assert "3 of: no file system can be mounted here: not permitted\n" in said
    assert "1 of: no process may be traced here: not permitted\n" in said
    assert "1 of: no such tool\n" in said


def test_what_should_have_run_fails_in_ci_alone(tmp_path: Path) -> None:
    code, said = run(tmp_path, must=MUST)
    assert code == 1, said
    assert "test_must.py::test_one: java is absent\n" in said
    assert "NOT RUN" not in said
    assert run(tmp_path, ci=False)[0] == 0
