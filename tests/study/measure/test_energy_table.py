"""A network beside the same with ReLU, against loops over connections and over pairs of spikes."""

import itertools
import json

import pytest
import torch
from torch import nn

import a2sg
from a2sg.energy import measure
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.attention import SpikeProduct
from a2sg.models.layers import PerStep
from a2sg.study.measure.energy_table import energy_table, relu_twin
from a2sg.study.report.runs import arm_points, run_points
from connections import brute_force, inputs_of, network
from lookalikes import Looped


@pytest.mark.parametrize(
    "neuron",
    [lambda: a2sg.LIF(3, threshold=0.2), lambda: a2sg.IntegerLIF(3, threshold=0.1)],
    ids=["binary", "integer"],
)
def test_every_row_is_what_loops_count(neuron):
    torch.manual_seed(0)
    model = network(neuron, nn.AvgPool2d(2))
    x = torch.rand(3, 2, 2, 8, 8)
    found = energy_table(model, x, mac_picojoules=3.0, accumulate_picojoules=0.5)
    operations = {layer.name: layer for layer in measure(model, x).layers}
    seen = inputs_of(model, x)
    total = relu = 0.0
    for layer, (name, values) in zip(found.layers, seen.items(), strict=True):
        module = model.get_submodule(name)
        one = values.flatten(0, values.dim() - module.weight.dim())[:1]
        macs, _ = brute_force(module, one, 1.0)
        assert (layer.layer, layer.relu_macs) == (name, macs)
        assert layer.macs == operations[name].macs
        assert layer.accumulates == operations[name].accumulates
        assert layer.picojoules == pytest.approx(3.0 * layer.macs + 0.5 * layer.accumulates)
        assert layer.ratio == pytest.approx(layer.picojoules / (3.0 * macs))
        total += layer.picojoules
        relu += macs
    assert found.layers[0].macs == 3 * found.layers[0].relu_macs  # real frames, a MAC at every step
    assert found.relu_macs == relu
    assert found.picojoules == pytest.approx(total)
    assert found.ratio == pytest.approx(total / (3.0 * relu))
    assert json.loads(json.dumps(found.to_dict()))["layers"][1]["layer"] == "2.layer"


def test_spikes_per_layer_and_step_are_those_of_a_recording():
    torch.manual_seed(0)
    model = network(lambda: a2sg.IntegerLIF(3, threshold=0.1), nn.AvgPool2d(2))
    x = torch.rand(3, 2, 2, 8, 8)
    with a2sg.recording(model) as records:
        model(x)
    found = energy_table(model, x).spikes
    assert [(row.layer, row.step) for row in found] == [(n, t) for n in ("1", "3", "7") for t in (1, 2, 3)]
    for row in found:
        spikes = 4 * records[row.layer][0].spikes[row.step - 1]
        assert row.neurons == spikes[0].numel()
        assert row.spikes == pytest.approx(spikes.sum().item() / 2)
        assert row.rate == pytest.approx(spikes.mean().item())


def test_a_still_image_is_read_once_by_either_network():
    model = create_model("vgg_small", num_classes=3, in_channels=1, image_size=8, width=0.25)
    found = energy_table(model, torch.randn(2, 1, 8, 8))
    assert found.layers[0].macs == found.layers[0].relu_macs > 0
    assert all(layer.macs == 0 for layer in found.layers[1:])


def product_by_loops(q, k, v):
    """Accumulates of q (kᵀ v) and (q kᵀ) v for spikes `[N, d]`, `[N, d]`, `[N, d']`, and MACs of either."""
    tokens, features, values = len(q), q.shape[1], v.shape[1]
    late = early = 0
    for j, d, c in itertools.product(range(tokens), range(features), range(values)):
        late += k[j, d] * v[j, c]  # pairs of spikes that meet in kᵀ v
    for _, (i, d) in itertools.product(range(values), itertools.product(range(tokens), range(features))):
        late += q[i, d]
    for i, j, d in itertools.product(range(tokens), range(tokens), range(features)):
        early += q[i, d] * k[j, d]
    for _, (j, c) in itertools.product(range(tokens), itertools.product(range(tokens), range(values))):
        early += v[j, c]
    macs = 2 * tokens * features * values, tokens * tokens * (features + values)
    return float(late), float(early), *macs


