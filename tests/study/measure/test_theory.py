"""The theorems' numbers per layer and step, against sums written out over recorded potentials."""

import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.study.measure.theory import SAME_AREA, SYMMETRIC, Theorems, check_theorems, equal_area
from a2sg.surrogate import Dspike
from lookalikes import Looped
from networks import Net, Plan, batch
from reference import BY_NAME, inside, sech2

FORMULAS = {
    "boxcar": inside,
    "triangle": lambda x, b: (1 - x.abs() / b) * inside(x, b),
    "dspike": BY_NAME["dspike"].formula,
    "sigmoid": lambda x, b: sech2(x / (2 * b)),
    "arctan": BY_NAME["arctan"].formula,
    "fast sigmoid": BY_NAME["fast"].formula,
    **{
        f"asymmetric {h}": lambda x, b, h=h: (x / (2 * b) + h) * inside(x, b)
        for h in (0.5, 0.6, 0.7, 0.8, 0.9)
    },
}
WIDTHS = {
    "boxcar": 0.5,
    "triangle": 1.0,
    "dspike": 3 / (2 * math.tanh(1.5)) / 2,
    "sigmoid": 0.25,
    "arctan": 1 / math.pi,
    "fast sigmoid": 0.5,
}
"""Of shapes of height 1 and area β, in windows."""


