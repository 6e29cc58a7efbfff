"""Gain: how the gradient's norm changes from one spiking layer to the one before it (method, section 13).

δ = dL/ds · f is the local gradient of the spike path. Layers come in the order of the forward pass, and the
next layer is the one that ran next. A gain is a ratio of norms ‖δ‖: unlike a ratio of root mean squares, it
does not depend on how wide the layers are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal

import torch
from torch import Tensor, nn

from a2sg.kernels.sums import Sums
from a2sg.study.measure.diagnosis import SHAPES
from a2sg.study.measure.objective import Batch, Forward, Loss
from a2sg.study.measure.probe import LayerProbe, Look, Probed, StepSums, probe

EVEN = 10.0
"""Over a whole network the norm may change by this factor and still count as even."""

Course = Literal["even", "explodes", "starves"]
COURSES: dict[Course, str] = {
    "even": "gradients stay even over depth",
    "explodes": "gradients explode over depth",
    "starves": "gradients starve over depth",
}
"""What a course means, in words."""


@dataclass(frozen=True)
class Gain:
    """The gain of a layer, at one step or over all; None where it is 0/0, or there is no next layer.

    Attributes:
        step: from 1 to T; None over all steps.
        gain: ‖δ‖ over that of the next layer: time · weights · surrogate.
        time: ‖dL/du‖ / ‖δ‖ of the next layer: what the paths through time add to it. None where these are
            not seen, in neurons of other libraries; `weights` then has it, too.
        weights: ‖dL/ds‖ over ‖dL/du‖ of the next layer: what goes back through weights and normalisation,
            and if the reset is not detached, through it.
        surrogate: ‖δ‖ / ‖dL/ds‖.
        law: rms(f) / std(s), the gain that is to be expected where a normalisation follows the weights
            and nothing else does. None if all spikes are equal.
        depth: ‖δ‖ over that of the last layer, the product of all gains between.
        even_window: of the windows looked at, the one whose gain is nearest to 1, under the layer's shape.
    """

    step: int | None
    gain: float | None
    time: float | None
    weights: float | None
    surrogate: float | None
    law: float | None
    depth: float | None
    even_window: float | None


@dataclass(frozen=True)
class LayerGain:
    """The gain of a spiking layer.

    Attributes:
        name: of its module.
        whole: over all steps; its `even_window` is one for all of them.
        steps: in order; without those that no backward pass came to.
    """

    name: str
    whole: Gain
    steps: list[Gain]


@dataclass(frozen=True)
class Remedy:
    """One shape and one window for all layers and steps, and what the gradients would then be.

    Attributes:
        shape: its name; the number is the bias h. "own" is the one in use.
        window: the half-width, of those looked at.
        depth: ‖δ‖ of the first layer over that of the last, as predicted from this one pass: every layer's
            gain is taken at what arrives now.
    """

    shape: str
    window: float
    depth: float


@dataclass(frozen=True)
class Gains:
    """How the norm of gradients changes on their way back through a network.

    Attributes:
        layers: in the order of the forward pass.
        depth: ‖δ‖ of the first layer over that of the last, all steps together; None for a single layer.
        course: "explodes" or "starves" if that is beyond a factor of 10, else "even".
        remedies: for each shape the window that makes the network most nearly even, the best first.
    """

    layers: list[LayerGain]
    depth: float | None
    course: Course | None
    remedies: list[Remedy]

    @property
    def by_law(self) -> list[float]:
        """Each layer's `depth` by the law: the product from it on; NaN where the law is None."""
        laws = [layer.whole.law or math.nan for layer in self.layers[:-1]]
        return list(accumulate(reversed(laws), mul, initial=1.0))[::-1]

    @property
    def sentence(self) -> str:
        """What `course` says, in words, and which windows would be more even."""
        if len(self.layers) < 2:
            return "there is one spiking layer, so no gain over depth"
        first, last = self.layers[0].name, self.layers[-1].name
        if self.depth is None or self.course is None:
            return f"no gradient comes from {last} back to {first}"
        way = f"from {last} back to {first} their norm is multiplied by {self.depth:.3g}"
        said = f"{COURSES[self.course]}: {way}"
        return said if self.course == "even" else f"{said}; {self.remedy}"

    @property
    def remedy(self) -> str:
        """What would make gradients more even, in words; "" where they are. It need not train better."""
        if self.depth is None or self.course == "even":
            return ""
        better = [one for one in self.remedies if abs(math.log(one.depth)) < abs(math.log(self.depth))]
        if not better:
            return "none of the windows tried would make them more even"
        said = " or ".join(
            f"{_shape(one)} with window {one.window:.2g} ({one.depth:.2g})" for one in better[:2]
        )
        return f"they would be more even with {said}"


