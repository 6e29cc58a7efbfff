"""`a2sg predict`: predictions of a run's network for files."""

from __future__ import annotations

from pathlib import Path

from a2sg.commands.shared import add_device, new_file
from a2sg.errors import require_count
from a2sg.parser import Parser


def predict_command(words: list[str]) -> int:
    """Print what the network of a run predicts for files."""
    import json

    parser = Parser("predict", "Print a trained network's predictions for files: classes, or numbers.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("files", nargs="+", help="images or recordings, or folders of them")
    parser.add_argument(
        "--top", type=int, default=1, help="classes per file, the most likely first (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of CSV")
    parser.add_argument("--out", help="file to write (default: print)")
    add_device(parser)
    options = parser.read(words)

    from a2sg.devices import find_device
    from a2sg.files import csv_text, write_text
    from a2sg.training.predict import find_files, flat, predict
    from a2sg.training.run import load_run

    device = find_device(options.device)
    require_count("--top", options.top)
    out = new_file(options.out) if options.out else None
    files = find_files(options.files)
    said = predict(load_run(Path(options.run)), files, top=options.top, device=device, progress=True)
    text = json.dumps(said, indent=2) + "\n" if options.json else csv_text([flat(one) for one in said])
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"written to {out}: {len(said)} files")
    return 0
