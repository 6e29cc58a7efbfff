"""What searches of windows promise and deliver in every run of a comparison, for the page of evidence.

    python evidence/gains.py runs/NAME [--as OTHER_NAME] [--arms fixed,asy,a2sg] [--batches 24]

Writes evidence/runs/NAME/gains.csv. From the end of each run its windows are searched on fresh batches of
training, of the run's own size, with one batch per search and with several, and by variants of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from a2sg.analysis import SearchGain, search_gain
from a2sg.statistics import deviation, mean
from a2sg.study.subject import training_batches
from a2sg.training.run import load_run
from store import measure, measure_parser

GROUP = 8
"""Batches of the larger searches."""
VARIANTS: dict[str, dict[str, Any]] = {
    "as in the paper": {},
    f"{GROUP} batches": {"group": GROUP},
    "std for variance": {"spatial": "std"},
    "full gradient": {"gradient": "full"},
    "windows up to 2": {"high": 2.0},
    "S-ASG alone": {"temporal": False},
    "T-ASG alone": {"spatial": False},
}


def gains(run: Path, batches: int) -> list[dict[str, Any]]:
    """Rows of one run, two per variant: spatial steps, and the others."""
    task = load_run(run)
    config = task.config
    model = task.model.train()
    drawn = list(islice(training_batches(task.data, config.data.batch_size, seed=0), batches))
    rows = []
    for name, options in VARIANTS.items():
        found = search_gain(model, drawn, task.loss, show_progress=False, **options)
        for spatial in (True, False):
            steps = [step for step in found if step.spatial == spatial]
            if steps:
                rows.append({"arm": config.arm, "seed": config.seed, "search": name, **_row(steps, spatial)})
    return rows


def _row(steps: Sequence[SearchGain], spatial: bool) -> dict[str, Any]:
    """Means over layers and steps."""
    windows = [[w for w in step.windows if w is not None] for step in steps]
    spreads = [deviation(found) for found in windows]
    return {
        "objective": "sgv" if spatial else "tgc",
        "window": _mean(w for found in windows for w in found),
        "window_spread": _mean(spreads),
        **{kind: _mean(getattr(step, kind).mean for step in steps) for kind in ("promised", "same", "other")},
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def main() -> int:
    parser = measure_parser(__doc__, "fixed,asy,a2sg")
    parser.add_argument("--batches", type=int, default=3 * GROUP, help="of each run")
    options = parser.parse_args()
    if options.batches < 2 * GROUP:
        parser.error(f"--batches must be at least {2 * GROUP}, not {options.batches}")
    return measure(options, "gains.csv", "searches", lambda run: gains(run, options.batches))


if __name__ == "__main__":
    raise SystemExit(main())
