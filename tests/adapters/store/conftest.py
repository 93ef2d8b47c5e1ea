"""Makes what the tests of the stores share importable, also to processes that they start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
