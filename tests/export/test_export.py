"""Exported networks, run by an interpreter of NIR's own equations, fire as ours do."""

import math
import sys

import nir
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import a2sg
import nir_steps
from a2sg import IF, LIF, InputError, cli, create_model
from a2sg.data import ImageData
from a2sg.data.sets import collate
from a2sg.export import READERS, Convention, to_nir, write_nir
from a2sg.export.of_run import input_of
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.neuron import recording
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from nir_networks import images, network, options_of

HARD = {"reset": "hard"}
READ = {
    "nir": {"dt": 1e-4},
    "norse": {"dt": 1e-3, "integrate": nir_steps.euler_without_r},
    "sinabs": {
        "dt": 1.0,
        "integrate": nir_steps.exponential_without_r,
        "reset": nir_steps.less_threshold,
        "fires": np.greater_equal,
    },
}
"""How each reader reads, in the interpreter's words."""


@torch.no_grad()
def ours(model, frames):
    """Spikes by neuron, and the output."""
    with recording(model) as records:
        output = model(frames)
    return {name: record[0].spikes.numpy() for name, record in records.items()}, output.numpy()


def compare(model, frames, graph, reader):
    """Every spike of every neuron is the same, and so is the output."""
    spikes, output = ours(model, frames)
    if isinstance(next(model.children()), Frames) and frames.dim() == 4:
        frames = frames.expand(len(output), *frames.shape)
    found = nir_steps.run(graph, frames.numpy(), **READ[reader])
    for name, mine in spikes.items():
        assert 0 < mine.mean() < 1, f"{name} tells nothing"
        np.testing.assert_array_equal(found[name], mine, err_msg=name)
    np.testing.assert_allclose(found["output"], output, rtol=1e-9, atol=1e-9)
    assert sum(isinstance(node, nir.IF | nir.LIF) for node in graph.nodes.values()) == len(spikes)


NETWORKS = [
    ("vgg_small", "lif", {}),
    ("vgg_small", "lif", {"order": "scaled", "decay": 0.8}),
    ("vgg_small", "if", {}),
    ("vgg_small", "plif", {"decay": 0.7, "threshold": 0.6}),
    ("mlp_small", "lif", {"threshold": 1.7, "decay": 0.0}),
    ("fcn_small", "lif", {}),
    ("resnet18", "lif", {}),
    ("sew_resnet18", "lif", {"order": "scaled"}),
    ("ms_resnet18", "lif", {"order": "scaled"}),
]


@pytest.mark.parametrize(("name", "neuron", "options"), NETWORKS)
def test_nir_to_the_letter_fires_as_the_network(name, neuron, options):
    model = network(name, neuron=neuron, neuron_options={**HARD, **options}, **options_of(name))
    compare(model, images(), to_nir(model, (2, 8, 8)), "nir")


@pytest.mark.parametrize(
    ("name", "neuron", "options"), [case for case in NETWORKS if "sew" not in case[0]][:6]
)
def test_readers_without_resistance_get_scaled_weights(name, neuron, options):
    model = network(name, neuron=neuron, neuron_options={**HARD, **options}, **options_of(name))
    compare(model, images(), to_nir(model, (2, 8, 8), reader="norse"), "norse")


@pytest.mark.parametrize(
    ("name", "neuron", "options"), [case for case in NETWORKS if case[2].get("decay") != 0]
)
def test_readers_that_subtract_take_soft_resets(name, neuron, options):
    if name == "ms_resnet18":
        options = {}
    model = network(name, neuron=neuron, neuron_options=options, **options_of(name))
    compare(model, images(), to_nir(model, (2, 8, 8), reader="sinabs"), "sinabs")


def test_recordings_are_frames_of_steps():
    model = network("vggsnn", size=16, width=0.03, neuron_options=HARD)
    compare(model, torch.randn(4, 2, 2, 16, 16).double(), to_nir(model), "nir")


