"""Devices by the words that the command line, recipes and functions take, and what they can do."""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

import torch

from a2sg.allowance import cores
from a2sg.errors import many, require, require_choice

Device = Literal["auto", "cpu", "cuda", "mps"]


def find_device(name: str) -> torch.device:
    """The device that `name` means here; auto is a CUDA device if there is one, else the CPU.

    Raises:
        InputError: for a device that runs do not support, or one that torch does not find here.
    """
    require_choice("device", name, get_args(Device))
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    there = "" if found is None else found.type
    require(
        name in ("auto", "cpu", there),
        f"device {name} was asked for, but torch finds {there or 'no accelerator'} here: use --device cpu",
    )
    if name == "auto":
        name = "cuda" if there == "cuda" else "cpu"
    return torch.device(name)


def device_title(device: torch.device) -> str:
    """The device for a report: the model of a GPU, or how many cores of the CPU may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({many(cores(), 'core')})" if device.type == "cpu" else str(device)


def answers_at_once(device: torch.device) -> bool:
    """Whether a value can be read without waiting: devices other than the CPU work through a queue first."""
    return device.type == "cpu"


def with_float64(device: torch.device) -> torch.device:
    """Where to compute in float64 with values on `device`: there, or on the CPU if it has no float64.

    Apple's GPUs have none, nor do some of Intel's.
    """
    return device if _has_float64(device.type) else torch.device("cpu")


def capturing(device: torch.device) -> bool:
    """Whether a CUDA graph is being recorded, during which the host can read neither values nor a clock."""
    return device.type == "cuda" and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


@cache
def _has_float64(kind: str) -> bool:
    try:
        torch.zeros((), dtype=torch.float64, device=kind)
    except (TypeError, RuntimeError):
        return False
    return True
