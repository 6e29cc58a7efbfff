"""Where tests find this repository, and data that is too large for it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("A2SG_TEST_DATA", ROOT.parent / "shared" / "data"))
EVENT_SAMPLES = DATA / "events-samples"