def layer_gains(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    forward: Forward | None = None,
    widest: float = 2.0,
    candidates: int = 40,
) -> Gains:
    """How the norm of the gradient changes from layer to layer, and which window would keep it even.

    A copy of the model runs forward and backward once, on one batch. `a2sg.inspect` includes these numbers.

    Args:
        model: the network, in the mode in which it is trained.
        batch: (inputs, targets), on the model's device.
        loss: called with the model's output and the targets; gives one number.
        forward: called with the copy of the model and the inputs, if it is not `model(inputs)`.
        widest: the widest window to look at, in the unit of the potential.
        candidates: how many windows to look at, evenly spaced up to `widest`; at least 2.

    Raises:
        InputError: as `a2sg.inspect` does.
    """
    look = Look.evenly(widest, candidates, list(SHAPES.values()))
    return gains(probe(model, batch, loss, forward, look), look, list(SHAPES))


def gains(probed: Probed, look: Look, names: Sequence[str]) -> Gains:
    """The gains of every layer that a backward pass reached.

    Args:
        probed: the statistics of one batch.
        look: what was measured.
        names: those of the shapes.
    """
    layers = list(probed.layers.items())
    last = layers[-1][1]
    found = [
        LayerGain(
            name,
            _gain(None, _whole(layer), None if after is None else _whole(after), _whole(last), look),
            [
                _gain(t + 1, sums, None if after is None else _at(after, t), _at(last, t), look)
                for t, sums in enumerate(layer.steps)
                if sums is not None
            ],
        )
        for (name, layer), after in zip(layers, [*(one for _, one in layers[1:]), None], strict=True)
    ]
    depth = found[0].whole.depth if len(found) > 1 else None
    return Gains(found, depth, course_of(depth), _remedies([layer for _, layer in layers], look, names))


def course_of(depth: float | None) -> Course | None:
    """What a change of the norm over depth is called."""
    if depth is None:
        return None
    return "explodes" if depth > EVEN else "starves" if depth < 1 / EVEN else "even"


def _whole(layer: LayerProbe) -> StepSums:
    """The sums of all steps together."""
    known = [sums for sums in layer.steps if sums is not None]
    return StepSums(*(torch.stack(column).sum(0) for column in zip(*known, strict=True)))


def _at(layer: LayerProbe, t: int) -> StepSums | None:
    return layer.steps[t] if t < len(layer.steps) else None


def _gain(
    step: int | None, sums: StepSums, after: StepSums | None, last: StepSums | None, look: Look
) -> Gain:
    square = sums.own[-1, Sums.SQUARE]
    nothing = square.new_tensor(torch.nan)
    behind = nothing if after is None else after.own[-1, Sums.SQUARE]
    full = nothing if after is None else torch.where(after.full.isnan(), behind, after.full)
    rate = sums.spikes / sums.elements
    variance = sums.spike_squares / sums.elements - rate * rate
    mean_square = sums.own_value[Sums.SQUARE] / sums.own_value[Sums.COUNT]
    return Gain(
        step=step,
        gain=_root(square / behind),
        time=None if after is None or bool(after.full.isnan()) else _root(after.full / behind),
        weights=_root(sums.upstream / full),
        surrogate=_root(square / sums.upstream),
        law=_root(mean_square / variance) if variance > 0 else None,
        depth=None if last is None else _root(square / last.own[-1, Sums.SQUARE]),
        even_window=_even(sums.own[:-1, Sums.SQUARE] / behind, look.windows),
    )


def _even(squares: Tensor, windows: Tensor) -> float | None:
    """The window whose squared gain `[C]` is nearest to 1; None if none has one."""
    far = squares.log().abs()
    far = torch.where(far.isfinite(), far, torch.inf)
    return windows[far.argmin()].item() if bool((far < torch.inf).any()) else None


def _remedies(layers: Sequence[LayerProbe], look: Look, names: Sequence[str]) -> list[Remedy]:
    """For each shape, the uniform window with the least predicted change over depth."""
    if len(layers) < 2:
        return []
    whole = [_whole(layer) for layer in layers]
    behind = torch.stack([sums.own[-1, Sums.SQUARE] for sums in whole[1:]])
    tables = {"own": torch.stack([sums.own[:-1, Sums.SQUARE] for sums in whole[:-1]])}
    tables |= {
        name: torch.stack([sums.delta[at, :-1, Sums.SQUARE] for sums in whole[:-1]])
        for at, name in enumerate(names)
    }
    found = []
    for name, squares in tables.items():
        change = (squares / behind[:, None]).log().sum(0)
        usable = change.isfinite()
        if usable.any():
            at = int(change.abs().masked_fill(~usable, torch.inf).argmin())
            found.append(Remedy(name, look.windows[at].item(), math.exp(change[at].item() / 2)))
    return sorted(found, key=lambda one: abs(math.log(one.depth)))


def _shape(one: Remedy) -> str:
    return "the shape in use" if one.shape == "own" else one.shape


def _root(square: Tensor) -> float | None:
    return square.sqrt().item() if bool(square.isfinite()) else None
