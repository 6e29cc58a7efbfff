"""Encoders against their formulas: rates within what chance allows, latencies and levels exactly."""

import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.neuron import DeltaEncoder, LatencyEncoder, PoissonEncoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_rates_are_the_intensities(gain):
    x = torch.linspace(0, 1, 11)[None]
    steps = 20_000
    spikes = PoissonEncoder(steps, gain=gain, generator=seeded())(x)
    assert spikes.shape == (steps, 1, 11)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    for intensity, rate in zip(x[0].tolist(), spikes.mean((0, 1)).tolist(), strict=True):
        p = gain * intensity
        assert abs(rate - p) <= 5 * math.sqrt(p * (1 - p) / steps) + 1e-7
    assert spikes[..., 0].sum() == 0
    assert gain < 1 or spikes[..., -1].all()


def test_steps_and_elements_are_independent():
    spikes = PoissonEncoder(20_000, generator=seeded())(torch.full((2, 1), 0.5)).flatten(1) - 0.5
    for one, other in ((spikes[1:, 0], spikes[:-1, 0]), (spikes[:, 0], spikes[:, 1])):
        assert abs((one * other).mean().item()) < 5 * 0.25 / math.sqrt(len(one))


def test_a_seed_gives_the_same_spikes():
    x = torch.rand(3, 4, generator=seeded())
    one, two, other = (PoissonEncoder(9, generator=seeded(seed))(x) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    encoder = PoissonEncoder(9)
    torch.manual_seed(5)
    first, again = encoder(x), encoder(x)
    torch.manual_seed(5)
    assert torch.equal(encoder(x), first)
    assert not torch.equal(first, again), "every pass draws anew"


@pytest.mark.parametrize(
    ("steps", "least", "times"),
    [
        (5, 0.0, {1.0: 0, 0.75: 1, 0.5: 2, 0.26: 3, 0.01: 4, 0.0: None}),
        (5, 0.25, {1.0: 0, 0.26: 3, 0.25: None}),
        (1, 0.0, {1.0: 0, 0.1: 0, 0.0: None}),
    ],
)
def test_latencies_are_their_formula(steps, least, times):
    x = torch.tensor([list(times)], dtype=torch.float64)
    spikes = LatencyEncoder(steps, least=least)(x)
    assert spikes.dtype == torch.float64
    for column, time in enumerate(times.values()):
        assert spikes[:, 0, column].nonzero().flatten().tolist() == ([] if time is None else [time])


def delta_by_hand(signal, threshold):
    level, found = signal[0], []
    for value in signal:
        on, off = value - level >= threshold, value - level <= -threshold
        level += threshold * (on - off)
        found.append([float(off), float(on)])
    return found


def test_deltas_are_their_formula_and_follow_the_signal():
    threshold, steps = 0.1, 400
    t = torch.arange(steps, dtype=torch.float64)
    signal = torch.stack([torch.sin(t / 20), torch.cos(t / 37) - t / 100], 1)[:, None]  # [T, 1, 2]
    spikes = DeltaEncoder(threshold)(signal)
    assert spikes.shape == (steps, 1, 2, 2)
    for column in range(2):
        assert spikes[:, 0, :, column].tolist() == delta_by_hand(signal[:, 0, column].tolist(), threshold)
    followed = signal[0] + threshold * (spikes[:, :, 1] - spikes[:, :, 0]).cumsum(0)
    assert (followed - signal).abs().max() < threshold
    assert DeltaEncoder(threshold)(torch.ones(5, 2, 3)).sum() == 0


def test_they_feed_a_network():
    x = torch.rand(6, 9, generator=seeded())
    for encoder in (PoissonEncoder(4), LatencyEncoder(4)):
        net = nn.Sequential(encoder, nn.Linear(9, 5), a2sg.LIF(4))
        net(x).sum().backward()
        assert net(x).shape == (4, 6, 5)
        assert net[1].weight.grad.any()


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda: PoissonEncoder(0), None, "steps must be a whole number of at least 1"),
        (lambda: PoissonEncoder(4, gain=1.5), None, "gain must be between 0 and 1"),
        (lambda: LatencyEncoder(4, least=-1), None, "least must be between 0 and 1"),
        (lambda: DeltaEncoder(0), None, "threshold must be a number above 0"),
        (
            lambda: PoissonEncoder(4),
            torch.tensor([[-0.5, 2.0]]),
            "from 0 to 1, not -0.5 to 2: standardised pixels",
        ),
        (lambda: PoissonEncoder(4), torch.tensor([[math.nan, 0.0]]), "from 0 to 1, not nan to nan"),
        (lambda: LatencyEncoder(4), torch.tensor([[3]]), "floating point from 0 to 1, not torch.int64"),
        (lambda: DeltaEncoder(0.1), torch.zeros(4), r"\[T, B, ...\], not torch.float32 of shape \(4,\)"),
    ],
)
def test_what_cannot_work_is_told(make, x, message):
    with pytest.raises(InputError, match=message):
        make()(x)
