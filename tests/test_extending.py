"""docs/extending.md: every example works as it stands there, wherever a name of its kind works."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch

import a2sg
from a2sg import cli
from a2sg.adopt.find import HOSTS
from a2sg.data.sets import DATA
from a2sg.errors import InputError
from a2sg.models.setting import MODELS
from a2sg.neuron import NEURONS
from a2sg.registry import Registry
from a2sg.study.report.parts import PARTS
from a2sg.surrogate import SURROGATES, create_surrogate
from a2sg.surrogate.registry import side_by_side
from a2sg.training.losses import LOSSES
from a2sg.training.policies import POLICIES
from a2sg.training.regularizers import REGULARIZERS
from a2sg.window.objectives import OBJECTIVES

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
REGISTRIES = [
    *(SURROGATES, NEURONS, MODELS, DATA, OBJECTIVES, POLICIES, LOSSES, REGULARIZERS, PARTS, HOSTS),
]
RECIPE = """
epochs: 4
model: {name: one_layer, options: {width: 24}}
neuron: {name: tau_lif, options: {tau: 5.0}}
surrogate: {name: cosine}
windows: {every: 4, spatial: focus}
data: {name: stripes, options: {samples: 128}}
loss: {name: last, regularizers: {quiet: 0.01}}
"""


def blocks():
    return re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A current folder with the page's two files; what they register is forgotten afterwards."""
    library = [block for block in blocks() if block.startswith("# my_library.py")]
    assert len(library) == 1
    (tmp_path / "my_library.py").write_text(library[0], encoding="utf-8")
    (tmp_path / "my_things.py").write_text(
        "\n\n".join(block for block in blocks() if block not in library), encoding="utf-8"
    )
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before, path = [dict(registry) for registry in REGISTRIES], list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for registry, things in zip(REGISTRIES, before, strict=True):
        for name in registry.keys() - things.keys():
            del registry[name]
    for name in ("my_things", "my_library"):
        sys.modules.pop(name, None)


def run(capsys, *words):
    status = cli.main(list(words))
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def test_by_import_each_is_listed(home, capsys):
    for topic, name, text in [
        ("surrogates", "cosine", "One wave of a cosine"),
        ("neurons", "tau_lif", "time constant"),
        ("models", "one_layer", "One spiking layer"),
        ("data", "stripes", "Noisy stripes"),
        ("objectives", "focus", "Few elements"),
        ("parts", "weights", "The norm of each layer's weights"),
        ("losses", "last", "the last step's output"),
        ("regularizers", "quiet", "mean rate of spikes"),
        ("hosts", "my_library", "cells that reset()"),
    ]:
        listed = run(capsys, "list", topic, "--import=my_things")
        assert re.search(rf"^  {name} +.*{re.escape(text)}", listed, re.MULTILINE)
    assert "cosine" in side_by_side()


