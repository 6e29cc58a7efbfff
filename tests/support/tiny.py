"""A run that takes a second: a tiny network on the digits, for one epoch."""

from pathlib import Path

from a2sg.training import run as runs
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.recipe import load_recipe

TINY = {
    "epochs": 1,
    "windows.every": 4,
    "model.name": "mlp_small",
    "model.options": {"hidden": [8, 8]},
    "model.steps": 2,
}


def train_tiny(folder: Path) -> Path:
    """Train it in `folder`, which is returned."""
    runs.train(apply_arm(load_recipe("digits", TINY), parse_arm("a2sg")), folder, quiet=True)
    return folder
