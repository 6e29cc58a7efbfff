"""SpikingJelly: `clock_driven` (0.0.0.0.12) and `activation_based` (0.0.0.0.14, 2.0), single- and multi-step.

A node calls its `surrogate_function` with u - Vth once per step, even if it runs all T steps in one call. At
the start of a sequence its state v is a number, or carries no graph: after `functional.reset_net`, or after
`detach`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Fire, Swap, without_graph
from a2sg.errors import require
from a2sg.kernels.gate import Gate

log = logging.getLogger("a2sg")

AT_ONCE = ("PSN", "MaskedPSN", "SlidingPSN")
"""Nodes that fire all steps in one call of the surrogate: their steps cannot be told apart."""

TWICE = ("TernaryIFNode", "TernaryLIFNode")
"""Nodes that call it twice per step, for spikes of either sign."""


def adopt(node: nn.Module, site: SpikeSite) -> Swap | str | None:
    """SpikingJelly: nodes of `clock_driven` and `activation_based`, single- and multi-step.

    Returns the swap of a node; or why there is none; or None for a module without spikes.

    Raises:
        InputError: for a node whose computation cannot use another surrogate.
    """
    surrogate = getattr(node, "surrogate_function", None)
    if surrogate is None:
        return None
    if type(node).__name__ in AT_ONCE:
        return "it fires all steps in one call"
    if type(node).__name__ in TWICE:
        return "it has spikes of either sign"
    require(
        getattr(surrogate, "spiking", True),
        f"{type(node).__name__} has a surrogate with spiking=False, which makes no spikes: set it to True",
    )
    require(
        getattr(node, "_neuron_precision", None) is None,
        f"{type(node).__name__} has an explicit neuron precision, which only fused kernels support: build it "
        "without one",
    )
    forced = _forced()
    require(
        not forced,
        f"{forced} asks for a kernel that has its surrogate compiled in: unset it, or set it to 'torch'",
    )
    site.count.told = hasattr(node, "v")
    if type(node).__name__ == "ILIFNode":
        return _integer(node, site)
    attributes: dict[str, object] = {"surrogate_function": Fire(surrogate, site)}
    return Swap(site, attributes | _torch_backend(node), _at_rest if site.count.told else None)


def _at_rest(node: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return without_graph(node.v)


def _forced() -> str:
    """The environment variable that makes version 2 use a fused kernel, if that matters here."""
    if "spikingjelly._ops" in sys.modules and torch.cuda.is_available():
        for name, value in os.environ.items():
            if re.fullmatch("SJ_[A-Z_]+_CUDA_IMPLEMENTATION", name) and value in ("cuda", "triton"):
                return f"{name}={value}"
    return ""


def _torch_backend(node: nn.Module) -> dict[str, object]:
    """Switch to the torch backend: fused kernels have their own surrogate compiled in."""
    for name in ("_backend", "backend"):  # 0.0.0.0.14, 0.0.0.0.12
        if name in vars(node):
            if vars(node)[name] != "torch":
                given = vars(node)[name]
                log.info("%s runs with backend='torch' while adapted, not %r", type(node).__name__, given)
            return {name: "torch"}
    return {}


def _integer(node: Any, site: SpikeSite) -> Swap:
    """I-LIF: the surrogate counts the levels k - 1/2, k = 1 .. D, that u / Vth has reached."""
    counting = node.surrogate_function
    levels = int(counting.max_spike_count)
    thresholds = tuple((k - 0.5) * node.v_threshold for k in range(1, levels + 1))
    site.gate = Gate(site.gate.surrogate, thresholds)
    fire = _Scaled(counting, site, node.v_threshold)
    # Run over all steps, the node checks for its own surrogate: here, the same equations step by step.
    steps = partial(_integer_steps, node)
    return Swap(site, {"surrogate_function": fire, "multi_step_forward": steps}, _at_rest)


class _Scaled(Fire):
    """A spike function that is called with u / threshold."""

    def __init__(self, original: Any, site: SpikeSite, threshold: float) -> None:
        super().__init__(original, site)
        self.threshold = threshold

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.site.fire(potential * self.threshold, lambda: self.original(potential))


def _integer_steps(node: Any, x_seq: Tensor) -> Tensor:
    """u[t] = (1 - 1/tau) v[t-1] + I[t], s = surrogate(u / Vth), v = u - Vth s, over `[T, B, ...]`."""
    (v,) = node.materialize_states((x_seq,), (node.v,), "m")
    spikes, potentials = [], []
    for x in x_seq:
        u = (1.0 - 1.0 / node.tau) * v + x.to(torch.promote_types(x.dtype, v.dtype))
        s = node.surrogate_function(u / node.v_threshold)
        v = u - (s.detach() if node.detach_reset else s) * node.v_threshold
        spikes.append(s.to(x.dtype))
        potentials.append(v)
    node.v = v
    node.v_seq = torch.stack(potentials) if node.store_v_seq else None
    return torch.stack(spikes)
