"""Operations counted against loops over every sample, output and connection."""

import itertools
import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.analysis import EnergyMeter, measure
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.layers import PerStep
from a2sg.operations import common_quantum, fan_out
from connections import brute_force, connections, inputs_of, network

CONVOLUTIONS = [
    nn.Conv2d(2, 4, 3, padding=1),
    nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2),
    nn.Conv2d(4, 6, (2, 3), stride=(1, 2), padding=(0, 2), dilation=(2, 1)),
    nn.Conv2d(4, 4, 3, padding=1, groups=4),
    nn.Conv1d(4, 2, 3, stride=2, padding=2),
    nn.Linear(5, 3),
]


@pytest.mark.parametrize("module", CONVOLUTIONS, ids=str)
def test_fan_out_is_the_number_of_connections_of_each_input(module):
    shape = {
        nn.Linear: (5,),
        nn.Conv1d: (4, 7),
        nn.Conv2d: (module.weight.shape[1] * getattr(module, "groups", 1), 6, 5),
    }[type(module)]
    expected = torch.zeros(shape, dtype=torch.float64)
    for wire in connections(module, shape):
        expected[wire] += 1
    assert torch.equal(fan_out(module, torch.Size(shape)), expected)


@pytest.mark.parametrize(
    ("neuron", "pool", "quanta"),
    [
        (lambda: a2sg.LIF(3, threshold=0.2), nn.AvgPool2d(2), (None, 1.0, 0.25, 1.0)),
        (lambda: a2sg.LIF(3, threshold=0.2), nn.MaxPool2d(2), (None, 1.0, 1.0, 1.0)),
        (lambda: a2sg.IntegerLIF(3, threshold=0.1), nn.AvgPool2d(2), (None, 0.25, 0.0625, 0.25)),
        (lambda: a2sg.IntegerLIF(3, threshold=0.1, normalize=False), nn.AvgPool2d(2), (None, 1.0, 0.25, 1.0)),
    ],
    ids=["binary", "max pool", "integer, normalised", "integer"],
)
def test_counts_equal_loops_over_every_connection(neuron, pool, quanta):
    torch.manual_seed(0)
    model = network(neuron, pool)
    x = torch.rand(3, 2, 2, 8, 8)
    energy = measure(model, x)
    seen = inputs_of(model, x)
    assert [layer.name for layer in energy.layers] == list(seen)
    assert [layer.quantum for layer in energy.layers] == list(quanta)
    total_macs = total_accumulates = 0.0
    for layer, (name, values) in zip(energy.layers, seen.items(), strict=True):
        module = model.get_submodule(name)
        values = values.flatten(0, values.dim() - module.weight.dim())
        macs, accumulates = brute_force(module, values, layer.quantum or 1.0)
        if layer.quantum is None:
            accumulates = 0
        else:
            macs = 0
            assert accumulates > 0, name
        assert (layer.macs, layer.accumulates) == (macs / 2, pytest.approx(accumulates / 2))
        total_macs += macs / 2
        total_accumulates += accumulates / 2
    assert energy.macs == total_macs
    assert energy.accumulates == pytest.approx(total_accumulates)
    assert energy.picojoules == pytest.approx(4.6 * total_macs + 0.9 * total_accumulates)


def test_pooled_by_nine_counts_ninths():
    torch.manual_seed(0)
    model = nn.Sequential(
        a2sg.LIF(2, threshold=0.5), PerStep(nn.AvgPool2d(3)), nn.Flatten(2), nn.Linear(4, 2)
    )
    x = torch.rand(2, 16, 1, 6, 6)
    with a2sg.recording(model) as records:
        model(x)
    energy = measure(model, x, real_input=False)
    assert energy.layers[0].quantum == pytest.approx(1 / 9)
    assert energy.accumulates == pytest.approx(2 * records["0"][0].spikes.sum().item() / 16)


def test_spikes_and_rates_are_those_of_a_recording():
    torch.manual_seed(0)
    for neuron, scale in (
        (a2sg.LIF(3), 1),
        (a2sg.IntegerLIF(3), 4),
        (a2sg.IntegerLIF(3, normalize=False), 1),
    ):
        model = nn.Sequential(nn.Linear(3, 4), neuron)
        x = torch.randn(3, 6, 3) * 3
        with a2sg.recording(model) as records:
            model(x)
        spikes = records["1"][0].spikes * scale
        energy = measure(model, x)
        assert energy.spikes == pytest.approx(spikes.sum().item() / 6)
        assert energy.spikes > 0
        assert energy.firing_rates == {"1": pytest.approx(spikes.mean((1, 2)).tolist())}


