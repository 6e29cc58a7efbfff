"""`a2sg.spike` and what it is made of, against the formulas and against one candidate at a time."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import a2sg
from a2sg.adopt.gates import Distance, Multiples
from a2sg.adopt.ramp import ramps
from a2sg.adopt.sums import of_multiples
from a2sg.errors import InputError
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Observation, each, one_step
from a2sg.surrogate import Arctan, Asymmetric, Boxcar, Dspike, Triangle
from reference import AFFINE, BY_NAME, CASES

windows_of = st.floats(0.0625, 3.0, width=32)


def distances(seed=0, size=500, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(windows=st.lists(windows_of, min_size=3, max_size=3))
def test_spikes_forward_and_the_surrogate_of_the_step_backward(case, windows):
    site = a2sg.SpikeSite(3, surrogate=case.shape, window=windows)
    for window in windows:
        x = distances().requires_grad_()
        upstream = distances(seed=1)
        spikes = a2sg.spike(x, site)
        assert torch.equal(spikes, (x >= 0).double())
        (gradient,) = torch.autograd.grad(spikes, x, upstream)
        expected = upstream * case.formula(x.detach(), torch.tensor(window, dtype=torch.float64))
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", AFFINE, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(window=windows_of)
def test_ramps_are_the_shape_with_both_edges(case, dtype, window):
    edges = torch.tensor([-1.0, 1.0]) * window
    single = edges.to(dtype)
    around = torch.cat([single, torch.nextafter(single, 2 * single), torch.nextafter(single, 0 * single)])
    x = torch.cat([distances(dtype=dtype), around, torch.zeros(1, dtype=dtype)])
    (ramp,) = ramps(Distance(case.shape), torch.tensor([window]))
    expected = case.shape.derivative(x, torch.tensor(window))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ramp.delta(x, torch.ones_like(x)), expected, rtol=tolerance, atol=tolerance)


def test_a_ramp_takes_any_layout():
    (ramp,) = ramps(Distance(Triangle()), torch.tensor([1.0]))
    x = distances(size=24).view(2, 3, 4)
    upstream = torch.ones(()).double().expand(2, 3, 4)
    expected = torch.clamp(1 - x.abs(), min=0)
    torch.testing.assert_close(ramp.delta(x, upstream), expected)
    torch.testing.assert_close(
        ramp.delta(x.transpose(0, 2), upstream.transpose(0, 2)), expected.transpose(0, 2)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(dtype):
    site = a2sg.SpikeSite(1, surrogate=Triangle(), window=0.7)
    x = distances(dtype=dtype).requires_grad_()
    spikes = a2sg.spike(x, site)
    spikes.sum().backward()
    assert spikes.dtype == x.grad.dtype == dtype
    expected = torch.clamp(1 - x.detach().double().abs() / 0.7, min=0)
    rounding = {torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, 1e-6)
    torch.testing.assert_close(x.grad.double(), expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("shape", [Asymmetric(), Arctan(), Triangle(area="unit")], ids=str)
def test_the_gradient_can_be_differentiated(shape):
    site = a2sg.SpikeSite(1, surrogate=shape, window=0.8)
    x = distances(size=20).requires_grad_()
    upstream = distances(seed=1, size=20).requires_grad_()
    (first,) = torch.autograd.grad(a2sg.spike(x, site), x, upstream, create_graph=True)
    second = torch.autograd.grad(first.sum(), (x, upstream))
    y = x.detach().clone().requires_grad_()
    g = upstream.detach().clone().requires_grad_()
    expected = torch.autograd.grad((g * shape.derivative(y, torch.tensor(0.8))).sum(), (y, g))
    for found, wanted in zip(second, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_without_gradients_nothing_is_counted():
    site = a2sg.SpikeSite(2)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(a2sg.spike(torch.tensor([-1.0, 0.0]), site), torch.tensor([0.0, 1.0]))
    assert site.count.done == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: a2sg.spike(torch.ones(2, dtype=torch.int64), a2sg.SpikeSite(1)), "not torch.int64"),
        (lambda: a2sg.spike([1.0], a2sg.SpikeSite(1)), "not list"),
        (lambda: a2sg.spike(torch.ones(2), a2sg.LIF(1)), "not LIF"),
        (lambda: a2sg.SpikeSite(0), "steps must be a whole number of at least 1, not 0"),
        (lambda: a2sg.SpikeSite(2, window=-1.0), "window must be above 0"),
        (lambda: a2sg.SpikeSite(2, window=[1.0]), "one for each of the 2 steps"),
        (lambda: a2sg.SpikeSite(2, window=torch.ones(2, 3)), "not of shape (2, 3)"),
        (lambda: a2sg.SpikeSite(2, surrogate="triangle"), "surrogate must be a shape"),
        (lambda: Multiples(Arctan()), "needs a bounded surrogate"),
    ],
)
def test_what_was_wrong(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)


def test_the_window_is_moved_and_shown_and_left_out_of_the_models_state():
    site = a2sg.SpikeSite(3, window=[0.1, 0.2, 0.3])
    assert not site.state_dict()
    assert [name for name, _ in site.named_buffers()] == ["window"]
    assert "steps=3" in repr(site)
    assert isinstance(site, a2sg.window.Site)


def test_a_checkpoint_of_a_model_with_sites_of_version_0_1_still_loads_strictly():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), a2sg.SpikeSite(3))
    net.load_state_dict({**net.state_dict(), "1.window": torch.tensor([0.1, 0.2, 0.3])})
    assert torch.equal(net[1].window, torch.tensor([0.1, 0.2, 0.3]))
    with pytest.raises(RuntimeError, match=r"1\.other"):
        net.load_state_dict({**net.state_dict(), "1.other": torch.ones(3)})


def test_windows_put_in_by_hand_are_saved_with_the_windows():
    def build():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(2, 8), a2sg.SpikeSite(1), torch.nn.Linear(8, 8), a2sg.LIF(1)
        )
        return net, a2sg.AdaptiveWindows(net, every=1, start=0)

    net, windows = build()
    net(torch.randn(1, 9, 2)).sum().backward()
    windows.step()
    assert net[1].window != 1
    state = windows.state_dict()
    assert list(state["in_use"]) == ["1"], "the other one is in the model's state"
    again, continued = build()
    again.load_state_dict(net.state_dict())
    continued.load_state_dict(state)
    assert torch.equal(again[1].window, net[1].window)
    assert torch.equal(again[3].window, net[3].window)


def test_a_window_that_is_set_acts_at_once():
    site = a2sg.SpikeSite(1, surrogate=Boxcar(), window=1.0)
    x = torch.tensor([0.7], requires_grad=True)
    for value, expected in ((1.0, 1.0), (0.5, 0.0), (0.9, 1.0)):
        site.window.fill_(value)
        (gradient,) = torch.autograd.grad(a2sg.spike(x, site), x)
        assert gradient.item() == expected
    site.window = torch.tensor([0.2])
    (gradient,) = torch.autograd.grad(a2sg.spike(x, site), x)
    assert gradient.item() == 0.0


def test_copies_are_unwatched_and_at_a_begin():
    site = a2sg.SpikeSite(2)
    windows = a2sg.AdaptiveWindows(site, every=1, start=0)
    a2sg.spike(torch.zeros(1, requires_grad=True), site)
    twin = copy.deepcopy(site)
    assert twin.observer is None
    assert site.observer is windows.observers[""]
    assert (site.count.done, twin.count.done) == (1, 0)


LEVELS = 14


@pytest.mark.parametrize("shape", [Boxcar(), Triangle(), Asymmetric(bias=0.8), Dspike()], ids=str)
@pytest.mark.parametrize("most", [None, 2])
@given(window=st.floats(0.05, 1.9), threshold=st.floats(0.3, 2.0))
def test_multiples_are_a_gate_at_each_of_them(shape, most, window, threshold):
    u = 4 * threshold * distances(size=200)
    u = u[u < (LEVELS - 7) * threshold]  # of all levels whose windows reach u
    thresholds = tuple(k * threshold for k in range(1, (most or LEVELS) + 1))
    expected = Gate(shape, thresholds).derivative(u, window)
    found = Multiples(shape, (), threshold, most).derivative(u, window)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_multiples_touch_without_counting_twice():
    """Potentials and windows on quarters: every edge is hit."""
    u = torch.arange(-8, 17).double() / 4
    for shape, window in itertools.product((Boxcar(), Asymmetric(bias=0.8)), (0.25, 0.5, 0.75)):
        expected = Gate(shape, tuple(map(float, range(1, 10)))).derivative(u, window)
        gate = Multiples(shape)
        assert torch.equal(gate.derivative(u, window), expected)
        (ramp,) = ramps(gate, torch.tensor([window]))
        torch.testing.assert_close(ramp.delta(u, torch.ones_like(u)), expected)


@given(window=st.floats(0.05, 1.0), threshold=st.floats(1.0, 2.0))
@pytest.mark.parametrize("case", AFFINE, ids=lambda case: case.name)
def test_ramps_over_multiples(case, window, threshold):
    u, upstream = 4 * distances(), distances(seed=1)
    gate = Multiples(case.shape, (), threshold)
    (ramp,) = ramps(gate, torch.tensor([window], dtype=torch.float64))
    expected = upstream * gate.derivative(u, window)
    torch.testing.assert_close(ramp.delta(u, upstream), expected, rtol=1e-6, atol=1e-9)


def test_what_is_no_ramp():
    window = torch.tensor([0.5, 1.5])
    assert ramps(Distance(Dspike()), window) == [None, None]
    assert ramps(Gate(Boxcar(), (0.5,)), window) == [None, None]
    assert ramps(Multiples(Boxcar(), (), 1.0, most=3), window) == [None, None]
    assert ramps(Multiples(Boxcar(), (), torch.tensor([1.0, 2.0])), window) == [None, None]
    narrow, wide = ramps(Multiples(Boxcar(), (), 1.0), window)
    assert narrow is not None
    assert wide is None


@pytest.mark.parametrize("case", [*AFFINE, BY_NAME["dspike-5-unit"]], ids=lambda case: case.name)
@pytest.mark.parametrize("threshold", [1.0, 0.45])
@pytest.mark.parametrize("last", [True, False])
def test_sums_over_multiples_are_those_of_trying_every_window(case, threshold, last):
    u, upstream = 2 * distances(size=3000)[None], distances(seed=1, size=3000)[None]
    later = None if last else distances(seed=2, size=3000)[None]
    candidates = torch.linspace(0.1, 1.0, 31, dtype=torch.float64)
    gate = Multiples(case.shape, (), threshold)
    expected = one_step(each, Observation(gate, u, upstream, None, later), candidates)
    found = one_step(of_multiples, Observation(gate, u, upstream, None, later), candidates)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * math.sqrt(3000))


def test_sums_over_multiples_with_a_carry_or_a_largest_number():
    u, upstream = 2 * distances()[None], distances(seed=1)[None]
    candidates = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)
    for gate, carry in (
        (Multiples(Boxcar(), (), 1.0, 2), None),
        (Multiples(Boxcar()), distances(seed=3)[None]),
    ):
        seen = Observation(gate, u, upstream, carry)
        found, expected = (one_step(fill, seen, candidates) for fill in (of_multiples, each))
        torch.testing.assert_close(found, expected)


def test_an_observed_step_is_not_traced():
    torch._dynamo.reset()
    site, traced = a2sg.SpikeSite(1, window=0.7), []
    windows = a2sg.AdaptiveWindows(site, every=2, start=1)

    def fire(x):
        return site.fire(x, lambda: traced.append(torch.compiler.is_compiling()) or (x >= 0).to(x.dtype))

    run = torch.compile(fire, backend="aot_eager")
    for observed in (False, True, False, True):
        x = distances().requires_grad_()
        traced.clear()
        (gradient,) = torch.autograd.grad(run(x).sum(), x)
        assert traced == [not observed]
        expected = site.surrogate.derivative(x.detach(), site.window[0])
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
        windows.step()
    assert [row["iteration"] for row in windows.history] == [1, 3]
