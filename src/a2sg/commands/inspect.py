"""`a2sg inspect`: one batch of a network."""

from __future__ import annotations

from pathlib import Path

from a2sg.commands.shared import add_device
from a2sg.errors import require, require_count
from a2sg.memory import pages
from a2sg.parser import Parser


def inspect_command(words: list[str]) -> int:
    """Say in numbers and words how surrogates and windows fit a network, from one batch."""
    parser = Parser("inspect", "Look at one batch: which layers get a gradient, and which window would fit.")
    parser.add_argument(
        "target", help="run folder, or name of a model (a2sg list models), with fresh weights"
    )
    parser.add_argument("--data", help="for a model: name of a data set, or random")
    parser.add_argument("--out", help="folder (default: RUN/inspection, runs/inspect-MODEL)")
    parser.add_argument("--batch-size", type=int, default=32, help="number of samples (default: 32)")
    parser.add_argument("--steps", type=int, help="T of a model (default: 4)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of fresh weights and of the samples (default: 0)"
    )
    add_device(parser)
    parser.add_argument("--by-step", action="store_true", help="print a row for each layer and step")
    options = parser.read(words)

    from a2sg.devices import find_device
    from a2sg.study.inspect.table import show
    from a2sg.study.subject import find_subject

    device = find_device(options.device)
    require_count("--batch-size", options.batch_size)
    subject = find_subject(options.target, options.data, options.batch_size, options.steps, options.seed)
    folder = Path(options.target)
    out = Path(options.out or (folder / "inspection" if folder.is_dir() else f"runs/inspect-{folder.name}"))
    require(not out.exists() or out.is_dir(), f"--out must be a folder, but {out} is a file")
    pages.keep_pages()
    found = subject.inspect(device)
    written = found.save(out)
    show(found, options.by_step)
    print(f"written to {out}: {', '.join(path.name for path in written)}")
    return 0