def cross_entropy(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def cv(values):
    return (values.std(correction=0) / values.mean()).item()


@pytest.mark.parametrize("plan", [Plan(), Plan("plif", shape="arctan", window=0.6, threshold=0.7)], ids=str)
def test_measured_cvs_are_those_of_recorded_potentials(plan):
    net = Net(plan)
    x, y = batch(plan.steps, size=40)
    found = check_theorems(net, (x, y), cross_entropy)
    with a2sg.recording(net) as records:
        net(x)
    assert [(step.layer, step.step) for step in found.steps] == [
        (name, t + 1) for name in ("neurons.0", "neurons.1") for t in range(plan.steps)
    ]
    beta = torch.tensor(plan.window, dtype=torch.float32).double()
    for step in found.steps:
        u = records[step.layer][0].potential[step.step - 1].detach().double() - plan.threshold
        assert step.potential.mean == pytest.approx(u.mean().item())
        assert step.potential.deviation == pytest.approx(u.std(correction=0).item())
        kappa = -beta.item() - u.mean().item()
        condition = 2 * beta.item() * kappa / u.var(correction=0).item()
        assert step.potential.condition == pytest.approx(condition)
        assert step.condition == (condition > 1)
        assert set(step.same_window) == set(FORMULAS)
        for name, formula in FORMULAS.items():
            assert step.same_window[name].measured == pytest.approx(cv(formula(u, beta)), rel=1e-6), name
        for name, width in WIDTHS.items():
            expected = cv(FORMULAS[name](u, beta * width))
            assert step.same_area[name].measured == pytest.approx(expected, rel=1e-6), name


def test_cvs_of_gradients_are_of_what_arrives_times_the_shape():
    net = Net(Plan(steps=1))
    x, y = batch(1, size=30)
    (step,) = [s for s in check_theorems(net, (x, y), cross_entropy).steps if s.layer == "neurons.1"]
    with a2sg.recording(net) as records:
        loss = cross_entropy(net(x), y)
    record = records["neurons.1"][0]
    (arriving,) = torch.autograd.grad(loss, record.spikes)
    u = record.potential[0].detach().double() - 1
    one = torch.tensor(1.0, dtype=torch.float64)
    for name in ("triangle", "sigmoid", "asymmetric 0.7"):
        delta = arriving[0] * FORMULAS[name](u, one)
        expected = (delta.std(correction=0) / delta.mean().abs()).item()
        assert step.same_window[name].gradient == pytest.approx(expected, rel=1e-6)


def test_shapes_of_one_area_have_one_height_and_one_area():
    at_0 = torch.zeros((), dtype=torch.float64)
    for name, shape in SAME_AREA.items():
        assert shape.derivative(at_0, 0.7).item() * shape.factor == pytest.approx(
            WIDTHS[name] * SYMMETRIC[name].derivative(at_0, 0.7).item()
        )
        assert shape.integral(0.7) / shape.derivative(at_0, 0.7).item() == pytest.approx(0.7), name
    assert equal_area(Dspike()).factor == pytest.approx(WIDTHS["dspike"])


def wide_potentials(deviation, mean, layer_size=4000):
    """A neuron whose potentials are Gaussian, and a model around it."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))
            self.neuron = a2sg.LIF(1, window=0.5)

        def forward(self, x):
            return self.neuron(self.gain * x)

    generator = torch.Generator().manual_seed(0)
    x = 1 + mean + deviation * torch.randn(1, 50, layer_size, generator=generator)
    return One(), (x, torch.zeros(50))


@pytest.mark.parametrize(("mean", "deviation"), [(-0.5, 0.6), (-1.6, 0.7), (0.2, 0.3)])
def test_on_gaussian_potentials_measured_is_what_the_quadrature_says(mean, deviation):
    model, data = wide_potentials(deviation, mean)
    (step,) = check_theorems(model, data, lambda out, _: out.sum()).steps
    assert step.potential.gaussian
    for found in (*step.same_window.values(), *step.same_area.values()):
        assert found.measured == pytest.approx(found.gaussian, rel=0.03, abs=2e-3)
    assert step.condition == (2 * 0.5 * (-0.5 - mean) > deviation**2 * 1.0)


def test_counts_and_rows_are_of_the_steps():
    model, data = wide_potentials(0.7, -1.6)
    found = check_theorems(model, data, lambda out, _: out.sum())
    rows = found.rows()
    assert len(rows) == len(FORMULAS) + len(WIDTHS)
    assert {row["comparison"] for row in rows} == {"same_window", "same_area"}
    assert found.to_dict()["steps"][0]["same_window"]["boxcar"]["measured"] > 0
    # Nothing varies less than a constant on the same support (Cauchy-Schwarz).
    assert found.least("same_window") == {"boxcar": 1}
    (step,) = found.steps
    cvs = {name: step.same_area[name].measured for name in WIDTHS}
    assert found.least("same_area", bounded=False) == {min(cvs, key=cvs.get): 1}
    ended = {name: cvs[name] for name in ("boxcar", "triangle", "dspike")}
    assert found.least("same_area") == {min(ended, key=ended.get): 1}
    ramps = {(r.asymmetric, r.symmetric, r.condition): (r.less, r.total) for r in found.ramps()}
    assert step.condition is True
    for name in ("asymmetric 0.5", "asymmetric 0.9"):
        assert ramps[name, "boxcar", True] == (0, 1)
        assert ramps[name, "boxcar", False] == (0, 0)
        less = step.same_window[name].measured < step.same_window["triangle"].measured
        assert ramps[name, "triangle", True] == (int(less), 1)
    twice = Theorems(found.steps * 2)
    assert twice.least("same_window").total() == 2
    with pytest.raises(InputError, match="measure"):
        found.ramps("weighed")
    with pytest.raises(InputError, match="comparison"):
        found.least("same_height")


def test_integer_neurons_and_other_libraries_have_measured_cvs():
    integer = Net(Plan("integer", shape="boxcar", window=0.4, steps=2))
    steps = check_theorems(integer, batch(2), cross_entropy).steps
    assert all(step.condition is None for step in steps)
    assert all(cv.gaussian is None for step in steps for cv in step.same_window.values())
    assert steps[0].same_window["boxcar"].measured > 0

    torch.manual_seed(0)
    host = nn.Sequential(nn.Linear(9, 20), Looped())
    a2sg.adapt(host, steps=3, functions={Looped: "act"})
    x = batch(3, size=16)[0].float()
    found = check_theorems(host, (x, None), lambda out, _: out.sum())
    assert len(found.steps) == 3
    assert all(step.same_window["sigmoid"].measured > 0 for step in found.steps)
