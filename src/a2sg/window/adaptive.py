"""`AdaptiveWindows`: observe a backward pass now and then, solve, set the windows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from a2sg.errors import called, require, require_choice, require_count, require_positive, require_share
from a2sg.kernels.sums import Sums
from a2sg.kernels.watch import Gradient
from a2sg.ranks import add_up
from a2sg.surrogate import Asymmetric
from a2sg.window.history import COLUMNS, Place, history_rows, report
from a2sg.window.joining import join_ranks
from a2sg.window.later import Later
from a2sg.window.objectives import SGV, TGC, Objective, find_objective
from a2sg.window.observer import Observer
from a2sg.window.policy import Loss, WindowPolicy
from a2sg.window.resuming import WAY_OUT
from a2sg.window.search import SEARCHES, SearchName
from a2sg.window.site import Site
from a2sg.window.solve import Rows, solve, with_behind

SpatialSteps = Literal["last", "first", "all"]


class AdaptiveWindows(WindowPolicy):
    """Adapts the window of every spiking layer and step (A2SG: S-ASG and T-ASG).

    Use it like a learning-rate scheduler:

        windows = a2sg.AdaptiveWindows(model)
        ...
        loss.backward(); optimizer.step(); windows.step()

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`. Its own
    gradients still use the old windows; the new ones take effect from the next iteration. The last step takes
    the window with the least SGV, each earlier step the one with the largest TGC with the next step. Where
    all gradients of a layer and step are zero, or some are not finite, the window stays as it is, and `kept`
    counts it.

    Everything that differs from the paper is an option: other objectives, `spatial_steps`, `biases`,
    `smoothing`, `batches`.

    On a GPU nothing waits for the device: the history, and warnings about kept windows, may come a few
    searches late, but are complete whenever you read `history`, `kept` or `state_dict`.

    Micro-batches (several backward passes per `step`) and ranks (torch.distributed) add up. With `batches`,
    so do the iterations i, i + 1 … of one search: the windows are then those of one large batch, set after
    the last of these iterations.

    Args:
        model: holds spiking neurons (or other sites) with one window per step.
        every: iterations from one search to the next (the paper: 500); None searches once.
        start: the first observed iteration; `every` by default, 0 if that is None.
        low: the smallest candidate window.
        high: the largest.
        candidates: number of candidates, evenly spaced, both ends included; at least 2. Ties go to the
            smaller one.
        search: `"exact"`, `"grid"`, `"bayes"`, or as a control `"random"` (see `a2sg.window.search`).
        spatial: objective for the last step (S-ASG). False: do not adapt it. True or `"sgv"`: the least
            Var(δ)/mean|δ| (the paper). `"std"`: the least Std(δ)/mean|δ|, which does not depend on the scale
            of δ and so responds to how many elements lie outside the window. `"gain"`: the norm of δ nearest
            to that of the layer behind (see `a2sg.window.gain`). Or your own `Objective`, or its name.
        temporal: objective for the earlier steps (T-ASG). False: do not adapt them. True or `"tgc"`: the
            largest TGC (the paper). Or an objective as for `spatial`. With both off, the windows are only
            watched.
        gradient: which local gradient δ is: that of the spike path (`"spike"`, research code) or the full
            dL/du (`"full"`).
        batches: number of consecutive iterations observed for one search, at most `every` (the paper: 1).
        spatial_steps: which steps S-ASG adapts: `"last"` (the paper), `"first"` or `"all"`; T-ASG adapts the
            others, but never the last, which has no next step.
        biases: H, the number of biases h of `Asymmetric`, evenly spaced from 1/2 to 1, that are searched
            together with the windows. A layer has one h: the best one at its last spatial step. 1 keeps the
            shape as it is.
        smoothing: share of the old window that is kept, from 0 to below 1: new = smoothing · old +
            (1 - smoothing) · best.
        spread: the old name for `spatial="sgv"` or `"std"`; will be removed in 0.3.0.

    Attributes:
        iteration: how many iterations are done.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    columns: ClassVar[tuple[str, ...]] = COLUMNS
    saved: ClassVar[frozenset[str]] = WindowPolicy.saved | {"windows"}

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int | None = 500,
        start: int | None = None,
        low: float = 0.1,
        high: float = 1.0,
        candidates: int = 100,
        search: SearchName = "exact",
        spatial: bool | str | Objective = True,
        temporal: bool | str | Objective = True,
        gradient: Gradient = "spike",
        batches: int = 1,
        spatial_steps: SpatialSteps = "last",
        biases: int = 1,
        smoothing: float = 0.0,
        spread: Literal["sgv", "std"] | None = None,
    ) -> None:
        super().__init__(model, every=every, start=(every or 0) if start is None else start, batches=batches)
        require_positive("low", low)
        require_positive("high", high)
        require(low < high, f"low must be below high, not low={low} and high={high}")
        require_count("candidates", candidates, least=2)
        require_choice("search", search, SEARCHES)
        require_choice("gradient", gradient, get_args(Gradient))
        require_choice("spatial_steps", spatial_steps, get_args(SpatialSteps))
        require_count("biases", biases)
        require_share("smoothing", smoothing)
        require(smoothing < 1, "smoothing must be below 1, not 1: windows would never move")
        if spread is not None:
            warnings.warn(
                f"spread={spread!r} is now spatial={spread!r}; 0.3.0 removes the old name",
                FutureWarning,
                stacklevel=2,
            )
            spatial = spatial and spread
        self.spatial = find_objective("spatial", spatial, SGV)
        self.temporal = find_objective("temporal", temporal, TGC)
        require(
            self.spatial is None or not self.spatial.pairs,
            f"spatial must be an objective of one step: {self.spatial and self.spatial.name!r} compares a "
            "step with the next one, and the last step has none",
        )
        self.smoothing = smoothing
        self.shapes = self._shapes(biases)
        self.rows = self._rows(spatial_steps)
        # Windows are stored in float32 buffers: candidates are values that float32 holds exactly.
        values = torch.linspace(low, high, candidates, dtype=torch.float64).float().double()
        self.search = SEARCHES[search](values)
        self.lattice = self.search.lattice if spatial or temporal else values[:0]
        self.places = [
            Place(name, step, step == site.steps)
            for name, site in self.sites.items()
            for step in site.sharing.ends
        ]
        self._there = self.rows, self.lattice
        self._lengths: Tensor | None = None
        self._observe(
            {
                name: Observer(
                    site.steps, self.lattice, self.search.fill, gradient, self.shapes[name], site.groups
                )
                for name, site in self.sites.items()
            }
        )

    @property
    def lengths(self) -> Tensor | None:
        """Lengths of the sequences of the batch `[B]`, if they were padded at their ends to a common T.

        Elements at steps after a sequence's end then do not count. Set it before the backward pass of each
        batch; it stays until you set it again. None: all sequences have T steps.
        """
        return self._lengths

    @lengths.setter
    def lengths(self, lengths: Tensor | None) -> None:
        self._lengths = lengths
        for observer in self.observers.values():
            observer.lengths = lengths

    @property
    def wanted(self) -> int:
        """How many windows a search sets; 0 if they are only watched."""
        return int(self.rows.wanted.sum())

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On the last observed iteration of a search, sets the windows and appends to `history`, for every layer
        and step: `iteration`, `layer`, `step` (1 .. T), `window`; `sgv` and `tgc` (None at T) at the best
        window (which `smoothing` may not quite reach); `window_before`, `sgv_before`, `tgc_before`; `kept`:
        why the window was kept, or ""; and `bias` of the shape now in use. Scores are None where no gradient
        passes, so that means leave these layers and steps out. For the gradients in use on this
        iteration: `cv` (deviation over |mean|), `norm`, `sparsity` (share that is 0) and `gain` (`norm` over
        that of the layer behind, None for the last layer).

        Args:
            loss: not used; see `WindowPolicy.step`.

        Returns:
            Whether windows were set.
        """
        return super().step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from, including windows that the model's own state_dict lacks."""
        biases = {name: _bias(site) for name, site in self.sites.items() if self.shapes[name]}
        return {
            **super().state_dict(),
            "windows": self.search.lattice.clone(),
            "biases": biases,
            "passing": {name: observer.passing.cpu().clone() for name, observer in self.observers.items()},
        }

    def add_ranks_to(self, state: dict[str, Any]) -> None:
        super().add_ranks_to(state)
        for passing in state["passing"].values():
            add_up(passing)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, with its biases if they are searched; see `WindowPolicy.load_state_dict`."""
        super().load_state_dict(state)
        for name, bias in state.get("biases", {}).items():
            self.sites[name].surrogate = replace(self.sites[name].surrogate, bias=bias)  # type: ignore[call-arg]

    def _check(self, state: dict[str, Any]) -> None:
        require(
            torch.equal(state["windows"], self.search.lattice),
            "the saved windows belong to another model or search: they were searched from "
            f"{state['windows'][0]:g} to {state['windows'][-1]:g}, not from {self.search.lattice[0]:g} to "
            f"{self.search.lattice[-1]:g}; {WAY_OUT}",
        )
        searched = {name for name, shapes in self.shapes.items() if shapes}
        require(
            state.get("biases", {}).keys() == searched,
            f"the saved windows belong to another search: only one of the two searches biases; {WAY_OUT}",
        )

    def _shapes(self, biases: int) -> dict[str, list[Asymmetric]]:
        """The shapes to search, by layer; none if only the one in use is to be considered."""
        if biases == 1:
            return {name: [] for name in self.sites}
        require(self.spatial is not None, "the spatial search finds biases: spatial must be on")
        found = {}
        for name, site in self.sites.items():
            require(
                isinstance(site.surrogate, Asymmetric),
                f"only the shape Asymmetric() has biases, but {called(name)} has {site.surrogate}: leave "
                "biases at 1",
            )
            found[name] = [
                replace(site.surrogate, bias=0.5 + 0.5 * at / (biases - 1))  # type: ignore[call-arg]
                for at in range(biases)
            ]
        return found  # type: ignore[return-value]

    def _rows(self, spatial_steps: SpatialSteps) -> Rows:
        """What each row of the tables stands for: one layer at one step, or at a group of steps."""
        spatial: list[bool] = []
        last: list[bool] = []
        anchor: list[int] = []
        behind: list[int] = []
        layer: list[int] = []
        varies: list[bool] = []
        shared = [site.sharing for site in self.sites.values()]
        runs = [[one.steps_of(group) for group in range(one.groups)] for one in shared]
        for number, (site, own, after) in enumerate(
            zip(self.sites.values(), runs, [*runs[1:], []], strict=True)
        ):
            count, first = len(own), len(behind) + len(own)
            there = {run: first + at for at, run in enumerate(after)}
            behind += [there.get(run, -1) for run in own]
            here = {"first": [0], "last": [count - 1], "all": list(range(count))}[spatial_steps]
            anchor += [len(spatial) + here[-1]] * count
            spatial += [group in here for group in range(count)]
            last += [group == count - 1 for group in range(count)]
            layer += [number] * count
            varies += [site.varies] * count
        is_spatial, is_last = torch.tensor(spatial), torch.tensor(last)
        wanted = (is_spatial & bool(self.spatial)) | (~is_spatial & ~is_last & bool(self.temporal))
        return Rows(is_spatial, wanted, *map(torch.tensor, (anchor, behind, layer, varies)))

    @torch.no_grad()
    def _update(self, loss: Loss | None) -> bool:
        join_ranks(self.store, self.reduction)
        rows, lattice = self._placed(self.store.flat.device)
        sums = with_behind(self.store.tables.view(len(rows.anchor), -1, len(Sums)), rows.behind)
        before = self._in_use(sums.device)
        found = solve(sums, rows, self.search, self.spatial or SGV, self.temporal or TGC)
        kept = found.choice == sums.shape[1] - 1
        after = before
        if len(lattice):
            best = lattice[found.choice.masked_fill(kept, 0) % len(lattice)]
            moved = (best + self.smoothing * (before - best)).float().double()  # what a buffer can hold
            after = torch.where(kept, before, moved)
            self._set(after)
            after = self._in_use(sums.device)  # as half precision rounds it
            self._set_biases(found.choice // len(lattice), kept)
        self._mail.send(
            Later(report(found, after, before, sums, self.store.passing)),
            partial(self._report, self.iteration, [_bias(self.sites[place.layer]) for place in self.places]),
        )
        self.store.clear()
        return bool(self.spatial or self.temporal)

    def _placed(self, device: torch.device) -> tuple[Rows, Tensor]:
        """The description of the rows, and the lattice, on a device."""
        if self._there[1].device != device:
            self._there = self.rows.to(device), self.lattice.to(device)
        return self._there

    def _in_use(self, device: torch.device) -> Tensor:
        """The windows of all sites `[rows]`."""
        return torch.cat([site.window.to(device) for site in self.sites.values()]).double()

    def _set(self, windows: Tensor) -> None:
        """Write windows `[rows]` to the sites."""
        held = [site.window for site in self.sites.values()]
        parts = windows.to(held[0].dtype).split([len(window) for window in held])
        torch._foreach_copy_(held, parts)

    def _set_biases(self, bias: Tensor, kept: Tensor) -> None:
        """Give every layer the shape that its anchor chose, if shapes are searched; waits for the device."""
        if not any(self.shapes.values()):
            return
        of_each = [at for at, place in enumerate(self.places) if place.last]
        chosen = torch.where(kept, -1, bias).tolist()
        for (name, site), anchor in zip(self.sites.items(), self.rows.anchor[of_each].tolist(), strict=True):
            if chosen[anchor] >= 0:
                site.surrogate = self.shapes[name][chosen[anchor]]

    def _report(self, iteration: int, biases: Sequence[float | None], numbers: Tensor) -> None:
        """Append to the history, count kept windows, and warn about them."""
        rows = history_rows(iteration, self.places, numbers, biases)
        self._records.add(rows)
        self._count_kept(iteration, [row["kept"] for row in rows], "layer-steps")


def _bias(site: Site) -> float | None:
    """The h of a site's surrogate, if it has one."""
    bias: float | None = getattr(site.surrogate, "bias", None)
    return bias
