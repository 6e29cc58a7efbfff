"""One forward and backward pass of a copy of a model, with statistics of every spiking layer and step.

Statistics are taken while the backward passes run, one step at a time, and only sums are kept: there is never
a table of all potentials. If a layer is called more than once, the sums add up over its calls.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import swaps
from a2sg.errors import InputError, require, require_count, require_gradient, require_positive
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill, Observation, blocked, one_step, sums_of
from a2sg.kernels.watch import Look as See
from a2sg.kernels.watch import Steps
from a2sg.neuron import SpikingNeuron
from a2sg.study.measure.moments import first, gather, levels
from a2sg.study.measure.objective import Forward, Loss, one_number
from a2sg.surrogate import Surrogate, WindowedAffine
from a2sg.window.observer import Observer
from a2sg.window.site import Site, require_module, require_some, require_windows_by_step, sites_of


class Look(NamedTuple):
    """What to measure: edges of the histogram, windows and shapes."""

    edges: Tensor
    """Edges of the histogram, on either side of the threshold, ascending `[E]`, float64."""
    candidates: int
    """C: how many of them, from the first, are also candidate windows."""
    shapes: Sequence[Surrogate]
    """The S shapes of the surrogate to compare."""

    @classmethod
    def evenly(cls, widest: float, candidates: int, shapes: Sequence[Surrogate], *, reach: int = 1) -> Look:
        """Candidates evenly spaced up to `widest`, and edges `reach` times as far.

        Raises:
            InputError: unless `widest` is above 0 and there are at least 2 candidates.
        """
        require_positive("widest", widest)
        require_count("candidates", candidates, least=2)
        # Windows are stored in float32 buffers: these are values that float32 holds exactly.
        edges = torch.arange(1, reach * candidates + 1, dtype=torch.float64) * (widest / candidates)
        return cls(edges.float().double(), candidates, shapes)

    @property
    def windows(self) -> Tensor:
        """The candidates `[C]`."""
        return self.edges[: self.candidates]


class StepSums(NamedTuple):
    """Sums over the elements of one layer at one step, float64, on the CPU.

    The W = C + 1 windows are the candidates and, last, the one in use.
    """

    elements: Tensor
    neurons: Tensor
    histogram: Tensor
    """Elements by distance to the nearest threshold `[2E + 2]`, those below the lowest edge first."""
    held: Tensor
    """Elements inside each window `[W]`."""
    powers: Tensor
    """Σx, Σx², Σx³, Σx⁴ of x = u - the first threshold `[4]`."""
    spikes: Tensor
    spike_squares: Tensor
    """Σs², which is larger than Σs if spikes have several levels."""
    silent: Tensor
    """Neurons that fire in no sample."""
    busy: Tensor
    """Neurons that fire in every sample."""
    arriving: Tensor
    """Elements whose dL/ds is not 0."""
    passing: Tensor
    """Elements whose δ is not 0."""
    upstream: Tensor
    """Σ (dL/ds)²."""
    full: Tensor
    """Σ (dL/du)², the paths through time included; NaN where these are not seen."""
    own: Tensor
    """Rows of sums of δ under the layer's own shape `[W, 6]`."""
    own_value: Tensor
    """The row of sums of its ds/du, at the window in use `[6]`."""
    delta: Tensor
    """As `own` under each shape `[S, W, 6]`; NaN where windows of neighbouring thresholds overlap."""
    value: Tensor
    """As `own_value` `[S, 6]`."""


