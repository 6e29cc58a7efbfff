"""Which calls of a module's spike functions are steps of the same layer, from the graph of an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from a2sg.adopt.watch import Call
from a2sg.errors import InputError, called


def layers(name: str, calls: Sequence[Call], steps: int, spikes: set[Any]) -> list[int]:
    """The layer of each call that a module makes, from 0.

    Calls belong together if their potentials share a weight, a state or an input, without spikes in between.
    If layers share a weight, or one adds another's potential, the lines of code that make the calls tell them
    apart. A layer has T calls; or only one, if each forward is one step of the caller's loop.

    Args:
        name: of the module.
        calls: all its calls, in order.
        steps: T.
        spikes: the nodes of the graph that made spikes.

    Raises:
        InputError: if the calls are not those of layers of T steps.
    """
    groups = _joined(calls, spikes)
    forwards = {call.forward for call in calls}
    sizes = Counter(groups)
    if set(sizes.values()) not in ({steps}, {1} if len(forwards) == 1 else {steps}):
        lines = [
            call.line if sizes[group] != steps else () for group, call in zip(groups, calls, strict=True)
        ]
        groups = _numbered(zip(groups, lines, strict=True))
        if set(Counter(groups).values()) != {steps}:
            raise InputError(_misfit(name, len(calls), steps, sorted(set(sizes.values()))))
    return groups


def _joined(calls: Sequence[Call], spikes: set[Any]) -> list[int]:
    """The group of each call: calls whose potentials share a node of the graph, going back to spikes."""
    group = list(range(len(calls)))
    owner: dict[Any, int] = {}
    for at, call in enumerate(calls):
        todo = [call.potential.grad_fn]
        while todo:
            node = todo.pop()
            if node in owner and group[owner[node]] != group[at]:
                mine, other = group[at], group[owner[node]]
                group = [other if one == mine else one for one in group]
            elif node is not None and node not in owner and node not in spikes:
                owner[node] = at
                todo += [before for before, _ in node.next_functions]
    return _numbered(group)


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """Keys as numbers from 0, in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _misfit(name: str, calls: int, steps: int, sizes: list[int]) -> str:
    counts = " and ".join(map(str, sizes))
    return (
        f"{called(name)} calls spike functions {calls} times in the example, {counts} times for what seems "
        f"one layer, but steps={steps}: steps must be the T of the example; if it is, layers have a weight "
        "in common, or a neuron fires twice a step: use a2sg.spike there, with a site for each"
    )
