"""How much gradients vary: over training, as observed then; and at a checkpoint, on fresh batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import require
from a2sg.statistics import deviation, mean
from a2sg.study.measure.diagnosis import StepDiagnosis, diagnose
from a2sg.study.measure.objective import Batch, Forward, Loss, by_module
from a2sg.study.measure.probe import Look, probe
from a2sg.study.measure.result import Result
from a2sg.surrogate import Boxcar

# One window is looked at besides that in use, and one shape besides the layer's own: the least there can be.
LOOK = Look(torch.ones(1, dtype=torch.float64), 1, [Boxcar()])


@dataclass(frozen=True)
class Estimate:
    """A mean over batches.

    Attributes:
        mean: None where no batch gave a number (0/0 in all of them).
        error: standard error of the mean; None of a single number.
        count: how many batches gave one.
    """

    mean: float | None
    error: float | None
    count: int


def estimate(values: Iterable[float | None]) -> Estimate:
    """The mean of the values that are numbers, and its standard error."""
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(None, None, 0)
    spread = deviation(known)
    return Estimate(mean(known), None if spread is None else spread / len(known) ** 0.5, len(known))


@dataclass(frozen=True)
class HistoryPoint:
    """A layer at one step on one observed iteration of a training.

    Attributes:
        epoch: from 1; None if it is not known.
        iteration: from 0.
        layer: name of its module.
        step: from 1 to T.
        window: half-width in use on that iteration.
        sgv: of that iteration's batch at that window; None where it is not a number.
        tgc: likewise; None at the last step.
        next_window: half-width that was set then.
        cv: deviation of δ over |mean δ|; None where it is not a number, or an old history does not have it.
        norm: ‖δ‖ over the batch; likewise.
        sparsity: share of elements whose δ is 0; likewise.
        gain: ‖δ‖ over that of the layer behind; likewise, and None for the last layer.
    """

    epoch: int | None
    iteration: int
    layer: str
    step: int
    window: float
    sgv: float | None
    tgc: float | None
    next_window: float
    cv: float | None
    norm: float | None
    sparsity: float | None
    gain: float | None


def history_points(
    history: Iterable[Mapping[str, Any]], *, ends: Sequence[tuple[int, int]] = ()
) -> list[HistoryPoint]:
    """What a training observed, as rows.

    Args:
        history: `AdaptiveWindows.history`, or the rows of a run's `windows.csv`.
        ends: (epoch, iterations done at its end) of every epoch, in order.
    """
    return [
        HistoryPoint(
            epoch=next((epoch for epoch, done in ends if row["iteration"] < done), None),
            next_window=row["window"],
            **{name: row[name] for name in ("iteration", "layer", "step")},
            **{name: row[f"{name}_before"] for name in ("window", "sgv", "tgc")},
            cv=row.get("cv"),
            norm=row.get("norm"),
            sparsity=row.get("sparsity"),
            gain=row.get("gain"),
        )
        for row in history
    ]


@dataclass(frozen=True)
class StepVariation:
    """A layer at one step, over batches. δ = dL/ds · f is the local gradient; see `a2sg.inspect`.

    Attributes:
        layer: name of its module.
        step: from 1 to T.
        window: half-width in use.
        sgv: Var(δ) / mean|δ|. It scales with the gradient: compare windows, not layers or shapes.
        tgc: cos(δ, δ of the next step); none at the last step.
        cv: deviation of δ over |mean δ|. Large where gradients cancel.
        surrogate_cv: deviation of ds/du over its mean: the CV that the paper's theorems are about.
        sparsity: share of elements whose δ is 0.
        norm: ‖δ‖ over the batch.
        inside: share of potentials inside the window.
    """

    layer: str
    step: int
    window: float
    sgv: Estimate
    tgc: Estimate
    cv: Estimate
    surrogate_cv: Estimate
    sparsity: Estimate
    norm: Estimate
    inside: Estimate


@dataclass(frozen=True)
class Signal:
    """The mini-batch gradient of one module's parameters, over batches.

    signal is ‖E g‖ and noise sqrt(E‖g - E g‖²), both squared estimated without bias: the plain ratio of
    |mean over K batches| to deviation would be 1/sqrt(K) for pure noise.

    Attributes:
        layer: name of the module that has the parameters; "" for the model itself.
        parameters: how many.
        norm: ‖g‖ of a mini-batch.
        snr: signal over noise; 0 where the squared signal is estimated below 0; None of one batch, or
            without noise.
        squared: its square, without bias, and so sometimes below 0 where there is almost no signal.
        squared_error: standard error of `squared`, by the jackknife over batches; None of fewer than 3.
        batches: K.
    """

    layer: str
    parameters: int
    norm: Estimate
    snr: float | None
    squared: float | None
    squared_error: float | None
    batches: int


@dataclass(frozen=True)
class BatchVariation(Result):
    """What `batch_variation` found.

    Attributes:
        steps: per layer and step, layers in the order of the forward pass.
        signals: per module with parameters, and all together as layer "all".
        batches: how many.
    """

    steps: list[StepVariation]
    signals: list[Signal]
    batches: int


def batch_variation(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, *, forward: Forward | None = None
) -> BatchVariation:
    """SGV, TGC, CV, sparsity, norm and signal-to-noise of a model's gradients, over several batches.

    Each batch runs forward and backward once through a copy, in the mode the model is in, so the model does
    not change. Neurons of other libraries: see `a2sg.inspect`. Holds the gradients of all batches at once.

    Args:
        model: the network.
        batches: pairs (inputs, targets) of one size, on the model's device; several, for errors.
        loss: called with output and targets; gives one number, the mean over a batch.
        forward: called with the copy and the inputs, if it is not `model(inputs)`.

    Raises:
        InputError: as `a2sg.inspect`; or for no batches.
    """
    found: dict[tuple[str, int], list[StepDiagnosis]] = {}
    gradients: dict[str, list[Tensor]] = {}
    count = 0
    for batch in batches:
        probed = probe(model, batch, loss, forward, LOOK)
        for layer in diagnose(probed, LOOK, ["boxcar"]):
            for step in layer.steps:
                found.setdefault((layer.name, step.step), []).append(step)
        for name, held in by_module(probed.gradients).items():
            row = torch.cat([probed.gradients[one].flatten().float() for one in held])
            gradients.setdefault(name, []).append(row)
        count += 1
    require(count > 0, "batches holds none: give at least one pair (inputs, targets)")
    stacked = ((name, torch.stack(rows).double()) for name, rows in gradients.items())
    grams = {name: table @ table.T for name, table in stacked}
    sizes = {name: len(rows[0]) for name, rows in gradients.items()}
    signals = [_signal(name, sizes[name], gram) for name, gram in grams.items()]
    whole = [gram for gram in grams.values() if len(gram) == count]
    signals.append(_signal("all", sum(sizes.values()), torch.stack(whole).sum(0)))
    return BatchVariation([_step(*key, steps) for key, steps in found.items()], signals, count)


def _step(layer: str, number: int, steps: Sequence[StepDiagnosis]) -> StepVariation:
    own = ("sgv", "tgc", "cv", "surrogate_cv")
    return StepVariation(
        layer,
        number,
        steps[0].window,
        **{name: estimate(getattr(step.own, name) for step in steps) for name in own},
        sparsity=estimate(1 - step.passing for step in steps),
        norm=estimate(step.gradient_norm for step in steps),
        inside=estimate(step.inside for step in steps),
    )


def jackknife(left_out: Sequence[float | None]) -> float | None:
    """Jackknife standard error, from the estimates with each part left out once; None if one is None."""
    if not left_out or None in left_out:
        return None
    spread = torch.tensor(left_out, dtype=torch.float64)
    return float((spread.var(correction=0) * (len(left_out) - 1)).sqrt())


def _signal(layer: str, parameters: int, gram: Tensor) -> Signal:
    """See `Signal`, from inner products of K gradients `[K, K]`."""
    batches = len(gram)
    squared = _squared_snr(gram)
    snr = None if squared is None else max(squared, 0.0) ** 0.5
    kept = [torch.arange(batches) != left_out for left_out in range(batches)] if batches >= 3 else []
    error = jackknife([_squared_snr(gram[keep][:, keep]) for keep in kept])
    norm = estimate(gram.diagonal().sqrt().tolist())
    return Signal(layer, parameters, norm, snr, squared, None if squared is None else error, batches)


def _squared_snr(gram: Tensor) -> float | None:
    """Signal² over noise² from inner products of K gradients; None if K is 1, or without noise."""
    batches = len(gram)
    if batches < 2:
        return None
    own = float(gram.diagonal().mean())
    signal = float(gram.sum() - gram.diagonal().sum()) / (batches * (batches - 1))
    noise = own - signal
    if noise <= 1e-12 * own:
        return None
    return signal / noise
