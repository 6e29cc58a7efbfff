"""Constants of other libraries: their published steps, written out here, fire as the translated LIF does."""

import math

import pytest
import torch

from a2sg import LIF, InputError
from a2sg.neuron.libraries import LIBRARIES, lif_for, lif_from

T = 60


def spikingjelly(x, v, tau=2.0, decay_input=True, v_threshold=1.0, v_reset=0.0):
    rest = 0.0 if v_reset is None else v_reset
    v = v + (x - (v - rest)) / tau if decay_input else v - (v - rest) / tau + x
    fires = v >= v_threshold
    return fires, (v - v_threshold if v_reset is None else v_reset) if fires else v


def snntorch(x, v, beta, threshold=1.0, reset_mechanism="zero", reset_delay=True):
    late = v > threshold and reset_delay  # of the step before, kept in v until now
    if late:
        assert reset_mechanism == "zero"
        v = 0.0
    v = beta * v + x
    fires = v > threshold
    if fires and not reset_delay:
        v = v - threshold if reset_mechanism == "subtract" else 0.0
    return fires, v


def norse(x, v, tau_mem_inv=100.0, v_th=1.0, dt=1e-3):
    v = v + dt * tau_mem_inv * (0.0 - v + x)
    return v > v_th, 0.0 if v > v_th else v


def sinabs(x, v, tau_mem, norm_input=True, spike_threshold=1.0, reset_fn="MembraneSubtract"):
    alpha = math.exp(-1 / tau_mem)
    v = alpha * v + ((1 - alpha) * x if norm_input else x)
    fires = v >= spike_threshold
    return fires, (v - spike_threshold if reset_fn == "MembraneSubtract" else 0.0) if fires else v


def lava(x, v, dv=0.0, vth=10.0):
    v = v * (1 - dv) + x
    return v >= vth, 0.0 if v >= vth else v


def rockpool(x, v, tau_mem=0.02, threshold=1.0, dt=1e-3):
    v = math.exp(-dt / tau_mem) * v + x
    return v >= threshold, v - threshold if v >= threshold else v


def braincog(x, v, tau=2.0, threshold=0.5):
    v = v + (x - v) / tau
    return v >= threshold, 0.0 if v >= threshold else v


STEPS = {step.__name__: step for step in (spikingjelly, snntorch, norse, sinabs, lava, rockpool, braincog)}
GIVEN = [
    ("spikingjelly", {}),
    ("spikingjelly", {"tau": 1.5, "v_reset": None, "v_threshold": 0.7}),
    ("spikingjelly", {"tau": 4.0, "decay_input": False}),
    ("spikingjelly", {"tau": 1.0, "decay_input": False, "v_reset": None}),
    ("snntorch", {"beta": 0.9, "reset_mechanism": "zero"}),
    ("snntorch", {"beta": 0.6, "reset_mechanism": "subtract", "reset_delay": False, "threshold": 0.8}),
    ("norse", {}),
    ("norse", {"tau_mem_inv": 300.0, "v_th": 0.4, "dt": 2e-3}),
    ("sinabs", {"tau_mem": 5.0}),
    ("sinabs", {"tau_mem": 2.0, "norm_input": False, "reset_fn": "MembraneReset", "spike_threshold": 1.3}),
    ("lava", {"dv": 0.2, "vth": 3.0}),
    ("lava", {}),
    ("rockpool", {}),
    ("rockpool", {"tau_mem": 0.01, "dt": 5e-3, "threshold": 2.0}),
    ("braincog", {}),
    ("braincog", {"tau": 5.0, "threshold": 0.9}),
]


def currents(threshold):
    """Of a size that makes neurons of this threshold fire now and then."""
    torch.manual_seed(0)
    return threshold * (0.5 + torch.randn(T, 40, dtype=torch.float64))


def theirs(library, constants, x):
    spikes = torch.zeros_like(x)
    for n in range(x.shape[1]):
        v = 0.0
        for t in range(T):
            fires, v = STEPS[library](x[t, n].item(), v, **constants)
            spikes[t, n] = float(fires)
    return spikes


@pytest.mark.parametrize(("library", "constants"), GIVEN)
def test_the_lif_fires_as_the_published_step(library, constants):
    options = lif_from(library, **constants)
    x = currents(options["threshold"])
    expected = theirs(library, constants, x)
    assert 0.05 < expected.mean() < 0.95
    assert torch.equal(LIF(T, **options)(x), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(("decay", "threshold"), [(0.9, 1.0), (0.35, 0.6)])
def test_what_is_given_to_the_library_fires_as_the_lif(library, reset, decay, threshold):
    if reset not in LIBRARIES[library].resets:
        with pytest.raises(InputError, match=f"{library} has no {reset} reset"):
            lif_for(library, decay=decay, reset=reset)
        return
    constants = lif_for(library, decay=decay, threshold=threshold, reset=reset)
    x = currents(threshold)
    expected = LIF(T, decay=decay, threshold=threshold, reset=reset)(x)
    assert 0.05 < expected.mean() < 0.95
    assert torch.equal(theirs(library, constants, x), expected)
    again = lif_from(library, **constants)
    assert again == {
        "decay": pytest.approx(decay),
        "threshold": pytest.approx(threshold),
        "reset": reset,
    }


@pytest.mark.parametrize("library", ["norse", "rockpool"])
def test_a_step_of_another_length(library):
    constants = lif_for(library, decay=0.8, reset="hard" if library == "norse" else "soft", dt=0.5)
    assert constants["dt"] == 0.5
    assert lif_from(library, **constants)["decay"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lif_from("spikingjely"), "did you mean 'spikingjelly'"),
        (lambda: lif_from("spikingjelly", beta=0.9), "unknown constant of spikingjelly 'beta'"),
        (lambda: lif_from("spikingjelly", tau=0.5), r"tau=0\.5 keeps -1 of a potential"),
        (lambda: lif_from("spikingjelly", tau=-1), "tau must be a number above 0"),
        (lambda: lif_from("spikingjelly", tau="2 ms"), "tau must be a number, not '2 ms'"),
        (lambda: lif_from("spikingjelly", tau=float("nan")), "tau must be a number above 0"),
        (lambda: lif_from("spikingjelly", v_reset=-0.1), r"v_reset must be 0\.0 or None"),
        (lambda: lif_from("snntorch"), "no default for beta"),
        (lambda: lif_from("snntorch", beta=0.9), r"one step late, after the leak.* reset_delay=False"),
        (lambda: lif_from("norse", dt=1.0), "is dt=1 in the unit of tau_mem_inv"),
        (lambda: lif_from("lava", vth=0.0), "vth must be a number above 0"),
        (lambda: lif_for("sinabs", decay=0.0), "cannot be 0"),
        (lambda: lif_for("braincog", decay=1.0, reset="hard"), "use its IF"),
        (lambda: lif_for("lava", decay=0.5, reset="hard", dt=0.1), "lava has no dt"),
        (lambda: lif_for("lava", decay=1.5), "decay must be"),
    ],
)
def test_what_cannot_be_translated_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
