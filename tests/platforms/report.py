"""Print what came out on each platform as a table, and keep it in docs/platforms.md:

    report.py [--core] FOLDER NAME...

With --core nothing is kept.
"""

import json
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROWS = Path(__file__).with_name("platforms.txt")
PAGE = Path(__file__).parents[2] / "docs" / "platforms.md"
BEGIN, END = "<!-- written by make test-platforms -->\n", "<!-- end -->\n"
COLUMNS = ("platform", "Python", "torch", "passed", "failed", "skipped", "date", "command")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"


def row(name: str, results: Path, command: str) -> str:
    """The line of one platform; one that did not come to an end says so."""
    try:
        versions = json.loads((results / "versions.json").read_text(encoding="utf-8"))
        counts = ElementTree.parse(results / "junit.xml").getroot()[0].attrib
    except (OSError, ValueError, ElementTree.ParseError):
        return f"| {name} | did not run to its end | | | | | {date.today()} | `{command}` |\n"
    failed = int(counts["failures"]) + int(counts["errors"])
    skipped = int(counts["skipped"])
    passed = int(counts["tests"]) - failed - skipped
    counted = (versions["python"], versions["torch"], passed, failed, skipped)
    return f"| {name} | {' | '.join(map(str, counted))} | {date.today()} | `{command}` |\n"


def merged(page: str, rows: dict[str, str]) -> str:
    """The page with these rows, in the order of platforms.txt; platforms that were not run keep theirs."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    old = {line.split("|")[1].strip(): line for line in table.removeprefix(HEAD).splitlines(keepends=True)}
    known = [line.split()[0] for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return before + BEGIN + HEAD + "".join((old | rows).get(name, "") for name in known) + END + after


def main(arguments: list[str]) -> None:
    core = arguments[0] == "--core"
    folder, *names = arguments[core:]
    option = " --core" if core else ""
    rows = {
        name: row(name, Path(folder, name, "srv", "results"), f"tests/platforms/run{option} {name}")
        for name in names
    }
    print(HEAD + "".join(rows.values()), end="")
    if not core:
        PAGE.write_text(merged(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
