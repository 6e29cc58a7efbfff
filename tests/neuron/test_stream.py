"""Sequences in parts: spikes, gradients and what the search sees are those of the whole."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg import LIF, InputError
from a2sg.neuron import State
from neurons import Setting, draw, spikes_and_gradients

CUTS = [(1, 2, 1), (2, 2), (3, 1), (1, 1, 1, 1), (4,)]


def in_parts(neuron, current, cuts):
    """Spikes of all parts, joined, and the state after them."""
    state, found = None, []
    for part in current.split(cuts):
        spikes, state = neuron(part, state, return_state=True)
        found.append(spikes)
    return torch.cat(found), state


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("kind", ["lif", "if", "plif", "integer"])
def test_parts_are_the_whole(kind, cuts):
    setting = Setting(kind, "soft", False, "field", 4)
    current, weights, windows = draw(setting, (3, 5))
    neuron = setting.neuron(windows)
    spikes, grad = spikes_and_gradients(neuron, current, weights)
    x = current.clone().requires_grad_()
    found, state = in_parts(neuron, x, cuts)
    (found * weights).sum().backward()
    assert torch.equal(found.detach(), spikes)
    torch.testing.assert_close(x.grad, grad, rtol=1e-12, atol=1e-14)
    assert state.step == 4


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_the_search_sees_parts_as_the_whole(cuts, gradient):
    setting = Setting("lif", "soft", False, "field", 4)
    current, weights, windows = draw(setting, (3, 5))
    tables, found = [], []
    for run in (lambda neuron, x: neuron(x), lambda neuron, x: in_parts(neuron, x, cuts)[0]):
        neuron = setting.neuron(windows)
        search = a2sg.AdaptiveWindows(neuron, every=1, start=0, gradient=gradient)
        for _ in range(2):  # a second sequence does not go on with the first
            (run(neuron, current.clone().requires_grad_()) * weights).sum().backward()
        tables.append(search.observers[""].table.clone())
        search.step()
        assert not search.kept
        found.append(neuron.window)
    torch.testing.assert_close(tables[1], tables[0], rtol=1e-9, atol=1e-12)
    assert torch.equal(found[0], found[1])
    assert len(set(found[0].tolist())) > 1


def test_state_is_returned_where_one_was_given_or_asked_for():
    neuron, x = LIF(2), torch.rand(2, 3, 5)
    assert isinstance(neuron(x), torch.Tensor)
    spikes, state = neuron(x, return_state=True)
    assert torch.equal(spikes, neuron(x))
    again, after = neuron(x, state)
    assert torch.equal(again, LIF(4)(torch.cat([x, x]))[2:])
    assert (state.step, after.step) == (2, 4)
    assert neuron(x[:1], return_state=True)[1].step == 1
    with pytest.raises(InputError, match=r"steps=2.* T=4 .* return_state=True"):
        neuron(torch.cat([x, x]))


def test_truncated_gradients_end_at_a_detached_state_and_are_searched_chunk_by_chunk():
    """A chunk that begins with a detached state is a sequence of its own, but for where it begins."""
    setting = Setting("lif", "soft", False, "field", 8)
    current, weights, _ = draw(setting, (3, 5))
    neuron = LIF(4, window=[0.4, 0.5, 0.6, 0.7]).double()
    search = a2sg.AdaptiveWindows(neuron, every=1, start=0)
    x, state = current.clone().requires_grad_(), None
    for part, weight in zip(x.split(4), weights.split(4), strict=True):
        spikes, state = neuron(part, state, return_state=True)
        (spikes * weight).sum().backward()
        state = state.detach()
        assert state.step == 0
    (alone,) = torch.autograd.grad((neuron(x[:4]) * weights[:4]).sum(), x)
    assert torch.equal(x.grad[:4], alone[:4])
    observed = search.observers[""].table[..., 0]
    assert (observed == observed[0, 0]).all(), "every step was seen as often as any other"
    search.step()
    assert not search.kept


def test_beyond_the_last_step_the_last_window_is_searched_for_all():
    setting = Setting("lif", "soft", False, "field", 6)
    current, weights, _ = draw(setting, (3, 5))
    neuron = LIF(2).double()
    search = a2sg.AdaptiveWindows(neuron, every=1, start=0)
    spikes, state = neuron(current.clone().requires_grad_(), return_state=True)
    (spikes * weights).sum().backward()
    counts = search.observers[""].table[:, 0, 0]
    assert counts.tolist() == [15, 5 * 15]
    assert state.step == 6


def test_two_sequences_after_each_other_in_one_pass_do_not_mix():
    setting = Setting("lif", "soft", False, "field", 4)
    current, weights, windows = draw(setting, (3, 5))
    other = current.flip(1)
    tables = []
    for run in (lambda neuron, x: neuron(x), lambda neuron, x: in_parts(neuron, x, (1, 1, 1, 1))[0]):
        neuron = setting.neuron(windows)
        search = a2sg.AdaptiveWindows(neuron, every=1, start=0)
        first, second = (run(neuron, x.clone().requires_grad_()) for x in (current, other))
        ((first + second.flip(1)) * weights).sum().backward()
        tables.append(search.observers[""].table)
    torch.testing.assert_close(tables[1], tables[0], rtol=1e-9, atol=1e-12)


def test_a_state_is_read_by_a_loader_that_runs_nothing(tmp_path):
    state = LIF(4).step(torch.rand(2, 3))[1]
    layer = a2sg.Recurrent(LIF(4), nn.Linear(3, 3))
    both = {"lif": state, "recurrent": layer(torch.rand(2, 2, 3), return_state=True)[1].detach()}
    torch.save(both, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert type(loaded["lif"]) is State
    assert torch.equal(loaded["lif"].potential, state.potential)
    assert loaded["lif"].step == 1
    assert torch.equal(loaded["recurrent"].spikes, both["recurrent"].spikes)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (torch.zeros(2, 3), "a State, not Tensor"),
        (State(torch.zeros(2, 4), 1), r"shape \(2, 4\), the steps of the input have \(2, 3\)"),
    ],
)
def test_a_state_of_something_else_is_refused(state, message):
    with pytest.raises(InputError, match=message):
        LIF(4)(torch.zeros(1, 2, 3), state)
