"""Operations of a network, counted by loops over every sample, output and connection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from a2sg.models.layers import PerStep

Layer = nn.Linear | nn.modules.conv._ConvNd


def connections(module: Layer, shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every connection of a layer as the index of its input (of one sample), one by one."""
    if isinstance(module, nn.Linear):
        yield from ((i,) for _ in range(module.out_features) for i in range(module.in_features))
        return
    size, padding = shape[1:], module.padding
    assert not isinstance(padding, str)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        yield from transposed(module, size, padding)
        return
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(
            size, module.kernel_size, module.stride, padding, module.dilation, strict=True
        )
    ]
    inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups
    for o in range(module.out_channels):
        for at in itertools.product(*map(range, out)):
            for c in range(inputs):
                for tap in itertools.product(*map(range, module.kernel_size)):
                    place = [
                        a * s - p + t * d
                        for a, s, p, t, d in zip(
                            at, module.stride, padding, tap, module.dilation, strict=True
                        )
                    ]
                    if all(0 <= x < n for x, n in zip(place, size, strict=True)):
                        yield (o // outputs * inputs + c, *place)


def transposed(
    module: nn.modules.conv._ConvTransposeNd, size: Sequence[int], padding: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """The same of a transposed convolution: every input reaches for a window of the output."""
    out = [
        (n - 1) * s - 2 * p + d * (k - 1) + more + 1
        for n, k, s, p, d, more in zip(
            size,
            module.kernel_size,
            module.stride,
            padding,
            module.dilation,
            module.output_padding,
            strict=True,
        )
    ]
    for c in range(module.in_channels):
        for at in itertools.product(*map(range, size)):
            for tap in itertools.product(*map(range, module.kernel_size)):
                place = [
                    a * s - p + t * d
                    for a, s, p, t, d in zip(at, module.stride, padding, tap, module.dilation, strict=True)
                ]
                if all(0 <= x < n for x, n in zip(place, out, strict=True)):
                    yield from ((c, *at) for _ in range(module.out_channels // module.groups))


def brute_force(module: Layer, values: Tensor, quantum: float) -> tuple[int, float]:
    """(MACs, accumulates) of a layer for inputs `[N, ...]`."""
    macs, accumulates = 0, 0.0
    wires = list(connections(module, values.shape[1:]))
    for sample in values:
        levels = (sample / quantum).tolist()
        for wire in wires:
            level = levels
            for i in wire:
                level = level[i]
            macs += 1
            accumulates += level
    return macs, accumulates


def inputs_of(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The input of every synaptic layer, in the order of calls."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0]}))
        for name, module in model.named_modules()
        if isinstance(module, Layer)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def network(neuron: Callable[[], nn.Module], pool: nn.AvgPool2d | nn.MaxPool2d) -> nn.Sequential:
    """Conv, grouped and strided conv, pool, dense, head, over [T, B, 2, 8, 8]."""
    assert isinstance(pool.kernel_size, int)
    return nn.Sequential(
        PerStep(nn.Conv2d(2, 4, 3, padding=1)),
        neuron(),
        PerStep(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)),
        neuron(),
        PerStep(pool),
        nn.Flatten(2),
        nn.Linear(4 * (4 // pool.kernel_size) ** 2, 5),
        neuron(),
        nn.Linear(5, 3),
    )
