"""Numbers that go wrong on a card: NaN reaches the loss on every backend, and a broken step never was."""

import pytest
import torch
from torch import nn

import a2sg

NAN = float("nan")


@pytest.mark.parametrize("backend", ["reference", "compiled", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_broken_sample_reaches_the_loss(backend, dtype, device):
    x = torch.zeros(3, 4, 8, device=device, dtype=dtype)
    x[0, 0, 0] = NAN
    spikes = a2sg.LIF(3, backend=backend).to(device)(x)
    assert spikes.isnan().nonzero().tolist() == [[2, 0, 0]]
    assert torch.nn.functional.cross_entropy(spikes.mean(0).float(), torch.arange(4, device=device)).isnan()


@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_a_broken_step_never_was_and_nothing_waits(make, precision, device):
    """Its weights, moments and statistics are those from before; a scaler of float16 does its own."""
    torch.manual_seed(0)
    layer = a2sg.models.SpikingLayer(nn.Linear(8, 16), a2sg.LIF(3), norm=a2sg.models.layers.TdBatchNorm)
    net = nn.Sequential(layer, nn.Linear(16, 4)).to(device)
    options = {"momentum": 0.9} if make is torch.optim.SGD else {}
    optimizer = make(net.parameters(), lr=0.01, fused=True, **options)
    windows = a2sg.AdaptiveWindows(net, every=100)
    guard = a2sg.StepGuard(net, windows)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == torch.float16)

    def step(x):
        optimizer.zero_grad()
        with guard, torch.autocast("cuda", dtype=precision, enabled=precision is not None):
            loss = net(x).float().square().mean()
        scaler.scale(loss).backward()
        guard.check(optimizer, loss.detach())
        scaler.step(optimizer)
        scaler.update()
        windows.step()

    healthy = torch.randn(3, 32, 8, device=device)
    broken = healthy.clone()
    broken[0, 0, 0] = NAN
    for x in (broken, healthy, healthy):  # the very first one, too
        step(x)
    moments = [value for state in optimizer.state.values() for value in state.values()]
    before = [value.clone() for value in [*net.state_dict().values(), *moments]]
    torch.cuda.set_sync_debug_mode("error" if precision != torch.float16 else "default")
    try:
        for _ in range(5):
            step(broken)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(map(torch.equal, before, [*net.state_dict().values(), *moments]))
    assert guard.skipped == 6
