"""A training that trains nothing, and leaves the run folder that it would."""

import json
import random
from pathlib import Path
from typing import Any

from a2sg.files import csv_text
from a2sg.training.config import RunConfig
from a2sg.training.recipe import read_config, write_config

Row = dict[str, Any]

LAYERS = ("features.0", "features.3", "head.0")


class Stopped(Exception):
    """What a training raises when the user stops it."""


class FakeTrain:
    """Leaves the run folder that training would, from (arm, seed) alone; stops in run `stop_at`, from 0."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.calls: list[tuple[str, int, bool]] = []

    def __call__(self, config: RunConfig, out: Path, *, resume: bool = False, quiet: bool = False) -> Row:
        if resume:
            assert read_config(out / "config.yaml") == config
        else:
            assert not out.exists() or not any(out.iterdir())
        out.mkdir(parents=True, exist_ok=True)
        self.calls.append((config.arm, config.seed, resume))
        write_config(config, out / "config.yaml")
        if len(self.calls) - 1 == self.stop_at:
            (out / "checkpoints").mkdir()
            (out / "checkpoints" / "last.ckpt").write_text("state", encoding="utf-8")
            raise Stopped
        summary = self.summary(config)
        (out / "metrics.csv").write_text(
            csv_text(self.metrics(config, summary["accuracy"])), encoding="utf-8"
        )
        (out / "windows.csv").write_text(csv_text(self.windows(config)), encoding="utf-8")
        (out / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        return summary

    @staticmethod
    def summary(config: RunConfig) -> Row:
        draw = random.Random(f"{config.arm}/{config.seed}")
        return {
            "recipe": config.recipe,
            "arm": config.arm,
            "seed": config.seed,
            "epochs": config.epochs,
            "accuracy": 0.9 + 0.01 * config.seed + 0.02 * (config.arm == "a2sg") + 0.002 * draw.random(),
            "loss": draw.uniform(0.2, 0.4),
            "spikes_per_sample": draw.uniform(1000, 2000),
            "energy_nj_per_sample": draw.uniform(100, 200),
            "seconds": 40.0,
            "search_seconds": 0.5,
            "search_share": 0.0125,
            "device": "cpu",
            "firing_rates": {layer: [draw.uniform(0, 0.5) for _ in range(4)] for layer in LAYERS},
        }

    @staticmethod
    def metrics(config: RunConfig, accuracy: float) -> list[Row]:
        return [
            {
                "epoch": epoch,
                "iteration": 19 * epoch,
                "lr": 1e-3,
                "train_loss": 2 / epoch,
                "train_accuracy": accuracy,
                "test_loss": 2 / epoch,
                "test_accuracy": accuracy * epoch / config.epochs,
                "seconds": 2.0 * epoch,
            }
            for epoch in range(1, config.epochs + 1)
        ]

    @staticmethod
    def windows(config: RunConfig) -> list[Row]:
        draw = random.Random(f"{config.arm}/{config.seed}/windows")
        adapted = config.windows.spatial or config.windows.temporal
        rows: list[Row] = []
        for at, iteration in enumerate((19, 38, 57)):
            for layer in LAYERS:
                for step in (1, 2, 3, 4):
                    before = config.surrogate.window if at == 0 or not adapted else 0.5
                    tgc = None if step == 4 else draw.uniform(0.2, 0.8)
                    rows.append(
                        {
                            "iteration": iteration,
                            "layer": layer,
                            "step": step,
                            "window": draw.uniform(0.1, 1.0) if adapted else config.surrogate.window,
                            "sgv": draw.uniform(1e-5, 1e-4),
                            "tgc": tgc,
                            "window_before": before,
                            "sgv_before": draw.uniform(1e-5, 1e-4),
                            "tgc_before": tgc,
                            "kept": "",
                        }
                    )
        return rows
