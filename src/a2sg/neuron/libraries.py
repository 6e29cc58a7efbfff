"""The constants of other libraries' leaky neurons translated to those of `a2sg.LIF`, and back.

Between spikes all of them compute u[t] = λ v[t-1] + g I[t], where the factor g on the current is 1 or 1 - λ.
Ours has g = 1. Dividing potentials and thresholds by g gives the same spikes, so the translation is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from a2sg.errors import InputError, require, require_choice, require_positive, require_share


@dataclass(frozen=True)
class Library:
    """How a library describes its leaky neuron.

    Attributes:
        step: its published step before the reset, where x is the current.
        leak: its name for the constant that sets the leak.
        decay: λ, from that constant and dt.
        leak_of: that constant, from λ and dt.
        takes: its name for the option that multiplies the current by 1 - λ; or whether it always does.
        threshold: its name for the threshold.
        reset: its name for the reset, None if there is only one kind.
        resets: its values for the reset, by ours, `"soft"` and `"hard"`.
        defaults: its defaults, by its names.
    """

    step: str
    leak: str
    decay: Callable[[float, float], float]
    leak_of: Callable[[float, float], float]
    takes: str | bool
    threshold: str
    reset: str | None
    resets: Mapping[str, Any]
    defaults: Mapping[str, Any]


def _kept(tau: float, dt: float) -> float:
    return math.exp(-dt / tau)


def _tau(decay: float, dt: float) -> float:
    require(decay > 0, "this library keeps exp(-dt/tau) of a potential per step, which cannot be 0")
    return -dt / math.log(decay)


LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        "spikingjelly": Library(
            "v + (x - v)/tau with decay_input, else v - v/tau + x",
            leak="tau",
            decay=lambda tau, dt: 1 - 1 / tau,
            leak_of=lambda decay, dt: 1 / (1 - decay),
            takes="decay_input",
            threshold="v_threshold",
            reset="v_reset",
            resets={"hard": 0.0, "soft": None},
            defaults={"tau": 2.0, "decay_input": True, "v_threshold": 1.0, "v_reset": 0.0},
        ),
        "snntorch": Library(
            "beta v + x",
            leak="beta",
            decay=lambda beta, dt: beta,
            leak_of=lambda decay, dt: decay,
            takes=False,
            threshold="threshold",
            reset="reset_mechanism",
            resets={"hard": "zero", "soft": "subtract"},
            defaults={"threshold": 1.0, "reset_mechanism": "subtract", "reset_delay": True},
        ),
        "norse": Library(
            "v + dt tau_mem_inv (x - v)",
            leak="tau_mem_inv",
            decay=lambda inverse, dt: 1 - dt * inverse,
            leak_of=lambda decay, dt: (1 - decay) / dt,
            takes=True,
            threshold="v_th",
            reset=None,
            resets={"hard": None},
            defaults={"tau_mem_inv": 100.0, "v_th": 1.0, "dt": 1e-3},
        ),
        "sinabs": Library(
            "alpha v + (1 - alpha) x with norm_input, else alpha v + x; alpha = exp(-1/tau_mem)",
            leak="tau_mem",
            decay=lambda tau, dt: _kept(tau, 1.0),
            leak_of=lambda decay, dt: _tau(decay, 1.0),
            takes="norm_input",
            threshold="spike_threshold",
            reset="reset_fn",
            resets={"hard": "MembraneReset", "soft": "MembraneSubtract"},
            defaults={"norm_input": True, "spike_threshold": 1.0, "reset_fn": "MembraneSubtract"},
        ),
        "lava": Library(
            "(1 - dv) v + u, where u = x for du = 1",
            leak="dv",
            decay=lambda dv, dt: 1 - dv,
            leak_of=lambda decay, dt: 1 - decay,
            takes=False,
            threshold="vth",
            reset=None,
            resets={"hard": None},
            defaults={"dv": 0.0, "vth": 10.0},
        ),
        "rockpool": Library(
            "alpha v + x, where x is the synaptic current; alpha = exp(-dt/tau_mem)",
            leak="tau_mem",
            decay=_kept,
            leak_of=_tau,
            takes=False,
            threshold="threshold",
            reset=None,
            resets={"soft": None},
            defaults={"tau_mem": 0.02, "threshold": 1.0, "dt": 1e-3},
        ),
        "braincog": Library(
            "v + (x - v)/tau",
            leak="tau",
            decay=lambda tau, dt: 1 - 1 / tau,
            leak_of=lambda decay, dt: 1 / (1 - decay),
            takes=True,
            threshold="threshold",
            reset=None,
            resets={"hard": None},
            defaults={"tau": 2.0, "threshold": 0.5},
        ),
    }
)
"""Libraries by name: `LIFNode` of SpikingJelly and of BrainCog, `Leaky` of snnTorch, `LIFBoxCell` of Norse,
`LIF` of Sinabs and of Lava (floating point), and the membrane of `LIF` of Rockpool."""


def lif_from(library: str, **constants: Any) -> dict[str, Any]:
    """Options with which `a2sg.LIF` fires exactly like a library's leaky neuron, spike for spike.

    The width of their surrogate is in units of their potential: multiply it by our threshold over theirs.

        neuron = a2sg.LIF(4, **lif_from("spikingjelly", tau=2.0, decay_input=False))

    Args:
        library: a name of `LIBRARIES`.
        **constants: the constants of its neuron, by its names; the others have the library's defaults.

    Returns:
        `decay`, `threshold` and `reset`.

    Raises:
        InputError: for a name that the library does not have, a value out of range, or a reset that no neuron
            here has.
    """
    row = LIBRARIES[require_choice("library", library, LIBRARIES)]
    for name in constants:
        require_choice(f"constant of {library}", name, {row.leak, *row.defaults})
    given = {**row.defaults, **constants}
    require(row.leak in given, f"{library} has no default for {row.leak}: pass it")
    dt = require_positive("dt", given.get("dt", 1.0))
    within = require_share if row.leak in ("beta", "dv") else require_positive
    leak = within(row.leak, given[row.leak])
    decay = row.decay(leak, dt)
    require(
        0 <= decay <= 1,
        f"{row.leak}={leak:g} keeps {decay:g} of a potential per step, which must be from 0 to 1"
        + (f": is dt={dt:g} in the unit of {row.leak}?" if "dt" in row.defaults else ""),
    )
    gain = 1 - decay if _takes(row, given) else 1.0
    require(gain > 0, f"{row.leak}={leak:g} takes in no current, so the neuron never fires")
    threshold = require_positive(row.threshold, given[row.threshold]) / gain
    return {"decay": decay, "threshold": threshold, "reset": _reset(library, row, given)}


def lif_for(
    library: str, *, decay: float, threshold: float = 1.0, reset: str = "soft", dt: float | None = None
) -> dict[str, Any]:
    """Constants with which a library's leaky neuron fires exactly like `a2sg.LIF`, spike for spike.

    Args:
        library: a name of `LIBRARIES`.
        decay: λ, from 0 to 1, of a LIF with `order="field"`.
        threshold: Vth, above 0.
        reset: `"soft"` or `"hard"`.
        dt: length of a step, for libraries that have one; None is their default.

    Returns:
        The library's constants, by its names.

    Raises:
        InputError: for a value out of range, or one that the library does not support.
    """
    row = LIBRARIES[require_choice("library", library, LIBRARIES)]
    require_share("decay", decay)
    require_choice("reset", reset, ("soft", "hard"))
    require(reset in row.resets, f"{library} has no {reset} reset: its neurons have {', '.join(row.resets)}")
    require(dt is None or "dt" in row.defaults, f"{library} has no dt: its constants are per step")
    leaks = row.takes is True or row.leak.startswith("tau")
    require(decay < 1 or not leaks, f"{library} has no leaky neuron with a decay of 1: use its IF")
    dt = require_positive("dt", row.defaults.get("dt", 1.0) if dt is None else dt)
    found = {row.leak: row.leak_of(decay, dt)}
    found[row.threshold] = require_positive("threshold", threshold) * (
        1 - decay if row.takes is True else 1.0
    )
    if isinstance(row.takes, str):
        found[row.takes] = False
    if row.reset is not None:
        found[row.reset] = row.resets[reset]
    if "dt" in row.defaults:
        found["dt"] = dt
    if library == "snntorch" and reset == "soft":
        found["reset_delay"] = False
    return found


def _takes(row: Library, given: Mapping[str, Any]) -> bool:
    return row.takes if isinstance(row.takes, bool) else bool(given[row.takes])


def _reset(library: str, row: Library, given: Mapping[str, Any]) -> str:
    if row.reset is None:
        (only,) = row.resets
        return only
    value = given[row.reset]
    found = next((ours for ours, theirs in row.resets.items() if theirs == value), None)
    if found is None:
        known = " or ".join(map(repr, row.resets.values()))
        raise InputError(f"{row.reset} must be {known} for a2sg.LIF to match it, not {value!r}")
    require(
        library != "snntorch" or found == "hard" or not given["reset_delay"],
        "snnTorch subtracts the threshold one step late, after the leak, which no neuron here does: build it "
        "with reset_delay=False, or reset_mechanism='zero'",
    )
    return found
