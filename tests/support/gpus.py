"""Graphics cards that are not there."""

from __future__ import annotations

import pytest
import torch


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have torch say that this machine has so many CUDA devices; none of them can be used."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
