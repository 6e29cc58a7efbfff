"""Your own forward pass, followed through its layers and what it does between them (`torch.fx`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn

from a2sg.errors import InputError, require, told
from a2sg.export.wiring import Wire, Wiring

Visit = Callable[[nn.Module, str, Wire, int], Wire]
"""Adds a layer: the module, its name, its input, and the leading dimensions of that."""

FACTS = {"size", "dim", "shape", "ndim", "dtype", "device"}
"""Properties of a tensor that are read without computing with it."""
HINTS = {
    **dict.fromkeys(
        ("mean", "sum"), "leave the decision over the steps out of the network, and take it after export"
    ),
    **dict.fromkeys(
        ("getitem", "unbind", "chunk", "split"), "call layers with all steps at once, [T, B, ...]"
    ),
    **dict.fromkeys(("cat", "stack"), "NIR has no concatenation"),
    **dict.fromkeys(("matmul", "mm", "bmm", "einsum"), "NIR has no product of two activations"),
    **dict.fromkeys(
        ("linear", "conv1d", "conv2d", "avg_pool2d", "adaptive_avg_pool2d"),
        "make it a module, such as nn.Linear",
    ),
}
"""What to use instead of a function."""


@dataclass(frozen=True)
class Signal:
    """A tensor of the forward pass."""

    wire: Wire
    leading: int
    """Dimensions before those of a sample: 2 for `[T, B, ...]`, 1 where T has joined B."""


def follow(
    module: nn.Module,
    layer: str,
    signal: Signal,
    wiring: Wiring,
    visit: Visit,
    is_layer: Callable[[nn.Module], bool],
) -> Wire:
    """Add everything that a module's forward pass computes.

    It may contain calls of layers, sums, factors, `flatten` and `unflatten`.

    Args:
        module: with a forward pass of one tensor.
        layer: its name.
        signal: its input.
        wiring: the graph.
        visit: adds one of its layers.
        is_layer: whether a module inside is a layer, which is not traced into.

    Returns:
        Its output.

    Raises:
        InputError: if the pass cannot be followed, or does something that NIR cannot express.
    """
    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda m, module_qualified_name: is_layer(m)  # type: ignore[method-assign]
    with told(
        "its forward pass cannot be followed: it must take one tensor and call layers, without conditions or "
        "loops over what that holds"
    ):
        graph = tracer.trace(module)
    found = _Pass(module, layer, signal, wiring, visit).run(graph)
    require(
        isinstance(found, Signal) and found.leading == signal.leading,
        "its forward pass must return one tensor whose first dimensions are its input's steps and samples",
    )
    assert isinstance(found, Signal)
    return found.wire


@dataclass
class _Pass:
    """A traced forward pass, and the arguments of `follow`."""

    module: nn.Module
    layer: str
    signal: Signal
    wiring: Wiring
    visit: Visit

    def run(self, graph: fx.Graph) -> Any:
        """The result of the pass: a `Signal` for a tensor of the network, None for anything else."""
        values: dict[fx.Node, Any] = {}
        found: Any = None
        for node in graph.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            signals = [read for read in map(values.get, node.all_input_nodes) if isinstance(read, Signal)]
            found = self._value(node, [*args, *kwargs.values()], signals, first=not values)
            if isinstance(found, Signal) and sum(not _is_fact(user) for user in node.users) > 1:
                found = replace(found, wire=replace(found.wire, shared=True))
            values[node] = found
        return found

    def _value(self, node: fx.Node, arguments: list[Any], signals: list[Signal], first: bool) -> Any:
        if node.op == "placeholder":
            require(first or bool(arguments), f"its forward pass takes {node.name!r} too, not one tensor")
            return self.signal if first else arguments[0]
        if node.op == "output":
            return arguments[0]
        if _is_fact(node) or not signals:  # parameters and sizes
            return None
        if node.op == "call_module":
            name = str(node.target)
            require(len(arguments) == 1, f"it calls {name!r} with more than a tensor, such as a state")
            inner, (signal,) = self.module.get_submodule(name), signals
            return replace(signal, wire=self.visit(inner, self._name(name), signal.wire, signal.leading))
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        found = self._between(target.strip("_"), self._name(node.name), *arguments)
        if found is None:
            hint = HINTS.get(target, "between layers there may be sums, factors, flatten and unflatten")
            raise InputError(f"its forward pass calls {target!r}, which cannot be exported: {hint}")
        return found

    def _between(self, function: str, name: str, first: Any, *rest: Any) -> Signal | None:
        """The result of a function between layers; None if it cannot be exported."""
        second = rest[0] if rest else None
        if not isinstance(first, Signal):
            turned = function in ("add", "mul") and isinstance(second, Signal)
            return self._between(function, name, second, first) if turned else None
        if isinstance(second, Signal):
            alike = function in ("add", "iadd") and first.leading == second.leading and len(rest) == 1
            return replace(first, wire=self.wiring.join(name, first.wire, second.wire)) if alike else None
        wire = first.wire
        if function in ("mul", "imul", "truediv", "div") and isinstance(second, int | float) and second:
            gain = wire.gain * second if "mul" in function else wire.gain / second
            return replace(first, wire=replace(wire, gain=gain))
        if function == "flatten" and rest == (0, 1) and first.leading == 2:
            return replace(first, leading=1)
        if function == "unflatten" and second == 0 and first.leading == 1:
            return replace(first, leading=2)
        if function == "flatten" and rest in ((first.leading,), (first.leading, -1)):
            return replace(first, wire=self.wiring.flat(name, wire))
        return first if function in ("contiguous", "dropout", "clone") else None

    def _name(self, inner: str) -> str:
        return f"{self.layer}.{inner}" if self.layer else inner


def _is_fact(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in FACTS
    return node.op == "call_method" and node.target in FACTS
