"""Counts the calls of our own that one LIF layer makes: forward, backward, and an observed backward.

    python benchmarks/host_calls.py [--backend reference|compiled]

For a small layer these calls are what a step costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import a2sg

OURS = str(Path(a2sg.__file__).parent)


def calls(run: Callable[[], Any]) -> list[tuple[str, str]]:
    """File and function of every call of ours while `run` runs."""
    seen: list[tuple[str, str]] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            seen.append((frame.f_code.co_filename, frame.f_code.co_name))

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=["reference", "compiled"], default="reference")
    neuron = a2sg.LIF(4, backend=parser.parse_args().backend)
    current = torch.randn(4, 16, 64, requires_grad=True)
    windows = a2sg.AdaptiveWindows(neuron, every=2, start=1)
    for _ in range(3):  # everything is compiled and cached
        neuron(current).sum().backward()
        windows.step()
    for what in ("observed", "ordinary"):
        found: list[torch.Tensor] = []
        forward = calls(lambda: found.append(neuron(current)))  # noqa: B023
        loss = found[0].sum()
        backward = calls(loss.backward)
        windows.step()
        for name, seen in (("forward", forward), ("backward", backward)):
            print(f"{what} {name}: {len(seen)} calls in {len({file for file, _ in seen})} files")


if __name__ == "__main__":
    main()
