"""Surrogate shapes: replacements for ds/du, as pure formulas of distance and window.

The main method of a shape is `derivative(distance, window)`, with `distance = u - threshold`. Both arguments
broadcast, so a window may differ per step, per layer or per channel. Nothing here knows about autograd:
training, search, analysis and kernels all use the same formula. Its integral, `primitive`, is the smooth
spike whose true derivative is the shape; only analyses use it.

A shape is a profile of z = distance / window, so the window only stretches it.

It has its published height (`area="free"`) or integral 1 (`area="unit"`); `scale` multiplies either.
"""

from a2sg.surrogate.affine import Asymmetric, Boxcar, PinnedAsymmetric, Triangle
from a2sg.surrogate.registry import SURROGATES, create_surrogate, register_surrogate
from a2sg.surrogate.shape import Formula, Surrogate, WindowedAffine
from a2sg.surrogate.smooth import Arctan, Dspike, FastSigmoid, Sigmoid

__all__ = [
    "SURROGATES",
    "Arctan",
    "Asymmetric",
    "Boxcar",
    "Dspike",
    "FastSigmoid",
    "Formula",
    "PinnedAsymmetric",
    "Sigmoid",
    "Surrogate",
    "Triangle",
    "WindowedAffine",
    "create_surrogate",
    "register_surrogate",
]
