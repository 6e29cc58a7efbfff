"""`StepGuard`: skips training steps whose loss or gradients are not finite."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from a2sg.errors import InputError, require, require_count
from a2sg.guard.buffers import Buffers
from a2sg.guard.skip import skip
from a2sg.guard.tally import Counts, Tally
from a2sg.kernels.broken import letting_through
from a2sg.ranks import add_up
from a2sg.window import WindowPolicy
from a2sg.window.site import require_module

log = logging.getLogger("a2sg")


class StepGuard:
    """Skips training steps whose numbers are NaN or infinite, as `torch.amp.GradScaler` does.

        guard = a2sg.StepGuard(model, windows)
        for images, labels in loader:
            optimizer.zero_grad()
            with guard:
                loss = criterion(model(images), labels)
            loss.backward()
            guard.check(optimizer, loss)
            optimizer.step()  # does nothing if they are not finite
            windows.step()

    The numbers are the loss, gradients, and running statistics of batch norm. A skipped step does not change
    weights and the optimizer's state. The model's buffers, such as those statistics, are restored to what
    they were before its first forward pass, and a search that is under way keeps all windows. The step counts
    as an iteration. Too many in a row are an error.

    Inside the context, neurons raise no error for NaN: the loss shows it. Each of several micro-batches has
    its own context; if one is broken, the whole step is skipped. The same holds for several ranks.

    With a fused optimizer (`fused=True`) nothing waits for a GPU: the counts there are read every 64 steps,
    and when you ask for `skipped`. With other optimizers, each check waits for the device.

    Args:
        model: what is trained.
        windows: the rule that sets its windows, if there is one.
        most: number of steps in a row that may be skipped; 0 to skip none.

    Raises:
        InputError: if `most` is not a whole number of at least 0.
    """

    def __init__(self, model: nn.Module, windows: WindowPolicy | None = None, *, most: int = 20) -> None:
        require_module(model)
        self.windows = windows
        self.most = require_count("most", most, least=0)
        self._buffers = Buffers(model)
        self._skipped = Tally()
        self._told = 0
        self._data: dict[str, Tally] = defaultdict(Tally)
        self._entered: list[AbstractContextManager[None]] = []
        self._broken: Tensor | None = None
        self._checked: list[Optimizer] = []

    def __enter__(self) -> StepGuard:
        if self._checked:
            self._begin()
        self._buffers.remember()
        self._entered.append(letting_through())
        self._entered[-1].__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self._entered.pop().__exit__(kind, *error)
        if kind is not None:
            self._begin()  # whoever handles the error may change the buffers

    def __getstate__(self) -> dict[str, Any]:
        # A copy does not know the optimizers: their hooks are not copied.
        return {**self.__dict__, "_checked": [], "_broken": None}

    @property
    def skipped(self) -> int:
        """How many steps have been skipped; on a GPU, reading this waits for it.

        Raises:
            InputError: as for `check` and `require_finite`.
        """
        for name, tally in self._data.items():
            _require_none(tally.counts(wait=True), name)
        return self._hear(wait=True).total

    def require_finite(self, data: Tensor, name: str) -> None:
        """Refuse data that hold NaN or infinity: at once, or on a GPU when its counts are read next.

        Args:
            data: floating point, any shape.
            name: what to call them in the error, such as "the training images".

        Raises:
            InputError: if they hold NaN or infinity.
        """
        tally = self._data[name]
        tally.add(~all_finite([data]))
        _require_none(tally.counts(), name)

    @torch.no_grad()
    def check(self, optimizer: Optimizer, *losses: Tensor) -> None:
        """Call between the last backward pass of a step and `optimizer.step()` (or `GradScaler.step`).

        With several optimizers, check each before the first of them steps: either all step or none does, and
        this counts as one step. The next one begins with the next context, or when an optimizer is checked
        again.

        With a `GradScaler`, call `scaler.unscale_(optimizer)` first: after `check` the gradients of a
        skipped step may be gone.

        Args:
            optimizer: whose parameters have the gradients.
            losses: of the step, or of its micro-batches, 0-d.

        Raises:
            InputError: if more than `most` steps in a row were skipped, or a loss is not a tensor.
        """
        for loss in losses:
            require(
                isinstance(loss, Tensor),
                f"a loss must be a tensor, not {type(loss).__name__}: pass the loss itself, not loss.item()",
            )
        if optimizer in self._checked:
            self._begin()
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # Check statistics too: dividing by a variance that overflowed gives an ordinary 0.
        broken = ~all_finite([*grads, *losses, *self._buffers.that_were_finite()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            broken = add_up(broken.float()) > 0
        if self._broken is not None:
            broken = broken | self._broken.to(broken.device)
        self._buffers.restore(broken)
        if self.windows is not None:
            self.windows.discard(broken)
        self._skipped.add(broken, again=bool(self._checked))
        self._broken = broken
        for other in self._checked:
            skip(other, broken, again=True)
        skip(optimizer, broken)
        self._checked.append(optimizer)
        self._hear()

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue counting from."""
        return {"skipped": tuple(self._skipped.counts(wait=True))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue counting from `state`; from 0 if it is empty."""
        self._skipped = Tally(Counts(*state.get("skipped", ())))
        self._told = self._skipped.counts(wait=True).total

    def _begin(self) -> None:
        """Begin a step: nothing is known of it yet."""
        self._buffers.forget()
        self._broken = None
        self._checked.clear()

    def _hear(self, *, wait: bool = False) -> Counts:
        """What is known about skipped steps; warns about new ones."""
        known = self._skipped.counts(wait=wait)
        require(
            known.longest <= self.most,
            f"{known.longest} steps in a row were skipped because their loss or gradients were NaN or "
            "infinite: lower the learning rate, clip gradients, or look for broken samples and for a "
            "normalisation of almost equal values",
        )
        if known.total > self._told:
            log.warning(
                "skipped %d steps so far, as their loss or gradients were NaN or infinite", known.total
            )
            self._told = known.total
        return known


def all_finite(tensors: Sequence[Tensor]) -> Tensor:
    """Whether all elements are finite, a 0-d tensor on their device: one pass over each that only reads."""
    dense = [tensor._values() if tensor.is_sparse else tensor for tensor in tensors]
    some = [tensor for tensor in dense if tensor.numel()]  # an empty one has no norm
    if not some:
        return torch.ones((), dtype=torch.bool, device=tensors[0].device if tensors else None)
    return get_total_norm(some, torch.inf).isfinite()


def _require_none(found: Counts, name: str) -> None:
    if found.total:
        raise InputError(
            f"{name} hold NaN or infinity: fix the samples or leave them out, and check the preprocessing, "
            "such as a division by a standard deviation of 0"
        )
