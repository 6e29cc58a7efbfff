"""Graphs of NIR as a stranger may have changed them: a network, or one line on what is wrong."""

from itertools import pairwise

import nir
import numpy as np
import pytest

from a2sg.export import from_nir
from mutations import read_or_told

ODD = [
    None,
    True,
    -1,
    10**9,
    2**70,
    float("nan"),
    "x",
    [],
    {},
    np.array([]),
    np.array(["x"]),
    np.array([None]),
    np.ones(2),
    np.ones((1, 2, 3, 4, 5, 6)),
    np.full(3, np.inf),
]
EDGES = [None, [], [1], [("input",)], [("x", "y")], [("input", "input")], [("input", "output")] * 2]


def graph():
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


def test_it_is_read_as_it_is():
    assert read_or_told(lambda: from_nir(graph()))


@pytest.mark.parametrize("name", graph().nodes)
def test_odd_fields_of_a_node_are_read_or_told(name):
    outcomes = []
    for field in vars(graph().nodes[name]):
        for value in ODD:
            changed = graph()
            setattr(changed.nodes[name], field, value)
            outcomes.append(read_or_told(lambda changed=changed: from_nir(changed)))
    assert False in outcomes or name in ("input", "output")  # whose fields are not looked at


@pytest.mark.parametrize("name", ["steps", "dt", "step", "reset"])
def test_odd_metadata_are_read_or_told(name):
    outcomes = []
    for value in ODD:
        changed = graph()
        changed.metadata[name] = value
        outcomes.append(read_or_told(lambda changed=changed: from_nir(changed)))
    assert outcomes.count(True) <= 1  # `True` is the number 1


def test_odd_edges_are_read_or_told():
    for edges in EDGES:
        changed = graph()
        changed.edges = edges
        read_or_told(lambda changed=changed: from_nir(changed))
