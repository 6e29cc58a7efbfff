"""NaN and infinity in a neuron reach the loss on every backend, and are an error where that costs nothing."""

import pytest
import torch

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.broken import letting_through

VALUES = [float("nan"), torch.inf, -torch.inf]
NEURONS = {
    "soft": lambda **options: a2sg.LIF(3, **options),
    "hard": lambda **options: a2sg.LIF(3, reset="hard", **options),
    "scaled": lambda **options: a2sg.LIF(3, order="scaled", **options),
    "no leak": lambda **options: a2sg.IF(3, **options),
    "nothing stays": lambda **options: a2sg.LIF(3, decay=0.0, **options),
    "trained": lambda **options: a2sg.PLIF(3, **options),
    "levels": lambda **options: a2sg.IntegerLIF(3, **options),
}


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("name", NEURONS)
def test_the_last_spike_of_a_broken_potential_is_nan(name, backend):
    neuron = NEURONS[name](backend=backend)
    healthy = torch.randn(3, 2, 64, generator=torch.Generator().manual_seed(0))
    plain = neuron(healthy)
    for value in VALUES:
        for step in range(3):
            current = healthy.clone()
            current[step, 1, 5] = value
            with letting_through():
                spikes = neuron(current)
            wrong = spikes.isnan().nonzero().tolist()
            assert wrong == [[2, 1, 5]], (value, step)
            others = torch.ones(2, 64, dtype=torch.bool)
            others[1, 5] = False
            assert torch.equal(spikes[:, others], plain[:, others])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_in_every_precision(dtype):
    current = torch.zeros(3, 2, 8, dtype=dtype)
    current[0, 0, 0] = torch.inf
    for backend in ("reference", "compiled"):
        with letting_through():
            assert a2sg.LIF(3, backend=backend)(current).isnan().sum() == 1


def test_what_overflows_inside_shows():
    """Finite currents whose sum is not: float32's largest, over and over."""
    current = torch.full((3, 1, 4), torch.finfo(torch.float32).max)
    with letting_through():
        assert a2sg.IF(3)(current)[-1].isnan().all()
    with pytest.raises(InputError, match="the input of a neuron holds NaN or infinity"):
        a2sg.IF(3)(current)


def test_step_by_step_and_in_a_loop_of_ones_own():
    broken = torch.tensor([[0.5, float("nan"), 2.0, torch.inf]])
    with letting_through():
        spikes, _ = a2sg.LIF(3).step(broken)
        assert spikes.isnan().tolist() == [[False, True, False, True]]
    assert a2sg.spike(broken - 1, a2sg.SpikeSite(3)).isnan().tolist() == [[False, True, False, True]]


def test_letting_through_ends_also_after_an_error():
    with pytest.raises(RuntimeError), letting_through(), letting_through():
        raise RuntimeError
    with pytest.raises(InputError, match="NaN or infinity"):
        a2sg.LIF(3)(torch.full((3, 1, 4), torch.nan))


def test_packed_spikes_of_a_broken_pass_leave_the_loss_nan():
    """Bits hold no NaN; by then the loss is, and so are the gradients."""
    first, second = torch.nn.Linear(8, 32), torch.nn.Linear(32, 2)
    x = torch.randn(3, 4, 8)
    x[0, 0, 0] = torch.nan
    with a2sg.memory.pack_spikes(least=1), letting_through():
        loss = second(a2sg.LIF(3)(first(x))).square().mean()
    loss.backward()
    assert loss.isnan()
    assert second.weight.grad.isnan().any()