def test_a_network_of_ones_own(tmp_path):
    torch.manual_seed(1)
    model = nn.Sequential(
        PerStep(nn.Sequential(nn.Conv2d(1, 4, (3, 3), stride=2), nn.BatchNorm2d(4, affine=False))),
        nn.Identity(),
        LIF(3, reset="hard", decay=0.5, threshold=0.3),
        nn.Flatten(2),
        nn.Dropout(0.5),
        nn.Linear(36, 6, bias=False),
        IF(3, reset="hard", threshold=0.2),
        nn.Linear(6, 2),
    ).double()
    model(torch.randn(3, 9, 1, 8, 8).double())
    model.train()
    graph = to_nir(model, (1, 8, 8))
    assert all(module.training for module in model.modules()), "the model is left as it was"
    model.eval()
    compare(model, torch.randn(3, 5, 1, 8, 8).double(), graph, "nir")
    write_nir(graph, tmp_path / "own.nir")
    again = nir.read(tmp_path / "own.nir")
    assert [path.name for path in tmp_path.iterdir()] == ["own.nir"]
    compare(model, torch.randn(3, 5, 1, 8, 8).double(), again, "nir")
    assert again.metadata["steps"] == 3
    assert again.metadata["dt"] == 1e-4


@pytest.mark.parametrize("reader", READ)
def test_thresholds_and_decays_by_channel(reader):
    options = {"reset": "soft" if reader == "sinabs" else "hard"}
    model = network("vgg_small", neuron_options=options, **options_of("vgg_small"))
    for layer in (module for module in model.modules() if isinstance(module, SpikingLayer)):
        channels = layer.synapse.weight.shape[0]
        layer.neuron.threshold = torch.linspace(0.6, 1.3, channels, dtype=torch.float64)
        layer.neuron.decay = torch.linspace(0.5, 0.95, channels, dtype=torch.float64)
    graph = to_nir(model, (2, 8, 8), reader=reader)
    compare(model, images(), graph, reader)
    found = next(node for node in graph.nodes.values() if isinstance(node, nir.LIF))
    assert len(np.unique(found.tau)) == len(np.unique(found.v_threshold)) == found.tau.shape[0] > 1


@pytest.mark.parametrize(
    ("decay", "threshold", "message"),
    [
        ([0.5, 1.0], 1.0, "some of its channels leak and others do not"),
        ([0.5, 1.25], 1.0, "training has moved its decay outside 0 to 1"),
        ([0.5, 0.5], -0.25, "or its threshold below 0"),
    ],
)
def test_constants_that_nir_cannot_say_are_refused(decay, threshold, message):
    neuron = LIF(2, decay=nn.Parameter(torch.ones(2)), learn="threshold", reset="hard")
    with torch.no_grad():  # as an optimizer may
        neuron.decay.copy_(torch.tensor(decay))
        neuron.threshold.fill_(threshold)
    with pytest.raises(InputError, match=message):
        to_nir(nn.Sequential(nn.Linear(2, 2), neuron), (2,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_at_the_threshold_fires_in_nir_too(dtype):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), IF(4, threshold=1.0, reset="hard")).to(dtype)
    nn.init.eye_(model[0].weight)
    current = torch.tensor([[0.25, 0.5, 1.0, 0.2]], dtype=dtype).expand(4, 1, 4)
    assert model(current)[:, 0, :3].tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]]
    graph = to_nir(model, (4,))
    found = nir_steps.run(graph, current, dt=1e-4)["1"]
    np.testing.assert_array_equal(found, model(current).detach())
    below = graph.nodes["1"].v_threshold[0]
    assert below < 1.0 == np.nextafter(below.astype(str(dtype)[6:]), 2)


