"""Recurrent layers and the integrator, against loops written out."""

import logging

import pytest
import torch
from torch import nn

import a2sg
import reference
from a2sg import LI, LIF, InputError, Recurrent
from reference import BY_NAME

T, B, N = 4, 3, 6


def layer(seed=0, **options):
    torch.manual_seed(seed)
    return Recurrent(LIF(T, window=[0.5, 0.6, 0.7, 0.8], **options), nn.Linear(N, N)).double()


def by_hand(net, x):
    """The same layer in float64, step by step, with autograd."""
    spikes, v, found = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for t, step in enumerate(x):
        u = 0.9 * v + step + net.feedback(spikes)
        spikes = reference.Fire.apply(u - 1, net.neuron.window[t], BY_NAME["asymmetric"].formula)
        v = u - spikes
        found.append((u, spikes))
    return [torch.stack(each) for each in zip(*found, strict=True)]


def drawn():
    generator = torch.Generator().manual_seed(1)
    x, weights = torch.randn(2, T, B, N, generator=generator, dtype=torch.float64)
    return x + 0.3, weights


def test_spikes_and_gradients_are_those_of_the_loop():
    net, (x, weights) = layer(), drawn()
    results = []
    for run in (net, lambda x: by_hand(net, x)[1]):
        net.zero_grad()
        given = x.clone().requires_grad_()
        spikes = run(given)
        (spikes * weights).sum().backward()
        results.append([spikes, given.grad, net.feedback.weight.grad, net.feedback.bias.grad])
    assert 0.1 < results[0][0].mean() < 0.9
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_windows_found_are_those_of_the_gradients_that_autograd_takes():
    net, (x, weights) = layer(), drawn()
    search = a2sg.AdaptiveWindows(net, every=1, start=0, candidates=10)
    windows = net.neuron.window.clone()
    # Gradients of each step's spikes, by all ways: s[t] reaches the loss, the reset and the next step.
    given, state, found = [], torch.zeros_like(x[0]), []
    v = torch.zeros_like(x[0])
    for t in range(T):
        potential = 0.9 * v + x[t] + net.feedback(state)
        state = reference.Fire.apply(potential - 1, windows[t], BY_NAME["asymmetric"].formula)
        state.retain_grad()
        v = potential - state
        given.append(potential.detach())
        found.append(state)
    (torch.stack(found) * weights).sum().backward()
    twin = reference.Neuron(BY_NAME["asymmetric"].formula)
    expected, later = [], None
    for t in reversed(range(T)):
        step = reference.Step(twin, given[t], found[t].grad, torch.zeros_like(x[0]), later)
        expected.insert(0, step.best(search.lattice.tolist()))
        later = step.delta(windows[t].item())
    (net(x) * weights).sum().backward()
    search.step()
    assert not search.kept
    torch.testing.assert_close(net.neuron.window, torch.tensor(expected, dtype=torch.float64))


def test_a_sequence_in_parts_is_the_whole():
    net, (x, weights) = layer(), drawn()
    whole = net(x)
    state, parts = None, []
    for part in x.split((1, 3)):
        spikes, state = net(part, state, return_state=True)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    losses = ((spikes * weights).sum() for spikes in (torch.cat(parts), whole))
    grads = [torch.autograd.grad(loss, net.feedback.weight)[0] for loss in losses]
    torch.testing.assert_close(*grads)
    assert not state.detach().neuron.potential.requires_grad


def test_maps_with_a_convolution_as_feedback():
    torch.manual_seed(2)
    net = Recurrent(LIF(T), nn.Conv2d(2, 2, 3, padding=1))
    x = torch.randn(T, B, 2, 5, 5, requires_grad=True)
    net(x).sum().backward()
    assert net.feedback.weight.grad.abs().sum() > 0


def test_a_recording_holds_the_whole_sequence():
    net, (x, _) = layer(), drawn()
    with a2sg.recording(net) as records:
        net(x)
        spikes = net(x)
    assert len(records["neuron"]) == 2
    assert torch.equal(records["neuron"][1].spikes, spikes)
    assert torch.equal((records["neuron"][1].potential >= 1).double(), spikes)


def test_energy_counts_every_step_of_a_recurrent_layer():
    from a2sg.energy import measure

    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, N), Recurrent(LIF(T), nn.Linear(N, N)), nn.Linear(N, 2))
    x = torch.randn(T, B, 5)
    spikes = net[1](net[0](x))
    energy = measure(net, x)
    assert energy.firing_rates["1.neuron"] == pytest.approx(spikes.mean((1, 2)).tolist())
    assert energy.neurons["1.neuron"] == N
    counts = {count.name: count.accumulates for count in energy.layers}
    assert counts["1.feedback"] == pytest.approx(spikes[:-1].sum().item() * N / B)
    assert counts["2"] == pytest.approx(spikes.sum().item() * 2 / B)


def test_the_loop_of_ones_own_with_step_is_searched(caplog):
    torch.manual_seed(4)
    inputs, back, lif, out = nn.Linear(8, 16), nn.Linear(16, 16), LIF(T), nn.Linear(16, 3)
    windows = a2sg.AdaptiveWindows(nn.ModuleList([inputs, back, lif, out]), every=1, start=0)
    state, spikes, total = None, torch.zeros(2, 16), 0
    for x in torch.randn(T, 2, 8) * 3:
        spikes, state = lif.step(inputs(x) + back(spikes), state)
        total = total + out(spikes)
    total.square().sum().backward()
    with caplog.at_level(logging.WARNING, "a2sg"):
        windows.step()
    assert not caplog.records
    assert len(windows.history) == T
    assert not any(row["kept"] for row in windows.history)


def test_the_integrator_is_its_sum():
    x = torch.randn(T, B, 2, dtype=torch.float64, requires_grad=True)
    decay = nn.Parameter(torch.tensor([0.5, 0.9], dtype=torch.float64))
    found = LI(T, decay=decay)(x)
    for t in range(T):
        expected = sum(decay**k * x[t - k] for k in range(t + 1))
        torch.testing.assert_close(found[t], expected)
    assert torch.autograd.gradcheck(lambda x, d: a2sg.neuron.integrator.integrated(x, d), (x, decay))


def test_the_integrator_goes_on_from_a_state_and_keeps_its_precision():
    net, x = LI(T, decay=0.8, learn="decay"), torch.randn(T, B, 2)
    first, state = net(x[:1], return_state=True)
    rest, after = net(x[1:], state)
    assert torch.equal(torch.cat([first, rest]), net(x))
    assert after.step == T
    assert net(x.bfloat16()).dtype == torch.float32
    assert [name for name, _ in net.named_parameters()] == ["decay"]
    assert torch.equal(net(x[:3]), net(x)[:3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent(nn.ReLU(), nn.Linear(2, 2)), r"a neuron such as a2sg.LIF\(steps=4\), not ReLU"),
        (lambda: layer()(torch.zeros(5, B, N)), "steps=4, but the input has T=5"),
        (lambda: Recurrent(LIF(2), nn.Linear(2, 3))(torch.zeros(2, 1, 2)), r"feedback has shape \(1, 3\)"),
        (lambda: layer()(torch.zeros(4, B, N), "state"), "a RecurrentState, not str"),
        (lambda: LI(4, learn="threshold"), "unknown constant to learn 'threshold'"),
        (lambda: LI(4, decay=2), "decay must be between 0 and 1"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
