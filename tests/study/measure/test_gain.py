"""Gains by layer and step against autograd in float64, and what they say of a network."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

import a2sg
from a2sg.study.measure.gain import COURSES, Gains, Remedy
from a2sg.surrogate import Asymmetric, Boxcar
from networks import Net, Plan, Replica, batch

PLANS = [
    Plan(),
    Plan(reset="hard", detach=True, shape="triangle", window=0.7),
    Plan("plif", shape="asymmetric-0.8-unit", order="scaled"),
    Plan("integer", shape="boxcar", steps=2, window=0.5),
    Plan(steps=1, conv=True, shape="arctan"),
]


def summed(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def norm(parts):
    return math.sqrt(sum(part.square().sum().item() for part in parts))


def by_hand(replica, name, full, window):
    """‖dL/ds‖, ‖δ‖, ‖dL/du‖, rms(f) and std(s) of a layer over the steps t that are asked for."""

    def of(ts):
        steps, whole = replica.steps[name], full.steps[name]
        f = [step.neuron.derivative(step.u, torch.tensor(window, dtype=torch.float64)) for step in steps]
        s = torch.stack(
            [
                step.u.ge(torch.tensor(step.neuron.thresholds).view(-1, *[1] * step.u.dim())).sum(0)
                for step in [steps[t] for t in ts]
            ]
        )
        return (
            norm(steps[t].up for t in ts),
            norm(steps[t].delta(window) for t in ts),
            norm(whole[t].delta(window) for t in ts),
            math.sqrt(torch.stack([f[t] for t in ts]).square().mean()),
            s.double().std(correction=0).item(),
        )

    return of


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_they_are_those_of_autograd(plan):
    net = Net(plan)
    x, y = batch(plan.steps)
    found = a2sg.inspect(net, (x, y), summed).gains
    replica, full = Replica(net, x, y), Replica(net, x, y, full=True)
    first, last = (by_hand(replica, name, full, plan.window) for name in replica.steps)
    assert [layer.name for layer in found.layers] == list(replica.steps)
    every = list(range(plan.steps))
    for gain, ts in [(found.layers[0].whole, every), *((found.layers[0].steps[t], [t]) for t in every)]:
        (up, delta, _, f, s), (_, behind, behind_full, _, _) = first(ts), last(ts)
        assert gain.gain == pytest.approx(delta / behind)
        assert gain.depth == pytest.approx(delta / behind)
        assert gain.time == pytest.approx(behind_full / behind)
        assert gain.weights == pytest.approx(up / behind_full)
        assert gain.surrogate == pytest.approx(delta / up)
        assert gain.law == (pytest.approx(f / s) if s else None)
        assert gain.gain == pytest.approx(gain.time * gain.weights * gain.surrogate)
    of_last = found.layers[-1].whole
    assert (of_last.gain, of_last.time, of_last.weights, of_last.even_window) == (None,) * 4
    assert of_last.depth == 1
    assert found.depth == found.layers[0].whole.depth


def deep(layers, width=32, steps=1, **options):
    """Linear, batch norm and neuron, again and again, as the law has it."""
    torch.manual_seed(0)
    parts = []
    for _ in range(layers):
        parts += [
            nn.Flatten(0, 1),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.Unflatten(0, (steps, -1)),
        ]
        parts.append(a2sg.LIF(steps, **options))
    return nn.Sequential(*parts).double()


def look(net, width=32, steps=1):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, 64, width, generator=generator, dtype=torch.float64)
    weights = torch.randn(width, generator=generator, dtype=torch.float64)
    return a2sg.inspect(net, (x, weights), lambda output, weights: (output * weights).sum())


@pytest.mark.parametrize(
    ("options", "course"),
    [
        ({"surrogate": Boxcar(), "window": 1.0}, "explodes"),
        ({"surrogate": Asymmetric(), "window": 0.4}, "starves"),
        ({"surrogate": Asymmetric(), "window": 1.5}, "even"),
    ],
    ids=lambda value: str(value),
)
def test_course_and_remedies(options, course):
    found = look(deep(10, **options)).gains
    assert found.course == course
    assert found.sentence.startswith(f"{COURSES[course]}: from 49 back to 4 ")
    law = math.prod(layer.whole.law for layer in found.layers[:-1])
    assert abs(math.log10(law / found.depth)) < 0.7
    assert found.depth == pytest.approx(math.prod(layer.whole.gain for layer in found.layers[:-1]))
    assert [layer.whole.depth for layer in found.layers[:-1]] == pytest.approx(
        [layer.whole.gain * after.whole.depth for layer, after in pairwise(found.layers)]
    )
    distances = [abs(math.log(one.depth)) for one in found.remedies]
    assert distances == sorted(distances)
    own = next(one for one in found.remedies if one.shape == "own")
    better = look(deep(10, **options | {"window": own.window})).gains
    assert abs(math.log(better.depth)) < max(1.5, abs(math.log(found.depth)) / 3)


def test_one_layer_has_no_gain():
    found = look(deep(1)).gains
    assert (found.depth, found.course, found.remedies) == (None, None, [])
    assert "no gain" in found.sentence
    two = look(deep(2)).gains
    none = replace(two, depth=None, course=None)
    first, last = (layer.name for layer in two.layers)
    assert none.sentence == f"no gradient comes from {last} back to {first}"
    assert none.remedy == ""


def test_what_is_said_where_nothing_helps():
    found = look(deep(10, surrogate=Boxcar(), window=1.0)).gains
    worse = replace(found, remedies=[Remedy("own", 1.0, found.depth * 2)])
    assert worse.sentence.endswith("none of the windows tried would make them more even")
    assert "they would be more even with" in found.sentence
    assert isinstance(found, Gains)


def test_paths_through_time_are_not_seen_in_plain_spike_functions():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Linear(6, 6)
            self.spike = a2sg.SpikeSite(3)

        def forward(self, x):
            v, out = 0.0, []
            for current in self.weight(x):
                v = 0.5 * v + current
                out.append(self.spike(v - 1.0))
            return torch.stack(out)

    torch.manual_seed(0)
    net = nn.Sequential(Cell(), Cell()).double()
    x = 3 * torch.randn(3, 8, 6, dtype=torch.float64)
    first = a2sg.inspect(net, (x, x), lambda out, _: out.square().sum()).gains.layers[0].whole
    assert first.time is None
    assert first.gain == pytest.approx(first.weights * first.surrogate)
