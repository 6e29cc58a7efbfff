"""What a spiking neuron is in NIR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2sg.errors import require
from a2sg.export.conventions import Convention
from a2sg.neuron import SpikingNeuron


def neuron_node(
    neuron: SpikingNeuron,
    shape: tuple[int, ...],
    share: float,
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
        share: of the current that it takes per step.
        convention: of the reader.
        dtype: in which the reader computes.

    Raises:
        InputError: for a neuron that this reader would read as another.
    """
    import nir

    decay, threshold = float(neuron.leak()), neuron.threshold
    if convention.reset == "hard":
        require(
            neuron.reset == "hard",
            "its soft reset subtracts the threshold, where NIR's neurons return to v_reset: train with reset "
            "'hard', or export for a reader that subtracts ('sinabs')",
        )
        threshold = float(np.nextafter(dtype(threshold), dtype(0)))
    else:
        require(
            neuron.reset == "soft",
            "its hard reset returns to 0, where this reader subtracts the threshold: train with reset 'soft'",
        )

    def each(value: float) -> NDArray[Any]:
        return np.full(shape, value)

    shared = {"v_threshold": each(threshold), "v_reset": each(0.0)}
    if decay == 1:
        return nir.IF(r=each(share / convention.dt), **shared)
    tau = convention.tau(decay)
    require(tau > 0, f"this reader keeps exp(-dt/tau) of a potential in a step, which cannot be {decay:g}")
    return nir.LIF(tau=each(tau), r=each(share / (1 - decay)), v_leak=each(0.0), **shared)
