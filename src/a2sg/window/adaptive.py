"""`AdaptiveWindows`: observe a backward pass once in a while, solve, set the windows."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_choice, require_count, require_positive
from a2sg.window.observer import Gradient, Observer
from a2sg.window.policy import Loss, WindowPolicy
from a2sg.window.search import SEARCHES
from a2sg.window.solve import Solution, solve


class AdaptiveWindows(WindowPolicy):
    """Adapts the window of every spiking layer and step (A2SG: S-ASG and T-ASG).

    Used like a learning-rate scheduler:

        windows = a2sg.AdaptiveWindows(model)
        ...
        loss.backward(); optimizer.step(); windows.step()

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`. Its own
    gradients still use the old windows; the new ones act from the next iteration. At the last step the
    window of least SGV is taken, at earlier ones that of largest TGC with the step after. A layer and
    step whose gradients are all zero or not finite keeps its window, and is counted in `kept`.
    Micro-batches (several backward passes per `step`) and ranks (torch.distributed) add up, and so do, with
    `batches`, the iterations i, i + 1 … of one search: the windows are then those of one large batch, set
    after the last of them.

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
        batches: how many iterations in a row are observed for one search, at most `every` (the paper: 1).

    Attributes:
        iteration: how many iterations are done.
        history: one plain dict per observed iteration, layer and step; see `step`.
        kept: how often a window was kept for want of usable gradients, by reason.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "iteration",
        "layer",
        "step",
        "window",
        "sgv",
        "tgc",
        "window_before",
        "sgv_before",
        "tgc_before",
        "kept",
    )
    saved: ClassVar[frozenset[str]] = WindowPolicy.saved | {"windows"}

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
        batches: int = 1,
    ) -> None:
        super().__init__(model, every, every if start is None else start, batches)
        require_positive("low", low)
        require_positive("high", high)
        require(low < high, f"low must be below high, not low={low} and high={high}")
        require_count("candidates", candidates, least=2)
        require_choice("search", search, SEARCHES)
        require_choice("gradient", gradient, ("spike", "full"))
        self.spatial = spatial
        self.temporal = temporal
        # Windows live in float32 buffers: candidates are values that such a buffer holds exactly.
        values = torch.linspace(low, high, candidates, dtype=torch.float64).float().double()
        self.search = SEARCHES[search](values)
        lattice = self.search.lattice if spatial or temporal else values[:0]
        self.observers = {
            name: Observer(site.steps, lattice, self.search.fill, gradient)
            for name, site in self.sites.items()
        }
        self._arm()

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration, the last for one search, sets the windows and appends to `history`, for
        every layer and step, `iteration`, `layer`, `step` (1 .. T), `window`, `sgv`, `tgc` (None at T) at
        that window, `window_before`, `sgv_before`, `tgc_before`, and `kept`: why the window was kept, or "".

        Args:
            loss: not looked at; see `WindowPolicy.step`.

        Returns:
            Whether windows were set.
        """
        return super().step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from; the windows themselves are in the model's state_dict."""
        return {**super().state_dict(), "windows": self.search.lattice.clone()}

    def _check(self, state: dict[str, Any]) -> None:
        require(
            torch.equal(state["windows"], self.search.lattice),
            "the saved windows are of another model or search: they were searched from "
            f"{state['windows'][0]:g} to {state['windows'][-1]:g}, not from {self.search.lattice[0]:g} to "
            f"{self.search.lattice[-1]:g}",
        )

    @torch.no_grad()
    def _update(self, loss: Loss | None) -> bool:
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
        return self.spatial or self.temporal

    def _collect(self) -> tuple[Tensor, Tensor]:
        """Sums of all layers and steps `[rows, L + 1, 6]` over all ranks, and the windows in use `[rows]`.

        Both on the CPU, by one transfer. Clears the tables.
        """
        sums = self._take_tables()
        windows = torch.cat([site.window.to(sums.device, torch.float64) for site in self.sites.values()])
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
        self._count_kept(found.reasons, "layer-steps")


def _plain(score: Tensor) -> float | None:
    """A number for a table; None where it is not one."""
    return score.item() if score.isfinite() else None
