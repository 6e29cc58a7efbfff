"""Which functions a model calls, and with which arguments: it runs on an example, and is then restored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from a2sg.adopt.intercept import intercepting, when_reached
from a2sg.errors import require, told
from a2sg.modes import as_it_was

Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | Callable[[], Any]
"""The input of a forward of the model; or a function that runs one whole sequence."""


@dataclass
class Call:
    """One call of an `autograd.Function` of a potential that returns a tensor of the same shape.

    Attributes:
        module: the innermost module that made the call, by name.
        function: the function called.
        args: its arguments, the potential first.
        spikes: its result.
        forward: the forward of the model in which it was made, from 1; 0 outside of them.
        line: the path to it in the code, starting at the module's forward.
        replayed: whether a checkpoint made it, in the backward pass.
        whole: whether its result has only whole numbers, as a spike function's has.
        versions: of potential and spikes, which count in-place writes.
        reached: whether a gradient came back to it.
    """

    module: str
    function: type[Function]
    args: tuple[Any, ...]
    spikes: Tensor
    forward: int
    line: tuple[tuple[Any, int], ...]
    replayed: bool
    whole: bool
    versions: tuple[int, int]
    reached: bool = False

    @property
    def potential(self) -> Tensor:
        """The first argument."""
        potential: Tensor = self.args[0]
        return potential

    @property
    def intact(self) -> bool:
        """Whether potential and spikes have not been written to since."""
        return self.versions == (self.potential._version, self.spikes._version)


def watch(model: nn.Module, example: Example) -> list[Call]:
    """Run a model forward and backward; returns the calls, in order.

    Parameters, gradients, buffers, attributes and random numbers are restored afterwards.

    Raises:
        InputError: if the model cannot run on the example, or has lazy modules.
    """
    lazy = any(is_lazy(one) for one in (*model.parameters(), *model.buffers()))
    require(not lazy, "the model has lazy modules: run it once before it is adapted")
    calls: list[Call] = []
    reached: set[int] = set()
    inside: list[str] = []
    forwards = 0

    def enter(name: str) -> None:
        nonlocal forwards
        forwards += name == ""
        inside.append(name)

    def leave(*_: object) -> None:
        inside.pop()

    def see(function: type[Function], args: tuple[Any, ...], apply: Callable[..., Any]) -> Any:
        spikes = apply(*args)
        if inside and torch.is_grad_enabled() and _of_a_potential(args, spikes):
            call = Call(
                inside[-1],
                function,
                args,
                spikes,
                forwards,
                _line(),
                replayed=torch._C._current_graph_task_id() != -1,
                whole=bool((spikes.detach() == spikes.detach().round()).all()),
                versions=(args[0]._version, spikes._version),
            )
            # A hook that held the call would hold the graph, which holds the hook: a reference cycle.
            when_reached(spikes, partial(reached.add, len(calls)))
            calls.append(call)
        return spikes

    with ExitStack() as stack:
        stack.enter_context(_untouched(model))
        for name, module in model.named_modules():
            before = module.register_forward_pre_hook(lambda *_, name=name: enter(name))
            after = module.register_forward_hook(leave, always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
        stack.enter_context(told("the model does not run on example=, which must be what its forward takes"))
        stack.enter_context(intercepting(see))
        out = _run(model, example)
        ends = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if ends:
            torch.autograd.backward([end.sum() for end in ends])
    for number in reached:
        calls[number].reached = True
    first = {call.module for call in calls if not call.replayed}
    return [call for call in calls if not (call.replayed and call.module in first)]


def _run(model: nn.Module, example: Example) -> Any:
    if isinstance(example, Tensor):
        return model(example)
    if isinstance(example, Mapping):
        return model(**example)
    if isinstance(example, tuple | list):
        return model(*example)
    return example()


def _of_a_potential(args: tuple[Any, ...], spikes: object) -> bool:
    potential = args[0] if args else None
    return (
        isinstance(potential, Tensor)
        and isinstance(spikes, Tensor)
        and potential.is_floating_point()
        and potential.shape == spikes.shape
        and potential.numel() > 0  # torch's own checkpoint (2.6) calls a function of an empty tensor
    )


def _line() -> tuple[tuple[Any, int], ...]:
    """Code objects and positions in them, from the call of a function up to the module's forward."""
    found = []
    frame = sys._getframe(3)  # above: this function, the handler, and the `apply` that called it
    while frame.f_code is not nn.Module._call_impl.__code__ and frame.f_back is not None:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Restore a model to its present state afterwards; meanwhile, every parameter requires a gradient."""
    modules = [(module, dict(vars(module))) for module in model.modules()]
    inner = [
        (held, held.copy()) for _, own in modules for held in own.values() if isinstance(held, dict | list)
    ]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with as_it_was(model):
        try:
            for parameter, _ in trained:
                parameter.requires_grad_(parameter.is_floating_point())
            yield
        finally:
            for module, own in modules:
                vars(module).clear()
                vars(module).update(own)
            for held, before in inner:
                held.clear()
                held.update(before) if isinstance(held, dict) else held.extend(before)
            for parameter, was in trained:
                parameter.requires_grad_(was)
