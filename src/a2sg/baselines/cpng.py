"""CPNG: windows that keep the share of neurons with a gradient constant."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import called, require, require_positive
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill
from a2sg.kernels.watch import Look, Steps
from a2sg.neuron import SpikingNeuron
from a2sg.window.observer import Observer
from a2sg.window.policy import Loss, WindowPolicy

HALVINGS = 60
"""Of the interval of windows: to the last bit of a float64, from any interval."""

EQUAL = 1e-6
"""Spread of potentials, relative to their mean, below which it is rounding."""


class CPNG(WindowPolicy):
    """Keeps the share χ of neurons inside the window constant, layer by layer.

    Used like `a2sg.AdaptiveWindows`; meant for `Triangle(area="unit")` with window 1. On an observed
    iteration, a Gaussian is fitted to the potentials of a layer at the last step. The windows of all its
    steps are then set to the one that contains the share χ of that Gaussian, found by bisection in [low,
    high]; if χ is out of reach, to the nearer end. The forward pass does not change.

    Source: Efficient Surrogate Gradients for Training Spiking Neural Networks (submission to ICLR 2023),
    whose indicator χ is the share of parameters with a gradient. We know the fit and the bisection of b = 1 /
    window in [0.5, 2] from a description. That χ is each layer's share under its first window, and how often
    windows are set, is our reading.

    Args:
        model: holds spiking neurons of a2sg with one threshold (not `IntegerLIF`).
        every: iterations from one fit to the next; None fits once.
        start: the first; None is 0.
        low: smallest window.
        high: largest.
        share: χ for all layers, strictly between 0 and 1; None is what each layer's window holds in the
            first observed iteration.

    Attributes:
        shares: χ of each layer, as far as it is known.

    Raises:
        InputError: for an option out of range, or a model without such neurons.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "iteration",
        "layer",
        "step",
        "window",
        "share",
        "window_before",
        "share_before",
        "inside_before",
        "kept",
    )
    saved: ClassVar[frozenset[str]] = WindowPolicy.saved | {"shares"}

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int | None = 500,
        start: int | None = None,
        low: float = 0.5,
        high: float = 2.0,
        share: float | None = None,
    ) -> None:
        super().__init__(model, every=every, start=0 if start is None else start)
        self.low = require_positive("low", low)
        self.high = require_positive("high", high)
        require(low < high, f"low must be below high, not low={low} and high={high}")
        if share is not None:
            require(
                0 < require_positive("share", share) < 1,
                f"share must be above 0 and below 1, not {share}",
            )
        for name, site in self.sites.items():
            require(
                isinstance(site, SpikingNeuron) and len(site.thresholds()) == 1,
                f"{called(name)}: CPNG is for a2sg's neurons with one threshold, such as a2sg.LIF",
            )
        self.share = share
        self.shares: dict[str, float] = {} if share is None else dict.fromkeys(self.sites, share)
        self._observe({name: _Potentials(site.steps, site.groups) for name, site in self.sites.items()})

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from; the windows themselves are in the model's state_dict."""
        return {**super().state_dict(), "shares": dict(self.shares)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for other layers or another share.
        """
        super().load_state_dict(state)
        self.shares = dict(state["shares"])

    def _check(self, state: dict[str, Any]) -> None:
        require(
            self.share is None or state["shares"] == self.shares,
            f"the saved windows are for the shares {state['shares']}, not for {self.share}",
        )

    @torch.no_grad()
    def _update(self, loss: Loss | None) -> bool:
        self.store.add_ranks()
        tables = self.store.tables.view(len(self.sites), -1).tolist()
        self.store.clear()
        reasons, rows = [], []
        for (name, site), (count, total, square, inside) in zip(self.sites.items(), tables, strict=True):
            before = site.window.tolist()
            share = share_before = inside_before = None
            reason = ""
            if count == 0:
                reason = "no gradient"
            elif not math.isfinite(square):
                reason = "not finite"
            else:
                mean = total / count
                spread = math.sqrt(max(0.0, square / count - mean * mean))
                inside_before = inside / count
                if spread <= EQUAL * abs(mean):
                    reason = "all equal"
            if not reason:
                share_before = share_within(before[-1], mean, spread)
                wanted = self.shares.setdefault(name, share_before)
                site.window.fill_(window_for(wanted, mean, spread, self.low, self.high))
                share = share_within(site.window[-1].item(), mean, spread)
            reasons.append(reason)
            for step, was, window in zip(site.sharing.ends, before, site.window.tolist(), strict=True):
                rows.append(
                    {
                        "iteration": self.iteration,
                        "layer": name,
                        "step": step,
                        "window": window,
                        "share": share,
                        "window_before": was,
                        "share_before": share_before,
                        "inside_before": inside_before,
                        "kept": reason,
                    }
                )
        self._records.add(rows)
        self._count_kept(self.iteration, reasons, "layers")
        return not all(reasons)


class _Potentials(Observer):
    """Adds up n, Σx, Σx² of x = u - threshold at the last step, and the count inside the window."""

    def __init__(self, steps: int, groups: int | None) -> None:
        super().__init__(steps, torch.zeros(0, dtype=torch.float64), None, "spike", groups=groups)
        self.table = torch.zeros(4, dtype=torch.float64)
        """Those sums `[4]`."""

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """See `Observer.watch`; the last step is that of the batch."""
        self.settle()
        last = len(window) - 1

        @torch.no_grad()
        def look(shown: Steps) -> None:
            if shown.end <= last:
                return
            with self.clock.running(shown.potential.device):
                x = shown.potential[-1].double() - gate.thresholds[0]
                inside = (x.abs() <= window[last].double()).sum()
                found = torch.stack([torch.full_like(inside, x.numel()), x.sum(), (x * x).sum(), inside])
                self.table += found.to(self.table.device)

        return look


def share_within(window: float, mean: float, spread: float) -> float:
    """The share of a Gaussian that lies inside [-window, window].

    Args:
        window: half-width, above 0.
        mean: of potential - threshold.
        spread: standard deviation, above 0.
    """
    scale = spread * math.sqrt(2)
    return 0.5 * (math.erf((window - mean) / scale) + math.erf((window + mean) / scale))


def window_for(share: float, mean: float, spread: float, low: float, high: float) -> float:
    """The window in [low, high] that holds the share of a Gaussian, or the nearest end; by bisection.

    Args:
        share: 0 to 1.
        mean: of potential - threshold.
        spread: standard deviation, above 0.
        low: smallest window, above 0.
        high: largest.
    """
    if share_within(low, mean, spread) >= share:
        return low
    if share_within(high, mean, spread) <= share:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if share_within(middle, mean, spread) < share:
            low = middle
        else:
            high = middle
    return high
