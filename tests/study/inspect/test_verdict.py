"""Verdicts: each rule on both sides of its limit, and networks that are known to be ill."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import a2sg
from a2sg.study.inspect import verdict
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.inspect.verdict import Verdict, advice, answer, judge
from a2sg.study.measure.gain import Gains, Remedy, course_of
from networks import Net, Plan, batch

WINDOWS = [0.5, 1.0, 1.5, 2.0]


def summed(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


@pytest.fixture(scope="module")
def healthy():
    """A layer that no rule says anything about."""
    found = a2sg.inspect(Net(Plan(steps=2)), batch(2), summed, candidates=4).layers["neurons.0"]
    steps = []
    for step, own in zip(found.steps, ({"tgc": 0.5, "sgv": 1.0}, {"tgc": None, "sgv": 1.0}), strict=True):
        best = 0.5 if step.step == 1 else 1.0
        numbers = replace(step.own, **own, best_window=1.0, best_score=best)
        shares = {"inside": 0.5, "arriving": 1.0, "passing": 0.5, "held": [0.2, 0.5, 0.7, 0.9]}
        spread = replace(step.potential, mean=-0.5)
        steps.append(replace(step, **shares, own=numbers, potential=spread, firing_rate=0.2))
    ratio = {"gain": 1.0, "next_layer": "next", "gradient_norm": 1.0}
    return replace(found, **ratio, dead=0.1, saturated=0.0, steps=steps)


def with_steps(layer, **changes):
    return replace(layer, steps=[replace(step, **changes) for step in layer.steps])


def with_own(layer, at, **changes):
    steps = list(layer.steps)
    steps[at] = replace(steps[at], own=replace(steps[at].own, **changes))
    return replace(layer, steps=steps)


def rules(layer):
    return [found.rule for found in judge(layer, WINDOWS)]


def text(layer, rule):
    (found,) = [found for found in judge(layer, WINDOWS) if found.rule == rule]
    return found.text


def test_nothing_to_say_is_fine(healthy):
    (found,) = judge(healthy, WINDOWS)
    assert (found.level, found.rule) == ("fine", "fine")
    assert found.text == "50 % of neurons get a gradient, 0.2 spikes per neuron and step"


def test_few_gradients_name_the_window_that_would_hold_enough(healthy):
    few = with_steps(healthy, inside=0.08, passing=0.08, held=[0.03, 0.08, 0.2, 0.4])
    assert text(few, "few gradients") == "92 % of neurons get no gradient: widen to 2, or lower the threshold"
    held = with_steps(few, held=[0.03, 0.08, 0.3, 0.4])
    assert "widen to 1.5," in text(held, "few gradients")
    above = with_steps(few, potential=replace(few.steps[0].potential, mean=0.5))
    assert text(above, "few gradients").endswith("or raise the threshold")
    none = with_steps(few, held=[0.0, 0.0, 0.0, 0.29])
    assert "lower the threshold, or normalise before the neuron; no window up to 2 holds 30 %" in text(
        none, "few gradients"
    )
    assert rules(with_steps(healthy, inside=0.1, passing=verdict.FEW)) == ["fine"]


def test_few_gradients_for_want_of_any_are_not_the_windows_fault(healthy):
    little = with_steps(healthy, passing=0.05, arriving=0.1)
    assert rules(little) == ["little arrives", "fine"]
    assert (
        "95 % of neurons get no gradient, with 50 % inside the window: a gradient arrives at only 10 %"
        in text(little, "little arrives")
    )
    nothing = with_steps(healthy, passing=0.0, arriving=0.0)
    assert text(nothing, "nothing arrives") == "no gradient comes from next"
    assert "from the loss" in text(replace(nothing, next_layer=None), "nothing arrives")


def test_a_single_step_without_gradients(healthy):
    first = replace(healthy, steps=[replace(healthy.steps[0], passing=0.019), healthy.steps[1]])
    assert text(first, "scarce step").endswith("get a gradient at step 1")
    assert rules(replace(healthy, steps=[replace(healthy.steps[0], passing=0.02), healthy.steps[1]])) == [
        "fine"
    ]


@pytest.mark.parametrize(
    ("share", "rule", "limit"),
    [("dead", "dead", verdict.DEAD), ("saturated", "saturated", verdict.SATURATED)],
)
def test_neurons_that_never_or_always_fire(healthy, share, rule, limit):
    assert rules(replace(healthy, **{share: limit})) == ["fine"]
    assert rules(replace(healthy, **{share: limit + 0.01})) == [rule]


def test_gradients_that_vanish_or_explode(healthy):
    assert rules(replace(healthy, gain=0.1)) == ["fine"]
    assert "to 0.09 times that of next" in text(replace(healthy, gain=0.09), "vanishes")
    assert rules(replace(healthy, gain=10.0)) == ["fine"]
    assert "to 11 times that of next" in text(replace(healthy, gain=11.0), "explodes")
    assert rules(replace(healthy, gain=11.0)) == ["explodes", "fine"], "no problem with AdamW"
    assert rules(replace(healthy, gain=None)) == ["fine"]


def test_windows_that_hold_everything(healthy):
    assert rules(with_steps(healthy, inside=0.95)) == ["fine"]
    assert rules(with_steps(healthy, inside=0.96)) == ["window holds all", "fine"]


def test_other_windows_are_told_if_they_gain_enough(healthy):
    assert rules(with_own(healthy, 0, best_score=0.55)) == ["fine"]
    better = with_own(healthy, 0, best_score=0.56, best_window=0.5)
    said = text(better, "other windows")
    assert said == "by SGV and TGC the best windows are 0.50, 1.00: TGC 0.56 instead of 0.50 at step 1"
    assert rules(with_own(healthy, 1, best_score=0.9)) == ["fine"]
    assert "SGV 20 % less at step 2" in text(with_own(healthy, 1, best_score=0.8), "other windows")
    assert rules(with_own(better, 1, best_window=None, best_score=None)) == ["fine"]


def test_a_best_window_that_holds_next_to_nothing_is_told_as_such(healthy):
    starved = with_own(with_steps(healthy, held=[0.04, 0.5, 0.7, 0.9]), 1, best_window=0.5, best_score=0.8)
    assert text(starved, "other windows").endswith("SGV 20 % less at step 2 (but 4 % of potentials inside)")


def test_what_is_not_finite_is_all_that_is_said(healthy):
    assert rules(replace(healthy, gradient_norm=None, dead=1.0)) == ["not finite"]


def test_problems_come_first(healthy):
    ill = with_own(replace(healthy, dead=0.9), 0, best_score=0.9)
    assert [found.level for found in judge(ill, WINDOWS)] == ["problem", "note"]


def test_shares_are_not_rounded_away(healthy):
    few = with_steps(healthy, inside=0.003, passing=0.003)
    assert text(few, "few gradients").startswith("over 99 % of neurons")


class Plain(nn.Module):
    """One layer whose potentials are standard normal, as far as the input is."""

    def __init__(self, **options):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.lif = a2sg.LIF(1, **options)

    def forward(self, x):
        return self.lif(self.scale * x).sum()


def look(**options):
    x = torch.randn(1, 50, 200, generator=torch.Generator().manual_seed(0))
    found = a2sg.inspect(Plain(**options), (x, None), lambda total, _: total)
    return x, found, {said.rule: said.text for said in found.verdicts["lif"]}


def test_a_narrow_window_is_to_be_widened_as_far_as_it_takes():
    x, found, said = look(window=0.1)
    proposed = float(said["few gradients"].partition("widen to ")[2].partition(",")[0])
    at = min(range(len(found.windows)), key=lambda i: abs(found.windows[i] - proposed))
    share = [((x - 1).abs() <= window).float().mean() for window in found.windows]
    assert share[at] >= 0.3 > share[at - 1]


def test_a_threshold_out_of_reach_is_to_be_lowered():
    _, found, said = look(threshold=20.0)
    assert "100 % of neurons get no gradient: lower the threshold" in said["few gradients"]
    assert "100 % of neurons never fire" in said["dead"]
    assert found.layers["lif"].gradient_norm == 0
    assert found.layers["lif"].steps[0].own.best_window is None


def test_a_threshold_below_all_is_to_be_raised():
    x = torch.randn(1, 50, 200, generator=torch.Generator().manual_seed(0)).abs() + 1
    found = a2sg.inspect(Plain(threshold=0.1), (x, None), lambda total, _: total)
    said = {one.rule: one.text for one in found.verdicts["lif"]}
    assert "100 % of neurons fire in every sample at every step: raise the threshold" in said["saturated"]


def test_gradients_that_are_not_finite_are_told():
    x = torch.randn(1, 5, 20)

    class Huge(Plain):
        def forward(self, x):
            return (self.lif(self.scale * x) * 1e38).sum(dtype=torch.float64) * 1e20

    found = a2sg.inspect(Huge(), (x, None), lambda total, _: total)
    (said,) = found.verdicts["lif"]
    assert said.rule == "not finite"
    step = found.layers["lif"].steps[0]
    assert step.gradient_norm is step.own.sgv is step.shapes["boxcar"].sgv is None
    assert step.inside > 0


FINE = Verdict("fine", "fine", "all is well")
OTHER = Verdict("note", "other windows", "another window scores better")
SCARCE = Verdict("note", "scarce step", "few at step 2")
STARVED = Verdict("problem", "nothing arrives", "no gradient comes from b")
DEAD = Verdict("problem", "dead", "silent: raise the input")


def gains(course, depth):
    return Gains([], depth, course, [Remedy("boxcar", 0.5, 1.1)])


@pytest.mark.parametrize(
    ("verdicts", "depth", "said"),
    [
        (
            {"a": [FINE], "b": [OTHER, FINE]},
            1.0,
            "Yes: every spiking layer gets a gradient, and gradients stay",
        ),
        ({"a": [SCARCE, FINE]}, None, "Yes: every spiking layer gets a gradient. Nothing needs to change."),
        (
            {"a": [FINE], "b": [DEAD, OTHER]},
            1.0,
            "No: 1 of 2 layers has a problem. Begin with b: silent: raise",
        ),
        (
            {"a": [FINE]},
            1e9,
            "Yes: every spiking layer gets a gradient; their norm grows to 1e+09 times over depth: AdamW",
        ),
        (
            {"a": [FINE]},
            2e9,
            "No: gradients explode over depth, to 2e+09 times their norm: build shortcuts",
        ),
        ({"a": [FINE]}, 0.02, "No: gradients starve over depth, to 0.02 of their norm: widen the windows"),
        (
            {"a": [STARVED], "b": [DEAD]},
            99.0,
            "No: 2 of 2 layers have a problem. Begin with b: silent: raise the input.",
        ),
        (
            {"a": [DEAD]},
            0.02,
            "No: 1 of 1 layers has a problem. Begin with a: silent: raise the input. Also, gradients starve",
        ),
    ],
)
def test_the_answer_names_what_to_change_first(verdicts, depth, said):
    assert answer(verdicts, gains(course_of(depth), depth)).startswith(said)


@pytest.mark.parametrize(
    ("depth", "change"),
    [(127.0, "explode over depth, to 127 times"), (0.02, "starve over depth, to 0.02 of")],
)
def test_with_sgd_gradients_must_be_even(depth, change):
    """With SGD, 10 dense layers whose gradients grow to 127 times do not learn (docs/depth.md)."""
    said = answer({"a": [FINE]}, gains(course_of(depth), depth), "sgd")
    assert said.startswith(f"No: gradients {change} their norm: with SGD, search windows for an even gain")
    assert (
        InspectionData({}, gains(course_of(depth), depth), {"a": [FINE]}, [], [], {"optimizer": "sgd"}).answer
        == said
    )
    assert answer({"a": [FINE]}, gains("even", 5.0), "sgd").startswith("Yes")


def test_advice_is_a_reason_to_change_something():
    assert advice([DEAD, OTHER]) == ("problem", DEAD.text)
    assert advice([STARVED, DEAD]) == ("problem", DEAD.text), "what another layer has caused comes last"
    assert advice([OTHER, SCARCE, FINE]) == ("note", SCARCE.text)
    assert advice([OTHER, FINE]) == advice([FINE]) == ("fine", "nothing to change")
