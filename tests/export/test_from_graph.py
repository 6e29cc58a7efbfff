"""Graphs of NIR as networks: against an interpreter of NIR's equations, and there and back."""

import itertools

import nir
import numpy as np
import pytest
import torch
from torch import nn

import a2sg
import nir_steps
from a2sg import IF, LIF, InputError
from a2sg.export import Convention, from_nir, to_nir
from a2sg.models.layers import PerStep
from nir_networks import network, options_of

T, B = 4, 3
HARD = {"reset": "hard"}
NETWORKS = ("vgg_small", "sew_resnet18", "ms_resnet18", "mlp_small")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "reader", "options"),
    [
        *((name, "nir", {**HARD, "decay": 0.8}) for name in NETWORKS),
        ("vgg_small", "norse", {**HARD, "decay": 0.7, "threshold": 0.6}),
        ("vgg_small", "sinabs", {"order": "scaled"}),
        ("ms_resnet18", "sinabs", {"decay": 0.9}),
        ("ms_resnet18", "nir", {**HARD, "order": "scaled"}),
    ],
)
def test_there_and_back_gives_equal_outputs(name, reader, options, dtype, tmp_path):
    model = network(name, neuron_options=options, **options_of(name)).to(dtype)
    nir.write(tmp_path / "it.nir", to_nir(model, (2, 8, 8), reader=reader))
    again = a2sg.from_nir(nir.read(tmp_path / "it.nir"))
    frames = torch.randn(T, B, 2, 8, 8, dtype=dtype)
    with torch.no_grad(), a2sg.recording(again) as records:
        found = again(frames)
    assert all(0 < record.spikes.mean() < 1 for (record,) in records.values())
    assert {parameter.dtype for parameter in again.parameters()} == {dtype}
    close = 1e-5 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found, model(frames), rtol=close, atol=close)
    once_more = from_nir(to_nir(again, (2, 8, 8), reader=reader))
    torch.testing.assert_close(once_more(frames), found, rtol=close, atol=close)


def test_what_is_read_can_be_trained():
    graph = to_nir(network("vgg_small", neuron_options=HARD, width=0.2).float(), (2, 8, 8))
    net = from_nir(graph, surrogate=a2sg.surrogate.Triangle(), window=0.7)
    windows = a2sg.AdaptiveWindows(net, every=1, start=0)
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    x, labels = torch.randn(T, B, 2, 8, 8), torch.tensor([0, 1, 2])
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(net(x).mean(0), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters() if parameter.dim() > 1)
        optimizer.step()
        windows.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    neurons = [module for module in net.modules() if isinstance(module, LIF)]
    assert all(neuron.surrogate == a2sg.surrogate.Triangle() for neuron in neurons)
    assert windows.history


def written_by_others():
    """Nodes and properties that `to_nir` never writes, such as groups and linear layers without bias."""
    draw = np.random.default_rng(0)

    def numbers(*shape):
        return draw.normal(size=shape)

    rest = {"v_leak": np.zeros(8), "v_reset": np.zeros(8)}
    return {
        "input": nir.Input(np.array([2, 6, 6])),
        "a.b": nir.Conv2d(None, numbers(4, 1, 3, 3), 1, "same", 1, 2, numbers(4)),
        "a_b": nir.LIF(
            tau=np.repeat(np.array([0.5, 1.0, 2.0, 4.0]) * 1e-3, 36).reshape(4, 6, 6),
            r=np.full((4, 6, 6), 3.0),
            v_leak=np.zeros((4, 6, 6)),
            v_threshold=np.repeat(np.array([0.2, 0.3, 0.4, 0.5]), 36).reshape(4, 6, 6),
            v_reset=None,
        ),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "mean": nir.AvgPool2d(np.array([3, 3]), np.array([1, 1]), np.array([0, 0])),
        "flat": nir.Flatten(np.array([4, 1, 1]), 0, -1),
        "linear": nir.Linear(numbers(8, 4)),
        "if": nir.IF(r=np.linspace(1e3, 4e3, 8), v_threshold=np.full(8, 0.3), v_reset=np.zeros(8)),
        "scale": nir.Scale(np.linspace(0.5, 2, 8)),
        "lif": nir.LIF(
            np.full(8, 1e-3), np.linspace(5, 9, 8), rest["v_leak"], np.full(8, 0.4), rest["v_reset"]
        ),
        "output": nir.Output(np.array([8])),
    }


def graph_of(nodes, extra=(), **metadata):
    names = list(nodes)
    return nir.NIRGraph(nodes, [*itertools.pairwise(names), *extra], metadata, type_check=False)