@given(
    decay=st.floats(0.05, 0.99),
    scaled=st.booleans(),
    dt=st.floats(1e-5, 10),
    rule=st.sampled_from(["euler", "exponential"]),
)
def test_the_equation_solved_over_a_step_is_the_step(decay, scaled, dt, rule):
    """τ and r against the equation itself: its Euler step, or many tiny ones."""
    model = nn.Sequential(LIF(1, decay=decay, reset="hard", order="scaled" if scaled else "field")).double()
    node = to_nir(model, (1,), reader=Convention(dt=dt, decay=rule)).nodes["0"]
    v, current = 0.3, 0.4
    expected = decay * (v + current) if scaled else decay * v + current
    parts = 1 if rule == "euler" else 20_000
    tau, r = node.tau.item(), node.r.item()
    for _ in range(parts):
        v += dt / parts / tau * (-v + r * current)
    assert math.isclose(v, expected, rel_tol=1e-12 if parts == 1 else 1e-3)


def twice(layer):
    return nn.Sequential(nn.Linear(4, 4), layer, LIF(2, reset="hard"))


REFUSED = [
    (create_model("vgg_small", in_channels=1, image_size=8), "nir", r"'conv1.neuron' \(LIF\).* soft reset"),
    (
        create_model("vgg_small", in_channels=1, image_size=8, neuron_options=HARD),
        "sinabs",
        "'conv1.neuron' .* hard reset",
    ),
    (
        create_model("vgg_small", norm="time_mean", neuron_options=HARD),
        "nir",
        r"'conv1.norm' \(TimeMeanBatchNorm\)",
    ),
    (
        create_model("vgg_small", neuron="integer_lif"),
        "nir",
        r"'conv1.neuron' \(IntegerLIF\).* integer spikes",
    ),
    (
        create_model("resnet18", width=0.05, stem="imagenet", neuron_options=HARD),
        "nir",
        r"'stem_pool' \(MaxPool2d\)",
    ),
    (
        create_model("spikformer_4_384", dim=24, heads=2, depth=1, neuron_options=HARD),
        "nir",
        "'patches.pool3' .* max pooling",
    ),
    (create_model("qkformer_4_384", neuron_options=HARD), "nir", "attention.* product of two activations"),
    (create_model("espikeformer_t"), "nir", r"IntegerLIF.* integer spikes"),
    (
        create_model("resnet18", width=0.05, stem="cifar", neuron_options=HARD),
        "norse",
        "'stage1.block2.neuron'.* ignores r",
    ),
    (create_model("mlp_small", neuron_options={"decay": 0.0}), "sinabs", r"'fc1.neuron' .* cannot be 0"),
    (twice(nn.Tanh()), "nir", r"'1' \(Tanh\)"),
    (twice(nn.Flatten(1)), "nir", r"'1' \(Flatten\).* nn.Flatten\(2\)"),
    (nn.Sequential(LIF(2, reset="hard"), PerStep(nn.BatchNorm1d(4))), "nir", "right before"),
    (twice(PerStep(nn.BatchNorm1d(4, track_running_stats=False))), "nir", "running statistics"),
    (nn.Sequential(PerStep(LIF(2, reset="hard"))), "nir", "PerStep"),
    (nn.Sequential(LIF(2, reset="hard"), LIF(3, reset="hard")), "nir", "the same number of steps"),
    (nn.Linear(4, 4), "nir", "found no a2sg neurons"),
    (nn.Linear(4, 4), "nor", "did you mean 'norse'"),
]


@pytest.mark.parametrize(("model", "reader", "message"), REFUSED)
def test_what_nir_cannot_say_is_refused_by_name(model, reader, message):
    shape = None if hasattr(model, "frames") or hasattr(model, "backbone") else (4,)
    with pytest.raises(InputError, match=message):
        to_nir(model, shape, reader=reader)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (nn.Conv2d(2, 2, 3, groups=2), "grouped"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "circular"),
        (nn.Conv2d(3, 2, 3), "no samples of shape"),
        (nn.AvgPool2d(2, ceil_mode=True), "ceil_mode"),
        (nn.AdaptiveAvgPool2d(3), "differ in size"),
    ],
)
def test_layers_of_images_that_nir_cannot_say(conv, message):
    with pytest.raises(InputError, match=message):
        to_nir(nn.Sequential(PerStep(conv), LIF(2, reset="hard")), (2, 8, 8))


