"""One tensor for the sums of all layers, of which each layer's are views."""

import pytest
import torch
from torch import nn

from a2sg import LIF, AdaptiveWindows
from a2sg.devices import _has_float64
from a2sg.window import adaptive
from a2sg.window.observer import Observer
from apple import MPS, Apple, OnMps, to_mps


def make(**options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), LIF(3), nn.Linear(5, 4), LIF(3))
    return net, AdaptiveWindows(net, every=1, start=0, **{"candidates": 7, **options})


def test_what_layers_add_is_in_the_one_tensor_and_cleared_with_it():
    net, windows = make()
    net(torch.randn(3, 8, 6)).sum().backward()
    parts = [observer.table for observer in windows.observers.values()]
    passing = [observer.passing for observer in windows.observers.values()]
    assert all((part[..., 0] > 0).all() for part in parts)
    assert torch.equal(windows.store.tables.view(6, 8, 6), torch.cat(parts))
    assert torch.equal(windows.store.passing, torch.cat(passing))
    windows.store.clear()
    assert not any(part.any() for part in [*parts, *passing])


def test_sums_follow_the_model_to_its_device():
    net, windows = make()
    net.to("meta")
    windows.store.settle()
    assert {observer.table.device.type for observer in windows.observers.values()} == {"meta"}
    assert {observer.passing.device.type for observer in windows.observers.values()} == {"meta"}


@pytest.mark.parametrize(
    "options", [{}, {"gradient": "full"}, {"search": "bayes", "candidates": 10}], ids=str
)
def test_a_device_without_float64_finds_the_same_windows(without_float64, options):
    found = []
    for put in (lambda x: x, OnMps):
        net, windows = make(**options)
        if put is OnMps:
            to_mps(net)
        for number in range(2):
            x = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(number))
            net(put(x)).square().mean().backward()
            windows.step()
        assert windows.store.flat.device.type == "cpu"
        found.append(windows.history)
    assert found[0] == found[1]
    assert {site.window.device for site in windows.sites.values()} == {MPS}


@pytest.fixture
def without_float64():
    _has_float64.cache_clear()
    with Apple():
        yield
    _has_float64.cache_clear()


class Elsewhere(Observer):
    """Is shown data that say they are on another device."""

    brought = 0

    def watch(self, gate, window, fill):
        look = super().watch(gate, window, fill)

        def elsewhere(shown):
            self.brought += 1
            look(shown._replace(potential=Far(shown.potential)))

        return elsewhere


class Far:
    """A tensor on another device, until it is brought here."""

    device = torch.device("meta")

    def __init__(self, tensor):
        self.tensor = tensor

    def __len__(self):
        return len(self.tensor)

    def to(self, device):
        return self.tensor.to(device)


def test_what_is_shown_on_another_device_is_brought_to_the_table(monkeypatch):
    """As on mps, whose data are not where their sums are."""
    found = []
    for kind in (Observer, Elsewhere):
        monkeypatch.setattr(adaptive, "Observer", kind)
        net, windows = make()
        net(torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(1))).sum().backward()
        found.append(windows.store.flat.clone())
    assert [observer.brought for observer in windows.observers.values()] == [1, 1]  # a pass each, whole
    assert torch.equal(*found)
