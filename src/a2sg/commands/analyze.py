"""`a2sg analyze`: why runs train as they do."""

from __future__ import annotations

from pathlib import Path

from a2sg.commands.shared import add_device, free_folder
from a2sg.memory import pages
from a2sg.parser import Parser


def analyze_command(words: list[str]) -> int:
    """Measure the links of the paper's chain of claims on trained runs, into one page."""
    parser = Parser(
        "analyze", "Measure variation, curvature, landscape, theory, fidelity and energy of runs."
    )
    parser.add_argument(
        "runs", nargs="+", help="run folders, or the folder of a comparison: one run of each arm"
    )
    parser.add_argument("--out", help="folder (default: RUN/analysis, or for several runs runs/analysis)")
    parser.add_argument(
        "--only", help="parts, separated by commas: variation,gain,curvature,landscape,theory,fidelity,energy"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=64,
        help="training samples, for all parts except variation (default: 64)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="size of the 8 batches for variation (default: 32)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of samples, directions and random vectors (default: 0)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="σ on the potentials, such as 0.25: adds finite differences under noise; slow",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        help="skip measurements that would take more than this many seconds per run (default: 60)",
    )
    add_device(parser)
    options = parser.read(words)

    from a2sg.study.report.analysis import analyze
    from a2sg.study.report.files import PAGE, require_free

    first = Path(options.runs[0])
    default = first / "analysis" if len(options.runs) == 1 else free_folder(Path("runs") / "analysis")
    out = Path(options.out) if options.out else default
    require_free(out)
    pages.keep_pages()
    found = analyze(
        options.runs,
        only=options.only.split(",") if options.only is not None else None,
        samples=options.samples,
        batch_size=options.batch_size,
        seed=options.seed,
        noise=options.noise,
        budget=options.budget,
        device=options.device,
    )
    written = found.save(out)
    print(found)
    print(f"written to {out}: {PAGE} and {len(written) - 1} other files")
    return 0
