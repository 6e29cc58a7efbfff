"""`SpikeSite`: the windows of a layer whose spikes are made by a function, once per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from a2sg.adopt import function
from a2sg.adopt.count import StepCount
from a2sg.adopt.gates import Distance, Multiples, Stairs
from a2sg.adopt.intercept import when_reached
from a2sg.adopt.ramp import Ramp, ramps
from a2sg.adopt.sums import of_multiples
from a2sg.errors import require
from a2sg.kernels import fills
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill
from a2sg.kernels.tracing import tracing
from a2sg.kernels.watch import Look, Steps
from a2sg.surrogate import Asymmetric, Surrogate
from a2sg.window.observer import Observer
from a2sg.window.sharing import fitted
from a2sg.window.site import Site


class SpikeSite(Site):
    """A window for each step of one layer, or for runs of its steps, for `a2sg.spike`.

    `window` is a buffer `[T]`, or `[G]` with G groups. It is not part of the model's `state_dict`, so
    published checkpoints load strictly; it is part of the `state_dict` of `AdaptiveWindows`. A sequence
    begins with `begin()`, with a forward pass of the model that was given to `a2sg.adapt`, or after T steps.
    Steps under `torch.no_grad()` do not count.

    Args:
        steps: T, at least 1.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, T, or G.
        groups: G, the number of runs of steps, as equal in length as possible, each of which shares a window;
            None: each step has its own window.

    Raises:
        InputError: for a value out of range.
    """

    gate: Gate = Distance(Asymmetric())
    """How potentials turn into spikes; `surrogate` is a part of it."""

    def __init__(
        self,
        steps: int,
        *,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        groups: int | None = None,
    ) -> None:
        super().__init__(steps, surrogate=surrogate, window=window, groups=groups, saved=False)
        require(
            self.window.dim() == 1,
            "window must be one number, or one for each step or group, not of shape "
            f"{tuple(self.window.shape)}",
        )
        self.count = StepCount(steps)
        self._known: tuple[Tensor, int, Gate, list[Ramp | None]] | None = None
        self._watched: tuple[int, Look] | None = None
        self._held: list[Steps] = []
        self._held_in = -1  # the backward pass of the last of them

    @property
    def surrogate(self) -> Surrogate:
        """Shape of ds/du."""
        return self.gate.surrogate

    @surrogate.setter
    def surrogate(self, shape: Surrogate) -> None:
        self.gate = replace(self.gate, surrogate=shape)

    @property
    def graph_kind(self) -> tuple[Any, ...]:
        """See `Site.graph_kind`; a ramp's windows are numbers on the host: each search makes another kind."""
        return self.gate, self.window._version

    def begin(self) -> None:
        """Start a sequence with the next step.

        Raises:
            InputError: if the last one had begun and did not have T steps.
        """
        self.count.begin()

    def forward(self, distance: Tensor) -> Tensor:
        """Spikes of one step, as with `a2sg.spike`; NaN where the distance is NaN or infinite."""
        return self.fire(distance, lambda: torch.add(self.gate.fire(distance), distance, alpha=0))

    def fire(self, potential: Tensor, spikes: Callable[[], Tensor], step: int | None = None) -> Tensor:
        """One step: the result of `spikes()`, with the surrogate as its gradient with respect to `potential`.

        Args:
            potential: as `gate` reads it, any shape.
            spikes: makes the spikes, of the shape of `potential`.
            step: from 0, if it was counted elsewhere.

        Raises:
            InputError: for one step too many.
        """
        if not torch.is_grad_enabled():
            return spikes()
        if step is None:
            step = self.count.next()
        self.count.live = self.count.live or potential.requires_grad
        if self.observer is not None:
            from a2sg.adopt.untraced import untraced

            return untraced(self._fire_observed, self.observer, step, potential, spikes)
        return self._made(potential, step, None, spikes)

    def _made(
        self, potential: Tensor, step: int, look: function.Look | None, spikes: Callable[[], Tensor]
    ) -> Tensor:
        made = function.fire(potential, self._at(step, potential.device), self.gate, look, spikes)
        if self.count.replaying:
            when_reached(made, self.count.take)
        return made

    def _fire_observed(
        self, observer: Observer, step: int, potential: Tensor, spikes: Callable[[], Tensor]
    ) -> Tensor:
        self._repeat(observer)
        if step == 0 and not self.count.replaying:
            self.forget()
        return self._made(potential, step, partial(self._look, observer, step), spikes)

    def _at(self, step: int, device: torch.device) -> Tensor | Ramp:
        """The window of a step, as the function takes it."""
        at = step if self.groups is None else self.sharing.group(step)
        window = self._buffers["window"]  # much faster than self.window, and this is called often
        assert window is not None
        if window.device != device:
            window = self.window = window.to(device)
        if not tracing(window):
            known = self._known
            if (
                known is None
                or known[0] is not window
                or known[1] != window._version
                or known[2] is not self.gate
            ):
                known = self._known = (window, window._version, self.gate, ramps(self.gate, window))
            ramp = known[3][at]
            if ramp is not None:
                return ramp
        # A copy: DistributedDataParallel writes into buffers between the steps of the caller's loop.
        return torch.select_copy(window, 0, at)

    def _look(
        self, observer: Observer, step: int, potential: Tensor, upstream: Tensor, delta: Tensor
    ) -> None:
        """Show a step of a backward pass to the observer; the last one of a sequence must come first.

        Online training has a backward pass after every step. Its steps are held back until the last one. If
        such a pass goes on to earlier steps, it is a sequence of its own.
        """
        shown = Steps.one(step, potential, upstream, None, delta)
        task = torch._C._current_graph_task_id()
        if self._held and self._held_in == task:
            self._show(observer, self._held.pop())
        if self.count.done == step + 1 < self.steps:
            self._held.append(shown)
            self._held_in = task
        else:
            self._show(observer, shown)
            self.show_held()

    def show_held(self) -> None:
        """Show the observer the held steps of a sequence whose last steps got no gradient."""
        while self._held and self.observer is not None:
            self._show(self.observer, self._held.pop())

    def _show(self, observer: Observer, shown: Steps) -> None:
        if self._watched is None or self._watched[0] != shown.end:
            self._watched = shown.end, observer.watch(self.gate, self.windows(0, self.steps), self._fill)
        look = self._watched[1]
        look(shown)
        self._watched = (shown.first, look) if shown.first else None

    @property
    def _fill(self) -> Fill:
        """The fastest way to compute sums that supports the gate."""
        if isinstance(self.gate, Multiples):
            return of_multiples
        return fills.plain if isinstance(self.gate, Stairs) else fills.uncompiled

    def _end_sequence(self) -> str:
        """See `Site._end_sequence`."""
        self.show_held()
        return self.count.finish()

    def forget(self) -> None:
        """Release what the last backward pass left behind."""
        self._watched = None
        self._held.clear()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Also loads a checkpoint of version 0.1, which has the window."""
        window = state_dict.pop(f"{prefix}window", None)
        if window is not None:
            with torch.no_grad():
                self.window.copy_(fitted(window, len(self.window)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, surrogate={self.gate.surrogate}"

    def __getstate__(self) -> dict[str, Any]:
        """A copy is at the start of a sequence."""
        return super().__getstate__() | {"_known": None, "_watched": None, "_held": []}