def test_in_runs_arms_inspection_and_analysis(home, capsys):
    imported = ("--import", "my_things")
    run(capsys, "train", "mine.yaml", *imported, "--out", "run", "--seed", "1")
    summary = json.loads((home / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["accuracy"] > 0.75  # by chance: a half
    assert any(window != 1.0 for windows in summary["windows"].values() for window in windows)
    arms = "cosine:window=0.7,a2sg:shape=cosine:spatial=focus:quiet=0.1"
    words = ("--arms", arms, "--seeds", "0", "--epochs", "1", "--out", "arms")
    run(capsys, "compare", "mine.yaml", *imported, *words)
    with open(home / "arms" / "comparison.csv", encoding="utf-8") as file:
        assert [row["arm"] for row in csv.DictReader(file)] == [
            "cosine:window=0.7",
            "a2sg:quiet=0.1:shape=cosine:spatial=focus",
        ]
    run(capsys, "inspect", "one_layer", *imported, "--data", "stripes", "--out", "look")
    run(capsys, "analyze", "run", *imported, "--only", "weights", "--samples", "8", "--out", "report")
    with open(home / "report" / "weights-norm.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(float(row["norm"]) > 0 for row in rows)
    run(capsys, "evaluate", "run", *imported)


def test_a_run_of_such_things_needs_the_import_again(home, capsys):
    assert cli.main(["train", "mine.yaml"]) == 2
    assert "unknown" in capsys.readouterr().err
    assert "my_things" not in sys.modules


def test_in_python(home, monkeypatch):
    monkeypatch.syspath_prepend(str(home))
    import my_things

    assert create_surrogate("cosine") == my_things.Cosine()
    shape, z = my_things.Cosine(), torch.linspace(-1.0, 1.0, 20001, dtype=torch.float64)
    assert torch.trapezoid(shape.profile(z), z).item() == pytest.approx(shape.mass)
    assert shape.cumulative(z)[-1].item() == pytest.approx(shape.mass)
    neuron = {"neuron": "tau_lif", "neuron_options": {"tau": 5.0}}
    model = a2sg.create_model("one_layer", **neuron, surrogate="cosine", in_channels=1, image_size=8)
    images = torch.randn(3, 1, 8, 8)
    assert model(images).shape == (4, 3, 10)
    windows = a2sg.AdaptiveWindows(model, every=1, start=0, spatial="focus")
    model(images).square().mean().backward()
    assert windows.step()
    like = a2sg.LIF(4, decay=0.8)
    mine = my_things.TauLIF(4, tau=-1 / torch.tensor(0.8).log().item())
    current = torch.randn(4, 5, 6)
    assert torch.equal(mine(current), like(current))
    for option in ("decay", "tresh"):
        with pytest.raises(a2sg.InputError, match=rf"takes tau, threshold, .*, not '{option}'"):
            a2sg.create_model("one_layer", neuron="tau_lif", neuron_options={option: 0.5})


def test_a_library_is_adapted_like_a_neuron_of_ours(home, monkeypatch):
    monkeypatch.syspath_prepend(str(home))
    import my_library
    import my_things  # noqa: F401

    cell, ours = my_library.Cell(), a2sg.LIF(4, window=0.8)
    windows = a2sg.adapt(torch.nn.Sequential(cell), steps=4, window=0.8, every=1, start=0)
    there = a2sg.AdaptiveWindows(ours, every=1, start=0)
    for seed in range(2):
        current = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(seed))
        one, two = current.clone().requires_grad_(), current.clone().requires_grad_()
        cell.reset()
        theirs, own = torch.stack([cell(x) for x in one]), ours(two)
        assert torch.equal(theirs, own)
        theirs.cumsum(0).sum().backward()
        own.cumsum(0).sum().backward()
        torch.testing.assert_close(one.grad, two.grad)
        windows.step(), there.step()
        assert windows.history[-1]["window"] == there.history[-1]["window"]
    windows.revert()
    assert cell.fire is my_library.heaviside


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_name_is_given_once(registry):
    taken, thing = next(iter(registry.items()))
    registry.register(taken)(thing)
    with pytest.raises(InputError, match=f"'{taken}' is already the name of another {registry.kind}"):
        registry.register(taken)(object())


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a=b", "a,b", "-a", 3])
def test_a_name_has_to_fit_into_recipes_and_arms(name):
    with pytest.raises(InputError, match="the name of a thing must be letters"):
        Registry("thing").register(name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--import"], "takes the name of a module such as my_package.nets, not ''"),
        (["list", "--import", "./my_things.py"], "takes the name of a module such as my_package.nets"),
        (["list", "--import", "nowhere"], "there is no module 'nowhere': is it here, or on PYTHONPATH?"),
        (["list", "--import", "nowhere.py"], "there is no module 'nowhere': give the module's name, nowhere"),
        (["list", "--import", "my_package.nowhere"], "--import my_package.nowhere: there is no module"),
        (["list", "--import", "asks"], "--import asks failed: No module named 'absent'"),
        (["train", "--import", "broken"], "--import broken failed: ZeroDivisionError"),
        (["train", "--import=unfinished"], "--import unfinished failed: SyntaxError"),
        (["train", "--import=ends"], "--import ends failed: SystemExit"),
        (["train", "--import=taken"], "--import taken: 'boxcar' is already the name of another surrogate"),
        (["list", "--imports", "broken"], "did you mean '--import'?"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(home, capsys, words, message):
    (home / "broken.py").write_text("1 / 0", encoding="utf-8")
    (home / "asks.py").write_text("import absent", encoding="utf-8")
    (home / "unfinished.py").write_text("def f(:", encoding="utf-8")
    (home / "ends.py").write_text("raise SystemExit(3)", encoding="utf-8")
    (home / "taken.py").write_text(
        "from a2sg.surrogate import *\nregister_surrogate('boxcar')(Triangle)", encoding="utf-8"
    )
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_several_modules_and_every_command(home, capsys):
    (home / "package").mkdir()
    (home / "package" / "__init__.py").write_text("", encoding="utf-8")
    (home / "package" / "nets.py").write_text("DONE = True\n", encoding="utf-8")
    for command in cli.COMMANDS:
        run(capsys, command, "--import", "my_things", "--help", "--import=package.nets")
        assert "package.nets" in sys.modules
        assert "cosine" in SURROGATES
        for name in ("package", "package.nets"):
            del sys.modules[name]


def test_a_module_of_the_current_folder_stands_in_for_nothing_installed(home, capsys):
    (home / "json.py").write_text("1 / 0", encoding="utf-8")
    (home / "yaml.py").write_text("1 / 0", encoding="utf-8")
    sys.modules.pop("yaml", None)
    run(capsys, "list", "recipes", "--import", "my_things")