@pytest.mark.parametrize(("height", "channels", "values"), [(3, 4, 4), (1, 6, 6), (2, 4, 12)])
@pytest.mark.parametrize("levels", [1, 4])
def test_products_of_attention_are_counted_pair_by_pair(height, channels, values, levels):
    generator = torch.Generator().manual_seed(0)
    heads, steps, samples = 2, 2, 3

    def spikes(count):
        shape = (steps, samples, count, height, 2)
        return torch.randint(0, levels + 1, shape, generator=generator) / levels

    q, k, v = spikes(channels), spikes(channels), spikes(values)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.product = SpikeProduct(heads, 0.125)
            self.neuron = a2sg.LIF(steps)

        def forward(self, x):
            return self.neuron(self.product(q, k, v))

    (layer,) = measure(Attention(), q).layers
    late = early = macs = 0
    for t, b, h in itertools.product(range(steps), range(samples), range(heads)):
        one = [(x * levels)[t, b].unflatten(0, (heads, -1))[h].flatten(1).T for x in (q, k, v)]
        a, c, *costs = product_by_loops(*one)
        late, early, macs = late + a, early + c, macs + min(costs)
        cheaper = costs.index(min(costs))
    assert layer.accumulates == pytest.approx((late, early)[cheaper] / samples)
    assert layer.connections == macs / samples
    assert (layer.macs, layer.quantum) == (0, 1 / levels)


def test_products_of_real_numbers_are_macs_and_silence_is_free():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.product = SpikeProduct(1, 1.0)

        def forward(self, x):
            return self.product(x, x, x)

    torch.manual_seed(0)
    (real,) = measure(Attention(), torch.randn(2, 3, 4, 2, 2)).layers
    assert (real.macs, real.accumulates) == (2 * 2 * 4 * 4 * 4, 0)
    (silent,) = measure(Attention(), torch.zeros(2, 3, 4, 2, 2)).layers
    assert (silent.macs, silent.accumulates, silent.quantum) == (0, 0, None)


MODELS = {
    "vgg_small": {"width": 0.25},
    "spikformer_4_384": {"dim": 24, "heads": 2, "depth": 1},
    "qkformer_4_384": {"dim": 16, "heads": 2, "depth": 3},
    "espikeformer_t": {"dims": (4, 4, 8, 8), "depths": (1, 1), "heads": 2},
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_with_relu_run_and_have_the_connections_of_one_step(name):
    torch.manual_seed(0)
    options = {"num_classes": 3, "in_channels": 2, "image_size": 16, "steps": 2, **MODELS[name]}
    model = create_model(name, **options)
    x = torch.rand(2, 3, 2, 16, 16)
    model(x)
    twin = relu_twin(model)
    assert not any(isinstance(module, a2sg.neuron.SpikingNeuron) for module in twin.modules())
    assert twin.eval()(x[:1]).shape == (1, 3, 3)
    found = energy_table(model, x)
    connections = {layer.name: layer.connections for layer in measure(model, x).layers}
    for layer in found.layers:  # frames differ, so every layer runs once a step
        assert layer.relu_macs == pytest.approx(connections[layer.layer] / 2), layer.layer
    assert {layer.layer for layer in found.layers} == set(connections)


def test_events_have_spikes_in_the_first_layer_too():
    torch.manual_seed(0)
    model = network(lambda: a2sg.LIF(3, threshold=0.2), nn.AvgPool2d(2))
    events = (torch.rand(3, 2, 2, 8, 8) < 0.1).float()
    found = energy_table(model, events, real_input=False)
    assert found.macs == 0
    assert found.layers[0].relu_macs == energy_table(model, events).layers[0].relu_macs > 0


def test_a_model_of_another_library_costs_a_step_of_its_connections():
    torch.manual_seed(0)
    host = nn.Sequential(PerStep(nn.Linear(9, 20)), Looped(), PerStep(nn.Linear(20, 4)))
    a2sg.adapt(host, steps=3, functions={Looped: "act"})
    x = torch.randn(3, 5, 9)
    found = energy_table(host, x)
    assert [layer.relu_macs for layer in found.layers] == [180, 80]
    assert found.layers[0].macs == 540
    with torch.no_grad():
        spikes = host[1](host[0](x))
    assert found.layers[1].accumulates == pytest.approx(4 * spikes.sum().item() / 5)
    assert found.spikes == []


class Mixing(nn.Module):
    def forward(self, x):
        return x @ torch.eye(4)


def test_what_is_not_counted_is_in_the_table():
    mixing = nn.Sequential(nn.Linear(3, 4), a2sg.LIF(2), Mixing())
    found = energy_table(mixing, torch.rand(2, 3, 3))
    assert found.to_dict()["uncounted"] == found.uncounted == ["2 (matmul)"]
    with pytest.raises(InputError, match=r"no convolution to count: 2 \(matmul\) cannot be counted"):
        energy_table(mixing[1:], torch.rand(2, 3, 4))


def test_what_has_no_energy_is_told():
    with pytest.raises(InputError, match="no linear layer and no convolution"):
        energy_table(nn.Sequential(a2sg.LIF(2)), torch.rand(2, 3, 4))
    with pytest.raises(InputError, match="no spiking neurons"):
        energy_table(nn.Linear(3, 2), torch.rand(2, 3, 3))
    with pytest.raises(InputError, match="mac_picojoules must be a number above 0"):
        energy_table(nn.Linear(3, 2), torch.rand(2, 3, 3), mac_picojoules=0)


def summary(folder, **values):
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(values), encoding="utf-8")


