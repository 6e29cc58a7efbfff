"""The suite for a card.

`A2SG_GPU_TESTS=cpu` runs it on the CPU, to see that the suite itself works; `auto` does so where there is no
card.
"""

import os
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device():
    """Where the suite runs."""
    name, there = os.environ.get("A2SG_GPU_TESTS", "cuda"), torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if there else "cpu"
    if name == "cuda" and not there:
        pytest.skip("needs a CUDA device")
    return torch.device(name)


@pytest.fixture(autouse=True)
def _exact():
    """Sums of float32 in float32: TF32 would keep ten bits of them."""
    parts = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = False
    yield
    for part, allowed in zip(parts, before, strict=True):
        part.allow_tf32 = allowed
