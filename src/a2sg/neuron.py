"""Spiking neurons over `[T, B, ...]`: LIF, IF, PLIF, IntegerLIF.

A neuron starts at rest in every call and keeps nothing afterwards. For streaming, `step` takes and
returns the state explicitly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_choice, require_count, require_positive, require_share
from a2sg.kernels import (
    BACKENDS,
    BackendName,
    Call,
    Dynamics,
    Gate,
    Norm,
    Order,
    Reset,
    Spike,
    Work,
    integrate_and_fire,
    unroll,
)
from a2sg.registry import Registry
from a2sg.surrogate import Asymmetric, Boxcar, Surrogate
from a2sg.window.site import Site

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "PLIF",
    "IntegerLIF",
    "Record",
    "SpikingNeuron",
    "State",
    "recording",
    "register_neuron",
]


class State(NamedTuple):
    """What a neuron carries from one streamed step to the next."""

    potential: Tensor
    """v after the reset, `[B, ...]`."""
    step: int
    """Steps done so far."""


class Record(NamedTuple):
    """What a neuron did in one forward pass, as differentiable tensors."""

    potential: Tensor
    """u before the reset, `[T, B, ...]`."""
    spikes: Tensor
    """`[T, B, ...]`, as the next layer gets them."""
    threshold: float


class SpikingNeuron(Site):
    """What all neurons share: a site's windows, parameters, shape checks.

    `spike` is None but while the neuron is unrolled (`a2sg.study.measure.unrolled`): it then runs step by
    step in plain torch, with this in place of the hard spike, and nothing is observed.
    """

    def __init__(
        self,
        steps: int,
        *,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(steps, surrogate=surrogate, window=window)
        self.threshold = require_positive("threshold", threshold)
        self.reset: Reset = require_choice("reset", reset, ("soft", "hard"))  # type: ignore[assignment]
        self.order: Order = require_choice("order", order, ("field", "scaled"))  # type: ignore[assignment]
        self.backend: BackendName = require_choice("backend", backend, BACKENDS)  # type: ignore[assignment]
        self.detach_reset = detach_reset
        self.work = Work()
        self._record: list[Record] | None = None
        self.spike: Spike | None = None
        self._known: tuple[tuple[object, ...], Dynamics] | None = None

    def leak(self) -> Tensor | float:
        """The decay of the potential per step."""
        raise NotImplementedError

    def thresholds(self) -> tuple[float, ...]:
        """The potentials at which the output rises by one."""
        return (self.threshold,)

    def dynamics(self) -> Dynamics:
        """This neuron's equations, as the kernels read them."""
        gate = Gate(self.surrogate, self.thresholds())
        return Dynamics(gate, self.threshold, self.reset, self.detach_reset, self.order)

    def _same_dynamics(self) -> Dynamics:
        """`dynamics`, the same object as long as nothing has changed: its hash is then at hand."""
        if torch.compiler.is_compiling():
            return self.dynamics()
        values = (
            self.surrogate,
            self.thresholds(),
            self.threshold,
            self.reset,
            self.detach_reset,
            self.order,
        )
        if self._known is None or self._known[0] != values:
            self._known = (values, self.dynamics())
        return self._known[1]

    def forward(self, current: Tensor) -> Tensor:
        """Spikes for T steps of input, from rest.

        Args:
            current: `[T, B, ...]`, floating point, with T equal to `steps`.

        Returns:
            Spikes `[T, B, ...]` in the dtype of `current`.

        Raises:
            InputError: for a wrong rank, dtype or T, or (on the CPU) NaN or infinity in `current`.
        """
        self._check(current)
        if current.shape[0] != self.steps:
            raise InputError(
                f"this neuron has steps={self.steps}, but the input has T={current.shape[0]} in its first "
                f"dimension (shape {tuple(current.shape)}): inputs are [T, B, ...]"
            )
        return self._run(self._call(), current, self.window)[0]

    def normalized(self, current: Tensor, norm: Norm, addend: Tensor | None = None) -> Tensor:
        """`forward` of a batch normalisation of `current`, in one pass that keeps `current` alone.

        Args:
            current: `[T, B, C, ...]`; `[1, B, C, ...]` is the input of every step.
            norm: the normalisation.
            addend: added to what is normalised, `[T, B, C, ...]`: the shortcut of a residual block.
        """
        self._check(current)
        return self._run(self._call(), current, self.window, norm, addend)[0]

    def step(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One step, for streaming: state in, state out.

        Feeding the T steps of an input one by one gives the spikes and gradients of `forward`.
        Beyond `steps` the gradient goes on with the last step's window. Streamed steps are not
        observed by `AdaptiveWindows`.

        Args:
            current: `[B, ...]`.
            state: what the last call returned; None starts from rest.

        Returns:
            Spikes `[B, ...]` and the state after them.
        """
        self._check(current[None] if isinstance(current, Tensor) else current)
        potential, done = (None, 0) if state is None else state
        if potential is not None and potential.shape != current.shape:
            raise InputError(
                f"the state has shape {tuple(potential.shape)}, the input {tuple(current.shape)}: pass the "
                "state of the same stream, or None to start from rest"
            )
        at = min(done, self.steps - 1)
        call = Call(1, self.dynamics(), self.work, keep_final=True, backend=self.backend)
        spikes, final = self._run(call, current[None], self.window[at : at + 1], initial=potential)
        assert final is not None
        return spikes[0], State(final, done + 1)

    def _call(self) -> Call:
        return Call(self.steps, self._same_dynamics(), self.work, self.observer, backend=self.backend)

    def _run(
        self,
        call: Call,
        current: Tensor,
        window: Tensor,
        norm: Norm | None = None,
        addend: Tensor | None = None,
        initial: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Spikes as the next layer gets them, and the final potential if it was asked for."""
        record = self._record
        if record is not None:
            call = call._replace(keep_potentials=True)
        if self.spike is None:
            spikes, final, potentials = integrate_and_fire(
                current, self.leak(), initial, window, call, norm, addend
            )
        else:
            require(norm is None, "an unrolled neuron takes what is normalised already: call the norm first")
            spikes, final, potentials = unroll(
                current, self.leak(), initial, window, call.dynamics, self.spike
            )
        spikes = self._output(spikes)
        if record is not None and potentials is not None:
            record.append(Record(potentials, spikes, self.threshold))
        return spikes, final

    def _output(self, spikes: Tensor) -> Tensor:
        return spikes

    def _check(self, current: Tensor) -> None:
        if not isinstance(current, Tensor):
            raise InputError(f"the input must be a tensor, not {type(current).__name__}")
        if current.dim() < 2:
            raise InputError(
                f"the input must be [T, B, ...], not of shape {tuple(current.shape)}: time first, then "
                "the batch"
            )
        if not current.is_floating_point():
            raise InputError(
                f"the input must be floating point, not {current.dtype}: convert it with .float()"
            )

    def extra_repr(self) -> str:
        return (
            f"steps={self.steps}, threshold={self.threshold:g}, reset={self.reset!r}, "
            f"order={self.order!r}, surrogate={self.surrogate}"
        )


Kind = TypeVar("Kind", bound=type[SpikingNeuron])

NEURONS: Registry[type[SpikingNeuron]] = Registry("neuron")
"""Names that recipes and the command line use."""


def register_neuron(name: str) -> Callable[[Kind], Kind]:
    """A decorator: `a2sg.create_model`, recipes and the command line then know a neuron by `name`.

    It is put on a subclass of `SpikingNeuron` that takes `steps`, `surrogate` and `window` by name, and
    options of its own. The first line of the docstring is what `a2sg list neurons` says of it.

    Raises:
        InputError: if another neuron has that name.
    """
    return NEURONS.register(name)


@register_neuron("lif")
class LIF(SpikingNeuron):
    """Leaky integrate-and-fire (method, section 2): u[t] = decay · v[t-1] + I[t], spike at u >= threshold.

    Args:
        steps: T, at least 1.
        decay: the leak λ per step, 0 to 1.
        threshold: Vth, above 0.
        reset: `"soft"` subtracts the threshold, `"hard"` returns to 0.
        detach_reset: whether to leave the reset out of the gradient.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, T numbers, or a tensor `[T, ...]` whose
            `window[t]` broadcasts against `[B, ...]` (per channel: `[T, 1, C, 1, 1]`).
        order: `"field"` or `"scaled"`, where the leak scales the input too (the A2SG research code).
        backend: how it is computed: `"auto"`, `"reference"` (plain torch), `"compiled"` (torch.compile) or
            `"triton"` (kernels of our own, on CUDA).

    Raises:
        InputError: for a value out of range.
    """

    def __init__(
        self,
        steps: int,
        *,
        decay: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            order=order,
            backend=backend,
        )
        self.decay = require_share("decay", decay)

    def leak(self) -> float:
        return self.decay


@register_neuron("if")
class IF(SpikingNeuron):
    """Integrate-and-fire: a LIF that does not leak. Arguments as for `LIF`."""

    def __init__(
        self,
        steps: int,
        *,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            backend=backend,
        )

    def leak(self) -> float:
        return 1.0


@register_neuron("plif")
class PLIF(SpikingNeuron):
    """A LIF whose decay is trained, one per layer, as sigmoid(raw_decay) (Fang et al., PLIF, 2021).

    Arguments as for `LIF`; `decay` is the initial value, strictly between 0 and 1.
    """

    def __init__(
        self,
        steps: int,
        *,
        decay: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            order=order,
            backend=backend,
        )
        require(
            0 < require_share("decay", decay) < 1, f"the decay of a PLIF must not be 0 or 1, but is {decay}"
        )
        self.raw_decay = nn.Parameter(torch.tensor(math.log(decay / (1 - decay))))

    def leak(self) -> Tensor:
        return torch.sigmoid(self.raw_decay)


@register_neuron("integer_lif")
class IntegerLIF(SpikingNeuron):
    """Integer-valued LIF: s = round(clip(u / threshold, 0, levels)), halves up (Spike-driven Transformer V3).

    The spike counts the thresholds (k - ½) · threshold reached, k = 1 .. levels, and the surrogate is a
    window around each. Boxcar with window threshold / 2 is the straight-through estimator.

    Args:
        steps: T, at least 1 (as published: 1).
        levels: D, the largest spike (as published: 4).
        normalize: whether the output is s / levels (as published) or s.
        decay, threshold, detach_reset, surrogate, window, order, backend: as for `LIF`; the reset is soft.
    """

    def __init__(
        self,
        steps: int = 1,
        *,
        levels: int = 4,
        normalize: bool = True,
        decay: float = 0.9,
        threshold: float = 1.0,
        detach_reset: bool = False,
        surrogate: Surrogate = Boxcar(),
        window: float | Sequence[float] | Tensor = 0.5,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            order=order,
            backend=backend,
        )
        self.levels = require_count("levels", levels)
        self.normalize = normalize
        self.decay = require_share("decay", decay)

    def leak(self) -> float:
        return self.decay

    def thresholds(self) -> tuple[float, ...]:
        return tuple((k - 0.5) * self.threshold for k in range(1, self.levels + 1))

    def _output(self, spikes: Tensor) -> Tensor:
        return spikes / self.levels if self.normalize else spikes


def share_work(model: nn.Module) -> Work:
    """Let all neurons of `model` count their work together: `auto` compiles them once that is a lot.

    Returns:
        What they share from now on; it begins at 0.
    """
    work = Work()
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.work = work
    return work


@contextmanager
def recording(model: nn.Module) -> Iterator[dict[str, list[Record]]]:
    """Collect potentials and spikes of every neuron in `model` while the context lasts.

    Yields a dict from module name to one `Record` per forward pass. The tensors are part of the
    graph: a loss may be built on them. Of nested contexts the innermost collects.
    """
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, SpikingNeuron)}
    records: dict[str, list[Record]] = {name: [] for name in neurons}
    outer = {name: neuron._record for name, neuron in neurons.items()}
    try:
        for name, neuron in neurons.items():
            neuron._record = records[name]
        yield records
    finally:
        for name, neuron in neurons.items():
            neuron._record = outer[name]
