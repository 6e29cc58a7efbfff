"""Lightning's trainer as runs use it: what it says, and what we say in its place."""

import threading

import pytest
import torch

from a2sg.training import trainer
from a2sg.training.trainer import full_disks_told


@pytest.mark.parametrize(
    ("device", "machine", "level", "slow"),
    [
        ("cpu", "x86_64", "AVX2", True),
        ("cpu", "AMD64", "DEFAULT", True),
        ("cpu", "x86_64", "AVX512", False),
        ("cpu", "aarch64", "DEFAULT", False),
        ("cuda", "x86_64", "AVX2", False),
    ],
)
def test_half_precision_that_is_slow_here_is_told(monkeypatch, device, machine, level, slow):
    monkeypatch.setattr(trainer.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    assert ("AVX-512" in trainer.slow_halves(torch.device(device))) == slow


@pytest.mark.parametrize(
    ("error", "quiet"), [(OSError(28, "No space left on device"), True), (KeyError("x"), False)]
)
def test_a_thread_that_finds_the_disk_full_gives_a_line(error, quiet, caplog, monkeypatch):
    """As TensorBoard's does, whose traceback would follow our own line."""
    others = []
    monkeypatch.setattr(threading, "excepthook", others.append)

    def fail():
        raise error

    with full_disks_told():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert ("incomplete: No space left on device" in caplog.text) == quiet
    assert len(others) == (not quiet)
    assert threading.excepthook == others.append
