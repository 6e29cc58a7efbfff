"""Graphs of NIR, run step by step in float64 straight from the equations of its nodes: obvious, and slow."""

from __future__ import annotations

from collections.abc import Callable

import nir
import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray
Pair = tuple[int, int]
Integrate = Callable[[nir.NIRNode, Array, Array, float], Array]
Reset = Callable[[nir.NIRNode, Array, Array], Array]


def euler(node: nir.NIRNode, v: Array, current: Array, dt: float) -> Array:
    """NIR's equations, forward Euler: as SpikingJelly and snnTorch have it."""
    if isinstance(node, nir.IF):
        return v + dt * node.r * current
    return v + dt / node.tau * (node.v_leak - v + node.r * current)


def euler_without_r(node: nir.NIRNode, v: Array, current: Array, dt: float) -> Array:
    """The same without resistances, as Norse has it."""
    if isinstance(node, nir.IF):
        return v + current
    return v + dt / node.tau * (node.v_leak - v + current)


def exponential_without_r(node: nir.NIRNode, v: Array, current: Array, dt: float) -> Array:
    """The leak solved for the time of a step, the current as it is, as Sinabs has it."""
    return (v if isinstance(node, nir.IF) else np.exp(-dt / node.tau) * v) + current


def to_reset(node: nir.NIRNode, v: Array, fires: Array) -> Array:
    return np.where(fires, node.v_reset, v)


def less_threshold(node: nir.NIRNode, v: Array, fires: Array) -> Array:
    return v - node.v_threshold * fires


def run(
    graph: nir.NIRGraph,
    frames: ArrayLike,
    dt: float = 1e-4,
    integrate: Integrate = euler,
    reset: Reset = to_reset,
    fires: Callable[[Array, Array], Array] = np.greater,
) -> dict[str, Array]:
    """What every node gives.

    Args:
        graph: a `nir.NIRGraph` without loops.
        frames: `[T, B, ...]`.
        dt, integrate, reset, fires: what NIR leaves to its readers.

    Returns:
        `[T, B, ...]` by the node's name.
    """
    potentials: dict[str, Array] = {}
    steps = []
    for frame in np.asarray(frames, np.float64):
        values: dict[str, Array] = {}
        for name in order(graph):
            node = graph.nodes[name]
            sources = [values[source] for source, target in graph.edges if target == name]
            x = np.sum(sources, 0) if sources else frame
            if isinstance(node, nir.IF | nir.LIF):
                v = integrate(node, potentials.get(name, np.zeros_like(x)), x, dt)
                spikes = fires(v, node.v_threshold)
                potentials[name], x = reset(node, v, spikes), spikes.astype(np.float64)
            values[name] = apply(node, x) if not isinstance(node, nir.IF | nir.LIF) else x
        steps.append(values)
    return {name: np.stack([values[name] for values in steps]) for name in graph.nodes}


def order(graph: nir.NIRGraph) -> list[str]:
    """Nodes so that each comes after what it reads."""
    done: list[str] = []
    while len(done) < len(graph.nodes):
        done += [
            name
            for name in graph.nodes
            if name not in done and all(a in done for a, b in graph.edges if b == name)
        ]
    return done


def apply(node: nir.NIRNode, x: Array) -> Array:
    """A node without a state, on `[B, ...]`."""
    if isinstance(node, nir.Input | nir.Output):
        return x
    if isinstance(node, nir.Affine):
        return x @ node.weight.astype(np.float64).T + node.bias
    if isinstance(node, nir.Linear):
        return x @ node.weight.astype(np.float64).T
    if isinstance(node, nir.Scale):
        return x * node.scale
    if isinstance(node, nir.Flatten):
        assert (node.start_dim, node.end_dim) == (0, -1)
        return x.reshape(len(x), -1)
    if isinstance(node, nir.Conv1d):
        assert node.groups == 1
        weight = node.weight.astype(np.float64)[:, :, None]
        maps = windows(
            x[:, :, None], weight.shape[2:], (1, node.stride), (0, node.padding), (1, node.dilation)
        )
        return np.einsum("bchwij,ocij->bow", maps, weight) + node.bias[:, None]
    if isinstance(node, nir.Conv2d):
        assert node.groups == 1
        weight = node.weight.astype(np.float64)
        maps = windows(x, weight.shape[2:], node.stride, node.padding, node.dilation)
        return np.einsum("bchwij,ocij->bohw", maps, weight) + node.bias[:, None, None]
    assert isinstance(node, nir.AvgPool2d | nir.SumPool2d), node
    maps = windows(x, node.kernel_size, node.stride, node.padding, (1, 1))
    return maps.mean((4, 5)) if isinstance(node, nir.AvgPool2d) else maps.sum((4, 5))


def windows(x: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """What each output pixel sees, `[B, C, H, W, *size]`."""
    (top, left), (down, right), (tall, wide) = padding, stride, dilation
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    seen = np.lib.stride_tricks.sliding_window_view(
        x, (tall * (size[0] - 1) + 1, wide * (size[1] - 1) + 1), (2, 3)
    )
    return seen[:, :, ::down, ::right, ::tall, ::wide]
