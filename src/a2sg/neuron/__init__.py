"""Spiking neurons over `[T, B, ...]`: LIF, IF, PLIF, IntegerLIF; recurrent layers; LI, a read-out.

A neuron starts at rest in every call and keeps nothing afterwards. To feed a sequence in parts, pass the
state from call to call.
"""

from a2sg.neuron.constants import Constants
from a2sg.neuron.encoders import DeltaEncoder, LatencyEncoder, PoissonEncoder
from a2sg.neuron.integer import IntegerLIF
from a2sg.neuron.integrator import LI
from a2sg.neuron.leaky import IF, LIF, PLIF
from a2sg.neuron.lengths import mean_over_steps, pad, pad_batch
from a2sg.neuron.libraries import LIBRARIES, lif_for, lif_from
from a2sg.neuron.recurrent import Recurrent
from a2sg.neuron.registry import NEURONS, register_neuron
from a2sg.neuron.spiking import NeuronOptions, Record, SharedOptions, SpikingNeuron
from a2sg.neuron.state import RecurrentState, State
from a2sg.neuron.whole import recording

__all__ = [
    "IF",
    "LI",
    "LIBRARIES",
    "LIF",
    "NEURONS",
    "PLIF",
    "Constants",
    "DeltaEncoder",
    "IntegerLIF",
    "LatencyEncoder",
    "NeuronOptions",
    "PoissonEncoder",
    "Record",
    "Recurrent",
    "RecurrentState",
    "SharedOptions",
    "SpikingNeuron",
    "State",
    "lif_for",
    "lif_from",
    "mean_over_steps",
    "pad",
    "pad_batch",
    "recording",
    "register_neuron",
]
