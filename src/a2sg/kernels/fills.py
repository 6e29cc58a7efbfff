"""The choice of how to compute the sums of candidate windows: on a CPU, on a GPU, and without a compiler."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType

from torch import Tensor

from a2sg.kernels import compiled_sums, triton_bins, triton_sums
from a2sg.kernels.compilers import missing
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.sums import Observation, binned, blocked
from a2sg.kernels.triton_constants import available
from a2sg.surrogate import WindowedAffine

log = logging.getLogger("a2sg")

LINES = triton_bins
"""What sums straight lines on a GPU: `triton_bins`, or `triton_products`, which has not been measured yet."""

MANY = 8
"""Number of candidates from which sorting the data into the gaps between them pays off."""

_broken: set[tuple[ModuleType, str]] = set()
"""Kernels that could not be compiled in this process, each with the kind of device."""


def uncompiled(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """For uncompiled neurons: `plain` on a CPU, elsewhere `kernel`."""
    fill = plain if seen.potential.device.type == "cpu" else kernel
    return fill(seen, candidates, table)


def plain(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """In plain torch: on a CPU `binned` if it applies, else `blocked`."""
    gate = seen.gate
    affine = isinstance(gate.surrogate, WindowedAffine) and bool(gate.thresholds) and seen.carry is None
    fill = binned if affine and seen.potential.device.type == "cpu" else blocked
    return fill(seen, candidates, table)


def kernel(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """A Triton kernel if triton is available and one supports the shape; else Inductor's; else `blocked`."""
    device = seen.potential.device.type
    for module in _kernels(seen, candidates.shape[1]):
        if (module, device) in _broken:
            continue
        try:
            return module.fill(seen, candidates, table)
        except FusionError as error:
            _broken.add((module, device))
            log.warning("sums of candidate windows run without %s: %s", module.__name__, error.reason)
    return blocked(seen, candidates, table)


def _kernels(seen: Observation, count: int) -> Iterator[ModuleType]:
    """Those that take an observation, the fastest first."""
    device = seen.potential.device.type
    if available(device) and triton_sums.takes(seen):
        if count >= MANY and triton_bins.takes(seen):
            yield LINES
        yield triton_sums
    if not missing(device) and compiled_sums.takes(seen):
        yield compiled_sums
