"""Another T than a neuron was made for: forward, gradients, and every backend."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg import LI, LIF, PLIF, InputError, IntegerLIF, Recurrent
from a2sg.models import create_model


def both_ways(neuron, x):
    """Spikes and gradient of Σ s · w with fixed weights."""
    x = x.clone().requires_grad_()
    spikes = neuron(x)
    weights = torch.linspace(-1, 1, spikes.numel(), dtype=x.dtype).view(spikes.shape)
    (spikes * weights).sum().backward()
    return spikes.detach(), x.grad


def current(steps):
    return torch.randn(steps, 3, 8, generator=torch.Generator().manual_seed(steps))


@pytest.mark.parametrize(
    ("backend", "steps"), [("reference", 1), ("reference", 3), ("reference", 6), ("compiled", 3)]
)
def test_a_neuron_runs_another_t_as_one_made_for_it(backend, steps):
    x = current(steps)
    windows = [0.4, 0.9, 0.6, 0.7]
    mine = LIF(4, window=windows, backend=backend)
    with torch.no_grad():
        assert torch.equal(mine(x), LIF(steps, backend="reference")(x))
    if steps <= 4:
        twin = LIF(steps, window=windows[:steps], backend="reference")
        for found, expected in zip(both_ways(mine, x), both_ways(twin, x), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("backend", "steps"), [("reference", 2), ("reference", 5), ("reference", 7), ("compiled", 5)]
)
def test_grouped_windows_are_those_of_each_step(backend, steps):
    x = current(steps)
    mine = LIF(5, groups=2, window=[0.4, 0.8], backend=backend)
    twin = LIF(steps, window=[0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8][:steps], backend="reference")
    for found, expected in zip(both_ways(mine, x), both_ways(twin, x), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_compiled_neuron_takes_one_t_after_another():
    """A current that is every step's has the same shape for any T."""
    mine = LIF(4, backend="compiled")
    for steps in (4, 2, 4):
        x = current(1).expand(steps, -1, -1)
        torch.testing.assert_close(mine(x.contiguous()), LIF(steps, backend="reference")(x))


@pytest.mark.parametrize("kind", [LIF, PLIF, IntegerLIF])
def test_gradients_through_more_steps_than_windows_are_refused_with_the_ways_out(kind):
    neuron = kind(4)
    with pytest.raises(InputError, match=r"steps=4, but the input has T=6.*steps=6 .*groups=1.*no_grad"):
        neuron(current(6))
    with torch.inference_mode():
        assert neuron(current(6)).shape == (6, 3, 8)
    assert kind(4, groups=1)(current(6)).shape == (6, 3, 8)


@pytest.mark.parametrize("layer", [LIF(2), LI(2), Recurrent(LIF(2), nn.Identity())])
def test_no_steps_at_all_are_refused(layer):
    with pytest.raises(InputError, match="no steps"):
        layer(torch.zeros(0, 2, 3))


def test_an_integrator_has_no_windows_and_takes_any_t():
    x = current(7)
    assert torch.equal(LI(2, decay=0.8)(x), LI(7, decay=0.8)(x))


def test_a_recurrent_layer_takes_another_t_as_its_neuron_does():
    torch.manual_seed(0)
    feedback, x = nn.Linear(8, 8), current(3)
    short = Recurrent(LIF(3, window=[0.4, 0.9, 0.6]), feedback)
    mine = Recurrent(LIF(4, window=[0.4, 0.9, 0.6, 0.7]), feedback)
    for found, expected in zip(both_ways(mine, x), both_ways(short, x), strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(InputError, match="T=6"):
        mine(current(6))
    with torch.no_grad():
        assert mine(current(6)).shape == (6, 3, 8)


@pytest.mark.parametrize("norm", ["td", "time_mean"])
@pytest.mark.parametrize("steps", [2, 4, 6])
def test_a_network_is_shown_an_image_for_another_t(norm, steps):
    options = {"in_channels": 1, "image_size": 8, "width": 0.25, "norm": norm}
    torch.manual_seed(0)
    model = create_model("vgg_small", steps=4, **options).eval()
    twin = create_model("vgg_small", steps=steps, **options).eval()
    twin.load_state_dict(model.state_dict())
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        expected = twin(images)
        assert torch.equal(model(images.expand(steps, *images.shape)), expected)
    if steps <= 4:
        model(images.expand(steps, *images.shape)).square().sum().backward()
        twin(images).square().sum().backward()
        for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_network_is_made_with_groups():
    model = create_model("vgg_small", steps=6, in_channels=1, image_size=8, neuron_options={"groups": 2})
    windows = [module.window for module in model.modules() if isinstance(module, a2sg.LIF)]
    assert {len(window) for window in windows} == {2}


@pytest.mark.parametrize("groups", [None, 2])
def test_a_part_of_a_sequence_has_the_windows_of_its_steps(groups):
    x = current(7)
    whole = LIF(7, window=[0.4, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8])
    mine = LIF(4, groups=groups, window=[0.4, 0.8] if groups else [0.4, 0.4, 0.8, 0.8])
    y = x.clone().requires_grad_()
    first, state = mine(y[:3], return_state=True)
    spikes = torch.cat([first, mine(y[3:], state)[0]])
    weights = torch.linspace(-1, 1, spikes.numel()).view(spikes.shape)
    (spikes * weights).sum().backward()
    expected = both_ways(whole, x)
    assert torch.equal(spikes.detach(), expected[0])
    torch.testing.assert_close(y.grad, expected[1])
