"""Other libraries' LIF neurons, set to the same equations as ours, as functions from `[T, ...]` to spikes.

    python -m a2sg.bench.peers        which of them can be imported here

With u[t] = decay · v[t-1] + I[t], a spike at u >= threshold, and a reset by subtraction or to 0:

- SpikingJelly: `LIFNode(tau=1/(1-decay), decay_input=False)`. Its CPU operator is plain torch with a
  hand-written backward; compiled means `torch.compile` of the node, which sees through the operator. On
  CUDA it has torch, Triton and (if built) CUDA implementations, and binds one per device.
- Norse: `LIFBoxCell` scales the input by 1-decay too, so the threshold is scaled likewise. Exact for
  decay = 1/2.
- snnTorch: `Leaky` with `reset_mechanism="zero"` is the same. With `"subtract"` it takes the threshold
  off one step later, without leak: its spikes differ. Its reset is always detached.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from a2sg.bench.options import DECAY, THRESHOLD, Options

Layer = Callable[[Tensor], Tensor]

MODULES = {
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "snntorch": "snntorch",
    "norse": "norse.torch",
}
"""The module to import from each library."""


def available() -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the libraries that can be imported, and why the others cannot."""
    found, missing = {}, {}
    for name, module in MODULES.items():
        try:
            importlib.import_module(module)
            found[name] = version(name)
        except Exception as error:  # a package may raise anything on import: it is then not available
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing


def lif_layers(options: Options) -> dict[str, Layer]:
    """LIF layers of every library in `options.peers`, by the name they are shown under."""
    layers: dict[str, Layer] = {}
    for name in options.peers:
        layers |= LAYERS[name](options)
    return layers


def spikingjelly_node(reset: str) -> Any:
    """A multi-step LIFNode; `functional.reset_net` puts it to rest."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=1 / (1 - DECAY),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=None if reset == "soft" else 0.0,
        surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
        step_mode="m",
    )


def _spikingjelly(options: Options) -> dict[str, Layer]:
    from spikingjelly.activation_based import functional

    def layer(compiled: bool, before: Callable[[], object] | None = None) -> Layer:
        node = spikingjelly_node(options.reset).to(options.device)
        run = torch.compile(node, dynamic=False) if compiled else node

        def forward(x: Tensor) -> Tensor:
            functional.reset_net(node)
            if before is not None:
                before()
            spikes: Tensor = run(x)
            return spikes

        return forward

    if options.device == "cuda":
        bindings = spikingjelly_bindings()
        layers = {f"SpikingJelly {name}": layer(False, bind) for name, bind in bindings.items()}
    else:
        layers = {"SpikingJelly torch": layer(False)}
    return layers | {"SpikingJelly compiled": layer(True)}


def spikingjelly_bindings() -> dict[str, Callable[[], object]]:
    """Functions that select each of its CUDA implementations.

    SpikingJelly reads SJ_LIF_CUDA_IMPLEMENTATION once per process; to time them all in one run, each is
    selected once here, as it would be at the start, and put in its place before a call.
    """
    from spikingjelly._ops.lif import _selection

    device = torch.device("cuda", torch.cuda.current_device())
    requested = _selection._requested
    bindings: dict[str, Callable[[], object]] = {}
    for name in ("torch", "triton", "cuda"):
        _selection._requested = name
        _selection._selections.clear()
        try:
            chosen = _selection._get_cuda_selection(device)
        except RuntimeError:  # not built, or without Triton
            continue
        bindings[name] = lambda chosen=chosen: _selection._selections.__setitem__(device.index, chosen)  # type: ignore[misc]
    _selection._requested = requested
    _selection._selections.clear()
    return bindings


def _snntorch(options: Options) -> dict[str, Layer]:
    import snntorch

    mechanism = "subtract" if options.reset == "soft" else "zero"
    leaky = snntorch.Leaky(DECAY, threshold=THRESHOLD, reset_mechanism=mechanism).to(options.device)

    def forward(x: Tensor) -> Tensor:
        potential = leaky.reset_mem()
        spikes = []
        for current in x:
            spike, potential = leaky(current, potential)
            spikes.append(spike)
        return torch.stack(spikes)

    return {"snnTorch": forward}


def _norse(options: Options) -> dict[str, Layer]:
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.lif_box import LIFBoxCell

    step = 1 - DECAY
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(1.0, device=options.device),
        v_leak=torch.tensor(0.0, device=options.device),
        v_th=torch.tensor(THRESHOLD * step, device=options.device),
        v_reset=torch.tensor(0.0, device=options.device),
        method="triangle",
        alpha=1.0,
        reset_method=reset_subtract if options.reset == "soft" else reset_value,
    )
    cell = LIFBoxCell(parameters, dt=step)

    def forward(x: Tensor) -> Tensor:
        state = None
        spikes = []
        for current in x:
            spike, state = cell(current, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return {"Norse": forward}


LAYERS: dict[str, Callable[[Options], dict[str, Layer]]] = {
    "spikingjelly": _spikingjelly,
    "snntorch": _snntorch,
    "norse": _norse,
}


if __name__ == "__main__":
    found, missing = available()
    for name in MODULES:
        print(f"{name} {found[name]}" if name in found else f"{name}: {missing[name]}")
    sys.exit(1 if missing else 0)
