"""Graphs of NIR as a stranger may have changed them: a network, or one line on what is wrong."""

from itertools import pairwise

import nir
import numpy as np
import pytest
import torch

from a2sg.export import from_nir
from a2sg.export.from_graph import _names
from mutations import read_or_told
from nir_graphs import graph

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


@pytest.mark.parametrize("name", ["keys", "type", "training", "forward", "a.b", "_modules", ".", "ü"])
def test_nodes_may_have_any_name(name):
    changed = graph()
    changed.nodes[name] = changed.nodes.pop("fc")
    changed.edges = [tuple(name if end == "fc" else end for end in edge) for edge in changed.edges]
    assert from_nir(changed)(torch.ones(4, 1, 2, 8, 8, dtype=torch.float64)).shape == (4, 1, 3)


def test_names_that_would_be_equal_are_not():
    names = _names(dict.fromkeys(["a.b", "a_b", "a_b_", "keys", ""]))
    assert len(set(names.values())) == 5


def test_a_long_chain_is_read():
    """In time that grows with its length, not with the third power of it."""
    ends = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    scales = {str(at): nir.Scale(np.ones(2)) for at in range(3000)}
    edges = list(pairwise(["input", *scales, "output"]))
    network = from_nir(nir.NIRGraph({**ends, **scales}, edges, type_check=False), steps=1)
    assert list(network.layers)[1:4] == ["0", "1", "2"]


def test_odd_edges_are_read_or_told():
    for edges in EDGES:
        changed = graph()
        changed.edges = edges
        read_or_told(lambda changed=changed: from_nir(changed))
