"""Where the time of a training run goes: a few of its iterations, timed by phase and by kind of work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from math import ceil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from a2sg._version import __version__
from a2sg.data.sets import collate
from a2sg.devices import device_title, find_device
from a2sg.errors import require_count
from a2sg.files import csv_text, whole, write_json, write_text
from a2sg.kernels import backends
from a2sg.modes import in_mode
from a2sg.neuron import SpikingNeuron, recording
from a2sg.statistics import mean
from a2sg.training import profile_report
from a2sg.training.batches import count_workers
from a2sg.training.build import build_data
from a2sg.training.callbacks import EpochSeed
from a2sg.training.config import RunConfig
from a2sg.training.folders import opened
from a2sg.training.kinds import Work, work
from a2sg.training.phases import AUGMENTATION, PHASES, Iteration, PhaseProfiler, SampleCount
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import make_trainer

WARM_UP, TRACED = 6, 4
EVERY, START = 4, 1
"""Observed iterations: two in the warm-up, one of those recorded, and a quarter of those between."""


def profile(config: RunConfig, out: Path, iterations: int = 20) -> dict[str, Any]:
    """Train for a few iterations of a run, and find out where their time goes.

    After a warm-up of 6 iterations come those that are timed by phase, and then 4 that `torch.profiler`
    records, which slows them down. Every fourth is observed, whatever the run's setting; shares are those of
    a run that observes one in `windows.every`. There is no validation or saving, and the time between epochs
    does not count.

    Args:
        config: the run.
        out: its folder, new or empty. It gets `config.yaml`, `profile.json`, `profile.csv`, `profile.png`
            and `trace.json`, which chrome://tracing or Perfetto shows.
        iterations: how many are timed, at least 4.

    Returns:
        What `profile.json` holds; times in milliseconds per iteration, shares from 0 to 1.

    Raises:
        InputError: for a description that does not work, or a folder that cannot be written.
    """
    require_count("--profile", iterations, least=EVERY)
    device = find_device(config.device)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    observed: dict[str, Any] = {"every": EVERY, "start": START, "batches": 1}
    watched = replace(config, windows=replace(config.windows, **observed))
    task = SpikingTask(watched, build_data(config))
    task.graphs_after = 1  # so that both kinds of steps are CUDA graphs once the warm-up is over
    task.most_ahead = iterations  # so that work done for several at once is divided among those timed
    updates = _updates(task)
    _compile_early(task, updates, device)
    with opened(config, out, resume=False, begun=lambda: task.begun):
        return _measure(config, task, out, device, iterations, updates)


def _measure(
    config: RunConfig, task: SpikingTask, out: Path, device: torch.device, iterations: int, updates: int
) -> dict[str, Any]:
    """Train for some iterations in an open folder, and write the results."""
    first_traced = WARM_UP + iterations
    if device.type == "cpu":
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it prints when it starts and stops
    with closing(PhaseProfiler(task.windows, device, WARM_UP, first_traced)) as phases:
        trainer = make_trainer(
            config,
            device,
            max_epochs=-1,
            max_steps=first_traced + TRACED,
            callbacks=[EpochSeed(config.seed), SampleCount(phases)],
            profiler=phases,
            logger=False,
            enable_checkpointing=False,
            limit_val_batches=0,
        )
        try:
            trainer.fit(task)
        except SystemExit as stopped:  # how Lightning ends after Ctrl-C
            raise KeyboardInterrupt from stopped
    recorded = work(phases.trace.events(), phases.cuda)
    every = _observed_every(config, len(task.data.train))  # type: ignore[arg-type]
    content = {
        **_facts(config, device, every),
        **_findings(config, device, every, phases.timed, recorded, updates),
    }
    write_json(out / "profile.json", content)
    write_text(out / "profile.csv", csv_text(profile_report.table_rows(content)))
    profile_report.picture(content, out / "profile.png")
    with whole(out / "trace.json") as part:
        phases.trace.export_chrome_trace(str(part))
    return content


@torch.no_grad()
def _updates(task: SpikingTask) -> int:
    """Updates of a neuron by one step, per sample: T times the number of neurons."""
    images, _ = collate([task.data.test[0]])
    with in_mode(task.model, training=False), recording(task.model) as records:
        task.model(task.standardize(task.arrange(images)))
    return sum(record.spikes.numel() for found in records.values() for record in found)


def _compile_early(task: SpikingTask, updates: int, device: torch.device) -> None:
    """If the run is long enough for `auto` to compile neurons, compile them in the warm-up."""
    samples = len(task.data.train) * task.config.epochs  # type: ignore[arg-type]
    if updates * samples >= backends.WORTH_COMPILING:
        for module in task.model.modules():
            if isinstance(module, SpikingNeuron) and module.backend == "auto":
                module.backend = backends.fastest(device.type)


def _facts(config: RunConfig, device: torch.device, every: float) -> dict[str, Any]:
    """The run that was profiled, and the machine."""
    return {
        "recipe": config.recipe,
        "seed": config.seed,
        "model": config.model.name,
        "steps": config.model.steps,
        "batch_size": config.data.batch_size,
        "accumulate": config.accumulate,
        "workers": count_workers(config.data.workers, device),
        "observed_every": every,
        "device": device_title(device),
        "threads": torch.get_num_threads(),
        "date": date.today().isoformat(),
        "versions": {"a2sg": __version__, "torch": torch.__version__},
    }


def _observed_every(config: RunConfig, samples: int) -> float:
    """Iterations of a run per observed one; `samples` are those of an epoch."""
    iterations = config.epochs * ceil(samples / (config.data.batch_size * config.accumulate))
    every: int | None = config.windows.every
    return (iterations if every is None else every) / config.windows.batches


def _findings(
    config: RunConfig,
    device: torch.device,
    every: float,
    timed: Sequence[Iteration],
    recorded: Sequence[Work],
    updates: int,
) -> dict[str, Any]:
    """Times, shares and rates."""
    workers = count_workers(config.data.workers, device)
    seconds = [each.seconds() for each in timed]
    shared = mean([each[AUGMENTATION] for each in seconds])
    for each in seconds:
        each.update({AUGMENTATION: shared - each[AUGMENTATION]})  # one iteration did the work of several
    ordinary = [each for each, which in zip(seconds, timed, strict=True) if not which.observed]
    observed = [each for each, which in zip(seconds, timed, strict=True) if which.observed]
    phases = profile_report.shares(ordinary, observed, every, PHASES)
    kinds = profile_report.shares(
        [each.seconds for each in recorded if not each.observed],
        [each.seconds for each in recorded if each.observed],
        every,
    )
    kinds.sort(key=lambda row: -row["share"])
    for row in kinds:
        for name, wanted in (("ordinary", False), ("observed", True)):
            calls = [each.calls[row["name"]] for each in recorded if each.observed == wanted]
            row[f"{name}_calls"] = sum(calls) / len(calls)
    ordinary_ms = sum(row["ordinary_ms"] for row in phases)
    observed_ms = sum(row["observed_ms"] for row in phases)
    mean_ms = ordinary_ms + (observed_ms - ordinary_ms) / every
    batch = sum(each.images for each in timed) / len(timed)
    return {
        "iterations": {
            "warm_up": WARM_UP,
            "timed": len(timed),
            "observed": len(observed),
            "traced": len(recorded),
        },
        "ordinary_ms": ordinary_ms,
        "observed_ms": observed_ms,
        "observed_to_ordinary": observed_ms / ordinary_ms,
        "images_per_iteration": batch,
        "images_per_second": 1000 * batch / mean_ms,
        "neurons": updates / config.model.steps,
        "neuron_updates_per_iteration": updates * batch,
        "phases": phases,
        "kinds": kinds,
        "verdict": profile_report.verdict(config, workers, _share(phases), _share(kinds)),
    }


def _share(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {row["name"]: row["share"] for row in rows}
