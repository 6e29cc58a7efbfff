"""The runs of an analysis, with one batch, one loss and one set of directions for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_count, require_positive
from a2sg.files import read_json
from a2sg.modes import in_mode
from a2sg.progress import progress
from a2sg.study.measure.curvature import empirical_fisher
from a2sg.study.measure.curvature_results import Curvature
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.variation import BatchVariation, batch_variation
from a2sg.study.report.runs import RunPoint, find_runs
from a2sg.study.run import Run, open_run

if TYPE_CHECKING:
    from a2sg.data import ImageData

BATCHES, FEWEST_BATCHES = 8, 2
"""Maximum number of fresh batches for the variation of gradients; the budget may allow fewer."""
BATCH_PRICE = 5
"""Cost of a batch's variation, in gradient computations over this many samples."""
GRAPH = 4.0
"""GiB that samples may keep for a backward pass at once; more samples are processed in chunks."""
TRIALS = 3
"""Number of gradients that are timed after the warm-up."""
LONG_ENOUGH = 2.0
"""If a gradient takes more seconds than this, only one is timed after the warm-up."""
WHOLE = "whole"
"""Name of the whole network in lists of layers."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Options:
    """What an analysis measures, and how long it may take: see `a2sg.analyze`; checked here."""

    samples: int = 64
    batch_size: int = 32
    seed: int = 0
    noise: float | None = None
    budget: float = 60.0

    def __post_init__(self) -> None:
        require_count("samples", self.samples, least=2)
        require_count("batch_size", self.batch_size)
        require_count("seed", self.seed, least=0)
        require_positive("budget", self.budget)
        if self.noise is not None:
            require_positive("noise", self.noise)


@dataclass(frozen=True)
class Case:
    """A finished run.

    Attributes:
        label: its name on the page.
        run: its network, in evaluation mode, and everything in its folder.
        summary: its results.
        objective: its network and loss on the samples.
        batches: for the variation.
    """

    label: str
    run: Run = field(repr=False)
    summary: dict[str, Any]
    objective: Objective
    batches: Sequence[tuple[Tensor, Tensor]] = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The run's network."""
        return self.run.model

    @property
    def loss(self) -> Callable[[Any, Tensor], Tensor]:
        """The configuration with which the run was trained."""
        return self.run.loss

    @cached_property
    def fisher(self) -> Curvature:
        """The empirical Fisher, used by the parts on curvature and on theory."""
        return empirical_fisher(self.objective, show_progress=False)

    @cached_property
    def variation(self) -> BatchVariation:
        """The variation of training's gradients, and so with batch norms in training mode."""
        with in_mode(self.model, training=True):
            return batch_variation(self.model, self.batches, self.loss)

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """The samples: (inputs, labels)."""
        return self.objective.inputs, self.objective.labels

    @property
    def weights(self) -> list[str]:
        """The layers with weights of two or more dimensions: others have only scales and biases."""
        held = self.objective
        return [
            name for name, block in held.layers.items() if any(held.parameters[at].dim() > 1 for at in block)
        ]

    @contextmanager
    def at(self, epoch: int) -> Iterator[Case]:
        """The case as it was after one of the run's epochs: the same network, with those weights inside.

        Raises:
            InputError: if these weights cannot be read.
        """
        with self.run.at(epoch):
            # A fresh case, without this one's cached measurements, unless the weights are the same.
            yield self if epoch == self.run.config.epochs else replace(self)


