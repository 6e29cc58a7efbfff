"""What a network's numbers say, in words: each verdict follows from one rule and its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from a2sg.study.measure.diagnosis import LayerDiagnosis
from a2sg.study.measure.gain import COURSES, Gains

FEW = 0.1
"""Fewer elements than this with a gradient are a problem."""
ENOUGH = 0.3
"""The window proposed in that case is the smallest that holds this share of the potentials."""
SCARCE = 0.02
"""Fewer elements than this with a gradient at one step are worth a note."""
DEAD = 0.5
"""More neurons than this that never fire are a problem."""
SATURATED = 0.1
"""More neurons than this that always fire are a problem."""
ALL = 0.95
"""A window that holds more than this passes nearly everything."""
SHRINKS, GROWS = 0.1, 10.0
"""Norms of the gradient, as a multiple of the next layer's, beyond which they vanish or explode."""
HARMLESS = 1e9
"""Up to this factor, gradients that grow over depth are no problem: see docs/gain.md, "Does it pay?"."""
LESS_SGV, MORE_TGC = 0.1, 0.05
"""Least improvement, of SGV and in TGC, for which another window is reported."""

EFFECTS = ("nothing arrives",)
"""Rules about effects of another layer."""

Level = Literal["problem", "note", "fine"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Verdict:
    """One sentence on a layer.

    Attributes:
        level: `"problem"`, `"note"` or `"fine"`.
        rule: name of the rule it follows from.
        text: what was found, and what can be done.
    """

    level: Level
    rule: str
    text: str


Rule = tuple[Level, str, str]
"""What a verdict is made of."""


def judge(layer: LayerDiagnosis, windows: Sequence[float]) -> list[Verdict]:
    """Verdicts on a layer, problems first; at least one. The windows are those that were looked at."""
    if layer.gradient_norm is None:
        text = "gradients are not finite: lower the learning rate, or the loss scale"
        return [Verdict("problem", "not finite", text)]
    rules = [*_gradient(layer, windows), *_spikes(layer), *_flow(layer), *_scores(layer, windows)]
    found = [Verdict(*rule) for rule in rules]
    if all(verdict.level != "problem" for verdict in found):
        rate = f"{layer.mean('firing_rate'):.2g} spikes per neuron and step"
        text = f"{_percent(layer.mean('passing'))} of neurons get a gradient, {rate}"
        found.append(Verdict("fine", "fine", text))
    return sorted(found, key=lambda verdict: LEVELS.index(verdict.level))


def answer(verdicts: Mapping[str, Sequence[Verdict]], gains: Gains, optimizer: str | None = None) -> str:
    """Is the network all right, and what should be changed first?

    Args:
        verdicts: of every layer, problems first, in the order of the forward pass.
        gains: how gradients change over depth.
        optimizer: the network is trained with, if known. With `"sgd"`, gradients must be even over depth.
    """
    ill = {
        name: advised
        for name, all_of in verdicts.items()
        if (advised := _foremost(all_of)).level == "problem"
    }
    uneven, course = _over_depth(gains, optimizer)
    if not ill:
        return f"No: {course}." if uneven else f"Yes: every spiking layer gets a gradient{course}."
    name, first = min(ill.items(), key=lambda one: one[1].rule in EFFECTS)
    have = "has" if len(ill) == 1 else "have"
    said = f"No: {len(ill)} of {len(verdicts)} layers {have} a problem. Begin with {name}: {first.text}."
    return f"{said} Also, {course}." if uneven else said


def _over_depth(gains: Gains, optimizer: str | None) -> tuple[bool, str]:
    """Whether the change of gradients over depth is a problem, and the problem; else how "Yes" continues."""
    depth = gains.depth
    if depth is None or gains.course is None:
        return False, ". Nothing needs to change"
    said = COURSES[gains.course]
    if gains.course == "even":
        return False, f", and {said}. Nothing needs to change"
    change = f"{depth:.2g} of" if gains.course == "starves" else f"{depth:.3g} times"
    if optimizer == "sgd":
        cure = "with SGD, search windows for an even gain (spatial and temporal: gain), or use AdamW"
        return True, f"{said}, to {change} their norm: {cure}"
    if gains.course == "starves":
        cure = "widen the windows, or search them once before training, as the arm calibrated does"
        return True, f"{said}, to {change} their norm: {cure}"
    if depth > HARMLESS:
        cure = "build shortcuts around the neurons (as ms_resnet does); with many steps, use the soft reset"
        return True, f"{said}, to {change} their norm: {cure}"
    return False, f"; their norm grows to {depth:.3g} times over depth: AdamW makes up for that, SGD does not"


def advice(verdicts: Sequence[Verdict]) -> tuple[Level, str]:
    """How a layer is, and what to change in it; scores of other windows are no reason to change anything."""
    first = _foremost(verdicts)
    return (
        ("fine", "nothing to change")
        if first.rule in ("fine", "other windows")
        else (first.level, first.text)
    )


def _foremost(verdicts: Sequence[Verdict]) -> Verdict:
    """The first verdict, or of several problems the first that is not the effect of another layer's."""
    return min(
        verdicts, key=lambda one: (LEVELS.index(one.level), one.rule in EFFECTS, one.rule == "other windows")
    )


def unreached() -> Verdict:
    """The verdict on a layer that no backward pass came to."""
    why = "the parameters before it are frozen, or the loss does not depend on it"
    return Verdict("problem", "unreached", f"no backward pass came here: {why}")


def _gradient(layer: LayerDiagnosis, windows: Sequence[float]) -> Iterator[Rule]:
    passing, inside, arriving = (layer.mean(share) for share in ("passing", "inside", "arriving"))
    none, held = f"{_percent(1 - passing)} of neurons get no gradient", _percent(inside)
    if arriving == 0:
        yield "problem", "nothing arrives", f"no gradient comes from {layer.next_layer or 'the loss'}"
    elif passing < FEW and inside < ENOUGH and inside <= arriving:
        yield "problem", "few gradients", f"{none}: {_cure(layer, windows)}"
    elif passing < FEW:
        come = f"a gradient arrives at only {_percent(arriving)}"
        yield "note", "little arrives", f"{none}, with {held} inside the window: {come}"
    elif scarce := [str(step.step) for step in layer.steps if step.passing < SCARCE]:
        text = f"fewer than {_percent(SCARCE)} of neurons get a gradient at step {', '.join(scarce)}"
        yield "note", "scarce step", text
    if inside > ALL:
        right = "right for a deep network without shortcuts, elsewhere a narrower one is worth a try"
        text = f"{held} of potentials are inside the window: {right}"
        yield "note", "window holds all", text


def _cure(layer: LayerDiagnosis, windows: Sequence[float]) -> str:
    """Which window would hold enough, and which way the threshold should go."""
    below = sum(step.potential.mean for step in layer.steps) < 0
    threshold = f"{'lower' if below else 'raise'} the threshold"
    for window, *held in zip(windows, *(step.held for step in layer.steps), strict=True):
        if sum(held) / len(held) >= ENOUGH:
            return f"widen to {window:.3g}, or {threshold}"
    return (
        f"{threshold}, or normalise before the neuron; no window up to {windows[-1]:.3g} holds "
        f"{_percent(ENOUGH)} of the potentials"
    )


def _spikes(layer: LayerDiagnosis) -> Iterator[Rule]:
    if layer.dead > DEAD:
        silent = f"{_percent(layer.dead)} of neurons never fire in this batch"
        yield "problem", "dead", f"{silent}: lower the threshold, or raise the input"
    if layer.saturated > SATURATED:
        busy = f"{_percent(layer.saturated)} of neurons fire in every sample at every step"
        yield "problem", "saturated", f"{busy}: raise the threshold"


def _flow(layer: LayerDiagnosis) -> Iterator[Rule]:
    gain, that = layer.gain, f"times that of {layer.next_layer}"
    if gain is not None and 0 < gain < SHRINKS:
        yield "problem", "vanishes", f"the gradient shrinks to {gain:.2g} {that}: it vanishes"
    if gain is not None and gain > GROWS:
        yield "note", "explodes", f"the gradient grows to {gain:.3g} {that}: it explodes"


def _scores(layer: LayerDiagnosis, windows: Sequence[float]) -> Iterator[Rule]:
    """What SGV and TGC say about the windows; not that others train better."""
    gains, best = [], []
    for step in layer.steps:
        own = step.own
        if own.best_window is None or own.best_score is None:
            return
        best.append(f"{own.best_window:.2f}")
        held = step.held[windows.index(own.best_window)]
        few = f" (but {_percent(held)} of potentials inside)" if held < FEW else ""
        if own.tgc is None and own.sgv and own.best_score < (1 - LESS_SGV) * own.sgv:
            gains.append(f"SGV {_percent(1 - own.best_score / own.sgv)} less at step {step.step}{few}")
        if own.tgc is not None and own.best_score > own.tgc + MORE_TGC:
            gains.append(f"TGC {own.best_score:.2f} instead of {own.tgc:.2f} at step {step.step}{few}")
    if gains:
        text = f"by SGV and TGC the best windows are {', '.join(best)}: {', '.join(gains)}"
        yield "note", "other windows", text


def _percent(share: float) -> str:
    """A share in percent, without hiding that it is not quite 0 or 1."""
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"
