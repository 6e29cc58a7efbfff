"""Spiking neurons over `[T, B, ...]`: LIF, IF, PLIF, IntegerLIF.

A neuron starts at rest in every call and keeps nothing afterwards. For streaming, `step` takes and
returns the state explicitly.
"""

from a2sg.neuron.encoders import DeltaEncoder, LatencyEncoder, PoissonEncoder
from a2sg.neuron.integer import IntegerLIF
from a2sg.neuron.leaky import IF, LIF, PLIF
from a2sg.neuron.registry import NEURONS, register_neuron
from a2sg.neuron.spiking import Record, SpikingNeuron, State
from a2sg.neuron.whole import recording

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "PLIF",
    "DeltaEncoder",
    "IntegerLIF",
    "LatencyEncoder",
    "PoissonEncoder",
    "Record",
    "SpikingNeuron",
    "State",
    "recording",
    "register_neuron",
]
