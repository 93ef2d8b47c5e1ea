"""The modules beside the tests are imported by name, as `--import-mode=importlib` asks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
