"""Saved networks at another T: which windows they get."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import a2sg
from a2sg.models import create_model, with_steps


def network(steps, window):
    return nn.Sequential(nn.Linear(2, 3), a2sg.LIF(steps, window=window), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [0.4]),
        (2, [0.3, 0.4]),
        (4, [0.1, 0.2, 0.3, 0.4]),
        (6, [0.1, 0.1, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_windows_are_counted_from_the_last_step(steps, expected):
    saved = network(4, [0.1, 0.2, 0.3, 0.4]).state_dict()
    before = {key: value.clone() for key, value in saved.items()}
    other = network(steps, 1.0)
    other.load_state_dict(with_steps(saved, other))
    assert other[1].window.tolist() == pytest.approx(expected)
    assert torch.equal(other[0].weight, before["0.weight"])
    assert all(torch.equal(saved[key], before[key]) for key in before)


@given(st.integers(1, 6), st.integers(1, 6))
def test_each_step_has_the_window_of_the_nearest_distance_to_the_end(saved_steps, steps):
    saved = a2sg.LIF(saved_steps, window=[1.0 + t for t in range(saved_steps)])
    window = with_steps(saved.state_dict(), a2sg.LIF(steps))["window"]
    for left, value in enumerate(reversed(window.tolist())):
        nearest = min(range(saved_steps), key=lambda there: abs(there - left))
        assert value == saved.window[saved_steps - 1 - nearest]


def test_windows_of_channels_keep_them():
    saved = torch.rand(2, 1, 3) + 0.1
    other = network(3, torch.ones(3, 1, 3))
    other.load_state_dict(with_steps(network(2, saved).state_dict(), other))
    assert torch.equal(other[1].window, saved[[0, 0, 1]])


@pytest.mark.parametrize("name", ["resnet19", "vggsnn"])
def test_a_network_is_loaded_at_another_number_of_steps(name):
    options = {"in_channels": 2, "image_size": 16, "width": 1 / 32}
    torch.manual_seed(0)
    model = create_model(name, steps=4, **options)
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    model(torch.randn(4, 2, 16, 16)).square().sum().backward()
    windows.step()
    longer = create_model(name, steps=6, **options)
    with pytest.raises(RuntimeError, match="size mismatch"):
        longer.load_state_dict(model.state_dict())
    longer.load_state_dict(with_steps(model.state_dict(), longer))
    images = torch.randn(2, 2, 16, 16)
    assert longer(images).shape == (6, 2, 10)
    # The first steps are the same from rest, and weights and statistics are all there.
    torch.testing.assert_close(longer.eval()(images)[:4], model.eval()(images))
    mine, theirs = (
        [module.window for module in network.modules() if isinstance(module, a2sg.LIF)]
        for network in (longer, model)
    )
    assert all(torch.equal(long[2:], short) for long, short in zip(mine, theirs, strict=True))
    assert any((short != 1).any() for short in theirs)


def test_what_is_missing_or_foreign_is_left_to_load_state_dict():
    saved = network(4, 1.0).state_dict()
    del saved["1.window"]
    saved["3.window"] = torch.ones(4)
    other = network(2, 1.0)
    fitted = with_steps(saved, other)
    with pytest.raises(RuntimeError, match=r'(?s)Missing key.*"1.window".*Unexpected key.*"3.window"'):
        other.load_state_dict(fitted)
