"""Spiking networks by name: images `[B, C, H, W]` or `[T, B, C, H, W]` to logits `[T, B, classes]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from a2sg.errors import require_count
from a2sg.models import vgg as _vgg  # noqa: F401  (registers its networks)
from a2sg.models.setting import MODELS, Setting, neuron_factory
from a2sg.surrogate import Surrogate

__all__ = ["create_model", "describe_models", "list_models"]


def create_model(
    name: str,
    num_classes: int = 10,
    steps: int = 4,
    in_channels: int = 3,
    image_size: int = 32,
    neuron: str | Callable[..., nn.Module] = "lif",
    surrogate: Surrogate | str | None = None,
    window: float = 1.0,
    neuron_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """A spiking network.

    Args:
        name: one of `list_models()`.
        num_classes: how many logits.
        steps: T, the time steps.
        in_channels: C of the images.
        image_size: their height and width.
        neuron: a name of `a2sg.neuron.NEURONS`, or what makes one when called with `steps`, `surrogate`,
            `window` and `neuron_options`.
        surrogate: a shape, or a name of `a2sg.surrogate.SURROGATES`; None is `Asymmetric()`.
        window: its half-width at the start, above 0.
        neuron_options: further arguments of the neuron, such as `decay`.
        **options: what the network's entry function takes.

    Returns:
        A module from images `[B, C, H, W]` (repeated T times) or `[T, B, C, H, W]` to logits
        `[T, B, num_classes]`; `a2sg.training.losses` turns those into a decision.

    Raises:
        InputError: for an unknown name or option, or a value out of range.
    """
    setting = Setting(
        num_classes=require_count("num_classes", num_classes),
        steps=require_count("steps", steps),
        in_channels=require_count("in_channels", in_channels),
        image_size=require_count("image_size", image_size),
        neuron=neuron_factory(neuron, steps, surrogate, window, neuron_options),
    )
    model: nn.Module = MODELS.create(name, setting, **options)
    return model


def list_models(pattern: str = "*") -> list[str]:
    """Names of networks that match a shell pattern such as `vgg*`, sorted."""
    return MODELS.names(pattern)


def describe_models() -> dict[str, str]:
    """A line on every network, by name."""
    return MODELS.describe()
