"""The choice of how to compute the sums of candidate windows: on a CPU, on a GPU, and without a compiler."""

from __future__ import annotations

import logging

from torch import Tensor

from a2sg.kernels import compiled_sums, triton_bins, triton_sums
from a2sg.kernels.compilers import missing
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.sums import Fill, Observation, binned, blocked
from a2sg.kernels.triton_constants import available
from a2sg.surrogate import WindowedAffine

log = logging.getLogger("a2sg")

LINES = triton_bins
"""What sums straight lines on a GPU: `triton_bins`, or `triton_products`, which was not measured yet."""

MANY = 8
"""Candidates from which on sorting the data into the gaps between them pays."""

_broken: set[str] = set()
"""Kinds of devices for which compiling sums has failed in this process."""


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
    if device not in _broken:
        try:
            return _fastest(seen, candidates.shape[1])(seen, candidates, table)
        except FusionError as error:
            _broken.add(device)
            reason = str(error).strip().splitlines()[0]
            log.warning("sums of candidate windows run uncompiled: %s", reason)
    return blocked(seen, candidates, table)


def _fastest(seen: Observation, count: int) -> Fill:
    device = seen.potential.device.type
    if available(device) and triton_sums.takes(seen):
        return LINES.fill if count >= MANY and triton_bins.takes(seen) else triton_sums.fill
    return compiled_sums.fill if not missing(device) and compiled_sums.takes(seen) else blocked