def test_a_shape_is_asked_for_where_none_is_known():
    with pytest.raises(InputError, match="shape"):
        to_nir(create_model("fcn_small", neuron_options=HARD))


def test_the_same_layer_twice_is_two_nodes():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, LIF(2, reset="hard"), shared, LIF(2, reset="hard")).double()
    with torch.no_grad():
        shared.bias.fill_(1.2)
    compare(model, torch.randn(2, 9, 4).double(), to_nir(model, (4,)), "nir")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    changes = {"epochs": 2, "neuron.options": HARD, "model.options": {"width": 0.5}}
    train(load_recipe("digits", changes), out, quiet=True)
    return out


def test_a_run_is_exported_with_all_that_a_reader_has_to_know(run, capsys, tmp_path):
    assert cli.main(["export", str(run), "--nir"]) == 0
    assert str(run / "model.nir") in capsys.readouterr().out
    graph = nir.read(run / "model.nir")
    assert graph.nodes["conv1.synapse"].weight.dtype == np.float32
    # As the metadata say: the same values at every step, the largest mean over the steps.
    assert graph.metadata["classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert graph.metadata["input"] == "the image at every step, its values as the data set gives them"
    assert "mean over the steps" in graph.metadata["readout"]
    task = load_run(run).eval()
    pixels, labels = collate([task.data.test[number] for number in range(100)])
    frames = pixels.expand(int(graph.metadata["steps"]), *pixels.shape)
    found = nir_steps.run(graph, frames.numpy(), dt=graph.metadata["dt"])
    spikes, output = ours(task.model, frames)
    differing = sum((found[name] != mine).sum() for name, mine in spikes.items())
    # Float32 against float64: a potential within rounding of the threshold may fire in one alone.
    assert differing <= 1e-4 * sum(mine.size for mine in spikes.values())
    decided = found["output"].mean(0).argmax(1)
    assert (decided == output.mean(0).argmax(1)).mean() >= 0.995
    assert (decided == labels.numpy()).mean() > 0.6


def test_the_input_is_told_in_words():
    data = {"train": [], "test": [], "classes": ("a",), "shape": (2, 4, 4), "description": ""}
    pixels = ImageData(**data, mean=(0.25, 0.5), std=(1.0, 2.0))
    assert input_of(pixels) == (
        "the image at every step, pixels from 0 to 1 less 0.25 0.5 (by channel), divided by 1 2"
    )
    assert input_of(ImageData(**data, steps=4)) == "frame t at step t, its values as the data set gives them"


def test_the_command_line_leaves_nothing_of_what_fails(run, capsys, tmp_path):
    for words, message in [
        (["--nir", "--reader", "sinabs"], "hard reset"),
        (["--nir", "--reader", "brian"], "unknown reader 'brian'"),
        (["--nir", "--out", str(tmp_path)], "is a folder"),
        (["--nir", "--out", str(tmp_path / "no" / "m.nir")], "does not"),
        ([], "--nir"),
    ]:
        before = sorted(run.iterdir())
        assert cli.main(["export", str(run), *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("a2sg: error: ")
        assert message in error
        assert error.count("\n") == 1
        assert sorted(run.iterdir()) == before
        assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_named(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nir", None)
    assert cli.main(["export", str(run), "--nir"]) == 2
    assert "needs nir, which is not installed: pip install 'a2sg[export]'" in capsys.readouterr().err


def test_the_readers_of_the_command_line_are_those_of_python(capsys):
    cli.main(["export", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in READERS)
    assert a2sg.export.to_nir is to_nir
