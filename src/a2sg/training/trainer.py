"""Lightning's trainer, as runs use it."""

from __future__ import annotations

import logging
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch

from a2sg.training.config import RunConfig

log = logging.getLogger("a2sg")

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
X86 = ("x86_64", "amd64")


def make_trainer(config: RunConfig, device: torch.device, **options: Any) -> pl.Trainer:
    """A trainer for the run, with further options of `pl.Trainer`."""
    _calm_lightning()
    settings: dict[str, Any] = {
        "accelerator": device.type,
        "devices": 1,
        "precision": PRECISION[config.precision],
        "accumulate_grad_batches": config.accumulate,
        "gradient_clip_val": config.optimizer.clip_norm,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**settings, **options})


@contextmanager
def full_disks_told() -> Iterator[None]:
    """Inside, a thread that cannot write, such as TensorBoard's, gives a warning in place of a traceback."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, OSError):
            log.warning("the files of TensorBoard are incomplete: %s", args.exc_value.strerror)
        else:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def slow_halves(device: torch.device) -> str:
    """Why half precision is slower than float32 on this device; "" if we know of no reason.

    torch's convolutions in half precision use AVX-512. Without it they fall back to a plain loop.
    """
    x86 = device.type == "cpu" and platform.machine().lower() in X86
    if x86 and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return "this CPU has no AVX-512, which torch's convolutions need for it"
    return ""


def _calm_lightning() -> None:
    """Silence Lightning's notes on hardware and loaders: they do not concern the user's choices."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    # It wants loaders to have a state; ours continue from the place that the task sets.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    # A run folder may be moved; we look for no best checkpoint.
    warnings.filterwarnings("ignore", message=".*The dirpath has changed from.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    # torch 2.6 on its own SequentialLR:
    warnings.filterwarnings("ignore", message=r"The epoch parameter in `scheduler\.step\(\)`.*")
    warnings.filterwarnings(
        "ignore", message=".*The number of training batches.*is smaller than the logging.*"
    )
