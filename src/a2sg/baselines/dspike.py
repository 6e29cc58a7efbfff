"""Dspike with its own search: the temperature follows a finite-difference gradient of the first layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, called, require, require_count, require_positive
from a2sg.neuron import SpikingNeuron
from a2sg.ranks import add_up
from a2sg.surrogate import Dspike
from a2sg.window.policy import Loss, WindowPolicy
from a2sg.window.search import first_best


class DspikeSearch(WindowPolicy):
    """Chooses the temperature b of all `Dspike` surrogates among b, b - change and b + change.

    Used like `a2sg.AdaptiveWindows`, except that `step` needs a function that computes the loss of the
    current batch again:

        search = a2sg.baselines.DspikeSearch(model, every=len(loader))
        ...
        loss.backward(); optimizer.step(); search.step(lambda: criterion(model(x), y))

    On an observed iteration, each weight of the first layer in turn is moved by ± epsilon, and the loss, with
    true spikes, gives the finite-difference gradient (L(w + ε) - L(w - ε)) / 2ε. The temperature whose
    surrogate gradient of these weights has the largest cosine with it is chosen; in a tie, b stays. Spikes,
    weights, gradients, batch-norm statistics and the random state do not change. A search costs two forward
    passes per weight. Windows stay fixed (as published: 0.5).

    Source: Li et al., Differentiable Spike, NeurIPS 2021, algorithm 1, which searches once an epoch. That
    differences are central, the values of `epsilon` and `change`, and which batch is used, is our reading.

    Args:
        model: holds spiking neurons of a2sg, all with surrogate `Dspike` of one temperature.
        every: iterations from one search to the next (as published: an epoch); None searches once.
        start: the first; None is 0.
        epsilon: ε, above 0.
        change: how far a search can move b, above 0. Temperatures not above 0 are left out.
        weights: how many weights are moved, drawn at random each time; None is all, as published.
        weight: the first layer's weights; None is the model's first trained parameter of two or more
            dimensions.

    Attributes:
        temperature: b in use.

    Raises:
        InputError: for an option out of range, or a model whose neurons or weights do not fit.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "iteration",
        "layer",
        "step",
        "window",
        "temperature",
        "cosine",
        "window_before",
        "temperature_before",
        "cosine_before",
        "kept",
    )
    saved: ClassVar[frozenset[str]] = WindowPolicy.saved | {"first", "moves"}

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int | None = 500,
        start: int | None = None,
        epsilon: float = 0.3,
        change: float = 0.5,
        weights: int | None = None,
        weight: nn.Parameter | None = None,
    ) -> None:
        super().__init__(model, every=every, start=0 if start is None else start)
        self.epsilon = require_positive("epsilon", epsilon)
        self.change = require_positive("change", change)
        self.weights = weights if weights is None else require_count("weights", weights)
        self.model = model
        self.neurons = _dspike_neurons(self)
        self.weight = _first_weights(model) if weight is None else weight
        self.first = _shape(self.neurons[0]).temperature
        self.moves = 0

    @property
    def temperature(self) -> float:
        """Temperature in use: a whole number of changes from where it started, so that it does not drift."""
        return self.first + self.moves * self.change

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration sets the temperature and appends to `history`, for every layer and step,
        `iteration`, `layer`, `step`, `window`, `temperature`, its `cosine`, `window_before`,
        `temperature_before`, `cosine_before`, and `kept`: why the temperature was kept, or "".

        Args:
            loss: computes the loss of the present batch again, a 0-d tensor.

        Returns:
            Whether a temperature was chosen.

        Raises:
            InputError: on an observed iteration without `loss`.
        """
        return super().step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from, the temperature included."""
        return {**super().state_dict(), "first": self.first, "moves": self.moves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for another temperature at the start.
        """
        super().load_state_dict(state)
        self.moves = state["moves"]
        self._use(self.temperature)

    def _check(self, state: dict[str, Any]) -> None:
        require(
            state["first"] == self.first,
            f"the saved temperature began at {state['first']:g}, not at {self.first:g}",
        )

    def _update(self, loss: Loss | None) -> bool:
        if loss is None:
            raise InputError(
                "DspikeSearch evaluates the batch again: call step(lambda: criterion(model(x), y))"
            )
        before = self.temperature
        moves = [m for m in (0, -1, 1) if before + m * self.change > 0]
        cosines, reason = self._cosines(loss, [before + m * self.change for m in moves])
        best = int(first_best(cosines[None])) if not reason else 0  # in a tie the first one, b itself
        self.moves += moves[best]
        self._use(self.temperature)
        found = [cosine.item() if not reason else None for cosine in (cosines[best], cosines[0])]
        rows = []
        for name, site in self.sites.items():
            for step, window in zip(site.sharing.ends, site.window.tolist(), strict=True):
                rows.append(
                    {
                        "iteration": self.iteration,
                        "layer": name,
                        "step": step,
                        "window": window,
                        "temperature": self.temperature,
                        "cosine": found[0],
                        "window_before": window,
                        "temperature_before": before,
                        "cosine_before": found[1],
                        "kept": reason,
                    }
                )
        self._records.add(rows)
        self._count_kept(self.iteration, [reason], "temperatures")
        return not reason

    def _cosines(self, loss: Loss, temperatures: Sequence[float]) -> tuple[Tensor, str]:
        """Each temperature's cosine with the finite differences; if there are none, also why, else ""."""
        places = self._places()
        again = self._undisturbed(loss)
        saved = {name: buffer.detach().clone() for name, buffer in self.model.named_buffers()}
        try:
            differences = self._differences(again, places)
            gradients = [self._gradient(again, b, places) for b in temperatures]
        finally:
            self._use(self.temperature)
            with torch.no_grad():
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(saved[name])
        # Means over ranks would have the same cosines as sums.
        all_of = add_up(torch.stack([differences, *gradients])).cpu()
        norms = all_of.norm(dim=1)
        cosines = (all_of[1:] @ all_of[0]) / (norms[1:] * norms[0])
        if not all_of.isfinite().all():
            return cosines, "not finite"
        return cosines, "" if (norms > 0).all() else "all zero"

    def _places(self) -> list[tuple[int, ...]]:
        places = list(product(*map(range, self.weight.shape)))
        if self.weights is None or self.weights >= len(places):
            return places
        drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(self.iteration))
        return [places[at] for at in sorted(drawn[: self.weights].tolist())]

    def _undisturbed(self, loss: Loss) -> Callable[[], Tensor]:
        """`loss` with the same random numbers in every call; the random state does not advance."""
        devices = [self.weight.device] if self.weight.device.type == "cuda" else []

        def again() -> Tensor:
            with torch.random.fork_rng(devices):
                return loss()

        return again

    @torch.no_grad()
    def _differences(self, loss: Loss, places: Sequence[tuple[int, ...]]) -> Tensor:
        """(L(w + ε) - L(w - ε)) / 2ε of each place, float64."""
        original = self.weight.detach().clone()
        found = []
        try:
            for place in places:
                ends = []
                for move in (self.epsilon, -self.epsilon):
                    self.weight[place] = original[place] + move
                    ends.append(loss().double())
                self.weight[place] = original[place]
                found.append((ends[0] - ends[1]) / (2 * self.epsilon))
        finally:
            self.weight.copy_(original)
        return torch.stack(found)

    def _gradient(self, loss: Loss, temperature: float, places: Sequence[tuple[int, ...]]) -> Tensor:
        """The surrogate gradient at each place under a temperature, float64."""
        self._use(temperature)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(), self.weight)
        return gradient.double()[tuple(torch.tensor(places, device=gradient.device).T)]

    def _use(self, temperature: float) -> None:
        for neuron in self.neurons:
            neuron.surrogate = replace(_shape(neuron), temperature=temperature)


def _dspike_neurons(policy: DspikeSearch) -> list[SpikingNeuron]:
    neurons = []
    for name, site in policy.sites.items():
        if not isinstance(site, SpikingNeuron) or not isinstance(site.surrogate, Dspike):
            raise InputError(
                f"{called(name)}: DspikeSearch is for a2sg's neurons with surrogate Dspike, not "
                f"{getattr(site, 'surrogate', site)}"
            )
        neurons.append(site)
    temperatures = sorted({_shape(neuron).temperature for neuron in neurons})
    require(len(temperatures) == 1, f"all layers must start at the same temperature, not {temperatures}")
    return neurons


def _shape(neuron: SpikingNeuron) -> Dspike:
    assert isinstance(neuron.surrogate, Dspike)
    return neuron.surrogate


def _first_weights(model: nn.Module) -> nn.Parameter:
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dim() >= 2:
            return parameter
    raise InputError("found no weights in the model: DspikeSearch moves those of its first layer")
