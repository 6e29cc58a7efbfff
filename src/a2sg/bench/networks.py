"""The networks that are trained: ours, and the same one from SpikingJelly's layers.

A network is one entry of `NETWORKS`. The second of its functions makes SpikingJelly's out of ours and
takes over the weights, so the two start equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from a2sg.bench.options import CLASSES, DECAY, IMAGE, THRESHOLD, Options
from a2sg.bench.peers import spikingjelly_node
from a2sg.models import create_model
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.surrogate import Triangle


@dataclass(frozen=True)
class Network:
    """A network in both libraries.

    Attributes:
        ours: for `options` and T.
        spikingjelly: the same with the same weights, from ours and the reset.
    """

    ours: Callable[[Options, int], nn.Module]
    spikingjelly: Callable[[nn.Module, str], nn.Module]


def _ours(name: str) -> Callable[[Options, int], nn.Module]:
    def create(options: Options, steps: int) -> nn.Module:
        return create_model(
            name,
            num_classes=CLASSES,
            steps=steps,
            image_size=IMAGE,
            surrogate=Triangle(),
            neuron_options={"decay": DECAY, "threshold": THRESHOLD, "reset": options.reset},
            width=options.width,
        )

    return create


def _sequential(ours: nn.Module, reset: str) -> nn.Module:
    """SpikingJelly's layers for a chain of ours."""
    from spikingjelly.activation_based import functional

    modules = []
    for module in ours.children():
        modules += _translated(module, reset)
    network = nn.Sequential(*modules)
    functional.set_step_mode(network, "m")
    return network


def _translated(module: nn.Module, reset: str) -> list[nn.Module]:
    from spikingjelly.activation_based import layer

    if isinstance(module, SpikingLayer):
        norm = layer.BatchNorm2d if isinstance(module.synapse, nn.Conv2d) else layer.BatchNorm1d
        taken = norm(module.norm.bn.num_features)
        taken.load_state_dict(module.norm.bn.state_dict())
        return [_weights(module.synapse), taken, spikingjelly_node(reset)]
    if isinstance(module, PerStep):
        inner = module.layer
        return [_weights(inner) if isinstance(inner, nn.Linear) else layer.AvgPool2d(inner.kernel_size)]
    if isinstance(module, nn.Flatten):
        return [layer.Flatten()]
    if isinstance(module, Frames):
        return [Frames(module.steps, module.channels, module.size)]
    raise TypeError(f"no layer of SpikingJelly is known for {type(module).__name__}")


def _weights(module: nn.Module) -> Any:
    from spikingjelly.activation_based import layer

    bias = module.bias is not None
    taken: Any
    if isinstance(module, nn.Conv2d):
        taken = layer.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            bias=bias,
        )
    else:
        assert isinstance(module, nn.Linear)
        taken = layer.Linear(module.in_features, module.out_features, bias=bias)
    taken.load_state_dict(module.state_dict())
    return taken


NETWORKS: dict[str, Network] = {"vgg16": Network(_ours("vgg16"), _sequential)}
"""By name."""
