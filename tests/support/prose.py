"""Words that make readers stumble: turns of phrase that must not come back, each with what to say instead.

    python tests/support/prose.py    # part of `make lint`, beside codespell

Reads the documents, and in sources the docstrings, the comments and the texts that users see.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

PAGES = ("*.md", "docs/**/*.md", "evidence/*.md", ".github/**/*.md")
SOURCES = ("src/**/*.py", "examples/*.*", "benchmarks/**/*.py", "evidence/*.py", "src/**/*.yaml")
UNREAD = {"CHANGELOG.md"}
"""History, which stays as it was written."""

INSTEAD = {
    r"\bwho streams\b": "for streaming, …",
    r"\b(is|are|was) owed to\b": "depends on, comes from",
    r"\bfound again in\b": "a lookup takes",
    r"\bmakes? good for\b": "recovers",
    r"\bis one of pairs\b": "is taken between runs with the same seed",
    r"\bstepped (like|as)\b": "call step() as on …",
    r"\bleft out,? and named\b": "skipped, and the page says so",
    r"\bnobody waits\b": "nothing waits for, does not wait for",
    r"\bouter rooms\b": "outer components",
    r"\bof one's own\b": "your own …",
    r"\b(networks?|models?|loops?|functions?|losses|modules?|neurons?|things) of your own\b": "your own …",
    r"\b[Ii]t is put on an?\b": "put it on a …",
    r"\bsays? of it\b": "says about it",
    r"\bbe it by\b": "even by",
    r"\b(history|one|those|runs?|files?) of old\b": "an old …",
    r"(?<!=)\banew\b(?![=:]| or\b)": "again",
    r"\bhangs? together\b": "is not independent",
    r"\bthe surer\b": "more reliable",
    r"\bwho is to read\b": "which library will read",
    r"\bwho gets\b": "which neurons get",
    r"\bin grad mode alone\b": "only while gradients are enabled",
    r"\bare told (?!apart)": "you are told, or name who gets it",
    r"\bto be had\b": "available",
    r"\bwhat is drawn from\b": "the random generator",
    r"\bas everybody does\b": "as is usual",
}
"""What must not be written, as a pattern, and what to write instead."""

EXAMPLES = re.compile(r"^\| not \| but \|$.*?^$", re.DOTALL | re.MULTILINE)
"""The table of `CONTRIBUTING.md` that quotes such phrases."""


class Fault(NamedTuple):
    """A turn of phrase, where it stands, and what to say instead."""

    place: str
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found!r}: {self.instead}"


def faults(text: str, name: str) -> Iterator[Fault]:
    """The faults of a text, in their order by pattern."""
    kept = EXAMPLES.sub(lambda table: "\n" * table.group().count("\n"), text)
    for pattern, instead in INSTEAD.items():
        # words may be on two lines
        for match in re.finditer(pattern.replace(" ", r"\s+(?:#\s*)?"), kept, re.IGNORECASE):
            line = kept.count("\n", 0, match.start()) + 1
            yield Fault(f"{name}:{line}", " ".join(match.group().split()), instead)


def files() -> list[Path]:
    """Every file that people read and that is looked through."""
    found = {path for pattern in (*PAGES, *SOURCES) for path in ROOT.glob(pattern)}
    names = {path: path.relative_to(ROOT).as_posix() for path in found}
    return sorted(path for path, name in names.items() if name not in UNREAD)


def main() -> int:
    """Print the faults of all files; 1 if there are any."""
    found = [
        fault
        for path in files()
        for fault in faults(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
