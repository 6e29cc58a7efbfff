"""`a2sg train`: train a recipe, or resume a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from a2sg.commands.shared import free_folder
from a2sg.errors import require
from a2sg.memory import pages
from a2sg.parser import Parser


def train_command(words: list[str]) -> int:
    """Train a recipe, or resume a run."""
    from a2sg.training import launch
    from a2sg.training.options import read_run

    parser = Parser("train", "Train a network by a recipe, and write a run folder.")
    parser.add_argument("--out", help="run folder (default: runs/RECIPE-sSEED)")
    parser.add_argument("--resume", help="run folder of an interrupted run to resume")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="20",
        help="instead of training, show where the time goes in this many iterations (default: 20)",
    )
    launch.add_options(parser)
    options, config = read_run(parser, words)
    own = launch.split_options(words)

    from a2sg.training.checkpoints import resuming
    from a2sg.training.folders import read_run_config, read_summary
    from a2sg.training.parallel import require_divisible
    from a2sg.training.pictures import run_pictures
    from a2sg.training.run import Interrupted, going_on, train
    from a2sg.training.tables import print_summary
    from a2sg.training.world import World

    if options.resume is not None:
        require(
            own in (["--resume", options.resume], [f"--resume={options.resume}"]),
            "--resume uses the settings in the run folder's config.yaml: the only other options it takes are "
            "--devices, --nodes and --patience",
        )
        out = Path(options.resume)
        config = read_run_config(out)
        if read_summary(out) is not None:
            print(f"{out} is finished: nothing to resume")
            return 0
    else:
        out = (
            Path(options.out)
            if options.out
            else free_folder(Path("runs") / f"{config.recipe}-s{config.seed}")
        )
    ranks, patience = launch.ranks_to_start(options, config.device), launch.patience(options)
    if options.profile is not None:
        require(ranks == 1, "--profile measures one device: leave out --devices")
        pages.keep_pages()
        return _profile(config, out, options.profile)
    if ranks > 1:
        require_divisible(config, ranks)
        place = [] if options.resume is not None else ["--out", str(out)]
        with going_on(out):
            return launch.launch(["train", *words, *place], ranks)
    pages.keep_pages()
    try:
        summary = train(config, out, resume=options.resume is not None, patience=patience)
    except Interrupted as stop:
        how = "saved and stopped" if stop.saved else "interrupted"
        print(f"a2sg: {how}; continue with: {resuming(out)}", file=sys.stderr)
        return stop.status
    if World.here().rank == 0:
        run_pictures(out)
        print_summary(summary)
        print(f"run folder: {out}")
    return 0


def _profile(config: Any, out: Path, iterations: str) -> int:
    """Show where the time of a run goes."""
    from a2sg.training.profile import profile
    from a2sg.training.profile_report import print_profile

    require(
        iterations.isdecimal(),
        f"--profile takes a number of iterations such as 20, not {iterations!r}: put the recipe before it",
    )
    print_profile(profile(config, out, int(iterations)))
    print(f"profile.json, profile.csv, profile.png and trace.json are in {out}")
    return 0
