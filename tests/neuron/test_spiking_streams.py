"""What lives between calls: nothing, unless asked for; streaming step by step, and recording."""

import pytest
import torch

import a2sg
import reference
from a2sg import LIF
from neurons import Setting, draw, spikes_and_gradients


@pytest.mark.parametrize("kind", ["lif", "if", "plif", "integer"])
def test_nothing_is_hidden_between_calls(kind):
    setting = Setting(kind, "soft", False, "field", 4)
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    before = {name: value.clone() for name, value in neuron.state_dict().items()}
    first, grad = spikes_and_gradients(neuron, current, weights)
    neuron(torch.full_like(current, 5.0))
    neuron(torch.randn(4, 1, 9, dtype=torch.float64))  # another batch and shape in between
    second, again = spikes_and_gradients(neuron, current, weights)
    assert torch.equal(first, second)
    assert torch.equal(grad, again)
    assert neuron.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in neuron.state_dict().items())


def test_two_graphs_live_side_by_side_and_one_can_be_used_twice():
    neuron = LIF(3).double()
    a = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    spikes_a, spikes_b = neuron(a), neuron(b)
    spikes_a.sum().backward(retain_graph=True)
    spikes_b.sum().backward()
    once = a.grad.clone()
    spikes_a.sum().backward()
    torch.testing.assert_close(a.grad, 2 * once)
    expected = spikes_and_gradients(neuron, b, torch.ones_like(b))[1]
    assert torch.equal(b.grad, expected)


STREAMS = [
    Setting(*row)
    for row in (
        ("lif", "soft", False, "field", 4),
        ("lif", "hard", False, "scaled", 3, "triangle"),
        ("lif", "hard", True, "field", 7, "arctan"),
        ("if", "soft", True, "field", 4, "dspike"),
        ("plif", "soft", False, "scaled", 4, "pinned"),
        ("plif", "hard", False, "field", 4, "boxcar"),
        ("integer", "soft", False, "field", 4, "boxcar"),
        ("lif", "soft", False, "field", 1),
    )
]


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_steps_one_by_one_are_the_whole(setting):
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    spikes, grad = spikes_and_gradients(neuron, current, weights)
    decay_grad = neuron.raw_decay.grad.clone() if setting.kind == "plif" else None

    neuron.zero_grad()
    x = current.clone().requires_grad_()
    state, outputs = None, []
    for t in range(setting.steps):
        out, state = neuron.step(x[t], state)
        assert state.step == t + 1
        outputs.append(out)
    streamed = torch.stack(outputs)
    assert torch.equal(streamed.detach(), spikes)
    (streamed * weights).sum().backward()
    torch.testing.assert_close(x.grad, grad, rtol=1e-12, atol=1e-14)
    if decay_grad is not None:
        torch.testing.assert_close(neuron.raw_decay.grad, decay_grad, rtol=1e-12, atol=1e-14)


def test_a_stream_goes_on_beyond_steps_with_the_last_window():
    setting = Setting("lif", "soft", False, "field", 5)
    current, weights, windows = draw(setting, (2, 6))
    windows = torch.cat([windows[:2], windows[1].expand(3)])
    short = LIF(2, window=windows[:2]).double()
    grad = spikes_and_gradients(LIF(5, window=windows).double(), current, weights)[1]
    x = current.clone().requires_grad_()
    state, outputs = None, []
    for step_current in x:
        out, state = short.step(step_current, state)
        outputs.append(out)
    (torch.stack(outputs) * weights).sum().backward()
    torch.testing.assert_close(x.grad, grad, rtol=1e-12, atol=1e-14)