@dataclass(frozen=True)
class Study:
    """Runs that can be compared: one data set, one network, one loss, the same samples.

    Attributes:
        cases: the runs.
        points: accuracy and energy, also of the other seeds of a comparison.
        data: their data set.
        options: what to measure.
        left_out: the runs and batches that were left out, and why.
        seconds: time of one gradient of the samples.
        show_progress: see `a2sg.progress`.
    """

    cases: Sequence[Case]
    points: Sequence[RunPoint]
    data: ImageData
    options: Options
    left_out: Sequence[str]
    seconds: float
    show_progress: bool | None

    @property
    def labels(self) -> list[str]:
        """Names of the runs."""
        return [case.label for case in self.cases]

    def affordable(self, gradients: float) -> bool:
        """Whether a measurement that costs this many gradients of the samples fits into the budget."""
        return gradients * self.seconds <= self.options.budget

    def too_slow(self, name: str, gradients: float) -> str:
        """What the page says about a measurement that does not fit."""
        return (
            f"Left out: {name} would take about {gradients * self.seconds:,.0f} s per run, and the budget is "
            f"{self.options.budget:g} s: give a larger --budget, or fewer --samples."
        )

    def afford(self, name: str, gradients: float, notes: list[str]) -> bool:
        """Whether a measurement fits into the budget; if it does not, the notes say so."""
        if not self.affordable(gradients):
            notes.append(self.too_slow(name, gradients))
        return self.affordable(gradients)

    def each(self, title: str, measure: Callable[[Case], Item]) -> dict[str, Item]:
        """The results of a measurement for every run, by label, with a progress bar."""
        return {case.label: measure(case) for case in self.over(self.cases, title)}

    def over(self, items: Iterable[Item], title: str) -> Iterator[Item]:
        """The items, with a progress bar."""
        every = list(items)
        return progress(every, title, len(every), self.show_progress)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most this many of the items, evenly spread, in order, including the last."""
    if most >= len(items):
        return list(items)
    between = (len(items) - 1) / max(1, most - 1)
    return [items[at] for at in sorted({len(items) - 1 - round(at * between) for at in range(most)})]


def open_study(
    names: Sequence[str | Path], options: Options, device: torch.device, show_progress: bool | None = None
) -> Study:
    """Load runs, and check that they can be compared.

    Raises:
        InputError: for runs that do not exist, are not finished, or cannot be compared.
    """
    from a2sg.study.subject import training_batches

    folders, points, left_out = find_runs(names)
    runs = [open_run(folder) for folder in progress(folders, "loading", len(folders), show_progress)]
    first = runs[0]
    for run in runs[1:]:
        _require_comparable(first, run)

    def drawn(size: int, seed: int, most: int) -> list[tuple[Tensor, Tensor]]:
        batches = islice(training_batches(first.data, size, seed), most)
        return [(inputs.to(device), labels.to(device)) for inputs, labels in batches]

    (samples,) = drawn(options.samples, options.seed, 1)
    there, size = len(samples[1]), options.batch_size
    require(
        there == options.samples,
        f"samples must be at most the {there} training samples of {first.config.data.name}, not "
        f"{options.samples}",
    )
    whole = [batch for batch in drawn(size, options.seed + 1, BATCHES) if len(batch[1]) == size]
    said = f"batch_size {size} leaves {len(whole)} whole batches of the training samples: use fewer"
    require(len(whole) > 1, said)

    def objective(run: Run, chunk: int | None) -> Objective:
        dim = 0 if first.data.steps is None else 1
        return Objective(run.model.to(device).eval(), samples, run.loss, samples_dim=dim, chunk=chunk)

    chunk = _chunk(objective(first, None))
    objectives = [objective(run, chunk) for run in runs]
    (seconds,) = progress((_seconds(objectives[0]) for _ in range(1)), "timing", 1, show_progress)
    price = BATCH_PRICE * options.batch_size / options.samples * seconds
    few = whole[: max(FEWEST_BATCHES, int(options.budget / price))]
    if len(few) < len(whole):
        left_out.append(
            f"Variation is that of {len(few)} batches, not {len(whole)}: one takes about {price:,.0f} s, and "
            f"the budget is {options.budget:g} s per run (and {FEWEST_BATCHES} batches at least)."
        )
    cases = [
        Case(label, run, read_json(run.folder / "summary.json"), objective, few)
        for label, run, objective in zip(_labels(runs), runs, objectives, strict=True)
    ]
    named = [point if point.arm else replace(point, arm=first.config.recipe) for point in points]
    return Study(cases, named, first.data, options, left_out, seconds, show_progress)


def _chunk(objective: Objective) -> int:
    """How many samples together keep at most `GRAPH` for a backward pass, judging by one of them."""
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in objective.parameters}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with objective.ready(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _ = objective.output(range(1))
    return max(1, min(len(objective), int(GRAPH * 2**30 // max(1, sum(kept.values())))))


def _seconds(objective: Objective) -> float:
    """Seconds of a gradient after the warm-up, the least of a few.

    On a CPU it is this thread's own time, so that what is skipped does not depend on other processes.
    """
    clock = time.perf_counter if objective.labels.is_cuda else time.thread_time
    took: list[float] = []
    with objective.ready():
        while len(took) < 2 or (len(took) <= TRIALS and sum(took) < LONG_ENOUGH):
            start = clock()
            objective.value_and_gradient()  # ends in a number on the host, and so waits for a GPU
            took.append(clock() - start)
    return min(took)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Arm and seed; with the folder if that is not unique."""
    short = [f"{run.config.arm or run.config.recipe}, seed {run.config.seed}" for run in runs]
    pairs = zip(short, runs, strict=True)
    return [name if short.count(name) == 1 else f"{name} ({run.folder})" for name, run in pairs]


def _require_comparable(one: Run, other: Run) -> None:
    """Require the same data, network and loss, and so the same batches, directions and losses."""
    a, b = one.config, other.config
    pair = f"{one.folder} and {other.folder} cannot be compared, so analyze them one by one"
    for what, x, y in (
        ("data set", a.data.name, b.data.name),
        ("options of the data set", a.data.options, b.data.options),
        ("network", a.model.name, b.model.name),
        ("number of steps", a.model.steps, b.model.steps),
        ("options of the network", a.model.options, b.model.options),
        ("loss", a.loss.name, b.loss.name),
        ("label smoothing", a.loss.label_smoothing, b.loss.label_smoothing),
    ):
        require(x == y, f"{pair}: they differ in their {what} ({x} and {y})")
    models = one.model, other.model
    mine, theirs = ([(n, p.shape) for n, p in m.named_parameters() if p.requires_grad] for m in models)
    require(mine == theirs, f"{pair}: their parameters differ in shape")
