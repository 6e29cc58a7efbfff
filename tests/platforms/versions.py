"""Print the versions of Python and torch as JSON; fail where torch is not the expected one, the argument."""

import json
import platform
import sys

import torch

expected, found = sys.argv[1], torch.__version__.partition("+")[0]
if found != expected:
    sys.exit(f"test-platforms: here is torch {found}, but platforms.txt says {expected}: change one of them")
print(json.dumps({"python": platform.python_version(), "torch": found}))
