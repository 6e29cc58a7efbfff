"""What runs and windows leave, as tests compare it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def reload(state: object) -> Any:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


CLOCKS = ("seconds", "search_seconds", "search_share")


def timeless(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what a clock says."""
    return {name: value for name, value in summary.items() if name not in CLOCKS}


def metrics(folder: Path) -> list[str]:
    """metrics.csv without its last column, the seconds."""
    return [
        line.rsplit(",", 1)[0] for line in (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    ]
