"""Training with CUDA graphs on a card: the same losses and sums as without, observed iterations included."""

import copy

import pytest
import torch
from torch import nn

import a2sg
from a2sg.training.graphs import GraphedStep
from a2sg.training.recorder import CudaRecorder

STEPS, BATCH = 12, 8


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(20, 256), a2sg.LIF(4), nn.Linear(256, 64), a2sg.LIF(4), nn.Linear(64, 5)]
    return nn.Sequential(*layers)


def trained(model, device, precision, every, recorder):
    """Losses, windows and shares that pass, of a few iterations."""

    def compute(x, labels):
        logits = model(x)
        return logits, nn.functional.cross_entropy(logits.mean(0).float(), labels)

    step = compute if recorder is None else GraphedStep(model, compute, recorder)
    windows = a2sg.AdaptiveWindows(model, every=every, start=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(STEPS):
        x = torch.randn(4, BATCH, 20, generator=generator).to(device)
        labels = torch.randint(5, (BATCH,), generator=generator).to(device)
        optimizer.zero_grad()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            _, loss = step(x, labels)
        loss.backward()
        optimizer.step()
        windows.step()
        losses.append(loss.detach().clone())
    rows = [(row["iteration"], row["window"], row["sparsity"]) for row in windows.history]
    return torch.stack(losses).tolist(), rows


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("every", [1, 2])
def test_observed_steps_are_replayed_as_they_are(every, precision, device, caplog):
    if device.type != "cuda":
        pytest.skip("graphs need a CUDA device")
    model = network().to(device)
    expected, rows = trained(copy.deepcopy(model), device, precision, every, None)
    found, mine = trained(model, device, precision, every, CudaRecorder())
    assert not [record for record in caplog.records if "CUDA graphs" in record.message]
    assert found == pytest.approx(expected, rel=1e-3)
    assert [row[0] for row in mine] == [row[0] for row in rows]
    same = sum(a[1] == pytest.approx(b[1], abs=1e-6) for a, b in zip(mine, rows, strict=True))
    assert same >= 0.9 * len(rows), "but for ties that rounding decides"
    assert [row[2] for row in mine] == pytest.approx([row[2] for row in rows], abs=0.02)


def steps_of(model, compute, device, sizes):
    """Losses of steps with batches of these sizes, each recorded at once where it can be."""
    step = GraphedStep(model, compute, CudaRecorder(), after=0)
    for size in sizes:
        _, loss = step(torch.ones(4, size, 20, device=device))
        loss.backward()
        yield loss.detach()


def test_another_kind_is_recorded_when_the_last_graph_is_gone(device, caplog):
    if device.type != "cuda":
        pytest.skip("graphs need a CUDA device")
    model = network().to(device)

    def compute(x):
        logits = model(x)
        return logits, logits.square().mean()

    losses = torch.stack(list(steps_of(model, compute, device, (8, 8, 4, 4, 8))))
    assert not caplog.records
    torch.testing.assert_close(losses, losses[:1].expand(5), rtol=1e-4, atol=1e-6)


def test_a_recording_that_is_broken_off_harms_nothing(device, caplog):
    """Neither random numbers nor the graphs that there are, nor those that come later."""
    if device.type != "cuda":
        pytest.skip("graphs need a CUDA device")
    model = nn.Sequential(network(), nn.Dropout(0.5)).to(device)
    windows = a2sg.AdaptiveWindows(model, every=2, start=1)

    def compute(x):
        logits = model(x)
        loss = logits.square().mean()
        if windows.observing:
            loss.item()
        return logits, loss

    for loss in steps_of(model, compute, device, (8,) * 6):
        windows.step()
        assert torch.rand(3, device=device).isfinite().all()
        assert loss.isfinite()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("observed steps run without CUDA graphs")
    assert "captur" in message
