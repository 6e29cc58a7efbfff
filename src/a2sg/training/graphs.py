"""A training step as two CUDA graphs, forward and backward: the host replays each with one call.

A graph repeats the same kernels on the same memory. So inputs are copied to the memory that was recorded, and
windows and weights are read from where they always are. Ordinary and observed iterations have graphs of their
own. Whatever changes the kernels themselves runs without a graph until it has been used often enough to be
recorded: another batch size, another surrogate, another search.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from a2sg.errors import InputError
from a2sg.training.recorder import Recorder
from a2sg.window.observer import Observer
from a2sg.window.site import sites_of

log = logging.getLogger("a2sg")

Graphs = Literal["auto", "on", "off"]

WARM_UP = 3
"""Calls of a kind that run without a graph before one is recorded: by then everything is compiled."""

Compute = Callable[..., tuple[Tensor, Tensor]]
"""From inputs to an output, and the loss to differentiate (0-d)."""


def obstacle(device: torch.device, *, regularizers: bool = False, ranks: int = 1) -> str:
    """Why the steps of a training cannot be graphs; "" if no reason is known."""
    if device.type != "cuda":
        return f"they need a CUDA device, and this one is {device.type}"
    if regularizers:
        return "a term of the loss looks at potentials, which are not kept in one place"
    if ranks > 1:
        return "gradients are averaged over ranks while they are computed"
    return ""


def wanted(choice: Graphs, reason: str) -> bool:
    """Whether steps are to be graphs, given the user's `choice` and a `reason` against it, or "".

    Raises:
        InputError: if they are requested but not possible.
    """
    if choice == "on" and reason:
        raise InputError(f"graphs: on is not possible: {reason}; choose auto or off")
    return choice != "off" and not reason


@dataclass
class _Turn:
    """Ordinary iterations, or observed ones: the graphs of their last kind that was recorded."""

    name: str
    graphs: _Graphs | None = None
    kind: tuple[Any, ...] = ()
    """Of the last call that ran without a graph."""
    seen: int = 0
    """How many such calls in a row were of this kind."""
    failed: bool = False


class GraphedStep:
    """Computes an output and its loss, with graphs where they have been recorded.

    Its results can be used like those of `compute`: `backward` of the loss adds to the gradients of the
    model's parameters, and to the sums of the observers if the iteration is observed. Call it before the next
    call.

    Args:
        model: the loss is differentiated with respect to its parameters.
        compute: from inputs to output and loss; apart from the inputs, only the model's tensors may change.
        recorder: records the work; `CudaRecorder()`.
        after: how many calls of a kind run without a graph before one is recorded.
    """

    def __init__(
        self, model: nn.Module, compute: Compute, recorder: Recorder, *, after: int = WARM_UP
    ) -> None:
        self.model = model
        self.compute = compute
        self.recorder = recorder
        self.after = after
        self._sites = sites_of(model)
        self._held = [*model.parameters(), *model.buffers()]
        self._ordinary, self._observed = _Turn("steps"), _Turn("observed steps")

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Output and loss of `inputs`.

        No graph is used after recording has failed, or while something is observed that cannot be recorded.
        """
        observers = self._observers()
        turn = self._observed if observers else self._ordinary
        kind = None if turn.failed else self._kind_of(inputs)
        if kind is None:
            return self.compute(*inputs)
        if turn.graphs is not None and turn.graphs.kind == kind:
            turn.seen = 0
            return turn.graphs(inputs)
        turn.seen = turn.seen + 1 if kind == turn.kind else 1
        turn.kind = kind
        if turn.seen > self.after:
            turn.graphs = None  # leaves its memory to the next one
            turn.graphs = self._recorded(turn, inputs, kind)
            if turn.graphs is not None:
                return turn.graphs(inputs)
        return self.compute(*inputs)

    def _observers(self) -> list[Observer]:
        return [site.observer for site in self._sites.values() if site.observer is not None]

    def _kind_of(self, inputs: Sequence[Tensor]) -> tuple[Any, ...] | None:
        """Everything that decides which kernels run, and where; None if no graph can repeat them."""
        watched = []
        for site in self._sites.values():
            # An observer of another class may do anything.
            seen = () if site.observer is None else getattr(site.observer, "graph_kind", None)
            if seen is None:
                return None
            watched.append(seen)
        sites = tuple(site.graph_kind for site in self._sites.values())
        places = tuple(tensor.data_ptr() for tensor in self._held)
        return sites, places, tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs), watched

    def _recorded(self, turn: _Turn, inputs: Sequence[Tensor], kind: tuple[Any, ...]) -> _Graphs | None:
        windows = {id(site.window) for site in self._sites.values()}  # only a search changes them
        changed = [buffer for buffer in self.model.buffers() if id(buffer) not in windows]
        for observer in self._observers():
            observer.settle()
            changed += [observer.table, observer.passing]
        kept = [tensor.clone() for tensor in changed]
        device = inputs[0].device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                return _Graphs(self.model, self.compute, self.recorder, inputs, kind)
        except Exception as error:  # a compiler, a library or the user's layer may not support it
            first = (str(error).strip() or "no reason given").splitlines()[0]
            log.warning("%s run without CUDA graphs: %s: %s", turn.name, type(error).__name__, first)
            turn.failed = True
            return None
        finally:  # recording has changed the statistics of batch norm, and added to the sums
            for tensor, value in zip(changed, kept, strict=True):
                tensor.copy_(value)


