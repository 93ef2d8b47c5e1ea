"""Fixtures that more than one folder of tests uses."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public material beside the checkout; a test that needs it skips aloud without it."""
    data = REPOSITORY.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("../shared/data is absent: this test reads published inputs from there")
    return data
