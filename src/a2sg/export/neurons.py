"""How a spiking neuron is written in NIR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from a2sg.errors import require
from a2sg.export.conventions import Convention
from a2sg.neuron import SpikingNeuron


def neuron_node(
    neuron: SpikingNeuron,
    shape: tuple[int, ...],
    decay: NDArray[Any],
    share: NDArray[Any],
    convention: Convention,
    dtype: type[np.floating[Any]],
) -> Any:
    """The node of a neuron: `nir.LIF`, or without a leak `nir.IF`.

    A step of NIR's LIF is v = decay · v + (1 - decay) · r · I if τ fits the decay, whichever way it is
    integrated, and one of its IF is v = v + dt · r · I. Ours is v = decay · v + share · I.

    A hard reset follows NIR to the letter: NIR fires above v_threshold, our neurons at the threshold, so
    v_threshold is the number of `dtype` right below it. Readers that subtract v_threshold get the threshold.

    Args:
        neuron: the neuron.
        shape: of one sample.
        decay: its leak, 0-d or `[C]`.
        share: of the current that it takes per step, likewise.
        convention: of the reader.
        dtype: in which the reader computes.

    Raises:
        InputError: for a neuron that this reader would read as another.
    """
    import nir

    threshold = constant_array(neuron.threshold)
    require(
        bool((decay >= 0).all() and (decay <= 1).all() and (threshold > 0).all()),
        "training has moved its decay outside 0 to 1, or its threshold below 0, which NIR cannot express",
    )
    if convention.reset == "hard":
        require(
            neuron.reset == "hard",
            "its soft reset subtracts the threshold, where NIR's neurons return to v_reset: train with reset "
            "'hard', or export for a reader that subtracts ('sinabs')",
        )
        threshold = np.nextafter(threshold.astype(dtype), dtype(0)).astype(float)
    else:
        require(
            neuron.reset == "soft",
            "its hard reset returns to 0, where this reader subtracts the threshold: train with reset 'soft'",
        )

    def each(value: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(value.reshape(-1, *(1,) * (len(shape) - 1)), shape).copy()

    none = np.zeros(1)
    shared = {"v_threshold": each(threshold), "v_reset": each(none)}
    if (decay == 1).all():
        return nir.IF(r=each(share / convention.dt), **shared)
    require(
        bool((decay < 1).all()), "some of its channels leak and others do not, which no neuron of NIR does"
    )
    tau = convention.tau(decay)
    require(
        bool((tau > 0).all()), "this reader keeps exp(-dt/tau) of a potential per step, which cannot be 0"
    )
    return nir.LIF(tau=each(tau), r=each(share / (1 - decay)), v_leak=each(none), **shared)


def constant_array(constant: Tensor | float) -> NDArray[Any]:
    """A neuron's constant in float64, 0-d or `[C]`."""
    if isinstance(constant, Tensor):
        constant = constant.detach().cpu().double().squeeze()
    return np.asarray(constant, dtype=float)
