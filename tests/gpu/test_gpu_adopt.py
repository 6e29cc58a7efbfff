"""Models adopted on a card: SpikingJelly's neurons by each backend, and functions found by watching."""

import copy

import pytest
import torch
from torch import nn

import a2sg
from styles import STYLES

T, BATCH = 4, 16
BACKENDS = ("torch", "cupy", "triton")
KINDS = {
    "LIFNode": {"tau": 2.0, "decay_input": False},
    "IFNode": {},
    "ParametricLIFNode": {"init_tau": 2.0, "decay_input": False},
}


def network(backend, kind):
    """Two layers of SpikingJelly's neurons, multi-step."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    neurons = [getattr(neuron, kind)(step_mode="m", **KINDS[kind]) for _ in range(2)]
    for one in neurons:
        one.backend = backend
    return nn.Sequential(nn.Linear(20, 64), neurons[0], nn.Linear(64, 64), neurons[1], nn.Linear(64, 5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_spikes_stay_and_windows_move(backend, kind, device):
    if backend != "torch" and device.type != "cuda":
        pytest.skip(f"{backend} is for CUDA")
    if backend == "cupy":
        pytest.importorskip("cupy")
    functional = pytest.importorskip("spikingjelly.activation_based.functional")
    host = network(backend, kind).to(device)
    adopted = copy.deepcopy(host)
    windows = a2sg.adapt(adopted, steps=T, every=1, start=0, candidates=20)
    x = 2 * torch.randn(T, BATCH, 20, device=device)
    labels = torch.randint(0, 5, (BATCH,), device=device)
    with torch.no_grad():
        wanted = host(x)
    functional.reset_net(host)
    optimizer = torch.optim.SGD(adopted.parameters(), lr=0.1)
    for iteration in range(4):
        optimizer.zero_grad()
        logits = adopted(x)
        if iteration == 0:
            assert torch.equal(logits.detach(), wanted)
        nn.functional.cross_entropy(logits.mean(0), labels).backward()
        optimizer.step()
        windows.step()
        functional.reset_net(adopted)
    assert not windows.kept
    assert any(row["window"] != row["window_before"] for row in windows.history)
    assert all(torch.isfinite(parameter).all() for parameter in adopted.parameters())


ANYWHERE = [style for style in STYLES if style.name not in ("STBP", "fires-twice") and not style.online]
"""Networks that make no tensors of their own on the host."""


@pytest.mark.parametrize("style", ANYWHERE, ids=str)
def test_a_card_finds_what_the_host_finds(style, device):
    found = []
    for where in (torch.device("cpu"), device):
        net, x = style.build().to(where), style.example().to(where)
        windows = a2sg.adapt(net, steps=style.steps, example=x, every=1, start=0, candidates=20)
        net(x).square().sum().backward()
        windows.step()
        found.append((windows.found, [row["window"] for row in windows.history]))
    assert found[0] == found[1]
