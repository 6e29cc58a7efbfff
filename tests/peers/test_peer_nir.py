"""Networks trained on real digits, exported and read back by other libraries: the same outputs and spikes."""

import contextlib
import copy
import io
from functools import cache

import nir
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import a2sg
from a2sg.export import to_nir, write_nir
from a2sg.neuron import recording

T = 4
HARD = {"reset": "hard"}
MODELS = {
    "conv": ("vgg_small", "lif", {"width": 0.5}),
    "conv-if": ("vgg_small", "if", {"width": 0.5}),
    "residual": ("sew_resnet18", "lif", {"width": 0.1}),
    "residual-currents": ("ms_resnet18", "plif", {"width": 0.1}),
    "dense": ("mlp_small", "lif", {"hidden": (64, 48)}),
    "dense-if": ("mlp_small", "if", {"hidden": (64, 48)}),
}


def digits():
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16).float().view(-1, 1, 8, 8), torch.tensor(labels)


def trained(kind, **neuron_options):
    """A network after 40 iterations on digits, in evaluation mode."""
    return copy.deepcopy(_trained(kind, tuple(neuron_options.items())))


@cache
def _trained(kind, neuron_options):
    torch.manual_seed(0)
    name, neuron, options = MODELS[kind]
    model = a2sg.create_model(
        name,
        steps=T,
        in_channels=1,
        image_size=8,
        neuron=neuron,
        neuron_options=dict(neuron_options),
        **options,
    )
    images, labels = digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        batch = torch.randint(1000, (64,))
        loss = nn.functional.cross_entropy(model(images[batch]).mean(0), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    decided = model(images[1000:]).mean(0).argmax(1)
    assert (decided == labels[1000:]).float().mean() > 0.6, "it has learned something"
    return model


def exported(model, tmp_path, reader="nir"):
    """The graph, by way of a file."""
    write_nir(to_nir(model, (1, 8, 8), reader=reader), tmp_path / "model.nir")
    return nir.read(tmp_path / "model.nir")


@torch.no_grad()
def same_outputs(model, step, images):
    """The share of images with the same outputs at every step: one differing spike, and they differ.

    `step(x, state)` gives the output of a step and the next state.
    """
    expected = model(images)
    assert expected.std() > 0.1
    state, outputs = None, []
    for _ in range(T):
        output, state = step(images, state)
        outputs.append(output)
    close = torch.isclose(torch.stack(outputs), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    return close.flatten(2).all(2).all(0).float().mean().item()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("options", [{}, {"order": "scaled", "decay": 0.7}], ids=["field", "scaled"])
def test_spikingjelly_gives_the_same_spikes(kind, options, tmp_path):
    """Float64 in both, as SpikingJelly can be told: exactly the same, in every image."""
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    neuron = MODELS[kind][1]
    if options and (neuron == "if" or kind.startswith("residual")):
        pytest.skip("an IF does not leak; a sum of spikes and currents has no weights to take the scale")
    model = trained(kind, **HARD, **options).double()
    net = exchange.import_from_nir(exported(model, tmp_path), dtype=torch.float64)
    images = digits()[0][1000:].double()
    assert same_outputs(model, net, images) == 1
    neurons = {name: module for name, module in net.named_modules() if hasattr(module, "module")}
    assert len(neurons) == sum(isinstance(m, a2sg.LIF | a2sg.IF | a2sg.PLIF) for m in model.modules())
    theirs = {name: [] for name in neurons}
    for name, module in neurons.items():
        module.register_forward_hook(lambda _m, _i, out, name=name: theirs[name].append(out[0]))
    with torch.no_grad(), recording(model) as ours:
        model(images)
        state = None
        for _ in range(T):
            _, state = net(images, state)
    for name, (record,) in ours.items():
        (key,) = [key for key in theirs if key.replace("_", ".") == name.replace("_", ".")]
        assert torch.equal(torch.stack(theirs[key]), record.spikes), name


@pytest.mark.parametrize("kind", [kind for kind in MODELS if "if" not in kind])
def test_snntorch_gives_the_same_spikes(kind, tmp_path):
    """Float32, as snnTorch has it: rounding may move a potential over the threshold, in few images."""
    importer = pytest.importorskip("snntorch.import_nir")
    utils = pytest.importorskip("snntorch.utils")
    model = trained(kind, **HARD)
    with contextlib.redirect_stdout(io.StringIO()):
        net = importer.import_from_nir(exported(model, tmp_path))
    for module in net.modules():
        if isinstance(module, nn.Flatten):
            module.start_dim = 1  # it takes NIR's dimension 0, of a sample, for that of the batch
    utils.reset(net)
    assert same_outputs(model, net, digits()[0][1000:]) >= 0.99


@pytest.mark.parametrize("kind", [kind for kind in MODELS if "residual" not in kind])
def test_norse_gives_the_same_spikes(kind, tmp_path):
    norse = pytest.importorskip("norse.torch")
    model = trained(kind, **HARD)
    net = norse.from_nir(exported(model, tmp_path, "norse"), ignore_warnings=True)
    for module in net.modules():
        if isinstance(module, nn.Flatten):
            module.start_dim = 1
    assert same_outputs(model, net, digits()[0][1000:]) >= 0.99


@pytest.mark.parametrize("kind", ["dense", "dense-if", "conv-if"])
def test_sinabs_gives_the_same_spikes(kind, tmp_path):
    """Soft resets. Sinabs cannot build a LIF after convolutions."""
    sinabs = pytest.importorskip("sinabs.nir")
    activation = pytest.importorskip("sinabs.activation")
    model = trained(kind)
    net = sinabs.from_nir(exported(model, tmp_path, "sinabs"), num_timesteps=T)
    for module in net.modules():
        if hasattr(module, "spike_fn"):
            module.spike_fn = activation.SingleSpike  # one spike a step at most
            module.min_v_mem = None  # no floor under potentials
    images = digits()[0][1000:]
    with torch.no_grad():
        found = net(images.repeat_interleave(T, 0))  # [B * T, ...], the steps of an image in a row
    found = (found[0] if isinstance(found, tuple) else found).unflatten(0, (-1, T)).transpose(0, 1)
    steps = iter(found)
    assert same_outputs(model, lambda x, state: (next(steps), None), images) >= 0.99
