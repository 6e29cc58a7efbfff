"""`Backend`: a way to compute the multi-step neuron and its gradients."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from a2sg.kernels.drive import Arriving, Drive, Gradients, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.sums import Fill
from a2sg.kernels.watch import Watcher


class Backend(Protocol):
    """Computes a neuron over `[T, B, ...]`; `a2sg.kernels.reference` defines the result."""

    @property
    def name(self) -> str:
        """The name that users pass."""
        ...

    @property
    def fill(self) -> Fill:
        """The fastest way to compute sums at candidate windows on an observed pass."""
        ...

    def obstacle(self, drive: Drive, window: Tensor, dynamics: Dynamics) -> str:
        """Why it cannot compute this input; "" if it can."""
        ...

    def forward(self, drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
        """Spikes `[T, B, ...]` in the dtype of the current, and the state after them."""
        ...

    def backward(
        self,
        arriving: Arriving,
        drive: Drive,
        window: Tensor,
        dynamics: Dynamics,
        *,
        decay_needs_grad: bool = False,
        threshold_needs_grad: bool = False,
        watcher: Watcher | None = None,
    ) -> Gradients:
        """Gradients of the current, the decay, the initial state and the threshold (method, section 2).

        Args:
            arriving: gradients of the results of `forward`.
            drive: the input of `forward`.
            window: `[T]`, or `[T, ...]` with `window[t]` broadcasting against `[B, ...]`.
            dynamics: what the neuron does in a step.
            decay_needs_grad: whether the decay is trained.
            threshold_needs_grad: whether the threshold is.
            watcher: is shown every step.
        """
        ...
