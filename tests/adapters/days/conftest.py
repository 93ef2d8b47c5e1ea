"""A small log with closed days (tests/vectors/day_log.py)."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


@pytest.fixture(scope="session")
def day_log_module() -> Iterator[Any]:
    """The module beside the vectors, which imports its neighbours by their bare names."""
    sys.path.insert(0, str(VECTORS))
    try:
        yield importlib.import_module("day_log")
    finally:
        sys.path.remove(str(VECTORS))


@pytest.fixture
def log(day_log_module: Any, tmp_path: Path) -> Iterator[Any]:
    """An empty one."""
    with day_log_module.DayLog(tmp_path) as opened:
        yield opened
