"""Builds the rule that sets windows from the fields of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from torch import nn

from a2sg.baselines import CPNG, DspikeSearch
from a2sg.registry import Registry, check_options
from a2sg.training.config import WindowsConfig
from a2sg.window import AdaptiveWindows, WindowPolicy

Kind = TypeVar("Kind", bound=type[WindowPolicy])

POLICIES: Registry[type[WindowPolicy]] = Registry("policy")
"""Values of `windows.policy`."""


def register_policy(name: str) -> Callable[[Kind], Kind]:
    """A decorator that makes a policy, which sets windows, known by `name` to recipes and the command line.

    Put it on a subclass of `a2sg.window.WindowPolicy`. Arguments with the names of fields of `windows`, such
    as `every`, are taken from there, all others from `windows.options`.

    Raises:
        InputError: if another rule has that name.
    """
    return POLICIES.register(name)


register_policy("a2sg")(AdaptiveWindows)
register_policy("cpng")(CPNG)
register_policy("dspike")(DspikeSearch)

NOT_IN_RECIPES = {"model", "weight", "return"}
"""Arguments whose values are objects of the model, which a recipe cannot hold."""


def create_policy(config: WindowsConfig, model: nn.Module) -> WindowPolicy:
    """The rule that a recipe's `windows` describe; fields that it does not take are ignored.

    Raises:
        InputError: for an option that it does not take, a value out of range, or a model that does not fit.
    """
    cls = POLICIES.find(config.policy)
    fields = {name: getattr(config, name) for name in fields_of(config.policy)}
    check_options(f"windows.options of policy {config.policy!r}", cls, config.options, {"model", *fields})
    return cls(model, **fields, **config.options)


def fields_of(policy: str) -> list[str]:
    """The fields of `WindowsConfig` that a policy takes."""
    return [name for name in _arguments(policy) if name in WindowsConfig.__dataclass_fields__]


def options_of(policy: str) -> dict[str, Any]:
    """A policy's further options, those of `windows.options`: name to type."""
    return {name: kind for name, kind in _arguments(policy).items() if name not in fields_of(policy)}


def _arguments(policy: str) -> dict[str, Any]:
    hints = get_type_hints(POLICIES[policy].__init__)
    return {name: kind for name, kind in hints.items() if name not in NOT_IN_RECIPES}
