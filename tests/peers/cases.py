"""Neurons of the libraries that can be imported here, each with what it is equal to."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import a2sg
from a2sg.surrogate import Arctan, FastSigmoid, Sigmoid, Surrogate, Triangle
from lookalikes import by_step, whole

T = 4
DECAY = 0.5
"""A power of two: every library rounds alike."""


@dataclass(frozen=True)
class Case:
    """A neuron of a host library.

    Attributes:
        name: of the library, the neuron, and its setting.
        make: (threshold, surrogate) -> the neuron; surrogate is a key of `shapes`.
        run: (neuron, current `[T, B, ...]`) -> spikes.
        reset: puts a model to rest.
        shapes: surrogates of the host, each beside ours at a window.
        twin: (threshold) -> the neuron of ours with the same equations; None if there is none.
        single: whether it is called once a step and keeps its state.
        compiles: whether the host's own neuron compiles as a whole.
        kept: what the host changes of the state_dict of a forward.
    """

    name: str
    make: Callable[..., nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    reset: Callable[[nn.Module], object]
    shapes: dict[str, tuple[Any, Surrogate, float]] = field(default_factory=dict)
    twin: Callable[[float], nn.Module] | None = None
    single: bool = False
    compiles: bool = False

    def __str__(self) -> str:
        return self.name

    def neuron(self, threshold: float = 1.0, surrogate: str | None = None) -> nn.Module:
        shape = self.shapes[surrogate][0] if surrogate else None
        return self.make(threshold, shape)


def lif(reset: str, detach: bool, order: str = "field") -> Callable[[float], nn.Module]:
    return lambda threshold: a2sg.LIF(
        T, decay=DECAY, threshold=threshold, reset=reset, detach_reset=detach, order=order
    )


def unit(a: float) -> dict[str, float]:
    """Windows at which ours are the shapes that others write with a steepness."""
    return {"atan": 2 / (torch.pi * a), "sigmoid": 1 / a, "triangle": 1 / a, "fast": 1 / a}


def spikingjelly() -> list[Case]:
    """Version 0.0.0.0.12 has `clock_driven` alone; later ones have `activation_based`."""
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate

        old = False
    except ImportError:
        from spikingjelly.clock_driven import functional, neuron, surrogate

        old = True
    shapes = {
        "atan": (surrogate.ATan(2.0), Arctan(area="unit"), unit(2.0)["atan"]),
        "sigmoid": (surrogate.Sigmoid(4.0), Sigmoid(area="unit"), unit(4.0)["sigmoid"]),
        "quadratic": (surrogate.PiecewiseQuadratic(1.0), Triangle(area="unit"), 1.0),
    }
    settings: dict[str, tuple[str, dict[str, Any], Any]] = {
        "soft": ("LIFNode", {"tau": 2.0, "decay_input": False, "v_reset": None}, lif("soft", False)),
        "hard-detached": (
            "LIFNode",
            {"tau": 2.0, "decay_input": False, "v_reset": 0.0, "detach_reset": True},
            lif("hard", True),
        ),
        "decayed-input": ("LIFNode", {"tau": 2.0}, lif("hard", False, "scaled")),
        "if": ("IFNode", {}, lambda threshold: a2sg.IF(T, threshold=threshold, reset="hard")),
        "plif": (
            "ParametricLIFNode",
            {"init_tau": 2.0, "decay_input": False, "v_reset": None},
            lambda threshold: a2sg.PLIF(T, decay=DECAY, threshold=threshold),
        ),
    }
    found = []
    for name, (kind, options, twin) in settings.items():
        for mode in ("m", "s"):

            def make(threshold: float, shape: Any, kind=kind, options=options, mode=mode) -> nn.Module:
                options = {**options, "v_threshold": threshold}
                if shape is not None:
                    options["surrogate_function"] = shape
                if old:
                    return getattr(neuron, ("MultiStep" if mode == "m" else "") + kind)(**options)
                return getattr(neuron, kind)(**options, step_mode=mode)

            found.append(
                Case(
                    f"SpikingJelly-{name}-{mode}",
                    make,
                    whole if mode == "m" else by_step,
                    functional.reset_net,
                    shapes,
                    twin,
                    single=mode == "s",
                    compiles=importlib.util.find_spec("spikingjelly._ops") is not None,
                )
            )
    if hasattr(neuron, "ILIFNode"):
        for mode in ("m", "s"):

            def integer(threshold: float, shape: Any, mode=mode) -> nn.Module:
                counting = surrogate.MultiLevelSpikeCount(4)
                return neuron.ILIFNode(2.0, threshold, counting, step_mode=mode)

            found.append(
                Case(
                    f"SpikingJelly-integer-{mode}",
                    integer,
                    whole if mode == "m" else by_step,
                    functional.reset_net,
                    {"straight-through": (None, a2sg.surrogate.Boxcar(), 0.5)},
                    lambda threshold: a2sg.IntegerLIF(
                        T, levels=4, normalize=False, decay=DECAY, threshold=threshold
                    ),
                    single=mode == "s",
                )
            )
    return found


def snntorch() -> list[Case]:
    import snntorch
    from snntorch import surrogate

    shapes = {
        "atan": (surrogate.atan(2.0), Arctan(area="unit"), unit(2.0)["atan"]),
        "sigmoid": (surrogate.sigmoid(5), Sigmoid(area="unit"), unit(5.0)["sigmoid"]),
        "fast": (surrogate.fast_sigmoid(4), FastSigmoid(), unit(4.0)["fast"]),
    }

    def rest(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, snntorch.SpikingNeuron):
                module.reset_mem()

    def passed(neuron: nn.Module, current: Tensor) -> Tensor:
        """The state is passed by the caller."""
        state, spikes = (), []
        for x in current:
            spike, *state = neuron(x, *state)
            spikes.append(spike)
        return torch.stack(spikes)

    def case(name: str, kind: str, twin: Any = None, hidden: bool = False, **options: Any) -> Case:
        def make(threshold: float, shape: Any) -> nn.Module:
            made = getattr(snntorch, kind)
            return made(**options, threshold=threshold, spike_grad=shape, init_hidden=hidden)

        run = by_step if hidden else passed
        return Case(f"snnTorch-{name}", make, run, rest, shapes, twin, single=hidden, compiles=True)

    zero = {"reset_mechanism": "zero"}
    return [
        case("Leaky", "Leaky", lif("hard", True), beta=DECAY, **zero),
        case("Leaky-hidden", "Leaky", lif("hard", True), hidden=True, beta=DECAY, **zero),
        case("Leaky-subtract", "Leaky", beta=0.9),
        case("Leaky-at-once", "Leaky", beta=0.9, learn_beta=True, learn_threshold=True, reset_delay=False),
        case("Synaptic", "Synaptic", alpha=0.8, beta=0.6),
        case("Alpha", "Alpha", alpha=0.8, beta=0.6),
        case("Lapicque", "Lapicque", beta=0.6),
        case("RLeaky", "RLeaky", beta=0.6, all_to_all=False, V=0.5),
        case("RSynaptic-hidden", "RSynaptic", hidden=True, alpha=0.8, beta=0.6, all_to_all=False, V=0.5),
    ]


def norse() -> list[Case]:
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.module import iaf, lif_adex, lif_box, lif_ex, lsnn
    from norse.torch.module import lif as leaky

    shapes = {
        "triangle": (("triangle", 1.0), Triangle(), 1.0),
        "super": (("super", 100.0), FastSigmoid(), 1.0),
        "tanh": (("tanh", 2.0), Sigmoid(), 1 / 4),
    }

    def passed(cell: nn.Module, current: Tensor) -> Tensor:
        state, spikes = None, []
        for x in current:
            spike, state = cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    def unpacked(module: nn.Module, current: Tensor) -> Tensor:
        return module(current)[0]

    def parameters(kind: Any, threshold: float, shape: Any, **options: Any) -> Any:
        method = {} if shape is None else {"method": shape[0], "alpha": torch.tensor(shape[1])}
        # A leaf of its own for every neuron: the cells ask for gradients of what they start from.
        start = "v_reset" if kind is IAFParameters else "v_leak"
        return kind(v_th=torch.tensor(threshold), **{start: torch.tensor(0.0)}, **method, **options)

    def case(name: str, make: Any, twin: Any = None, run: Any = passed) -> Case:
        return Case(f"Norse-{name}", make, run, lambda model: None, shapes, twin)

    half = {"tau_mem_inv": torch.tensor(500.0)}
    fast = {"tau_mem_inv": torch.tensor(300.0), "tau_syn_inv": torch.tensor(400.0)}
    return [
        case(
            "LIFBoxCell",
            lambda threshold, shape: lif_box.LIFBoxCell(
                parameters(LIFBoxParameters, threshold, shape, **half)
            ),
            lif("hard", False, "scaled"),
        ),
        case(
            "LIFBoxCell-subtract",
            lambda threshold, shape: lif_box.LIFBoxCell(
                parameters(LIFBoxParameters, threshold, shape, reset_method=reset_subtract, **half)
            ),
            lif("soft", False, "scaled"),
        ),
        case(
            "IAFCell",
            lambda threshold, shape: iaf.IAFCell(parameters(IAFParameters, threshold, shape)),
            lambda threshold: a2sg.IF(T, threshold=threshold, reset="hard"),
        ),
        case(
            "IAF",
            lambda threshold, shape: iaf.IAF(parameters(IAFParameters, threshold, shape)),
            lambda threshold: a2sg.IF(T, threshold=threshold, reset="hard"),
            unpacked,
        ),
        case(
            "LIFCell",
            lambda threshold, shape: leaky.LIFCell(parameters(LIFParameters, threshold, shape, **fast)),
        ),
        case(
            "LIF",
            lambda threshold, shape: leaky.LIF(parameters(LIFParameters, threshold, shape, **fast)),
            run=unpacked,
        ),
        case(
            "LIFExCell",
            lambda threshold, shape: lif_ex.LIFExCell(
                lif_ex.LIFExParameters(
                    v_th=torch.tensor(threshold),
                    **({} if shape is None else {"method": shape[0], "alpha": shape[1]}),
                    **fast,
                )
            ),
        ),
        case(
            "LSNNCell",
            lambda threshold, shape: lsnn.LSNNCell(
                lsnn.LSNNParameters(
                    v_th=torch.tensor(threshold),
                    **({} if shape is None else {"method": shape[0], "alpha": shape[1]}),
                    **fast,
                )
            ),
        ),
        case(
            "LIFAdExCell",
            lambda threshold, shape: lif_adex.LIFAdExCell(
                lif_adex.LIFAdExParameters(
                    v_th=torch.tensor(threshold),
                    **({} if shape is None else {"method": shape[0], "alpha": shape[1]}),
                    **fast,
                )
            ),
        ),
    ]


def sinabs() -> list[Case]:
    from sinabs import reset_states
    from sinabs.activation import MaxSpike, MembraneReset, MembraneSubtract, MultiSpike, SingleSpike
    from sinabs.layers import IAF, LIF

    def batch_first(layer: nn.Module, current: Tensor) -> Tensor:
        return layer(current.transpose(0, 1)).transpose(0, 1)

    class Shaped:
        """A surrogate of a user's own, as Sinabs takes it."""

        def __init__(self, shape: Surrogate, window: float, thresholds: int) -> None:
            self.shape, self.window, self.thresholds = shape, window, thresholds

        def __call__(self, v_mem: Tensor, threshold: Tensor) -> Tensor:
            levels = range(1, self.thresholds + 1)
            return sum(self.shape.derivative(v_mem - k * threshold, self.window) for k in levels)

    def case(
        name: str, kind: Any, fire: Any, twin: Any = None, reset: Any = MembraneSubtract, **options: Any
    ) -> Case:
        levels = 1 if fire is SingleSpike else 2 if isinstance(fire, MaxSpike) else 12
        shapes = {
            "triangle": (Shaped(Triangle(), 0.8, levels), Triangle(), 0.8),
            "asymmetric": (
                Shaped(a2sg.surrogate.Asymmetric(bias=0.7), 0.9, levels),
                a2sg.surrogate.Asymmetric(bias=0.7),
                0.9,
            ),
        }

        def make(threshold: float, shape: Any) -> nn.Module:
            given = {} if shape is None else {"surrogate_grad_fn": shape}
            return kind(
                **options, **given, spike_threshold=torch.tensor(threshold), spike_fn=fire, reset_fn=reset()
            )

        return Case(f"Sinabs-{name}", make, batch_first, reset_states, shapes, twin)

    half = {"tau_mem": -1 / torch.log(torch.tensor(DECAY)), "norm_input": False}
    return [
        case("IAF", IAF, SingleSpike, lambda threshold: a2sg.IF(T, threshold=threshold)),
        case("LIF", LIF, SingleSpike, lif("soft", False), **half),
        case("LIF-reset", LIF, SingleSpike, lif("hard", True), MembraneReset, **half),
        case("IAF-multiple", IAF, MultiSpike),
        case("LIF-multiple", LIF, MultiSpike, tau_mem=3.0, tau_syn=2.0),
        case("IAF-two", IAF, MaxSpike(2)),
    ]


def available() -> list[Case]:
    found: list[Case] = []
    for library in (spikingjelly, snntorch, norse, sinabs):
        if importlib.util.find_spec(library.__name__) is not None:
            found += library()
    return found


CASES = available()
