"""What all neurons share: a site's windows, parameters, shape checks, streaming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from a2sg.errors import InputError, require, require_choice, require_positive
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
from a2sg.surrogate import Asymmetric, Surrogate
from a2sg.window.site import Site


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
        self._known: tuple[tuple[object, ...], Call] | None = None

    def leak(self) -> Tensor | float:
        """The decay of the potential per step."""
        raise NotImplementedError

    def thresholds(self) -> tuple[float, ...]:
        """The potentials at which the output rises by one."""
        return (self.threshold,)

    @property
    def gate(self) -> Gate:
        """How potentials turn into spikes."""
        return Gate(self.surrogate, self.thresholds())

    def dynamics(self) -> Dynamics:
        """This neuron's equations, as the kernels read them."""
        return Dynamics(self.gate, self.threshold, self.reset, self.detach_reset, self.order)

    def _call(self) -> Call:
        """How this neuron is run; the same, with all that is prepared, as long as nothing has changed."""
        if torch.compiler.is_compiling():
            return Call(self.steps, self.dynamics(), self.work, self.observer, backend=self.backend)
        values = (
            self.surrogate,
            self.thresholds(),
            self.threshold,
            self.reset,
            self.detach_reset,
            self.order,
            self.steps,
            self.backend,
        )
        if self._known is None or self._known[0] != values:
            call = Call(self.steps, self.dynamics(), self.work, backend=self.backend, plans={})
            self._known = (values, call)
        call = self._known[1]
        if call.watcher is not self.observer or call.work is not self.work:
            call = call._replace(watcher=self.observer, work=self.work)
            self._known = (values, call)
        return call

    def __getstate__(self) -> dict[str, Any]:  # kernels can be neither copied nor saved
        return self.__dict__ | {"_known": None}

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
            current: `[T·B, C, ...]`; `[B, C, ...]` is the input of every step.
            norm: the normalisation, which says which of the two.
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
