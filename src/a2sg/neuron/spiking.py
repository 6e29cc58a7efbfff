"""`SpikingNeuron`, the base of all neurons: windows, constants, shape checks, streaming."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict

import torch
from torch import Tensor

from a2sg.errors import require, require_choice
from a2sg.kernels import (
    BACKENDS,
    POTENTIAL,
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
    spread,
    unroll,
)
from a2sg.kernels.watch import Watcher
from a2sg.neuron.constants import Constant, Constants, require_channels, shown
from a2sg.neuron.inputs import require_sequence, require_state, require_steps
from a2sg.neuron.state import State
from a2sg.neuron.stream import Stream
from a2sg.surrogate import Asymmetric, Surrogate
from a2sg.window.site import Site


class Record(NamedTuple):
    """Potentials and spikes of one forward pass of a neuron, as differentiable tensors."""

    potential: Tensor
    """u before the reset, `[T, B, ...]`."""
    spikes: Tensor
    """`[T, B, ...]`, as the next layer receives them."""
    threshold: Constant
    """A number, or a tensor that broadcasts against `potential`."""

    @staticmethod
    def joined(parts: Sequence[Record]) -> Record:
        """The parts of a sequence as one record."""
        potentials, spikes, thresholds = zip(*parts, strict=True)
        return Record(torch.cat(potentials), torch.cat(spikes), thresholds[0])


class SharedOptions(TypedDict, total=False):
    """Arguments of `SpikingNeuron` that every kind of neuron takes, to type their signatures."""

    threshold: Constant
    detach_reset: bool
    order: Order
    learn: str | Sequence[str]
    backend: BackendName
    groups: int | None


class NeuronOptions(SharedOptions, total=False):
    """Arguments of `SpikingNeuron` that every kind except `IntegerLIF` takes."""

    reset: Reset
    surrogate: Surrogate
    window: float | Sequence[float] | Tensor


class SpikingNeuron(Constants, Site):
    """The base of all neurons: a site's windows, constants, kernels, streaming.

    Arguments as for `LIF`. A subclass with more arguments passes these on as `**options`.

    Attributes:
        decay: as given, or set since: a number, a buffer, or a parameter.
        threshold: likewise.
        spike: None, except while the neuron is unrolled (`a2sg.study.measure.unrolled`): it then runs step by
            step in plain torch, with this in place of the hard spike, and nothing is observed.
    """

    decay: Constant
    threshold: Constant
    varies = True
    fixed: ClassVar[Collection[str]] = ()
    """Arguments that this kind does not take, although it passes `**options` on."""

    def __init_subclass__(cls, **options: Any) -> None:
        """If a kind passes `**options` on, spell them out in its signature: for help, recipes and errors."""
        super().__init_subclass__(**options)
        _, *own = inspect.signature(cls.__init__).parameters.values()
        named = [each for each in own if each.kind is not each.VAR_KEYWORD]
        if len(named) < len(own):
            base = next(base for base in cls.__mro__[1:] if issubclass(base, SpikingNeuron))
            known = {each.name for each in named} | set(cls.fixed)
            named += [each for each in inspect.signature(base).parameters.values() if each.name not in known]
        cls.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]

    def __init__(
        self,
        steps: int,
        *,
        decay: Constant = 0.9,
        threshold: Constant = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        learn: str | Sequence[str] = (),
        backend: BackendName = "auto",
        groups: int | None = None,
    ) -> None:
        super().__init__(steps, surrogate=surrogate, window=window, groups=groups)
        self._set_constants(learn, decay=decay, threshold=threshold)
        self.reset: Reset = require_choice("reset", reset, ("soft", "hard"))  # type: ignore[assignment]
        self.order: Order = require_choice("order", order, ("field", "scaled"))  # type: ignore[assignment]
        self.backend: BackendName = require_choice("backend", backend, BACKENDS)  # type: ignore[assignment]
        self.detach_reset = detach_reset
        self.work = Work()
        self._record: list[Record] | None = None
        self.spike: Spike | None = None
        self._known: tuple[tuple[object, ...], Call] | None = None
        self._stream = Stream()

    def leak(self) -> Constant:
        """The decay of the potential per step."""
        return self.decay

    def thresholds(self) -> tuple[float, ...]:
        """The potentials at which the output rises by one; counted from the threshold if it is a tensor."""
        threshold = self.threshold
        return (0.0,) if isinstance(threshold, Tensor) else (threshold,)

    @property
    def gate(self) -> Gate:
        """How potentials turn into spikes."""
        return Gate(self.surrogate, self.thresholds())

    def dynamics(self) -> Dynamics:
        """This neuron's equations, as the kernels read them."""
        return self._call(self.steps).dynamics

    def _call(self, steps: int) -> Call:
        """How to run this neuron; reused, with everything prepared for it, as long as nothing changes."""
        threshold = self.threshold
        height = None if isinstance(threshold, Tensor) else threshold
        equations = (self.thresholds(), height, self.reset, self.detach_reset, self.order)
        values = (self.surrogate, equations, self.steps, self.work, self.backend)
        compiling = torch.compiler.is_compiling()
        if not compiling and self._known is not None and self._known[0] == values:
            call = self._known[1]
        else:
            dynamics = Dynamics(self.gate, height, self.reset, self.detach_reset, self.order)
            plans: dict[Any, Any] | None = None if compiling else {}
            call = Call(self.steps, dynamics, self.work, backend=self.backend, plans=plans)
            if not compiling:
                self._known = (values, call)
        return call if steps == call.steps else call._replace(steps=steps)

    def __getstate__(self) -> dict[str, Any]:  # kernels cannot be copied or saved
        return super().__getstate__() | {"_known": None, "_stream": Stream()}

    def forward(
        self, current: Tensor, state: State | None = None, *, return_state: bool = False
    ) -> Tensor | tuple[Tensor, State]:
        """Spikes for T steps of input, from rest; or for a part of a sequence, continuing from a state.

        Feeding a sequence in parts, each with the state from the part before, gives the spikes and gradients
        of the whole sequence, and the same sums in `AdaptiveWindows`. Step t of the sequence has window t, or
        the last one. For truncated back-propagation through time, pass `state.detach()`.

        T may differ from batch to batch: up to `steps`; with `groups`, under `torch.no_grad()` or with a
        state, any T. Windows are counted from the first step.

        Args:
            current: `[T, B, ...]`, floating point.
            state: returned by the call for the part before; None starts from rest.
            return_state: whether to return the state too, even if none was given.

        Returns:
            Spikes `[T, B, ...]` in the dtype of `current`; and the state after them, if one was given or
            requested.

        Raises:
            InputError: for a wrong rank, dtype or T, a state from other inputs, or (on the CPU) NaN or
                infinity in `current`.
        """
        if state is not None or return_state:
            return self._go_on(current, state)
        require_sequence(current)
        steps = current.shape[0]
        return self._run(self._call(steps), self.observer, current, self._used(steps))[0]

    def normalized(
        self, current: Tensor, norm: Norm, addend: Tensor | None = None, steps: int | None = None
    ) -> Tensor:
        """`forward` of the batch-normalised `current`, in one pass that stores only `current`.

        Args:
            current: `[T·B, C, ...]`, or `[B, C, ...]` as the input of every step.
            norm: the normalisation; it says which of the two `current` is.
            addend: added to the normalised current, `[T, B, C, ...]`: the shortcut of a residual block.
            steps: T; None is the neuron's own.
        """
        require_sequence(current)
        if steps is None:
            steps = self.steps
        return self._run(self._call(steps), self.observer, current, self._used(steps), norm, addend)[0]

    def step(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One step, for streaming: the same as `forward(current[None])` with a state.

        Args:
            current: `[B, ...]`.
            state: returned by the last call; None starts from rest.

        Returns:
            Spikes `[B, ...]` and the state after them.
        """
        spikes, after = self._go_on(current[None] if isinstance(current, Tensor) else current, state)
        return spikes[0], after

    def _go_on(self, current: Tensor, state: State | None) -> tuple[Tensor, State]:
        """`forward`, continuing from a state."""
        require_sequence(current)
        potential, first = (None, 0) if state is None else require_state(state, current)
        steps = len(current)
        call = self._call(steps)._replace(keep_final=True)
        watcher: Watcher | None = self.observer
        if watcher is not None:
            watcher = self._stream.part(watcher, self.windows(0, first + steps), first, potential)
        spikes, final = self._run(call, watcher, current, self.windows(first, steps), initial=potential)
        assert final is not None
        return spikes, State(final, first + steps)

    def _used(self, steps: int) -> Tensor:
        """The windows of this many steps from rest `[steps]`."""
        if steps == self.steps and self.groups is None:
            return self.window
        require_steps(steps, self)
        return self.windows(0, steps)

    def _run(
        self,
        call: Call,
        watcher: Watcher | None,
        current: Tensor,
        window: Tensor,
        norm: Norm | None = None,
        addend: Tensor | None = None,
        initial: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Spikes as the next layer receives them, and the final potential if the call keeps it."""
        if self.observer is not None:
            self._repeat(self.observer)
        leak, threshold = self.leak(), self.threshold
        if isinstance(leak, Tensor) or isinstance(threshold, Tensor):
            shape = current.shape if norm is None else (call.steps, *current.shape)
            leak, threshold = (
                spread(require_channels(name, value, shape), len(shape) - 1, POTENTIAL[current.dtype])
                for name, value in (("decay", leak), ("threshold", threshold))
            )
        moved = threshold if isinstance(threshold, Tensor) else None
        record = self._record
        if record is not None:
            call = call._replace(keep_potentials=True)
        if self.spike is None:
            spikes, final, potentials = integrate_and_fire(
                current, leak, initial, window, call, norm, addend, moved, watcher
            )
        else:
            require(norm is None, "an unrolled neuron takes normalised input: call the norm first")
            spikes, final, potentials = unroll(
                current, leak, initial, window, call.dynamics, self.spike, moved
            )
        spikes = self._output(spikes)
        if record is not None and potentials is not None:
            record.append(Record(potentials, spikes, threshold))
        return spikes, final

    def _output(self, spikes: Tensor) -> Tensor:
        return spikes

    def extra_repr(self) -> str:
        return (
            f"steps={self.steps}, {f'groups={self.groups}, ' if self.groups else ''}"
            f"threshold={shown(self.threshold)}, reset={self.reset!r}, "
            f"order={self.order!r}, surrogate={self.surrogate}"
        )