def test_a_stream_in_low_precision_keeps_its_state_in_float32():
    x = (0.5 + torch.randn(4, 2, 9)).bfloat16()
    neuron = LIF(4)
    state, outputs = None, []
    for step_current in x:
        out, state = neuron.step(step_current, state)
        assert out.dtype == torch.bfloat16
        assert state.potential.dtype == torch.float32
        outputs.append(out)
    assert torch.equal(torch.stack(outputs), neuron(x))


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_recorded_potentials_are_differentiable(setting):
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    scale = setting.levels if setting.kind == "integer" else 1
    twin = setting.reference(neuron)

    def loss_of(u, s):
        return (weights * s).sum() + (weights.flip(0) * u**2).sum() + 0.3 * u[-1].sum()

    x = current.clone().requires_grad_()
    model = torch.nn.Sequential(neuron)
    with a2sg.recording(model) as records:
        spikes = model(x)
        model(x.detach())
    assert list(records) == ["0"]
    assert len(records["0"]) == 2
    record = records["0"][0]
    assert torch.equal(record.spikes, spikes)
    assert record.threshold == setting.threshold
    loss_of(record.potential, spikes).backward()

    wide = current.clone().requires_grad_()
    done = reference.run(twin, wide, windows.double())
    torch.testing.assert_close(record.potential, done.potentials, rtol=1e-12, atol=1e-12)
    loss_of(done.potentials, done.spikes / scale).backward()
    torch.testing.assert_close(x.grad, wide.grad, rtol=1e-10, atol=1e-11)
    if setting.kind == "plif":
        d = twin.decay
        torch.testing.assert_close(neuron.raw_decay.grad, (d.grad * d * (1 - d)).reshape(()))

    model(x)
    assert len(records["0"]) == 2, "recording ends with its context"


def test_potentials_alone_may_carry_the_loss():
    x = torch.randn(4, 2, 5, dtype=torch.float64, requires_grad=True)
    neuron = LIF(4, detach_reset=True).double()
    with a2sg.recording(neuron) as records:
        neuron(x)
    records[""][0].potential[-1].sum().backward()
    # u4 depends on I[t] through the leak alone: 0.9^(4-t)
    expected = torch.tensor([0.9**3, 0.9**2, 0.9, 1.0], dtype=torch.float64).reshape(4, 1, 1).expand_as(x)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_below_the_threshold_the_gradient_of_the_potential_is_the_true_one(setting):
    """No spike and no window in reach: the neuron is a linear filter, which finite differences can check."""
    neuron = setting.neuron(0.05)
    if setting.shape == "arctan":  # has no edge: leave its tail out of reach with a tiny window
        neuron = Setting(**{**vars(setting), "shape": "boxcar"}).neuron(0.05)
    generator = torch.Generator().manual_seed(3)
    x = 0.12 * torch.rand(setting.steps, 2, 3, dtype=torch.float64, generator=generator) - 0.1
    x.requires_grad_()

    def potential(current, raw_decay=None):
        with a2sg.recording(neuron) as records:
            assert not neuron(current).any()
        return records[""][0].potential

    inputs = (x, neuron.raw_decay) if setting.kind == "plif" else (x,)
    assert torch.autograd.gradcheck(potential, inputs)


@pytest.mark.parametrize("initial", [False, True])
def test_a_stream_below_the_threshold_passes_gradcheck_to_its_state(initial):
    neuron = LIF(1, window=0.05).double()
    x = torch.full((2, 3), 0.1, dtype=torch.float64, requires_grad=True)
    v = torch.full((2, 3), -0.2, dtype=torch.float64, requires_grad=initial)

    def final(current, potential):
        return neuron.step(current, a2sg.neuron.State(potential, 1))[1].potential

    assert torch.autograd.gradcheck(final, (x, v))


def test_of_nested_recordings_the_inner_one_collects_and_the_outer_goes_on():
    neuron = LIF(2)
    current = torch.ones(2, 3)
    with a2sg.recording(neuron) as outer:
        neuron(current)
        with a2sg.recording(neuron) as inner:
            neuron(current)
        neuron(current)
    assert len(outer[""]) == 2
    assert len(inner[""]) == 1
