"""Saved networks at another T: `load_state_dict` does it, and `with_steps`, the former way, does the same."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg.models import create_model, with_steps


def network(steps, window):
    return nn.Sequential(nn.Linear(2, 3), a2sg.LIF(steps, window=window), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [0.1]),
        (2, [0.1, 0.2]),
        (4, [0.1, 0.2, 0.3, 0.4]),
        (6, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]),
    ],
)
def test_the_former_way_follows_the_one_rule_and_says_that_it_goes(steps, expected):
    saved = network(4, [0.1, 0.2, 0.3, 0.4]).state_dict()
    before = {key: value.clone() for key, value in saved.items()}
    other = network(steps, 1.0)
    with pytest.warns(FutureWarning, match="load_state_dict"):
        fitting = with_steps(saved, other)
    assert fitting["1.window"].tolist() == pytest.approx(expected)
    other.load_state_dict(fitting)
    assert torch.equal(other[0].weight, before["0.weight"])
    assert all(torch.equal(saved[key], before[key]) for key in before)


@pytest.mark.parametrize("name", ["resnet19", "vggsnn"])
def test_a_network_is_loaded_at_another_number_of_steps(name):
    options = {"in_channels": 2, "image_size": 16, "width": 1 / 32}
    torch.manual_seed(0)
    model = create_model(name, steps=4, **options)
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    model(torch.randn(4, 2, 16, 16)).square().sum().backward()
    windows.step()
    longer = create_model(name, steps=6, **options)
    longer.load_state_dict(model.state_dict())
    images = torch.randn(2, 2, 16, 16)
    assert longer(images).shape == (6, 2, 10)
    # The first steps are the same from rest, and weights and statistics are all there.
    torch.testing.assert_close(longer.eval()(images)[:4], model.eval()(images))
    mine, theirs = (
        [module.window for module in network.modules() if isinstance(module, a2sg.LIF)]
        for network in (longer, model)
    )
    assert all(torch.equal(long[:4], short) for long, short in zip(mine, theirs, strict=True))
    assert all((long[4:] == short[3]).all() for long, short in zip(mine, theirs, strict=True))
    assert any((short != 1).any() for short in theirs)
