"""`python -m a2sg` is the command `a2sg`."""

import sys

from a2sg.cli import main

sys.exit(main())
