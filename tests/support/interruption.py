"""A training that the user stops."""

import signal
from pathlib import Path

import pytest
from lightning import LightningModule, Trainer

from a2sg.training.callbacks import MetricsFile
from a2sg.training.config import RunConfig
from a2sg.training.run import Interrupted, train


def interrupted(config: RunConfig, out: Path, epoch: int) -> None:
    """Train into `out` until Ctrl-C, at the end of `epoch` (from 1) and before its checkpoint is written."""
    original = MetricsFile.on_train_epoch_end

    def stop(self: MetricsFile, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch + 1 == epoch:
            raise KeyboardInterrupt
        original(self, trainer, module)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsFile, "on_train_epoch_end", stop)
        with pytest.raises(Interrupted):
            train(config, out, quiet=True)
    signal.signal(signal.SIGINT, handler)
