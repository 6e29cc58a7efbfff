"""How the multi-step neuron is computed. `integrate_and_fire` is the only entry point."""

from a2sg.kernels.backends import BACKENDS, BackendName
from a2sg.kernels.drive import POTENTIAL, Norm, spread
from a2sg.kernels.dynamics import Dynamics, Order, Reset
from a2sg.kernels.function import Call, integrate_and_fire
from a2sg.kernels.gate import Gate
from a2sg.kernels.unroll import Spike, unroll
from a2sg.kernels.work import Work

__all__ = [
    "BACKENDS",
    "POTENTIAL",
    "BackendName",
    "Call",
    "Dynamics",
    "Gate",
    "Norm",
    "Order",
    "Reset",
    "Spike",
    "Work",
    "integrate_and_fire",
    "spread",
    "unroll",
]
