"""`a2sg list`: what there is to choose from."""

from __future__ import annotations

import sys
from shutil import get_terminal_size

from a2sg.errors import require_choice
from a2sg.listing import TOPICS, lines_of
from a2sg.parser import Parser


def list_command(words: list[str]) -> int:
    """Show what there is to choose from."""
    parser = Parser("list", "Show what there is to choose from.")
    parser.add_argument("topic", nargs="?", default="all", help=", ".join(TOPICS))
    topic = parser.read(words).topic
    chosen = TOPICS if topic == "all" else (require_choice("topic", topic, TOPICS),)
    for name in chosen:
        if len(chosen) > 1:
            print(f"{name}:")
        print("\n".join(lines_of(name, get_terminal_size().columns if sys.stdout.isatty() else None)))
    return 0
