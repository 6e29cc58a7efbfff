"""The next step of an optimizer, made to do nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from a2sg.devices import answers_at_once

HELD = "_a2sg_next_step"
"""The attribute of an optimizer that holds its `_NextStep`: a copy has neither this nor the hooks."""


def skip(optimizer: Optimizer, broken: Tensor, *, again: bool = False) -> None:
    """Make the optimizer's next step do nothing if `broken`.

    Args:
        optimizer: whose step.
        broken: 0-d, on the device of the parameters, which need not be waited for.
        again: whether the optimizer was told before, and may have stepped since.
    """
    if answers_at_once(broken.device) or not _reads_found_inf(optimizer):
        if broken:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        return
    step: _NextStep = vars(optimizer).get(HELD) or _NextStep(optimizer)
    vars(optimizer)[HELD] = step
    if step.due or not again:
        step.tell(optimizer, broken.float())


class _NextStep:
    """Tells an optimizer through its `found_inf`, as a `GradScaler` does; the two may do so together."""

    def __init__(self, optimizer: Optimizer) -> None:
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_step_post_hook(self._end)
        self._broken: Tensor | None = None

    @property
    def due(self) -> bool:
        """Whether it has been told, and the step has not been done."""
        return self._broken is not None

    def tell(self, optimizer: Optimizer, broken: Tensor) -> None:
        self._broken = optimizer.found_inf = broken  # type: ignore[attr-defined]

    def _begin(self, optimizer: Optimizer, *_: Any) -> None:
        found = getattr(optimizer, "found_inf", None)
        if self._broken is not None and isinstance(found, Tensor) and found is not self._broken:
            # A GradScaler has written over it, and has looked at gradients only.
            self.tell(optimizer, found.maximum(self._broken.to(found.device)))

    def _end(self, optimizer: Optimizer, *_: Any) -> None:
        self._broken = optimizer.found_inf = None  # type: ignore[attr-defined]


def _reads_found_inf(optimizer: Optimizer) -> bool:
    """Whether the optimizer reads `found_inf` on the device; prepares what it needs for that."""
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        return False
    if isinstance(optimizer, SGD):
        for group in optimizer.param_groups:
            if group["momentum"] and group["dampening"]:
                return False
            trained = [p for p in group["params"] if p.requires_grad] if group["momentum"] else []
            for parameter in trained:
                # If the first step were skipped, its momentum would stay uninitialised memory.
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return True
