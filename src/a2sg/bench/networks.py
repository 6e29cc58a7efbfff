"""The networks that are trained: ours, and the same networks built from SpikingJelly's layers.

A network is one entry of `NETWORKS`. The second of its functions builds SpikingJelly's network from ours and
copies the weights, so the two start equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from a2sg.bench import spikformer
from a2sg.bench.options import CLASSES, DECAY, IMAGE, THRESHOLD, Options
from a2sg.bench.peers import spikingjelly_node
from a2sg.models import create_model
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.residual import ConvNorm, Residual
from a2sg.neuron import SpikingNeuron
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


def _factor(width: float) -> dict[str, Any]:
    return {"width": width}


def _ours(
    name: str, sizes: Callable[[float], dict[str, Any]] = _factor
) -> Callable[[Options, int], nn.Module]:
    def create(options: Options, steps: int) -> nn.Module:
        return create_model(
            name,
            num_classes=CLASSES,
            steps=steps,
            image_size=IMAGE,
            surrogate=Triangle(),
            neuron_options={"decay": DECAY, "threshold": THRESHOLD, "reset": options.reset},
            **sizes(options.width),
        )

    return create


def _spikingjelly(ours: nn.Module, reset: str) -> nn.Module:
    """The network of SpikingJelly's layers that corresponds to a tree of ours."""
    from spikingjelly.activation_based import functional

    network = _translated(ours, reset)
    functional.set_step_mode(network, "m")
    return network


def _translated(module: nn.Module, reset: str) -> nn.Module:
    from spikingjelly.activation_based import layer

    def inner(module: nn.Module) -> nn.Module:
        return _translated(module, reset)

    if isinstance(module, nn.Sequential):
        return nn.Sequential(*map(inner, module))
    if isinstance(module, Residual):
        return Residual(inner(module.branch), inner(module.shortcut), inner(module.neuron))
    if isinstance(module, SpikingLayer):
        return nn.Sequential(_weights(module.synapse), _norm(module), inner(module.neuron))
    if isinstance(module, ConvNorm):
        return nn.Sequential(_weights(module.synapse), _norm(module))
    if isinstance(module, SpikingNeuron):
        node = spikingjelly_node(reset)
        node.v_threshold = module.threshold
        return cast(nn.Module, node)
    if (arranged := spikformer.translated(module, inner)) is not None:
        return arranged
    if isinstance(module, PerStep):
        return inner(module.layer)
    if isinstance(module, nn.Linear):
        return _weights(module)
    if isinstance(module, nn.AvgPool2d):
        return layer.AvgPool2d(module.kernel_size)
    if isinstance(module, nn.MaxPool2d):
        return layer.MaxPool2d(module.kernel_size, module.stride, module.padding)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return layer.AdaptiveAvgPool2d(module.output_size)
    if isinstance(module, nn.Flatten):
        return layer.Flatten()
    if isinstance(module, Frames):
        return Frames(module.steps, module.channels, module.size)
    if isinstance(module, nn.Identity):
        return nn.Identity()
    raise TypeError(f"no layer of SpikingJelly is known for {type(module).__name__}")


def _norm(module: SpikingLayer | ConvNorm) -> Any:
    from spikingjelly.activation_based import layer

    ours = module.norm.bn
    norm = layer.BatchNorm2d if isinstance(module.synapse, nn.Conv2d) else layer.BatchNorm1d
    taken = norm(ours.num_features)
    taken.load_state_dict(ours.state_dict())
    return taken


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


NETWORKS: dict[str, Network] = {
    **{
        name: Network(_ours(name), _spikingjelly)
        for name in ("vgg16", "resnet19", "sew_resnet18", "ms_resnet18")
    },
    "spikformer_4_384": Network(_ours("spikformer_4_384", spikformer.sizes), _spikingjelly),
}
"""By name."""
