"""`a2sg info`: versions and machine."""

from __future__ import annotations

from a2sg.parser import Parser


def info_command(words: list[str]) -> int:
    """Show versions, machine, and how neurons will run: the facts of a bug report."""
    import json

    from a2sg.info import environment, lines

    parser = Parser("info", "Show versions, machine and backends.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.read(words).json
    found = environment()
    print(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
    return 0