class _Graphs:
    """One forward and one backward pass, recorded."""

    def __init__(
        self,
        model: nn.Module,
        compute: Compute,
        recorder: Recorder,
        inputs: Sequence[Tensor],
        kind: tuple[Any, ...],
    ) -> None:
        self.kind = kind
        self.compute = compute
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # Their own leaves over the same memory. A parameter whose last loss is still alive keeps a node of
        # autograd on the stream of that loss, which would have to wait while another stream is recorded.
        self.leaves = [p.detach().requires_grad_() for p in self.parameters]
        self.inputs = [x.detach().clone() for x in inputs]
        device = self.inputs[0].device
        self.arriving = torch.ones((), device=device)
        # Outside the graphs' memory, where the next forward pass would overwrite them.
        self.grads = [torch.zeros_like(p) for p in self.parameters]
        self.used = [True] * len(self.parameters)
        # Every replay must repeat the casts of weights by autocast.
        self.cast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        recorder.prepare(lambda: (self._forward(), self._backward()))
        del self._loss  # with the nodes of its leaves, which belong to the stream of this pass
        self.outputs, self.forward = recorder.record(self._forward)
        _, self.backward = recorder.record(self._backward)
        del self._loss

    def _forward(self) -> Sequence[Tensor]:
        enabled, dtype = self.cast
        kind = self.inputs[0].device.type
        precision = torch.autocast(kind, dtype, enabled=enabled, cache_enabled=False)
        with _in_place_of(self.model, self.parameters, self.leaves), torch.enable_grad(), precision:
            output, self._loss = self.compute(*self.inputs)
        return output.detach(), self._loss.detach()

    def _backward(self) -> Sequence[Tensor]:
        with torch.autocast(self.inputs[0].device.type, enabled=False):
            found = torch.autograd.grad(
                self._loss, self.leaves, self.arriving.to(self._loss.dtype), allow_unused=True
            )
        self.used = [grad is not None for grad in found]
        for place, grad in zip(self.grads, found, strict=True):
            if grad is not None:
                place.copy_(grad)
        return ()

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        for place, x in zip(self.inputs, inputs, strict=True):
            place.copy_(x)
        found: tuple[Tensor, Tensor] = _Replay.apply(self, *self.parameters)
        return found


@contextlib.contextmanager
def _in_place_of(model: nn.Module, old: Sequence[Tensor], new: Sequence[Tensor]) -> Iterator[None]:
    """Within it the modules of a model have other parameters."""
    swapped = dict(zip(map(id, old), new, strict=True))
    places = [
        (module._parameters, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if id(parameter) in swapped
    ]
    try:
        for parameters, name, parameter in places:
            parameters[name] = swapped[id(parameter)]  # type: ignore[assignment]
        yield
    finally:
        for parameters, name, parameter in places:
            parameters[name] = parameter


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graphs: _Graphs, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.graphs = graphs
        graphs.forward()
        output, loss = (found.clone() for found in graphs.outputs)
        ctx.mark_non_differentiable(output)
        return output, loss

    @staticmethod
    def backward(ctx: Any, _: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
        graphs: _Graphs = ctx.graphs
        for parameter, place in zip(graphs.parameters, graphs.grads, strict=True):
            # Autograd keeps the first gradient without copying: it must not change when another is added.
            if parameter.grad is not None and parameter.grad.data_ptr() == place.data_ptr():
                parameter.grad = parameter.grad.clone()
        graphs.arriving.copy_(grad)
        graphs.backward()
        grads = zip(graphs.grads, graphs.used, strict=True)
        return None, *(place.detach() if used else None for place, used in grads)
