"""Spiking networks by name: images `[B, C, H, W]` or `[T, B, C, H, W]` to logits `[T, B, classes]`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from a2sg.errors import require, require_choice, require_count, require_size
from a2sg.models import espikeformer as _espikeformer  # noqa: F401  (registers its networks)
from a2sg.models import fcn as _fcn  # noqa: F401
from a2sg.models import fpn as _fpn  # noqa: F401
from a2sg.models import mlp as _mlp  # noqa: F401
from a2sg.models import qkformer as _qkformer  # noqa: F401
from a2sg.models import resnet as _resnet  # noqa: F401
from a2sg.models import spikformer as _spikformer  # noqa: F401
from a2sg.models import vgg as _vgg  # noqa: F401
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.norms import NORMS
from a2sg.models.retime import with_steps
from a2sg.models.setting import MODELS, NEURON_OF, Setting, neuron_factory, register_model
from a2sg.models.unfold import unfold
from a2sg.neuron.whole import share_work
from a2sg.registry import check_options
from a2sg.surrogate import Surrogate

__all__ = [
    "Frames",
    "PerStep",
    "Setting",
    "SpikingLayer",
    "create_model",
    "describe_models",
    "list_models",
    "register_model",
    "unfold",
    "with_steps",
]


def create_model(
    name: str,
    *,
    num_classes: int = 10,
    steps: int = 4,
    in_channels: int = 3,
    image_size: int | Sequence[int] = 32,
    neuron: str | Callable[..., nn.Module] | None = None,
    surrogate: Surrogate | str | None = None,
    window: float | None = None,
    neuron_options: Mapping[str, Any] | None = None,
    norm: str = "td",
    **options: Any,
) -> nn.Module:
    """A spiking network.

    Args:
        name: one of `list_models()`.
        num_classes: how many logits.
        steps: T, the time steps.
        in_channels: C of the images.
        image_size: their height and width, one number or the pair.
        neuron: a name of `a2sg.neuron.NEURONS`, or a function that makes one from `steps`, `surrogate`,
            `window` and `neuron_options` (and in attention its `threshold`). None is the published one:
            `"integer_lif"` for E-SpikeFormer, else `"lif"`.
        surrogate: a shape, or a name of `a2sg.surrogate.SURROGATES`; None is the neuron's own: `Boxcar()` for
            integer neurons, else `Asymmetric()`.
        window: its initial half-width, above 0; None is the neuron's own, 0.5 or 1.
        neuron_options: further arguments of the neuron, such as `decay`.
        norm: batch norm before the neurons: `"td"`, over time and batch; `"sync"`, over all ranks of a
            distributed run too; or `"time_mean"`, of the mean over time, repeated for all steps (the A2SG
            research code).
        **options: what the network's entry function takes.

    Returns:
        A module from images `[B, C, H, W]` (repeated T times) or `[T, B, C, H, W]` to logits
        `[T, B, num_classes]`; `a2sg.training.losses` turns those into a decision.

    Raises:
        InputError: for an unknown name or option, or a value out of range.
    """
    elsewhere = inspect.signature(create_model).parameters
    check_options(f"model {name!r}", MODELS.find(name), options, given=1, beside=elsewhere)
    setting = Setting(
        num_classes=require_count("num_classes", num_classes),
        steps=require_count("steps", steps),
        in_channels=require_count("in_channels", in_channels),
        size=require_size("image_size", image_size),
        neuron=neuron_factory(
            NEURON_OF.get(name, "lif") if neuron is None else neuron, steps, surrogate, window, neuron_options
        ),
        norm=NORMS[require_choice("norm", norm, NORMS)],
    )
    model: nn.Module = MODELS.create(name, setting, **options)
    made = isinstance(model, nn.Module)
    require(made, f"the entry of model {name!r} must give a torch module, not {type(model).__name__}")
    share_work(model)
    return model


def list_models(pattern: str = "*") -> list[str]:
    """Names of networks that match a shell pattern such as `vgg*`, sorted."""
    return MODELS.names(pattern)


def describe_models() -> dict[str, str]:
    """A line on every network, by name."""
    return dict(sorted(MODELS.describe().items()))