class LayerProbe(Observer):
    """An observer that keeps the statistics of each step during backward passes."""

    def __init__(self, site: Site, look: Look, seen: list[LayerProbe]) -> None:
        super().__init__(site.steps, look.windows[:0], None, "full")
        self.look = look
        self.sees_time = not isinstance(site, SpikeSite)
        self.gate: Gate | None = None
        self.window = torch.zeros(site.steps)
        self.steps: list[StepSums | None] = [None] * site.steps
        self._seen = seen
        self._uses: list[tuple[Tensor, Tensor]] = []

    @property
    def graph_kind(self) -> None:
        """None: the statistics are lists on the host."""
        return None

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> See:
        """As `Observer.watch`, for one use of the layer."""
        if self.gate is None:
            self._seen.append(self)
        self.gate, self.window = gate, window.detach().cpu()
        later: Tensor | None = None
        use = len(self._uses)

        @torch.no_grad()
        def see(shown: Steps) -> None:
            nonlocal later
            for t, potential, upstream, carry, delta, _ in shown.each():
                layer = Observation(gate, potential, upstream, later=later)
                spikes = levels(gate, potential[0])
                full = delta if carry is None else delta + carry
                found = self._sums(layer, delta, full, spikes, window[t])
                at = min(t, len(self.steps) - 1)
                known = self.steps[at]
                self.steps[at] = found if known is None else StepSums(*map(torch.add, known, found))
                fired, rested = (spikes > 0).any(0).flatten(), (spikes <= 0).any(0).flatten()
                if use < len(self._uses):
                    fired, rested = fired | self._uses[use][0], rested | self._uses[use][1]
                self._uses[use : use + 1] = [(fired, rested)]
                later = delta

        return see

    def neurons(self) -> tuple[int, int, int]:
        """All neurons; those that fire in no sample at any step; those that fire in all at every step."""
        fired, rested = (torch.cat(masks) for masks in zip(*self._uses, strict=True))
        return len(fired), int((~fired).sum()), int((~rested).sum())

    def _sums(
        self, layer: Observation, delta: Tensor, full: Tensor, spikes: Tensor, window: Tensor
    ) -> StepSums:
        look, u, g = self.look, layer.potential, layer.upstream
        edges, window = look.edges.to(u.device), window.to(u.device, torch.float64)
        shape = layer.gate.surrogate
        affine = isinstance(shape, WindowedAffine)
        tables = gather(layer, [*look.shapes, *[shape] * affine], edges, look.candidates, window)
        if affine:
            own = tables.delta[-1].clone()
            own[-1] = sums_of(delta, layer.later)  # even where windows overlap
        else:
            own = one_step(blocked, layer, torch.cat([edges[: look.candidates], window[None]]))
        x = first(layer.gate, u.double())
        firing = (spikes > 0).sum(0)
        parts = StepSums(
            elements=torch.tensor(u.numel()),
            neurons=torch.tensor(firing.numel()),
            histogram=tables.histogram,
            held=tables.held,
            powers=torch.stack([x.sum(), (x * x).sum(), (x * x * x).sum(), (x * x).square().sum()]),
            spikes=spikes.sum(),
            spike_squares=spikes.double().square().sum(),
            silent=(firing == 0).sum(),
            busy=(firing == len(spikes)).sum(),
            arriving=g.count_nonzero(),
            passing=delta.count_nonzero(),
            upstream=g.double().square().sum(),
            full=full.double().square().sum() if self.sees_time else torch.tensor(torch.nan),
            own=own,
            own_value=sums_of(layer.gate.derivative(u, window)),
            delta=tables.delta[: len(look.shapes)],
            value=tables.value[: len(look.shapes), -1],
        )
        return StepSums(*(part.to("cpu", torch.float64) for part in parts))


class Probed(NamedTuple):
    """The statistics of one batch."""

    layers: dict[str, LayerProbe]
    """Layers by name, in the order of the forward pass."""
    kinds: dict[str, str]
    """The class of each layer's module."""
    unreached: list[str]
    """Layers that no backward pass reached."""
    loss: float
    gradients: dict[str, Tensor]
    """dL/dθ of every parameter that has one, by name."""


def probe(model: nn.Module, batch: Any, loss: Loss, forward: Forward | None, look: Look) -> Probed:
    """Run one forward and backward pass of a copy of `model`; nothing else changes, random state included.

    Raises:
        InputError: for a model without sites or that cannot be copied, a batch that is not a pair, or a loss
            that is not a finite number with a gradient.
    """
    require(
        isinstance(batch, tuple | list) and len(batch) == 2,
        f"batch must be a pair (inputs, targets), not {type(batch).__name__}",
    )
    inputs, targets = (part.detach() if isinstance(part, Tensor) else part for part in batch)
    model = copied(model)
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss)  # its own parameters get gradients too
    sites = find_sites(model)
    seen: list[LayerProbe] = []
    probes = {name: LayerProbe(site, look, seen) for name, site in sites.items()}
    for name, site in sites.items():
        site.observer = probes[name]
        if isinstance(site, SpikingNeuron):
            site.backend = "reference"  # which shows steps in the shape [B, ...]
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng([device.index for device in devices]), torch.enable_grad():
        value = one_number(loss(forward(model, inputs) if forward else model(inputs), targets))
        require_gradient(value)
        require(bool(value.isfinite()), f"the loss is {value.item()}: check the batch and the weights")
        value.backward()
    for site in sites.values():
        if isinstance(site, SpikeSite) and (misfit := site.count.finish()):
            raise InputError(misfit)
    require(bool(seen), "no backward pass came to a spiking layer: are all parameters before them frozen?")
    names = {id(watcher): name for name, watcher in probes.items()}
    layers = {names[id(watcher)]: watcher for watcher in reversed(seen)}
    owners: dict[str, nn.Module] = sites_of(model) | {
        layer: module for name, module, swap in swaps(model) for layer in swap.sites(name)
    }
    return Probed(
        layers,
        kinds={name: type(owners[name]).__name__ for name in sites},
        unreached=[name for name in probes if name not in layers],
        loss=value.item(),
        gradients={name: one.grad for name, one in model.named_parameters() if one.grad is not None},
    )


def find_sites(model: nn.Module) -> dict[str, Site]:
    """The sites of `model`, by module name: this package's neurons and sites, and adapted modules.

    Raises:
        InputError: if there are none, or windows differ within a step.
    """
    sites: dict[str, Site] = sites_of(model) | {
        layer: site for name, _, swap in swaps(model) for layer, site in swap.sites(name).items()
    }
    require_some(sites)
    require_windows_by_step(sites)
    return sites


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model with sites that are not observed.

    Raises:
        InputError: for a model without sites, or that cannot be copied.
    """
    require_module(model)
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    nobody: dict[int, Any] = {id(site.observer): None for site in find_sites(model).values() if site.observer}
    try:
        return copy.deepcopy(model, nobody)
    except Exception as error:
        why = str(error).partition(".")[0]
        raise InputError(
            f"the model cannot be copied ({why}): if its neurons hold states, reset them first"
        ) from error
