"""An observed iteration reads nothing from the device that computes it."""

import logging

import pytest
import torch
from torch import nn

from a2sg import IF, LIF, AdaptiveWindows, IntegerLIF
from a2sg.surrogate import Arctan, Boxcar
from a2sg.window import later


def net(neuron):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 40), neuron(3), nn.Linear(40, 30), neuron(3))


NEURONS = {
    "lif": LIF,
    "if, smooth": lambda steps: IF(steps, surrogate=Arctan()),
    "integer": lambda steps: IntegerLIF(steps, surrogate=Boxcar()),
}


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"search": "grid", "candidates": 5},
        {"gradient": "full"},
        {"spatial": "std", "spatial_steps": "all"},
        {"spatial": False, "temporal": False},
        {"smoothing": 0.5, "batches": 2},
    ],
    ids=str,
)
def test_an_observed_iteration_runs_where_no_value_can_be_read(neuron, options):
    """On `meta` there are no values at all: whatever reads one, or waits for one, fails."""
    model = net(NEURONS[neuron]).to("meta")
    windows = AdaptiveWindows(model, every=2, start=0, **options)
    for _ in range(2):
        model(torch.randn(3, 8, 6, device="meta")).square().sum().backward()
        windows.step()
    assert windows.iteration == 2
    assert [observer.table.device.type for observer in windows.observers.values()] == ["meta"] * 2
    with pytest.raises(NotImplementedError, match="meta"):
        windows.history  # noqa: B018 (who asks for numbers waits for them)


@pytest.mark.parametrize("options", [{"search": "bayes"}, {"search": "random"}, {"biases": 3}], ids=str)
def test_what_the_host_decides_waits_for_the_device(options):
    """So that the test above can fail."""
    model = net(LIF).to("meta")
    windows = AdaptiveWindows(model, every=1, start=0, **options)
    model(torch.randn(3, 8, 6, device="meta")).sum().backward()
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        windows.step()


class Slow:
    """An event of a device that has not come so far."""

    come = False

    def query(self):
        return self.come

    def synchronize(self):
        self.come = True


@pytest.fixture
def slow(monkeypatch):
    """Numbers that arrive when they are told to; the list holds their events."""
    events = []
    original = later.Later.__init__

    def begin(self, values):
        original(self, values)
        self._event = Slow()
        events.append(self._event)

    monkeypatch.setattr(later.Later, "__init__", begin)
    return events


def observed(model, windows, scale=1.0):
    (scale * model(4 * torch.randn(3, 8, 6))).square().sum().backward()
    windows.step()


def test_the_history_is_written_when_its_numbers_have_come(slow):
    model = net(LIF)
    windows = AdaptiveWindows(model, every=1, start=0)
    observed(model, windows)
    set_by_first = [window for site in windows.sites.values() for window in site.window.tolist()]
    observed(model, windows)
    assert [event.come for event in slow] == [False, False], "nobody waited"
    assert windows._records.rows() == []
    slow[0].come = True
    observed(model, windows)
    assert {row["iteration"] for row in windows._records.rows()} == {0}
    assert [row["window"] for row in windows._records.rows()] == set_by_first
    assert any(row["window"] != row["window_before"] for row in windows._records.rows())
    assert {row["iteration"] for row in windows.history} == {0, 1, 2}, "who asks waits"
    assert [event.come for event in slow] == [True] * 3


def test_a_late_warning_tells_its_own_iteration_and_a_state_waits_for_all(slow, caplog):
    model = net(LIF)
    windows = AdaptiveWindows(model, every=1, start=0)
    with caplog.at_level(logging.WARNING, "a2sg"):
        observed(model, windows, scale=0.0)
        observed(model, windows)
        assert not caplog.records
        state = windows.state_dict()
    assert state["kept"] == {"all zero": 6}
    assert len(state["history"]) == 2 * 6
    assert "iteration 0: kept the windows of 6 of 6" in caplog.text


def test_loading_a_state_forgets_what_was_still_on_its_way(slow):
    model = net(LIF)
    windows = AdaptiveWindows(model, every=1, start=0)
    state = windows.state_dict()
    observed(model, windows)
    windows.load_state_dict(state)
    assert windows.history == []
