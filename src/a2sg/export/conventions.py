"""How readers of NIR turn its equations into steps.

NIR describes neurons in continuous time, τ dv/dt = (v_leak - v) + R I, and leaves the step to its reader. So
only readers of one convention get the spikes that a file was written for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from a2sg.kernels.dynamics import Reset

STEPS = {
    "euler": "v + dt/tau (v_leak - v + r I)",
    "exponential": "exp(-dt/tau) v + (1 - exp(-dt/tau)) (v_leak + r I)",
}
RESETS = {"hard": "v_reset", "soft": "v - v_threshold"}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One way to read NIR.

    Attributes:
        dt: length of a step, in the unit of τ.
        decay: `"euler"`, forward Euler, where the potential keeps 1 - dt/τ of itself in a step; or
            `"exponential"`, the equation's solution for a constant current, where it keeps exp(-dt/τ).
        reset: what a spike does: `"hard"`, v = v_reset as NIR has it, or `"soft"`, v = v - v_threshold.
        current: what a leaky neuron does with I: `"r"`, takes R times the share that is not kept, as the
            equation says; `"leak"`, that share of it, whatever R; `"plain"`, all of it, whatever R.
        pool: `"average"`, or `"sum"` for readers that know no other; the weights after it are divided then.
    """

    dt: float = 1e-4
    decay: Literal["euler", "exponential"] = "euler"
    reset: Reset = "hard"
    current: Literal["r", "leak", "plain"] = "r"
    pool: Literal["average", "sum"] = "average"

    def tau(self, decay: NDArray[Any]) -> NDArray[Any]:
        """τ of neurons that keep `decay` of their potential, in [0, 1), per step; 0 if there is none."""
        if self.decay == "euler":
            return self.dt / (1 - decay)
        with np.errstate(divide="ignore"):
            return -self.dt / np.log(decay)

    def kept(self, tau: NDArray[Any]) -> NDArray[Any]:
        """How much of their potential neurons keep per step, the reverse of `tau`."""
        return 1 - self.dt / tau if self.decay == "euler" else np.exp(-self.dt / tau)

    def taken(self, decay: NDArray[Any], r: NDArray[Any]) -> NDArray[Any]:
        """The factor on the current in a step of leaky neurons that keep `decay`, with resistance `r`."""
        return {"r": (1 - decay) * r, "leak": 1 - decay, "plain": np.ones_like(decay)}[self.current]

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader needs to know, in words, for the metadata of a graph."""
        return {"dt": self.dt, "step": STEPS[self.decay], "reset": RESETS[self.reset]}

    def share(self, decay: NDArray[Any]) -> NDArray[Any]:
        """The factor on the current in a step that suits every reader of this convention."""
        leaks = (decay < 1) & (self.current == "leak")
        return np.where(leaks, 1 - decay, 1.0)


READERS: dict[str, Convention] = {
    "nir": Convention(),
    "norse": Convention(dt=1e-3, current="leak", pool="sum"),
    "sinabs": Convention(dt=1.0, decay="exponential", reset="soft", current="plain", pool="sum"),
}
"""Conventions by name; `"nir"`, NIR to the letter in steps of 0.1 ms, is SpikingJelly's and snnTorch's."""
