"""Files of NIR, also as a stranger may have changed them: a network, or one line on what is wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from a2sg import InputError
from a2sg.data.apart import Apart
from a2sg.export import from_nir
from mutations import changes, mutated, one_process, read_or_told

nir = pytest.importorskip("nir", reason="needs a2sg[export]")
h5py = pytest.importorskip("h5py", reason="needs a2sg[export]")

from nir_graphs import graph  # noqa: E402

ODD = [2**62, "x", True, -1, 0, -(2**63), np.nan, 1e300, b"\xff", [], [["x"]], np.ones((1, 2, 3, 4))]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, graph())
    return path


def test_a_path_is_read_like_its_graph(path):
    frames = torch.rand(4, 2, 2, 8, 8, dtype=torch.float64)
    expected = from_nir(nir.read(path))(frames)
    for name in (path, str(path)):
        assert torch.equal(from_nir(name)(frames), expected)


def test_a_path_that_holds_no_graph_is_told(path):
    with pytest.raises(InputError, match=r"net\.nirr cannot be read .FileNotFoundError"):
        from_nir(f"{path}r")
    nir.write(path, nir.Affine(np.ones((2, 2)), np.ones(2)))
    with pytest.raises(InputError, match=r"net\.nir cannot be read: its reader fails .TypeError"):
        from_nir(path)
    with h5py.File(path, "w") as file:
        file["node/type"] = "Brian"
    with pytest.raises(InputError, match=r"net\.nir cannot be read: its reader fails .AssertionError"):
        from_nir(path)


def test_a_file_may_not_name_others(path):
    with h5py.File(path, "r+") as file:
        del file["node/nodes/fc/weight"]
        file["node/nodes/fc/weight"] = h5py.ExternalLink("other.h5", "weight")
    with pytest.raises(InputError, match="'weight' in '/node/nodes/fc' is a link to another place"):
        from_nir(path)


def test_a_graph_that_keeps_nir_busy_is_told(path, monkeypatch):
    """Graphs in graphs: nir infers the types of each for every edge to it, 30 to the power of 5 times."""
    monkeypatch.setattr("a2sg.data.hdf5.Apart", partial(Apart, patience=2.0))
    shape = np.array([2, 8, 8])
    inner = graph()
    for _ in range(5):
        ends = {"input": nir.Input(shape), "output": nir.Output(np.array([3]))}
        many = {str(at): nir.Scale(np.ones(shape)) for at in range(30)}
        edges = [pair for name in many for pair in (("input", name), (name, "inner"))]
        nodes = {**ends, **many, "inner": inner}
        inner = nir.NIRGraph(nodes, [*edges, ("inner", "output")], type_check=False)
    nir.write(path, inner)
    with pytest.raises(InputError, match="takes longer than 2 s"):
        from_nir(path)


@pytest.mark.parametrize("values", [ODD[:2], pytest.param(ODD[2:], marks=pytest.mark.slow)])
def test_odd_datasets_in_a_file_are_read_or_told(path, values):
    content, names, outcomes = path.read_bytes(), [], []
    with h5py.File(path) as file:
        file.visititems(lambda name, one: names.append(name) if isinstance(one, h5py.Dataset) else None)
    with one_process():
        for name in names:
            for value in values:
                path.write_bytes(content)
                with h5py.File(path, "r+") as file:
                    del file[name]
                    file[name] = value
                outcomes.append(read_or_told(lambda: from_nir(path)))
    assert outcomes.count(False) > len(outcomes) / 2
    print(f"{len(outcomes)} changed files, {sum(outcomes)} of them read, all others told")


@pytest.mark.parametrize("count", [25, pytest.param(1500, marks=pytest.mark.slow)])
def test_changed_files_are_read_or_told(path, count):
    content, outcomes = path.read_bytes(), []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(changed=changes)
    def run(changed):
        path.write_bytes(mutated(content, changed))
        outcomes.append(read_or_told(lambda: from_nir(path)))

    with one_process():
        run()
    assert False in outcomes
    print(f"{len(outcomes)} changed files, {sum(outcomes)} of them read, all others told")
