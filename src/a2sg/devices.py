"""Devices by the words that the command line, recipes and functions take."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from a2sg.errors import require, require_choice

Device = Literal["auto", "cpu", "cuda"]


def find_device(name: str) -> torch.device:
    """The device that `name` (auto, cpu, cuda) means here.

    Raises:
        InputError: for another name, or cuda where there is none.
    """
    require_choice("device", name, get_args(Device))
    cuda = torch.cuda.is_available()
    require(
        name != "cuda" or cuda,
        "device cuda was asked for, but no CUDA device is found here: use --device cpu",
    )
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")


def answers_at_once(device: torch.device) -> bool:
    """Whether a value may be looked at without waiting: others than the CPU work through a queue first."""
    return device.type == "cpu"
