"""The pages of the documentation, and the code that stands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code: its language, and its text."""

    language: str
    text: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of code in these languages, in their order."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(*block) for block in found if block[0] in languages]


def commands(block: Block) -> list[list[str]]:
    """The commands of a block of shell, each as words, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