def test_nodes_of_others_compute_their_equations():
    nodes = written_by_others()
    graph = graph_of(nodes, extra=[("if", "lif")])
    net = from_nir(graph, T, reader=Convention(dt=4e-4)).double()
    frames = 2 * np.random.default_rng(1).normal(size=(T, B, 2, 6, 6))
    with torch.no_grad(), a2sg.recording(net) as records:
        output = net(torch.from_numpy(frames))
    assert [0 < record.spikes.mean() < 1 for (record,) in records.values()] == [True] * 3
    nodes["a_b"].v_reset = np.zeros((4, 6, 6))
    # The interpreter has no groups: zeros between them.
    grouped, whole = nodes["a.b"].weight, np.zeros((4, 2, 3, 3))
    whole[:2, 0], whole[2:, 1] = grouped[:2, 0], grouped[2:, 0]
    nodes["a.b"] = nir.Conv2d(None, whole, 1, (1, 1), (1, 1), 1, nodes["a.b"].bias)
    found = nir_steps.run(graph_of(nodes, extra=[("if", "lif")]), frames, dt=4e-4)["output"]
    np.testing.assert_array_equal(output.numpy(), found)


def test_a_neuron_at_its_threshold_fires_as_the_graph_says():
    zero = np.zeros(1)
    neuron = nir.IF(r=np.ones(1), v_threshold=np.ones(1), v_reset=zero)
    graph = graph_of({"input": nir.Input(np.array([1])), "if": neuron, "output": nir.Output(np.array([1]))})
    hard = from_nir(graph, 1, reader=Convention(dt=1.0))
    soft = from_nir(graph, 1, reader=Convention(dt=1.0, reset="soft"))
    at, above = torch.ones(1, 1, 1), torch.full((1, 1, 1), 1 + 2**-23)
    assert (hard(at).item(), hard(above).item()) == (0, 1)  # NIR fires above it
    assert soft(at).item() == 1  # who subtracts fires at it


def lif_graph(changes=(), extra=(), **metadata):
    fields = {"tau": np.ones(2), "r": np.ones(2), "v_leak": np.zeros(2), "v_threshold": np.ones(2)}
    nodes = {
        "input": nir.Input(np.array([2])),
        "cell": nir.LIF(**fields, v_reset=np.zeros(2)),
        "output": nir.Output(np.array([2])),
    }
    for name, value in dict(changes).items():
        setattr(nodes["cell"], name, value)
    return nodes, graph_of(nodes, extra, **metadata)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"v_leak": np.ones(2)}, {}, r"node 'cell' \(nir.LIF\).* leaks towards a potential other"),
        ({"v_reset": np.ones(2)}, {}, "resets to a potential other"),
        ({"tau": np.full(2, 1e-6)}, {}, "reader with other steps"),
        ({}, {"steps": None}, "steps must be given"),
        ({}, {"reader": "brian"}, "unknown reader 'brian'"),
    ],
)
def test_what_no_neuron_here_does_is_named(changes, options, message):
    with pytest.raises(InputError, match=message):
        from_nir(lif_graph(changes)[1], **{"steps": T, **options})


def test_another_object_is_no_graph():
    with pytest.raises(InputError, match=r"a nir.NIRGraph, such as nir.read\(path\) returns, not a dict"):
        from_nir({})


def test_a_network_without_neurons_has_no_steps():
    with pytest.raises(InputError, match="found no a2sg neurons in the model"):
        to_nir(nn.Sequential(nn.Linear(3, 2)), (3,))


def test_graphs_that_no_network_here_is():
    nodes, graph = lif_graph(extra=[("cell", "cell")])
    with pytest.raises(InputError, match=r"the graph has a loop, cell -> cell: .* a2sg.Recurrent"):
        from_nir(graph, T)
    nodes["cell"] = nir.Delay(np.ones(2))
    with pytest.raises(InputError, match=r"'cell' \(nir.Delay\).* supported are Input"):
        from_nir(graph_of(nodes), T)
    with pytest.raises(InputError, match="one Output to be read, not 2"):
        from_nir(graph_of({**nodes, "second": nir.Output(np.array([2]))}), T)
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1]))
    with pytest.raises(InputError, match="padded mean"):
        from_nir(graph_of({**nodes, "cell": pool}), T)
    uneven = lif_graph()[0]
    uneven["cell"] = nir.IF(np.ones((1, 2)), np.array([[1.0, 2.0]]), np.zeros((1, 2)))
    with pytest.raises(InputError, match="v_threshold differs within a channel"):
        from_nir(graph_of(uneven), T)


def test_the_reader_is_the_one_that_the_graph_was_written_for():
    model = nn.Sequential(nn.Linear(2, 2), LIF(T, reset="hard"))
    graph = to_nir(model, (2,), reader="norse")
    with pytest.raises(InputError, match=r"written for another reader: its metadata says dt 0\.001"):
        from_nir(graph, reader="nir")
    own = Convention(dt=0.5)
    graph = to_nir(model, (2,), reader=own)
    with pytest.raises(InputError, match=r"dt 0\.5"):
        from_nir(graph)
    x = torch.randn(T, B, 2)
    torch.testing.assert_close(from_nir(graph, reader=own)(x), model(x))


def test_sums_over_windows_are_exported_as_such():
    model = nn.Sequential(PerStep(nn.AvgPool2d(2, divisor_override=1)), IF(T, reset="hard"))
    x = torch.rand(T, B, 1, 4, 4)
    for reader in ("nir", "norse"):
        torch.testing.assert_close(from_nir(to_nir(model, (1, 4, 4), reader=reader))(x), model(x))
