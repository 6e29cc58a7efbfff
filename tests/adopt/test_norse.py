"""Steps of Norse are run with another `threshold`; here with steps of every form that a function can have."""

import copy
import pickle
from types import FunctionType, SimpleNamespace

import pytest
import torch
from torch import nn

from a2sg.adopt import SpikeSite
from a2sg.adopt.norse import _Step, adopt
from a2sg.errors import InputError
from a2sg.surrogate import Triangle

SCALE = 2.0


def threshold(distance, method, alpha):
    return (distance > 0).to(distance.dtype)


def plain(u):
    return threshold(u - 1, "super", 100)


def with_defaults(u, at=1.0, *, scale=1.0):
    return threshold(scale * (u - at), "super", 100)


def with_a_function_inside(u):
    spikes = [(lambda v: threshold(SCALE * (v - 1) / SCALE, "super", 100))(v) for v in u]
    return torch.stack(spikes)


def closed_over():
    at = 1.0
    return lambda u: threshold(u - at, "super", 100)


STEPS = {
    "plain": plain,
    "defaults": with_defaults,
    "a function inside": with_a_function_inside,
    "closure": closed_over(),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_any_form_takes_the_surrogate(name):
    calls = 5 if name == "a function inside" else 1
    site = SpikeSite(calls, surrogate=Triangle(), window=0.5)
    u = torch.tensor([0.2, 0.8, 1.0, 1.3, 2.0], dtype=torch.float64, requires_grad=True)
    spikes = _Step(STEPS[name], site)(u)
    assert torch.equal(spikes, STEPS[name](u))
    spikes.sum().backward()
    torch.testing.assert_close(u.grad, Triangle().derivative(u.detach() - 1, 0.5))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copy_goes_on_with_a_site_of_its_own(again):
    step = _Step(with_defaults, SpikeSite(1, surrogate=Triangle(), window=0.5))
    other = again(step)
    other.site.window.fill_(0.25)
    u = torch.tensor([0.9], dtype=torch.float64, requires_grad=True)
    (other(u) + step(u)).backward()
    expected = Triangle().derivative(u.detach() - 1, 0.25) + Triangle().derivative(u.detach() - 1, 0.5)
    torch.testing.assert_close(u.grad, expected)


def cell(method="super", module="norse.torch.functional.lif"):
    """What Norse's cells have: parameters, and a step of a module of Norse."""
    step = FunctionType(plain.__code__, plain.__globals__, "lif_feed_forward_step")
    step.__module__ = module
    found = nn.Identity()
    found.p, found.activation = SimpleNamespace(method=method), step
    return found


def test_a_cell_with_a_step_that_is_known_takes_the_surrogate():
    site = SpikeSite(1, surrogate=Triangle(), window=0.5)
    found = adopt(cell(), site)
    assert list(found.attributes) == ["activation"]
    assert isinstance(found.attributes["activation"], _Step)
    assert site.count.told


def test_what_is_no_cell_or_has_another_step_is_left_alone():
    site = SpikeSite(1, surrogate=Triangle(), window=0.5)
    without_step = cell()
    without_step.activation = "relu"
    assert adopt(nn.ReLU(), site) is None
    assert adopt(without_step, site) == "its step function is not known"
    assert adopt(cell(module="mine"), site) == "its step function is not known"
    assert not site.count.told
    with pytest.raises(InputError, match="Identity uses the adjoint method"):
        adopt(cell(method="adjoint"), site)