def test_points_of_a_comparison(tmp_path):
    for arm, seed, accuracy, energy in (
        ("a2sg", 0, 0.9, 30.0),
        ("a2sg", 1, 0.8, 50.0),
        ("fixed", 0, 0.7, 20.0),
        ("fixed", 1, 0.8, 20.0),
        ("st-asg", 0, 0.75, 41.0),
    ):
        summary(
            tmp_path / f"{arm}-s{seed}",
            arm=arm,
            seed=seed,
            accuracy=accuracy,
            energy_nj_per_sample=energy,
            spikes_per_sample=100,
        )
    (tmp_path / "unfinished-s0").mkdir()
    points = run_points(tmp_path)
    assert [(p.arm, p.seed, p.score, p.energy_nj) for p in points][:2] == [
        ("a2sg", 0, 0.9, 30.0),
        ("a2sg", 1, 0.8, 50.0),
    ]
    assert points[0].to_dict()["measure"] == "accuracy"
    arms = {arm.arm: arm for arm in arm_points(points)}
    assert arms["a2sg"].score == pytest.approx(0.85)
    assert arms["a2sg"].energy_nj == 40
    assert arms["a2sg"].energy_deviation == pytest.approx(200**0.5)
    assert arms["st-asg"].score_deviation is None
    assert {name: arm.dominated for name, arm in arms.items()} == {
        "a2sg": False,
        "fixed": False,
        "st-asg": True,
    }
    assert run_points(tmp_path / "a2sg-s0") == points[:1]
    assert arms["fixed"].to_dict()["runs"] == 2


def test_folders_and_summaries_that_are_none_are_told(tmp_path):
    with pytest.raises(InputError, match="no finished runs"):
        run_points(tmp_path)
    summary(tmp_path / "a-s0", arm="a", seed=0)
    with pytest.raises(InputError, match="not a summary of a finished run"):
        run_points(tmp_path)
    (tmp_path / "a-s0" / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json is damaged"):
        run_points(tmp_path)
    good = {"energy_nj_per_sample": 1.0, "spikes_per_sample": 1.0, "seed": 0}
    (tmp_path / "a-s0" / "summary.json").write_text(
        json.dumps({"arm": "a", "accuracy": 0.5, **good}), encoding="utf-8"
    )
    summary(tmp_path / "b-s0", arm="b", miou=0.5, **good)
    with pytest.raises(InputError, match="judged by accuracy and miou"):
        arm_points(run_points(tmp_path))
