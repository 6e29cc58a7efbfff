"""What must hold before a version is tagged: `make release-check`. docs/release.md says how to release.

    python tests/packaging/release.py [--quick]

Runs every check, shortest first, and ends with what failed; `--quick` leaves out those that take minutes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

Check = Callable[[], str]
"""Gives what is wrong; "" if nothing is."""

MAKE = ("lint", "docs", "test-packaging", "test-platforms")
"""Targets of the Makefile, in this order. The platforms include this one and the lowest versions."""
DATED = re.compile(r"^## \[(?P<version>[\d.]+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def version() -> str:
    """The version, from the one place where it stands."""
    text = _read("src/a2sg/_version.py")
    found = re.search(r'"([\d.]+)"', text)
    if found is None:
        raise SystemExit(f"src/a2sg/_version.py must hold a version such as 0.2.0, not {text!r}")
    return found.group(1)


def clean_tree() -> str:
    """Nothing changed and nothing forgotten."""
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, errors="replace"
    )
    return f"commit or remove first:\n{done.stdout or done.stderr}" if done.stdout or done.returncode else ""


def changelog() -> str:
    """A dated section for the version, the newest of all, and nothing left above it."""
    text = _read("CHANGELOG.md")
    found = DATED.search(text)
    newest = found and found.group("version")
    if newest != version():
        return (
            f"CHANGELOG.md must have a section '## [{version()}] - DATE' first, and it has {newest or 'none'}"
        )
    above = text[: found.start()].partition("## [Unreleased]")[2] if found else ""
    return "CHANGELOG.md has changes under [Unreleased]: move them" if above.strip() else ""


def citation() -> str:
    """CITATION.cff names the version."""
    found = re.search(r'^version: "?([\d.]+)"?$', _read("CITATION.cff"), re.MULTILINE)
    said = found and found.group(1)
    return "" if said == version() else f"CITATION.cff says version {said}, not {version()}"


def licences() -> str:
    """docs/licences.md is up to date, and no licence is out of place."""
    return _run([sys.executable, "tests/packaging/licences.py", "--check"])


def target(name: str) -> Check:
    """A target of the Makefile."""

    def check() -> str:
        return _run(["make", "--no-print-directory", name])

    check.__name__ = f"make {name}"
    return check


def checks(quick: bool) -> Iterator[Check]:
    """Every check, the shortest first."""
    yield from (clean_tree, changelog, citation, licences)
    if not quick:
        yield from map(target, MAKE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    failed = []
    for check in checks(parser.parse_args().quick):
        print(f"{check.__name__} ...", flush=True)
        if wrong := check():
            failed.append(check.__name__)
            print(f"  {wrong.rstrip()}", file=sys.stderr)
    if failed:
        print(f"not ready: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"ready: git tag -a v{version()} -m 'a2sg {version()}'")
    return 0


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    return "" if done.returncode == 0 else "\n".join((done.stdout + done.stderr).splitlines()[-20:])


if __name__ == "__main__":
    sys.exit(main())
