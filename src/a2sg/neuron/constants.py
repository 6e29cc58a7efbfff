"""Constants of a neuron: numbers, tensors with one number for each channel, or trained parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_choice, require_positive, require_share
from a2sg.kernels.tracing import tracing

Constant = float | Tensor
"""A number; a tensor `[C]`, one number for each channel of `[T, B, C, ...]`; or an `nn.Parameter` of either,
which is trained."""

RANGES: Mapping[str, Callable[[str, float], float]] = {
    "threshold": require_positive,
    "decay": require_share,
}


class Constants(nn.Module):
    """A module whose constants are checked when they are set, saved and moved with it, and may be trained.

    A number stays a number. A tensor `[C]` becomes a buffer, an `nn.Parameter` a parameter, whether given at
    the start or set later.
    """

    constants: ClassVar[Collection[str]] = tuple(RANGES)
    """Names of attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.constants:
            self._hold(name, checked(name, value))
        else:
            super().__setattr__(name, value)

    def _hold(self, name: str, value: Constant) -> None:
        """Store a checked constant in place of the old value."""
        for place in (self.__dict__, self._parameters, self._buffers):
            place.pop(name, None)
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Tensor):
            self.register_buffer(name, value)
        else:
            object.__setattr__(self, name, value)

    def _set_constants(self, learn: str | Sequence[str], **values: Constant) -> None:
        """Set constants, those named in `learn` as parameters.

        Raises:
            InputError: for a value out of range, or a name that is not a constant.
        """
        names = [learn] if isinstance(learn, str) else list(learn)
        for name in names:
            require_choice("constant to learn", name, values)
        for name, value in values.items():
            trained = name in names and not isinstance(value, nn.Parameter)
            setattr(self, name, nn.Parameter(torch.as_tensor(checked(name, value))) if trained else value)


def checked(name: str, value: Constant) -> Constant:
    """A constant in its range: a float, a copy of a tensor `[C]`, or the parameter that was given.

    Raises:
        InputError: for a value out of range, a shape that is not `[C]`, or a tensor that requires a gradient
            but is not a parameter.
    """
    within = RANGES[name]
    if not isinstance(value, Tensor):
        return within(name, value)
    trained = isinstance(value, nn.Parameter)
    require(
        trained or not value.requires_grad,
        f"{name} is a tensor that requires a gradient but is not a parameter, so no optimizer would find it: "
        f"pass nn.Parameter({name}), or {name}.detach()",
    )
    if value.dim() == 0 and not trained:
        return within(name, value.item())
    require(
        value.dim() <= 1 and value.numel() > 0,
        f"{name} must be a number, or one for each channel [C], not of shape {tuple(value.shape)}",
    )
    require(
        value.is_floating_point(),
        f"{name} must be floating point, not {value.dtype}: convert it with .float()",
    )
    if not tracing(value):
        for number in (value.min().item(), value.max().item()):
            within(name, number)
    return value if trained else value.detach().clone()


def require_channels(name: str, value: Constant, shape: Sequence[int]) -> Constant:
    """Return a constant; raise `InputError` unless it fits inputs `[T, B, C, ...]` of `shape`."""
    if not isinstance(value, Tensor) or value.numel() == 1:
        return value
    if len(shape) < 3:
        raise InputError(
            f"{name} has one number for each of {value.numel()} channels, but the input {tuple(shape)} has "
            "none: it must be [T, B, C, ...]"
        )
    require(
        shape[2] == value.numel(),
        f"{name} has one number for each of {value.numel()} channels, but the input {tuple(shape)} has "
        f"{shape[2]} in its third dimension: inputs are [T, B, C, ...]",
    )
    return value


def shown(value: Constant) -> str:
    """A constant as `repr` of a module shows it."""
    if not isinstance(value, Tensor):
        return f"{value:g}"
    size = "" if value.dim() == 0 else f" of {value.numel()} channels"
    return f"<trained{size}>" if isinstance(value, nn.Parameter) else f"<{value.numel()} channels>"
