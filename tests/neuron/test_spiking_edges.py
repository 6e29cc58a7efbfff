"""The ends of what a neuron may be given: nothing, one of all, silence, saturation, huge and tiny numbers."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import a2sg
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Observation, Sums, binned, blocked
from a2sg.surrogate import Boxcar
from a2sg.window.objectives import sgv_from_sums

MAX16 = torch.finfo(torch.float16).max
TINY = torch.finfo(torch.float32).smallest_normal / 64


@dataclass(frozen=True)
class Edge:
    """An input, and what must come of it."""

    current: Tensor
    rate: float | None
    """Of spikes; None where there are none to count."""
    kept: str | None = None
    """Why the search keeps the last step's window; "" if it finds one, None where nothing runs backward."""
    upstream: float = 1.0
    """dL/ds."""


def sure(steps, batch, value, dtype=torch.float32):
    return torch.full((steps, batch, 5), value, dtype=dtype)


EDGES = {
    "an empty batch": Edge(torch.zeros(3, 0, 5), None, "no gradient"),
    "a batch of one": Edge(sure(3, 1, 0.9), 2 / 3, ""),
    "one step": Edge(sure(1, 4, 1.2), 1.0, ""),
    "one step of one sample of one neuron": Edge(torch.full((1, 1), 0.8), 0.0, ""),
    "all silent": Edge(sure(3, 4, -50.0), 0.0, "all zero"),
    "all saturated": Edge(sure(3, 4, 50.0), 1.0, "all zero"),
    "saturated to the largest float16": Edge(sure(3, 4, MAX16, torch.float16), 1.0, "all zero"),
    "denormal currents": Edge(sure(3, 4, TINY), 0.0, "all zero"),
    "denormal gradients": Edge(sure(3, 4, 0.9), 2 / 3, "", upstream=TINY),
    "the largest gradients": Edge(sure(3, 4, 0.9), 2 / 3, "", upstream=1e38),
}


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("name", EDGES)
def test_spikes_gradients_and_search_at_the_edges(name, backend):
    edge = EDGES[name]
    steps = len(edge.current)
    neuron = a2sg.LIF(steps, backend=backend)
    windows = a2sg.AdaptiveWindows(neuron, every=1, start=0)
    current = edge.current.clone().requires_grad_()
    spikes = neuron(current)
    assert spikes.shape == current.shape
    assert spikes.dtype == current.dtype
    assert spikes.isfinite().all()
    if edge.rate is not None:
        assert spikes.float().mean().item() == pytest.approx(edge.rate)
    spikes.backward(torch.full_like(spikes, edge.upstream))
    assert current.grad.isfinite().all()
    windows.step()
    assert windows.history[-1]["kept"] == edge.kept
    assert neuron.window.isfinite().all()


def test_what_overflows_float16_is_broken_and_not_silent():
    """As a convolution under autocast gives it: infinity, whose spike the loss shows."""
    overflown = sure(3, 4, MAX16, torch.float16) * 2
    with pytest.raises(a2sg.InputError, match="NaN or infinity"):
        a2sg.LIF(3)(overflown)


@pytest.mark.parametrize("fill", [binned, blocked])
def test_sums_over_a_thousand_million_elements(fill):
    """A table that holds those of 10^9, by arithmetic, takes the next ones to the last digit."""
    many, more, g = 10**9, 5000, 2.0**-10
    shape = Boxcar(area="free")
    table = torch.zeros(1, 1, len(Sums), dtype=torch.float64)
    each = torch.tensor([1, g, g, g * g, 0, 0], dtype=torch.float64)
    table += many * each
    potential, upstream = torch.full((1, more), 0.9), torch.full((1, more), g)
    fill(Observation(Gate(shape, (1.0,)), potential, upstream), torch.tensor([[0.5]]).double(), table)
    assert torch.equal(table[0, 0], (many + more) * each)
    assert sgv_from_sums(table)[0, 0] == 0
