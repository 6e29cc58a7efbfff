"""Prints the lowest versions that pyproject.toml admits: `lowest.py [EXTRA...]`, one `name==version` a line.

A bound is `name>=version`, and that very version is what is printed. What has none is left to pip.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(extras: list[str]) -> dict[str, str]:
    """Versions by name (with its own extras) of the core and of `extras`; of two bounds the higher one."""
    found: dict[str, str] = {}
    for requirement in PROJECT["dependencies"] + [line for extra in extras for line in _lines(extra)]:
        name, version = re.fullmatch(r"([\w-]+(?:\[\w+\])?)(?:>=([\d.]+))?(?:,.*)?", requirement).groups()
        found[name] = max(found.get(name, ""), version or "", key=_number)
    return found


def _lines(extra: str) -> list[str]:
    """The requirements of an extra, with those of the extras it names."""
    lines: list[str] = []
    for line in PROJECT["optional-dependencies"][extra]:
        if match := re.fullmatch(r"a2sg\[(.*)\]", line):
            lines += [inner for name in match.group(1).split(",") for inner in _lines(name)]
        else:
            lines.append(line)
    return lines


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part]


if __name__ == "__main__":
    for name, version in lowest(sys.argv[1:]).items():
        print(f"{name}=={version}" if version else name)
