"""The licences of everything that an extra installs, as docs/licences.md lists them.

    python tests/packaging/licences.py            # write the page
    python tests/packaging/licences.py --check    # fail if it is out of date, or a licence does not fit

What an extra installs is read from the environment, which must have all extras (`make setup` does).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "licences.md"
EXTRAS = ("", "train", "export", "events")
"""In the order of the page; a package stands with the first that needs it."""
COPYLEFT = re.compile(r"(?<!L)GPL", re.IGNORECASE)
ALLOWED = {"tonic": "events", "expelliarmus": "events", "importrosbag": "events"}
"""Copyleft packages, and the one extra that may need them: nothing of ours is derived from their code."""
UNSAID = {"aedat": "MIT", "expelliarmus": "GPL-2.0"}
"""What stands in the licence files of packages whose metadata do not say it."""
HEAD = """# Licences of dependencies

a2sg is under Apache-2.0. This page lists what each extra installs, directly or not, and the licence that each
package states. `python tests/packaging/licences.py` writes it.

`[events]` needs tonic and two packages that tonic needs, which are under the GPL. If you pass on a program
that includes them, their licence applies to it. The other extras have no such package.
"""


def needed(name: str, extras: frozenset[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Everything that a package installs, itself included, by its name."""
    try:
        one = distribution(name)
    except PackageNotFoundError:  # for another system or Python
        return found
    found.setdefault(_plain(name), one)
    for text in one.requires or []:
        wanted = Requirement(text)
        asked = any(
            wanted.marker is None or wanted.marker.evaluate({"extra": extra}) for extra in extras or {""}
        )
        if asked and _plain(wanted.name) not in found:
            needed(wanted.name, frozenset(wanted.extras), found)
    return found


def licence(name: str, one: Distribution) -> str:
    """What a package says of its licence, in few words."""
    metadata = one.metadata
    said = metadata.get("License-Expression") or UNSAID.get(name) or (metadata.get("License") or "").strip()
    if said and "\n" not in said and len(said) < 150:
        return str(said)
    classes = [
        line.split("::")[-1].strip() for line in metadata.get_all("Classifier") or [] if "License" in line
    ]
    return ", ".join(classes) or "unknown"


def rows() -> Iterator[tuple[str, str, str]]:
    """Extra, package and licence."""
    seen = {"a2sg"}
    for extra in EXTRAS:
        found = needed("a2sg", frozenset({extra}), {})
        for name, one in sorted(found.items()):
            if name not in seen:
                seen.add(name)
                yield extra, name, licence(name, one)


def page(found: list[tuple[str, str, str]]) -> str:
    """The page."""
    parts = [HEAD]
    for extra in EXTRAS:
        title = f"`[{extra}]`" if extra else "The core"
        lines = [f"| {name} | {said} |" for of, name, said in found if of == extra]
        parts.append("\n".join([f"## {title}\n", "| package | licence |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    found = list(rows())
    bad = [
        f"{name} ({said})"
        for extra, name, said in found
        if COPYLEFT.search(said) and ALLOWED.get(name) != extra
    ]
    if bad:
        print(f"copyleft where there should be none: {', '.join(bad)}", file=sys.stderr)
        return 1
    text = page(found)
    if check:
        if PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE.name} is out of date: python tests/packaging/licences.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
