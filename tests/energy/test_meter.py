"""Operations counted against loops over every sample, output and connection."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import a2sg
from a2sg.analysis import EnergyMeter, measure
from a2sg.energy.quantum import common_quantum
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.layers import PerStep
from connections import brute_force, connections, inputs_of, network

CONVOLUTIONS = [
    nn.Conv2d(2, 4, 3, padding=1),
    nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2),
    nn.Conv2d(4, 6, (2, 3), stride=(1, 2), padding=(0, 2), dilation=(2, 1)),
    nn.Conv2d(4, 4, 3, padding=1, groups=4),
    nn.Conv1d(4, 2, 3, stride=2, padding=2),
    nn.Linear(5, 3),
    nn.Conv3d(2, 3, (2, 3, 2), stride=(1, 2, 1), padding=1),
    nn.ConvTranspose1d(4, 2, 4, stride=3, padding=1, output_padding=1),
    nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, groups=2, dilation=(1, 2)),
    nn.ConvTranspose3d(2, 4, 2, stride=(2, 1, 2)),
]


@pytest.mark.parametrize("module", CONVOLUTIONS, ids=str)
def test_each_input_counts_with_the_number_of_its_connections(module):
    channels = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    shape = (channels, *(6, 5, 4)[: module.weight.dim() - 2])
    expected = torch.zeros(shape, dtype=torch.float64)
    for wire in connections(module, shape):
        expected[wire] += 1
    for wire in itertools.product(*map(range, shape)):
        spike = torch.zeros(1, *shape)
        spike[(0, *wire)] = 1
        with EnergyMeter(module, real_input=False) as meter:
            module(spike)
        (layer,) = meter.result(1).layers
        assert layer.accumulates == expected[wire], wire
        assert layer.connections == expected.sum()


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


class Voxels(nn.Module):
    """Video, or voxels: `[T, B, 1, 4, 4, 4]`."""

    def __init__(self):
        super().__init__()
        self.first, self.lif1 = nn.Conv3d(1, 3, 3, padding=1), a2sg.LIF(2)
        self.second, self.lif2 = nn.ConvTranspose3d(3, 2, 2, stride=2), a2sg.LIF(2)
        self.head = nn.Linear(2 * 8**3, 3)

    def forward(self, x):
        def each(layer, x):
            return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])

        x = self.lif1(each(self.first, x) * 4)
        return self.head(self.lif2(each(self.second, x) * 4).flatten(2))


def test_layers_behind_convolutions_of_voxels_read_spikes():
    torch.manual_seed(0)
    model, x = Voxels(), torch.rand(2, 3, 1, 4, 4, 4)
    energy, seen = measure(model, x), inputs_of(model, x)
    assert [layer.name for layer in energy.layers] == ["first", "second", "head"]
    macs, _ = brute_force(model.first, seen["first"], 1.0)
    assert (energy.layers[0].macs, energy.layers[0].accumulates) == (macs / 3, 0)
    for layer in energy.layers[1:]:
        module = model.get_submodule(layer.name)
        values = seen[layer.name].flatten(0, -module.weight.dim())
        _, accumulates = brute_force(module, values, 1.0)
        assert (layer.macs, layer.accumulates) == (0, pytest.approx(accumulates / 3))
        assert layer.accumulates > 0
    assert energy.uncounted == []


class Functional(nn.Module):
    """Weights of one's own: as they are, and made anew at each call."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 2, 3))
        self.lif = a2sg.LIF(2)
        self.inner = nn.ParameterDict({"weight": nn.Parameter(torch.randn(3, 20))})

    def forward(self, x):
        x = F.conv1d(input=x.flatten(0, 1), weight=self.kernel, padding=1).unflatten(0, x.shape[:2])
        spikes = self.lif(x).flatten(2)
        return F.linear(spikes, self.inner["weight"]) + F.linear(spikes, self.inner["weight"].sign())


def test_functional_layers_count_as_modules_do():
    torch.manual_seed(0)
    model, x = Functional(), torch.rand(2, 3, 2, 5)
    energy = measure(model, x, samples=3)
    conv, head, made = energy.layers
    assert [layer.name for layer in energy.layers] == ["kernel", "inner", "linear"]
    macs, _ = brute_force(nn.Conv1d(2, 4, 3, padding=1), x.flatten(0, 1), 1.0)
    assert conv.macs == macs / 3
    assert head.accumulates == made.accumulates == pytest.approx(3 * energy.spikes)
    assert energy.spikes > 0


def test_weights_made_anew_count_under_the_name_of_their_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), a2sg.LIF(2, threshold=0.1), nn.Linear(4, 2))
    x = torch.rand(2, 5, 3)
    before = measure(model, x)
    nn.utils.parametrizations.weight_norm(model[2])
    assert measure(model, x).layers == before.layers


class Mixed(nn.Module):
    """A product, recurrent layers, and attention of torch, before a linear layer."""

    def __init__(self):
        super().__init__()
        self.lstm, self.attention = nn.LSTM(4, 4), nn.MultiheadAttention(4, 2)
        self.lif, self.head = a2sg.LIF(2), nn.Linear(4, 2)

    def forward(self, x):
        x = x @ torch.eye(4)
        x = self.lstm(torch.einsum("tbc,cd->tbd", x, torch.eye(4)))[0]
        x = self.attention(x, x, x)[0]
        return self.head(self.lif(10 * x))


def test_what_multiplies_and_is_not_counted_is_named():
    torch.manual_seed(0)
    energy = measure(Mixed(), torch.rand(2, 3, 4))
    assert energy.uncounted == [
        "Mixed (matmul)",
        "Mixed (einsum)",
        "lstm (lstm)",
        "attention (multi_head_attention_forward)",
    ]
    (head,) = energy.layers
    assert (head.name, head.macs) == ("head", 0)  # behind layers that read the real values
    assert head.accumulates == pytest.approx(2 * energy.spikes)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore::UserWarning")
def test_quantised_layers_are_named():
    quantization = pytest.importorskip("torch.ao.quantization")
    if "none" in torch.backends.quantized.engine:
        pytest.skip("this torch has no quantised layers")
    model = nn.Sequential(nn.Linear(3, 4), a2sg.LIF(2), nn.Linear(4, 2))
    quantised = quantization.quantize_dynamic(model, {nn.Linear})
    energy = measure(quantised, torch.rand(2, 5, 3))
    assert energy.uncounted == ["0 (quantized::linear_dynamic)", "2 (quantized::linear_dynamic)"]
    assert energy.layers == []


def test_only_what_the_model_computes_is_counted():
    model = nn.Linear(3, 4)
    with EnergyMeter(model) as meter:
        x = torch.rand(2, 3) @ torch.eye(3)
        with pytest.raises(RuntimeError):
            model(torch.rand(2, 5))
        F.linear(model(x), torch.eye(4)) @ torch.eye(4)
    energy = meter.result(samples=2)
    assert ([layer.name for layer in energy.layers], energy.macs, energy.uncounted) == ([""], 12, [])


def test_a_compiled_network_counts_as_it_would_uncompiled():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), a2sg.LIF(2, threshold=0.1), nn.Linear(4, 2))
    x = torch.rand(2, 5, 3)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    assert measure(compiled, x) == measure(model, x)
    model.compile(backend="eager")
    model(x)
    assert measure(model, x).layers == measure(compiled, x).layers != []


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
