"""An unrolled network gives what the training network gives, and can be differentiated again."""

import copy

import pytest
import torch
from torch import nn

import a2sg
import reference
from a2sg.errors import InputError
from a2sg.models.layers import SpikingLayer
from a2sg.models.norms import NORMS
from a2sg.models.residual import BasicBlock
from a2sg.models.setting import Setting as ModelSetting
from a2sg.study.measure.unrolled import SurrogateSpike, surrogate_spike, unrolled
from neurons import Setting, draw

SETTINGS = [
    Setting("lif", "soft", False, "field", 3),
    Setting("lif", "soft", True, "scaled", 4, shape="triangle"),
    Setting("lif", "hard", False, "scaled", 3, shape="boxcar", threshold=0.5),
    Setting("lif", "hard", True, "field", 4, shape="pinned-0-unit"),
    Setting("lif", "hard", False, "field", 1, shape="arctan"),
    Setting("if", "soft", False, "field", 4, shape="sigmoid-unit"),
    Setting("plif", "hard", False, "scaled", 4, shape="fast"),
    Setting("plif", "soft", True, "field", 3, shape="dspike"),
    Setting("integer", "soft", False, "field", 1, shape="asymmetric"),
    Setting("integer", "soft", False, "scaled", 3, shape="triangle"),
    Setting("integer", "soft", True, "field", 3, shape="arctan"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_first_gradients_are_those_of_the_training_neuron(setting):
    current, weights, windows = draw(setting, (2, 5))
    outcomes = []
    for model in (setting.neuron(windows), setting.neuron(windows)):
        leaf = current.clone().requires_grad_()
        if outcomes:
            with unrolled(model, surrogate_spike):
                spikes = model(leaf)
        else:
            spikes = model(leaf)
        (spikes * weights).sum().backward()
        outcomes.append([spikes.detach(), leaf.grad, *[p.grad for p in model.parameters()]])
    assert len(outcomes[0]) == (3 if setting.kind == "plif" else 2)
    for trained, analysed in zip(*outcomes, strict=True):
        assert trained.abs().sum() > 0
        torch.testing.assert_close(analysed, trained, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_second_gradients_are_those_of_the_written_out_loop(setting):
    """tests/support/reference.py differentiates its own loop and formulas, and these again."""
    current, weights, windows = draw(setting, (2, 5))
    neuron = setting.neuron(windows)
    twin = setting.reference(neuron)
    direction = torch.randn_like(current)

    def second(run):
        leaf = current.clone().requires_grad_()
        (first,) = torch.autograd.grad((run(leaf) * weights).sum(), leaf, create_graph=True)
        return torch.autograd.grad((first * direction).sum(), leaf, materialize_grads=True)[0]

    with unrolled(neuron, surrogate_spike):
        mine = second(neuron)
    scale = setting.levels if setting.kind == "integer" else 1
    expected = second(lambda x: reference.run(twin, x, windows.double()).spikes / scale)
    torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)


def test_constant_spikes_leave_the_derivative_of_f_alone():
    """One step: G = w f(I), so dG/dI = w f'(I). With a layer before it, nothing comes through its spikes."""
    spike = SurrogateSpike()
    neuron = a2sg.LIF(1, surrogate=a2sg.surrogate.Asymmetric(bias=0.5), window=0.8).double()
    current = torch.tensor([[[0.9, 1.1, 1.9]]], dtype=torch.float64, requires_grad=True)
    with unrolled(neuron, spike):
        spikes = neuron(current)
        (first,) = torch.autograd.grad(spikes.sum(), current, create_graph=True)
        with spike.spikes_constant():
            (second,) = torch.autograd.grad(first.sum(), current, retain_graph=True)
            with pytest.raises(RuntimeError, match="not have been used"):
                torch.autograd.grad(spikes.sum(), current, retain_graph=True)
        assert torch.autograd.grad(spikes.sum(), current)[0].count_nonzero() == 2
    slope = 1 / (2 * 0.8)
    torch.testing.assert_close(second, torch.tensor([[[slope, slope, 0.0]]], dtype=torch.float64))


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["layer", "block"])
def test_normalised_layers_and_blocks(norm, training, kind):
    """In training mode their merged form takes the batch statistics without a graph: it must not be used."""
    torch.manual_seed(0)
    if kind == "layer":
        model = SpikingLayer(nn.Linear(5, 6), a2sg.LIF(3), norm=norm)
        shape = (3, 4, 5)
    else:
        model = BasicBlock(
            ModelSetting(2, 3, 4, (4, 4), lambda **o: a2sg.LIF(3, **o), norm=norm), 4, 6, 1, first=True
        )
        shape = (3, 2, 4, 4, 4)
    model = model.double().train(training)
    twin = copy.deepcopy(model)
    x = torch.rand(shape, dtype=torch.float64)
    expected = model(x)
    weights = torch.randn_like(expected)
    expected_grads = torch.autograd.grad((expected * weights).sum(), list(model.parameters()))
    with unrolled(twin, surrogate_spike):
        spikes = twin(x)
        grads = torch.autograd.grad((spikes * weights).sum(), list(twin.parameters()), create_graph=True)
    assert torch.equal(spikes, expected)
    for mine, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
    assert all(g.requires_grad for g in grads)
    for mine, other in zip(twin.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def test_streamed_steps_are_unrolled_too():
    neuron = a2sg.PLIF(3, reset="hard", window=[0.5, 0.7, 0.9]).double()
    current = torch.rand(3, 2, 4, dtype=torch.float64) * 1.5
    with unrolled(neuron, surrogate_spike):
        whole = neuron(current)
        state, parts = None, []
        for step in current:
            spikes, state = neuron.step(step, state)
            parts.append(spikes)
    assert torch.equal(torch.stack(parts), whole)
    weights = torch.rand_like(whole)
    grads = [
        torch.autograd.grad((out * weights).sum(), neuron.raw_decay) for out in (whole, torch.stack(parts))
    ]
    torch.testing.assert_close(*grads)


def test_any_spike_and_its_potentials():
    """A smooth spike: autograd's gradient is then that of the smoothed network, by finite differences."""
    neuron = a2sg.LIF(3, window=0.4).double()
    windows = []

    def smooth(gate, potential, window):
        windows.append(window.item())
        return torch.sigmoid((potential - gate.thresholds[0]) / window)

    current = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    with unrolled(neuron, smooth), a2sg.neuron.recording(neuron) as records:
        out = neuron(current)
        assert torch.autograd.gradcheck(neuron, current)
        assert torch.autograd.gradgradcheck(neuron, current)
    record = records[""][0]
    assert windows[:3] == pytest.approx([0.4] * 3)
    torch.testing.assert_close(torch.sigmoid((record.potential - 1) / neuron.window[0].item()), out)


def test_what_it_was_comes_back():
    model = nn.Sequential(a2sg.LIF(2), a2sg.LIF(2))
    other = SurrogateSpike()
    with unrolled(model, surrogate_spike):
        with unrolled(model[0], other) as neurons:
            assert neurons == [model[0]]
            assert [neuron.spike for neuron in model] == [other, surrogate_spike]
        with pytest.raises(InputError, match="first dimension"), unrolled(model[0], other):
            model(torch.zeros(3, 1))
        assert [neuron.spike for neuron in model] == [surrogate_spike] * 2
    assert [neuron.spike for neuron in model] == [None, None]
    with pytest.raises(InputError, match="has no neurons of a2sg"), unrolled(nn.Linear(2, 2), other):
        pass
