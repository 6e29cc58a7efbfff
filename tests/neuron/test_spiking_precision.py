"""Half precision, loss scaling and checkpointing go with the neuron and its windows."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg.kernels.compilers import missing

COMPILED = pytest.mark.skipif(bool(missing("cpu")), reason="no compiler")
BACKENDS = ["reference", pytest.param("compiled", marks=COMPILED)]
SELDOM = ["reference", pytest.param("compiled", marks=[COMPILED, pytest.mark.slow])]


def network(backend):
    torch.manual_seed(0)
    return a2sg.create_model(
        "vgg_small", num_classes=4, steps=3, image_size=8, width=0.5, neuron_options={"backend": backend}
    )


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 8, 8, generator=generator), torch.arange(6) % 4


def iteration(model, scale, dtype):
    """One observed iteration; returns gradients without the scale, and windows."""
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    images, labels = batch()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        logits = model(images)
    (cross_entropy(logits.float().mean(0), labels) * scale).backward()
    windows.step()
    found = torch.cat([module.window for module in model.modules() if isinstance(module, a2sg.LIF)])
    return {name: p.grad / scale for name, p in model.named_parameters()}, found


@pytest.mark.parametrize("backend", SELDOM)
def test_the_scale_of_the_loss_changes_neither_gradients_nor_windows_in_float16(backend):
    """Scaled by a power of two, every gradient is the same number unless half precision lost it."""
    model = network(backend)
    plain, windows = iteration(copy.deepcopy(model), 2.0**6, torch.float16)
    scaled, scaled_windows = iteration(copy.deepcopy(model), 2.0**8, torch.float16)
    assert torch.equal(windows, scaled_windows)
    assert (windows < 1).any()
    for name, grad in plain.items():
        assert grad.isfinite().all(), name
        torch.testing.assert_close(grad, scaled[name], rtol=2e-2, atol=2e-3 * grad.abs().max().item())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_scaler_trains_in_float16(backend):
    model = network(backend)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    windows = a2sg.AdaptiveWindows(model, every=2, start=1)
    images, labels = batch()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cross_entropy(model(images).float().mean(0), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        windows.step()
        losses.append(loss.item())
    assert min(losses) < 0.7 * losses[0]
    assert all(row["kept"] == "" for row in windows.history)


@pytest.mark.parametrize("backend", SELDOM)
def test_a_checkpointed_network_has_the_same_gradients_and_windows(backend):
    results = []
    for again in (False, True):
        model = network(backend)
        windows = a2sg.AdaptiveWindows(model, every=1, start=0)
        images, labels = batch()
        x = model.frames(images)
        for name, part in model.named_children():
            if name != "frames":
                x = checkpoint(part, x, use_reentrant=False) if again else part(x)
        cross_entropy(x.mean(0), labels).backward()
        windows.step()
        results.append(
            [p.grad for p in model.parameters()] + [torch.tensor([r["window"] for r in windows.history])]
        )
    for plain, kept in zip(*results, strict=True):
        torch.testing.assert_close(plain, kept)
