"""`a2sg export`: a run's network for other libraries."""

from __future__ import annotations

from pathlib import Path

from a2sg.commands.shared import new_file
from a2sg.errors import require
from a2sg.parser import Parser


def export_command(words: list[str]) -> int:
    """Write the network of a run for another library."""
    parser = Parser("export", "Write the network of a run folder for other libraries and hardware.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--nir", action="store_true", help="write a NIR graph")
    parser.add_argument(
        "--reader", default="nir", help="library that will read it: nir, norse or sinabs (default: nir)"
    )
    parser.add_argument("--out", help="file (default: RUN/model.nir)")
    options = parser.read(words)

    from a2sg.export import write_nir
    from a2sg.export.of_run import run_to_nir

    require(options.nir, "choose a format to export: --nir")
    folder = Path(options.run)
    out = new_file(options.out or folder / "model.nir")
    graph = run_to_nir(folder, options.reader)
    write_nir(graph, out)
    print(f"written to {out}: {len(graph.nodes)} nodes, {len(graph.edges)} edges")
    for name, fact in graph.metadata.items():
        print(f"  {name:<8} {fact}")
    return 0
