"""`a2sg compare`: arms over seeds, paired."""

from __future__ import annotations

import sys
from pathlib import Path

from a2sg.errors import require
from a2sg.memory import pages
from a2sg.parser import Parser


def compare_command(words: list[str]) -> int:
    """Train several arms over several seeds and compare them in pairs."""
    from a2sg.training import launch
    from a2sg.training.options import read_run

    parser = Parser("compare", "Train several arms over several seeds, and compare them seed by seed.")
    parser.add_argument(
        "--arms",
        default="fixed,s-asg,t-asg,st-asg,asy,a2sg",
        help="arms, separated by commas (a2sg list arms); the first is the baseline",
    )
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas (default: 0,1,2)")
    parser.add_argument("--out", help="folder (default: runs/compare-RECIPE)")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete an earlier comparison in the folder, and start again"
    )
    parser.add_argument(
        "--parallel", metavar="N|auto", help="how many runs at a time, each on its own device; auto: all GPUs"
    )
    launch.add_options(parser)
    options, config = read_run(parser, words)
    for name, word in options.overrides or ():
        require(name != "seed", f"compare takes --seeds: write --seeds {word}, not --seed {word}")

    from a2sg.training.arms import parse_arm
    from a2sg.training.compare import compare
    from a2sg.training.run import Interrupted
    from a2sg.training.spread import apart_from

    arms = [parse_arm(text) for text in options.arms.split(",")]
    out = Path(options.out or f"runs/compare-{config.recipe}")
    apart = apart_from(options, config)
    pages.keep_pages()
    try:
        compare(config, arms, _seeds(options.seeds), out, apart=apart, overwrite=options.overwrite)
    except Interrupted:
        print("a2sg: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def _seeds(text: str) -> list[int]:
    words = text.split(",")
    require(
        all(word.strip().isdecimal() and len(word) < 20 for word in words) and len(set(words)) == len(words),
        f"--seeds must be different whole numbers such as 0,1,2, not {text!r}",
    )
    return [int(word) for word in words]