def test_a_layer_that_reads_real_values_counts_macs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), a2sg.LIF(2), nn.Linear(2, 2))
    energy = measure(model, torch.randn(2, 5, 3))
    assert [layer.macs for layer in energy.layers] == [2 * 12, 2 * 8, 0]


def test_events_are_spikes_from_the_first_layer_on():
    model = nn.Sequential(nn.Linear(3, 4))
    events = torch.tensor([[[1.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]]])
    assert measure(model, events).macs == 24
    energy = measure(model, events, real_input=False)
    assert (energy.macs, energy.accumulates) == (0, 4 * 4)


def test_silence_costs_nothing():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), a2sg.LIF(2), nn.Linear(4, 2))
    energy = measure(model, torch.zeros(2, 5, 3))
    assert (energy.accumulates, energy.spikes) == (0, 0)
    assert energy.firing_rates == {"1": [0.0, 0.0]}


def test_batches_add_up_to_the_whole():
    torch.manual_seed(0)
    model = create_model("vgg_small", num_classes=3, in_channels=1, image_size=8, width=0.25)
    images = torch.randn(12, 1, 8, 8)
    model(images)
    whole = measure(model, images)
    model.eval()
    with torch.no_grad(), EnergyMeter(model) as meter:
        for batch in images.split(5):
            model(batch)
    parts = meter.result(samples=12)
    assert parts.layers == whole.layers
    assert whole.spikes > 0
    assert parts.spikes == pytest.approx(whole.spikes)
    for name, rates in whole.firing_rates.items():
        assert parts.firing_rates[name] == pytest.approx(rates)


def test_a_finer_quantum_of_a_later_batch_counts_for_the_earlier_ones():
    layer = nn.Linear(3, 2)
    batches = [
        torch.tensor([[0.5, 1.0, 0.0]]),
        torch.tensor([[0.25, 0.0, 0.0]]),
        torch.tensor([[0.75, 0.0, 0.0]]),
    ]
    for order in itertools.permutations(batches):
        with EnergyMeter(layer, real_input=False) as meter:
            for batch in order:
                layer(batch)
        energy = meter.result(samples=1)
        assert energy.accumulates == (2 + 4 + 1 + 3) * 2
        assert energy.layers[0].quantum == 0.25


def test_constants_are_options():
    model = nn.Sequential(nn.Linear(1, 1), a2sg.LIF(1), nn.Linear(1, 1))
    nn.init.ones_(model[0].weight)
    x = torch.full((1, 1, 1), 5.0)
    assert measure(model, x).picojoules == pytest.approx(4.6 + 0.9)
    assert measure(model, x, mac_picojoules=3.0, accumulate_picojoules=0.5).picojoules == pytest.approx(3.5)


@pytest.mark.parametrize("unit", [1.0, 0.25, 1 / 9, 1 / 49, 3.7])
@pytest.mark.parametrize("seed", range(5))
def test_the_quantum_is_the_greatest_common_divisor(unit, seed):
    torch.manual_seed(seed)
    levels = torch.randint(0, 40, (3,)) * (seed + 1)
    values = levels * unit * torch.tensor([1.0, -1.0, 1.0])
    expected = math.gcd(*levels.tolist()) * unit
    assert common_quantum(values) == pytest.approx(expected, rel=1e-4)


def test_real_numbers_have_no_quantum():
    torch.manual_seed(0)
    assert common_quantum(torch.randn(100)) == 0
    assert common_quantum(torch.ones(3), quantum=0.0) == 0
    assert common_quantum(torch.zeros(3)) == math.inf
    assert common_quantum(torch.zeros(3), quantum=0.5) == 0.5


def test_measuring_leaves_the_model_as_it_was():
    model = create_model("vgg_small", num_classes=3, in_channels=1, image_size=8, width=0.125)
    model.conv2.norm.eval()  # a frozen norm stays frozen
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, torch.randn(4, 1, 8, 8))
    with pytest.raises(InputError):
        measure(model, torch.randn(4, 2, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_number_of_samples_must_be_one():
    with pytest.raises(InputError, match="samples must be a whole number of at least 1, not 0"):
        EnergyMeter(nn.Linear(1, 1)).result(samples=0)
