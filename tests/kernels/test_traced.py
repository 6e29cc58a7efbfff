"""A search inside the user's own `torch.compile`, by the real compiler: the windows are those without it."""

import copy
import gc

import pytest
import torch
from torch import nn

import a2sg
from a2sg.kernels import traced
from a2sg.kernels.compilers import missing
from a2sg.models.layers import PerStep

BATCHES = (6, 6, 6, 5, 7)
"""Sizes: from the fourth on, torch compiles for any."""


def dense():
    return nn.Sequential(nn.Linear(6, 12), a2sg.LIF(3), nn.Linear(12, 12), a2sg.PLIF(3), nn.Linear(12, 3))


def convolutional():
    return nn.Sequential(
        PerStep(nn.Conv2d(1, 4, 3, padding=1)),
        PerStep(nn.BatchNorm2d(4)),
        a2sg.LIF(3, reset="hard"),
        PerStep(nn.Conv2d(4, 4, 3, padding=1)),
        a2sg.IntegerLIF(3),
        nn.Flatten(2),
        nn.Linear(4 * 36, 3),
    )


def train(net, run, shape, **options):
    """Windows, history and weights after some observed iterations, and others between them."""
    windows = a2sg.AdaptiveWindows(net, every=2, start=1, candidates=10, **options)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for number, size in enumerate(BATCHES):
        x = torch.randn(3, size, *shape, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        nn.functional.cross_entropy(run(x).mean(0), torch.arange(size) % 3).backward()
        optimizer.step()
        windows.step()
    return windows


@pytest.mark.slow
@pytest.mark.skipif(bool(missing("cpu")), reason="no compiler")
@pytest.mark.parametrize(
    ("make", "shape", "options", "compiling"),
    [
        (dense, (6,), {}, {"fullgraph": True}),
        (dense, (6,), {"gradient": "full"}, {}),
        (convolutional, (1, 6, 6), {}, {"fullgraph": True}),
    ],
    ids=["dense", "full gradient", "convolutional"],
)
def test_windows_are_those_without_a_compiler(make, shape, options, compiling):
    torch.manual_seed(0)
    plain = make()
    net = copy.deepcopy(plain)
    torch._dynamo.reset()
    found = train(net, torch.compile(net, **compiling), shape, **options)
    wanted = train(plain, plain, shape, **options)
    assert len(found.history) == len(wanted.history) == 2 * 2 * 3
    for mine, theirs in zip(found.history, wanted.history, strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["window"] == pytest.approx(theirs["window"])
        for score in ("sgv", "norm") if theirs["tgc"] is None else ("sgv", "tgc", "norm"):
            assert mine[score] == pytest.approx(theirs[score], rel=1e-3, abs=1e-9), score
    assert any(row["window"] != row["window_before"] for row in found.history)
    for mine, theirs in zip(net.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_way_through_the_operation_is_that_of_the_eager_pass():
    """With a compiler that generates no code, which is quick."""
    torch.manual_seed(0)
    plain = dense()
    net = copy.deepcopy(plain)
    found = train(net, torch.compile(net, backend="aot_eager", fullgraph=True), (6,))
    assert found.history == train(plain, plain, (6,)).history


def test_keys_are_those_of_living_watchers():
    net = dense()
    windows = a2sg.AdaptiveWindows(net, every=1, start=0)
    keys = [observer.key for observer in windows.observers.values()]
    other, copied = copy.deepcopy((net, windows))
    copies = [observer.key for observer in copied.observers.values()]
    assert len({*keys, *copies}) == 4
    for key, observer in zip(copies, copied.observers.values(), strict=True):
        assert traced._watchers[key] is observer
    assert [observer.site for observer in copied.observers.values()] == [other[1], other[3]]
    del windows, copied, other, net, observer
    gc.collect()
    assert not {*keys, *copies} & set(traced._watchers.keys())


@pytest.mark.parametrize("forward", [True, False], ids=["forward too", "backward alone"])
def test_a_backward_pass_that_torch_compiles_as_one_is_searched(forward):
    """Compiled autograd calls nothing at the end of a pass, and that must not be taken for a failure."""
    torch.manual_seed(0)
    plain = dense()
    net = copy.deepcopy(plain)
    torch._dynamo.reset()
    run = torch.compile(net, backend="aot_eager") if forward else net
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        found = train(net, run, (6,))
    assert found.history == train(plain, plain, (6,)).history
