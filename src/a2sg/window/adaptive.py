"""`AdaptiveWindows`: observe a backward pass once in a while, solve, set the windows."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_choice, require_count, require_positive
from a2sg.window.observer import Clock, Gradient, Observer
from a2sg.window.search import SEARCHES
from a2sg.window.solve import Solution, solve

log = logging.getLogger("a2sg")

SAVED = {"iteration", "kept", "seconds", "history", "windows", "tables"}
"""Keys of a state."""


@runtime_checkable
class Site(Protocol):
    """What `AdaptiveWindows` needs of a place where spikes are made."""

    steps: int
    window: Tensor
    """`[T]`, read in every forward and set in place here."""
    observer: Observer | None
    """While set, backward passes leave their sums in it."""


class AdaptiveWindows:
    """Adapts the window of every spiking layer and step (A2SG: S-ASG and T-ASG).

    Used like a learning-rate scheduler:

        windows = a2sg.AdaptiveWindows(model)
        ...
        loss.backward(); optimizer.step(); windows.step()

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`. Its own
    gradients still use the old windows; the new ones act from the next iteration. At the last step the
    window of least SGV is taken, at earlier ones that of largest TGC with the step after. A layer and
    step whose gradients are all zero or not finite keeps its window, and is counted in `kept`.
    Micro-batches (several backward passes per `step`) and ranks (torch.distributed) add up.

    Args:
        model: holds spiking neurons (or other sites) with one window per step.
        every: iterations from one search to the next (the paper: 500).
        start: the first observed iteration; None is `every`.
        low: the smallest candidate window.
        high: the largest.
        candidates: how many, evenly spaced with both ends; at least 2. Ties go to the smaller.
        search: `"exact"`, `"grid"` or `"bayes"` (see `a2sg.window.search`).
        spatial: whether the last step is adapted (S-ASG).
        temporal: whether the earlier steps are (T-ASG). With both off the windows are only watched.
        gradient: δ of the spike path (`"spike"`, research code) or the full dL/du (`"full"`).

    Attributes:
        iteration: how many iterations are done.
        history: one plain dict per observed iteration, layer and step; see `step`.
        kept: how often a window was kept for want of usable gradients, by reason.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 500,
        start: int | None = None,
        low: float = 0.1,
        high: float = 1.0,
        candidates: int = 100,
        search: str = "exact",
        spatial: bool = True,
        temporal: bool = True,
        gradient: Gradient = "spike",
    ) -> None:
        self.every = require_count("every", every)
        self.start = self.every if start is None else require_count("start", start, least=0)
        require_positive("low", low)
        require_positive("high", high)
        require(low < high, f"low must be below high, not low={low} and high={high}")
        require_count("candidates", candidates, least=2)
        require_choice("search", search, SEARCHES)
        require_choice("gradient", gradient, ("spike", "full"))
        self.spatial = spatial
        self.temporal = temporal
        self.sites = _find_sites(model)
        # Windows live in float32 buffers: candidates are values that such a buffer holds exactly.
        values = torch.linspace(low, high, candidates, dtype=torch.float64).float().double()
        self.search = SEARCHES[search](values)
        lattice = self.search.lattice if spatial or temporal else values[:0]
        self.observers = {
            name: Observer(site.steps, lattice, self.search.fill, gradient)
            for name, site in self.sites.items()
        }
        self._attached = True
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        self.kept: Counter[str] = Counter()
        self._clock = Clock()
        self._arm()

    @property
    def observing(self) -> bool:
        """Whether the current iteration is observed."""
        return (
            self._attached
            and self.iteration >= self.start
            and (self.iteration - self.start) % self.every == 0
        )

    @property
    def seconds(self) -> float:
        """Time spent observing and solving so far."""
        return self._clock.seconds + sum(observer.clock.seconds for observer in self.observers.values())

    def step(self) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration sets the windows and appends to `history`, for every layer and step,
        `iteration`, `layer`, `step` (1 .. T), `window`, `sgv`, `tgc` (None at T) at that window,
        `window_before`, `sgv_before`, `tgc_before`, and `kept`: why the window was kept, or "".

        Returns:
            Whether windows were set.
        """
        observed = self.observing
        if observed:
            with self._clock.running(torch.device("cpu")):
                self._update()
        self.iteration += 1
        self._arm()
        return observed and (self.spatial or self.temporal)

    def detach(self) -> None:
        """Stop watching the model, for good; its windows stay as they are."""
        self._attached = False
        self._arm()

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from; the windows themselves are in the model's state_dict."""
        return {
            "iteration": self.iteration,
            "kept": dict(self.kept),
            "seconds": self.seconds,
            "history": [dict(row) for row in self.history],
            "windows": self.search.lattice.clone(),
            "tables": {name: observer.table.cpu().clone() for name, observer in self.observers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for other layers, steps or candidates.
        """
        missing = SAVED - state.keys()
        require(not missing, f"the saved windows lack {', '.join(sorted(missing))}: save state_dict() whole")
        tables = state["tables"]
        mine = {name: tuple(observer.table.shape) for name, observer in self.observers.items()}
        theirs = {name: tuple(table.shape) for name, table in tables.items()}
        require(
            mine == theirs,
            "the saved windows are of another model or search: layers and table shapes "
            f"{theirs or 'none'}, here {mine}",
        )
        require(
            torch.equal(state["windows"], self.search.lattice),
            "the saved windows are of another model or search: they were searched from "
            f"{state['windows'][0]:g} to {state['windows'][-1]:g}, not from {self.search.lattice[0]:g} to "
            f"{self.search.lattice[-1]:g}",
        )
        self.iteration = state["iteration"]
        self.kept = Counter(state["kept"])
        self.history = [dict(row) for row in state["history"]]
        self._clock = Clock(state["seconds"])
        for name, observer in self.observers.items():
            observer.table = tables[name].clone()
            observer.clock = Clock()
        self._arm()

    def _arm(self) -> None:
        for name, site in self.sites.items():
            site.observer = self.observers[name] if self.observing else None

    @torch.no_grad()
    def _update(self) -> None:
        rows = [(name, step) for name, site in self.sites.items() for step in range(site.steps)]
        last = torch.tensor([step == self.sites[name].steps - 1 for name, step in rows])
        wanted = torch.where(last, torch.tensor(self.spatial), torch.tensor(self.temporal))
        sums, before = self._collect()
        found = solve(sums, last, wanted, self.search)
        used = sums.shape[1] - 1  # behind the lattice, which is empty if nothing is adapted
        windows = torch.cat([self.search.lattice[:used], torch.zeros(1, dtype=torch.float64)])[found.choice]
        after = torch.where(found.choice == used, before, windows)
        self._set(after)
        self._report(rows, last, found, before.tolist(), after.tolist())

    def _collect(self) -> tuple[Tensor, Tensor]:
        """Sums of all layers and steps `[rows, L + 1, 6]` over all ranks, and the windows in use `[rows]`.

        Both on the CPU, by one transfer. Clears the tables.
        """
        # On the model's device even where nothing was observed: ranks must agree on it to reduce.
        device = next(iter(self.sites.values())).window.device
        sums = torch.cat([observer.table.to(device) for observer in self.observers.values()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        for observer in self.observers.values():
            observer.clear()
        windows = torch.cat([site.window.to(device, torch.float64) for site in self.sites.values()])
        together = torch.cat([sums.flatten(), windows]).cpu()
        return together[: sums.numel()].view(sums.shape), together[sums.numel() :]

    def _set(self, windows: Tensor) -> None:
        """Write windows `[rows]` to the sites, by one transfer per device."""
        there: dict[torch.device, Tensor] = {}
        at = 0
        for site in self.sites.values():
            device = site.window.device
            if device not in there:
                there[device] = windows.to(device, non_blocking=True)
            site.window.copy_(there[device][at : at + site.steps])
            at += site.steps

    def _report(
        self,
        rows: list[tuple[str, int]],
        last: Tensor,
        found: Solution,
        before: list[float],
        after: list[float],
    ) -> None:
        """Append to the history, count what was kept, and warn of it."""
        used = found.sgv.shape[1] - 1
        for row, (name, step) in enumerate(rows):
            at = int(found.choice[row])
            self.history.append(
                {
                    "iteration": self.iteration,
                    "layer": name,
                    "step": step + 1,
                    "window": after[row],
                    "sgv": _plain(found.sgv[row, at]),
                    "tgc": None if last[row] else _plain(found.tgc[row, at]),
                    "window_before": before[row],
                    "sgv_before": _plain(found.sgv[row, used]),
                    "tgc_before": None if last[row] else _plain(found.tgc[row, used]),
                    "kept": found.reasons[row],
                }
            )
        bad = Counter(reason for reason in found.reasons if reason)
        self.kept.update(bad)
        if bad:
            log.warning(
                "iteration %d: kept the windows of %d of %d layer-steps (%s)",
                self.iteration,
                sum(bad.values()),
                len(rows),
                ", ".join(f"{reason}: {count}" for reason, count in bad.items()),
            )


def _plain(score: Tensor) -> float | None:
    """A number for a table; None where it is not one."""
    return score.item() if score.isfinite() else None


def _find_sites(model: nn.Module) -> dict[str, Site]:
    sites = {name: module for name, module in model.named_modules() if isinstance(module, Site)}
    if not sites:
        raise InputError(
            "found no spiking neurons in the model: use a2sg.LIF and its kin (or adapt another library's)"
        )
    for name, site in sites.items():
        require(
            site.window.dim() == 1,
            f"layer {name!r} has windows of shape {tuple(site.window.shape)}: adaptive windows are one per "
            "step, [T]",
        )
    return sites
