"""Which of an example's calls make spikes, and the sites for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from a2sg.adopt.calls import Calls, Spikes
from a2sg.adopt.intercept import name_of
from a2sg.adopt.layers import layers
from a2sg.adopt.levels import NOT_ALONE, Levels, find_levels
from a2sg.adopt.plain import agree
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.watch import Call, Example, watch
from a2sg.errors import InputError, called, require

Said = Mapping[type[Function], Levels]
"""Where functions fire, according to the user."""


def seen(
    model: nn.Module,
    example: Example,
    steps: int,
    site: Callable[[], SpikeSite],
    said: Said,
    known: Callable[[str], bool],
) -> tuple[dict[str, Calls], dict[str, str]]:
    """Swaps for the modules that call spike functions in an example; and why others have none.

    Args:
        model: runs on the example.
        example: as `watch` takes it.
        steps: T.
        site: makes a site.
        said: functions that the user names.
        known: whether the spikes of a module have been found in another way.

    Raises:
        InputError: if a named function is not called, or fires elsewhere; or if calls are not those of layers
            of T steps.
    """
    calls = watch(model, example)
    judge = _Judge(said)
    made = [(call, judge(call)) for call in calls]
    spikes = {call.spikes.grad_fn for call, what in made if isinstance(what, Spikes) or call.whole}
    swaps, left = {}, {}
    for name, module in model.named_modules():
        here = [(call, what) for call, what in made if call.module == name and not known(name)]
        reasons = {
            f"{call.function.__name__} {what}": None for call, what in here if isinstance(what, str) and what
        }
        if reasons:
            left[name] = "; ".join(reasons)
        swap = _swap(name, module, here, steps, site, spikes)
        if swap is not None:
            swaps[name] = swap
    for function in said:
        called = any(name_of(call.function) == name_of(function) for call, _ in made if call.module in swaps)
        require(called, f"functions names {function.__name__}, which is not called in the example")
    return swaps, left


def _swap(
    name: str,
    module: nn.Module,
    made: Sequence[tuple[Call, Spikes | str]],
    steps: int,
    site: Callable[[], SpikeSite],
    spikes: set[Any],
) -> Calls | None:
    """The swap of one module."""
    trained = [call for call, what in made if isinstance(what, Spikes) and call.potential.requires_grad]
    if not trained:
        return None
    try:
        groups = layers(name, trained, steps, spikes)
    except InputError:
        # A call for a detached reset gets no gradient.
        reached = [call for call in trained if call.reached]
        if not 0 < len(reached) < len(trained):
            raise
        trained, groups = reached, layers(name, reached, steps, spikes)
    layer_of = {id(call): group for call, group in zip(trained, groups, strict=True)}
    kinds: dict[int, Spikes] = {}
    for call, what in made:
        if isinstance(what, Spikes) and id(call) in layer_of:
            kind = kinds.setdefault(layer_of[id(call)], what)
            require(kind == what, f"{called(name)}: {kind} fires at {kind.levels}, and then at {what.levels}")
    turns = _turns(name, [call for call, _ in made], {kind.function for kind in kinds.values()}, layer_of)
    return Calls(module, [kinds[at] for at in range(len(kinds))], turns, [site() for _ in kinds])


def _turns(
    name: str, calls: Sequence[Call], functions: set[str], layer_of: dict[int, int]
) -> list[int | None]:
    """The layer of each call of these functions in a forward of the model; None for a call without a layer.

    Raises:
        InputError: if forwards differ in their calls.
    """
    turns: dict[int, list[int | None]] = {}
    for call in calls:
        if name_of(call.function) in functions:
            turns.setdefault(call.forward, []).append(layer_of.get(id(call)))
    first, *others = turns.values()
    one = all(turn == 0 for made in turns.values() for turn in made)
    require(
        one or all(other == first for other in others),
        f"{called(name)} calls spike functions in a different order from one forward pass to the next: give "
        "each layer its own neuron, or an a2sg.SpikeSite",
    )
    return first


class _Judge:
    """Finds out where calls fire; or why they are no spikes; or "" for other functions."""

    def __init__(self, said: Said) -> None:
        self.said = {name_of(function): levels for function, levels in said.items()}
        self._known: dict[Any, Spikes | str] = {}

    def __call__(self, call: Call) -> Spikes | str:
        key = (name_of(call.function), call.potential.dim(), *map(_key, call.args[1:]))
        if key not in self._known:
            self._known[key] = self._spikes(call)
        found = self._known[key]
        if isinstance(found, str):
            return found if call.whole else ""
        doubtful = found.function not in self.said and call.intact
        if doubtful and not found.levels.explain(call.potential, call.spikes):
            return NOT_ALONE if call.whole else ""
        return found

    def _spikes(self, call: Call) -> Spikes | str:
        name = name_of(call.function)
        levels = _levels(call, call.args[1:])
        if name in self.said:
            agree(call.function.__name__, self.said[name], levels)
            return Spikes(name, self.said[name])
        if isinstance(levels, str):
            return levels
        decides = []
        for at, value in enumerate(call.args[1:], start=1):
            if isinstance(value, Tensor) and value.requires_grad:
                return f"has a gradient for argument {at + 1} too, such as a threshold that is trained"
            others = (*call.args[1:at], _changed(value), *call.args[at + 1 :])
            if others[at - 1] is not value and _levels(call, others) != levels:
                if isinstance(value, Tensor):
                    return f"fires where a tensor decides, argument {at + 1}"
                decides.append((at, value))
        return Spikes(name, levels, tuple(decides))


def _levels(call: Call, others: tuple[Any, ...]) -> Levels | str:
    return find_levels(lambda potential: call.function.apply(potential, *others), call.potential)


def _changed(value: Any) -> Any:
    """Another argument of the same kind, or the same one if there is none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Tensor):
        return value * 1.5 + 0.25 if value.is_floating_point() else value
    if isinstance(value, int):
        return value + 1
    return value * 1.5 + 0.25 if isinstance(value, float) else value


def _key(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else id(value)
