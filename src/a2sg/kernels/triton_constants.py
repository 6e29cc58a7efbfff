"""What the Triton kernels are compiled for, and whether they run here. Importable without triton."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch

from a2sg.surrogate import Surrogate


@dataclass(frozen=True)
class Levels:
    """What the sums need to know about a neuron, as compile-time constants."""

    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Shape:
    """A surrogate as compile-time constants: its formula and numbers."""

    kind: str
    a: float
    b: float
    bounded: bool
    mass: float | None
    """The area at window 1, to divide by; None for the free height."""
    scale: float
    """A factor on the whole shape."""


LEAST = (3, 4)
"""The first Triton that compiles the kernels: dataclasses may be constants. It comes with torch 2.8."""


@cache
def available(device: str) -> bool:
    """Whether a Triton that compiles the kernels runs on a kind of device: CUDA, or any by interpretation."""
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return False
    return _version() >= LEAST and (device == "cuda" or kernels().INTERPRETED)


def _version() -> tuple[int, ...]:
    """The first two numbers of Triton's version; none if it is not installed."""
    if importlib.util.find_spec("triton") is None:
        return ()
    found: str = importlib.import_module("triton").__version__
    return tuple(int(number) for number in found.split(".")[:2])


@cache
def kernels() -> ModuleType:
    """The kernels; imports triton."""
    from a2sg.kernels import triton_device

    return triton_device


@cache
def sum_kernels() -> ModuleType:
    """The kernels for the sums; imports triton."""
    from a2sg.kernels import triton_device_sums

    return triton_device_sums


@cache
def bin_kernels() -> ModuleType:
    """The kernels for the sums of straight lines; imports triton."""
    from a2sg.kernels import triton_device_bins

    return triton_device_bins


@cache
def product_kernels() -> ModuleType:
    """The kernels for the sums of straight lines on tensor cores; imports triton."""
    from a2sg.kernels import triton_device_products

    return triton_device_products


@cache
def moment_kernels() -> ModuleType:
    """The kernels for batch statistics; imports triton."""
    from a2sg.kernels import triton_device_moments

    return triton_device_moments


@cache
def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 for Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@cache
def shape_of(surrogate: Surrogate) -> Shape | None:
    """A surrogate's formula and numbers; None if the kernels do not know it, such as a user's own."""
    formula = surrogate.formula()
    cls = type(surrogate)
    # A subclass that changes a known shape but not its formula is another shape.
    if formula is None or not all(
        issubclass(_definer(cls, "formula"), _definer(cls, name))
        for name in ("derivative", "profile", "ordinate")
    ):
        return None
    mass = surrogate.mass if surrogate.area == "unit" else None
    return Shape(*formula, surrogate.bounded, mass, surrogate.scale)


def _definer(cls: type, name: str) -> type:
    """The class in which a method of `cls` is defined; `object` if nowhere."""
    return next((base for base in cls.__mro__ if name in vars(base)), object)
