"""The heads row of the embedded mode against the suite."""

from pathlib import Path

from heads_suite import HeadsSuite

from infra.files import make_folder
from infra.heads_row import HeadsRow, SqliteHeads


class TestSqliteHeads(HeadsSuite):
    def open(self, folder: Path) -> HeadsRow:
        return SqliteHeads(make_folder(folder / "log"))

    def racer(self, folder: Path) -> list[str]:
        return ["sqlite", str(folder / "log")]
