"""What Triton's kernels are compiled for, and whether they run here. Importable without triton."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch

from a2sg.surrogate import Arctan, Dspike, FastSigmoid, Sigmoid, Surrogate, WindowedAffine


@dataclass(frozen=True)
class Levels:
    """What the sums need of a neuron, as compile-time constants."""

    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Shape:
    """A surrogate as compile-time constants: which formula, with which numbers.

    `affine`: a + bz; `affine_abs`: a + b|z|; `sech2`: a sech²(bz/2); `arctan`; `fast_sigmoid`.
    """

    kind: str
    a: float
    b: float
    bounded: bool
    mass: float | None
    """The area to divide by at window 1; None for the free height."""


@cache
def available(device: str) -> bool:
    """Whether triton is installed and runs on tensors of a kind of device: CUDA, or any if interpreted."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device == "cuda" or (os.environ.get("TRITON_INTERPRET") == "1" and kernels().INTERPRETED)


@cache
def kernels() -> ModuleType:
    """The kernels; imports triton."""
    from a2sg.kernels import triton_device

    return triton_device


@cache
def shape_of(surrogate: Surrogate) -> Shape | None:
    """A shape's formula and numbers; None if the kernels do not know it, such as a user's own."""
    cls = type(surrogate)
    kind, a, b = "", 0.0, 0.0
    if isinstance(surrogate, WindowedAffine):
        own = type(surrogate)
        if own.profile is WindowedAffine.profile and own.ordinate is WindowedAffine.ordinate:
            kind = "affine_abs" if surrogate.symmetric else "affine"
            a, b = surrogate.offset, surrogate.slope
    elif isinstance(surrogate, Dspike) and cls.profile is Dspike.profile:
        kind = "sech2"
        a, b = surrogate.profile(torch.zeros((), dtype=torch.float64)).item(), surrogate.temperature
    elif cls.profile is Sigmoid.profile:
        kind, a, b = "sech2", 1.0, 1.0
    elif cls.profile is Arctan.profile:
        kind = "arctan"
    elif cls.profile is FastSigmoid.profile:
        kind = "fast_sigmoid"
    if not kind or cls.derivative is not Surrogate.derivative:
        return None
    return Shape(kind, a, b, surrogate.bounded, surrogate.mass if surrogate.area == "unit" else None)
