"""How the multi-step neuron is computed. `integrate_and_fire` is the one way in."""

from a2sg.kernels.backends import BACKENDS, Backend
from a2sg.kernels.dynamics import Dynamics, Order, Reset
from a2sg.kernels.function import Call, Norm, integrate_and_fire
from a2sg.kernels.gate import Gate
from a2sg.kernels.unroll import Spike, unroll

__all__ = [
    "BACKENDS",
    "Backend",
    "Call",
    "Dynamics",
    "Gate",
    "Norm",
    "Order",
    "Reset",
    "Spike",
    "integrate_and_fire",
    "unroll",
]
