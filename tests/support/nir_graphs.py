"""A graph of NIR that strangers may change."""

from itertools import pairwise

import nir
import numpy as np


def graph() -> nir.NIRGraph:
    """One node of each kind that is read."""
    one = np.ones((4, 4, 4))
    nodes = {
        "input": nir.Input(np.array([2, 8, 8])),
        "conv": nir.Conv2d(None, np.ones((4, 2, 3, 3)), 1, (1, 1), (1, 1), 1, np.zeros(4)),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "if": nir.IF(r=one, v_threshold=one, v_reset=0 * one),
        "flat": nir.Flatten(np.array([4, 4, 4]), 0, -1),
        "fc": nir.Affine(np.ones((3, 64)), np.zeros(3)),
        "scale": nir.Scale(np.ones(3)),
        "lif": nir.LIF(np.full(3, 1e-3), np.ones(3), np.zeros(3), np.ones(3), np.zeros(3)),
        "output": nir.Output(np.array([3])),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata={"steps": 4})
