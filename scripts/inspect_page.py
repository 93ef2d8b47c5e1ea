"""Write what `gridseal inspect` says of the message on docs/inspect.md onto that page.

tests/unit/infra/test_inspect.py fails when the page is not what this makes; `make fix` makes it.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "inspect.md"
COLUMNS = 100
_MESSAGE = re.compile(r"```xml\n(.*?)```", re.DOTALL)
_ANSWER = re.compile(r"```text\n.*?```", re.DOTALL)


def page() -> str:
    """The page, with what is said of its message now."""
    text = PAGE.read_text(encoding="utf-8")
    found = _MESSAGE.search(text)
    assert found is not None
    command = [sys.executable, "-m", "infra.cli", "inspect", "meter-1.xml"]
    plain = {"COLUMNS": str(COLUMNS), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "dumb"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "meter-1.xml").write_text(found[1], encoding="utf-8")
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **plain}, capture_output=True, check=False
        )
    answer = f"```text\n{done.stdout.decode()}```"
    return _ANSWER.sub(lambda _: answer, text, count=1)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
