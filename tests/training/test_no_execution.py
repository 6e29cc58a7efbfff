"""No recipe, run folder or checkpoint executes code: in every field, through every command that reads one."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import trap
from a2sg import cli
from a2sg.data import create_data, list_data
from a2sg.data.sets import DATA
from a2sg.errors import InputError
from a2sg.training import folders
from a2sg.training import run as runs
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.build import build_data
from a2sg.training.checkpoints import CHECKPOINT
from a2sg.training.config import RunConfig
from a2sg.training.fields import kinds, walk
from a2sg.training.folders import read_run_config
from a2sg.training.recipe import load_recipe
from a2sg.training.task import SpikingTask

CLASS = f"{trap.MODULE}.Trap"
OBJECTS = [
    {"class_path": CLASS},
    {"class_path": CLASS, "init_args": {"x": 1}},
    {"class_path": CLASS, "dict_kwargs": {"x": 1}},
    {"class_path": "subprocess.Popen", "init_args": {"args": trap.COMMAND, "shell": True}},
]
TAGS = [
    f"!!python/object/apply:{CLASS} []",
    f"!!python/object/new:{CLASS} []",
    f"!!python/object:{CLASS} {{}}",
    f"!!python/name:{CLASS} ''",
    f"!!python/module:{trap.MODULE} ''",
    f"!!python/object/apply:os.system ['{trap.COMMAND}']",
]
TEXTS = [CLASS, "os.system", "import a2sg_trap", json.dumps(OBJECTS[1]), yaml.safe_dump(OBJECTS[1]), TAGS[0]]
PAYLOADS = [*map(json.dumps, OBJECTS), *TAGS, *map(json.dumps, TEXTS)]
"""As YAML in one line."""

FIELDS = list(walk(RunConfig))
GROUPS = sorted({field.name.rpartition(".")[0] for field in FIELDS} - {""})
ITSELF = ["%s", "[%s]", "{x: %s}", "{class_path: %s}"]
BELOW = ["{x: %s}", "{x: {y: %s}}", "{x: {y: {z: %s}}}", "{x: {y: {z: {v: %s}}}}", "{x: [%s]}", "[{x: [%s]}]"]
QUICK = {
    "epochs": 2,
    "keep_every": 1,
    "windows.every": 4,
    "model.name": "mlp_small",
    "model.options": {"hidden": [8, 8]},
    "model.steps": 2,
}

PLACES = [(name, place) for name in [*(field.name for field in FIELDS), *GROUPS] for place in ITSELF]
ONE_OF_EACH = [*{str(field.kind): field.name for field in FIELDS}.values(), *GROUPS]
"""One field of every type, and every group."""
PLACES += [(field.name, place) for field in FIELDS if field.open for place in BELOW]


def inside(name, text):
    """YAML in one line with `text` at a dotted name."""
    for part in reversed(name.split(".")):
        text = f"{{{part}: {text}}}"
    return text


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty working directory, with the trap set elsewhere."""
    folder, cwd = tmp_path / "path", tmp_path / "cwd"
    folder.mkdir()
    cwd.mkdir()
    trap.set_up(folder, monkeypatch)
    monkeypatch.chdir(cwd)
    return folder, cwd


def one_line(capsys, words):
    """Run a command that has to end in one line and status 2."""
    status = cli.main(words)
    err = capsys.readouterr().err
    assert status == 2, (words, err)
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    return err


def build(config, *_, **__):
    """All that is made before a run is trained."""
    task = SpikingTask(config, build_data(config))
    if config.model.weights is not None:
        runs.take_weights(task.model, Path(config.model.weights))
    raise InputError("built")


def test_the_trap_works(home):
    folder, _ = home
    with pytest.raises(AssertionError, match="import"), trap.untouched(*home):
        __import__(trap.MODULE)
    (folder / "TRACE").unlink()
    with pytest.raises(AssertionError, match=r"os\.system"), trap.untouched(*home):
        os.system(f": {trap.COMMAND}")
    assert len(FIELDS) > 50
    assert len(GROUPS) == sum(hasattr(kind, "__dataclass_fields__") for kind in kinds(RunConfig).values())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_field_of_a_recipe_imports_or_makes_anything(home, payload, monkeypatch):
    recipe = home[0] / "r.yaml"
    monkeypatch.setattr(runs, "train", build)
    with trap.untouched(*home):
        for name, place in [*PLACES, *((key, "%s") for key in ("class_path", "init_args", "__path__"))]:
            recipe.write_text(inside(name, place % payload), encoding="utf-8")
            with pytest.raises(InputError):  # also text that is a name of nothing we have
                build(load_recipe(str(recipe)))
        recipe.write_text(payload, encoding="utf-8")
        with pytest.raises(InputError):
            build(load_recipe(str(recipe)))


@pytest.mark.parametrize("payload", [json.dumps(OBJECTS[1]), TAGS[-1]])
def test_no_field_does_through_the_command_line(home, payload, monkeypatch, capsys):
    recipe = home[0] / "r.yaml"
    monkeypatch.setattr(runs, "train", build)
    with trap.untouched(*home):
        for name, place in PLACES:
            if place in (ITSELF[0], BELOW[0], BELOW[-1]):
                recipe.write_text(inside(name, place % payload), encoding="utf-8")
                one_line(capsys, ["train", str(recipe)])
        for field in FIELDS:
            one_line(capsys, ["train", "digits", f"--{field.name}", payload])
            if field.open:
                one_line(capsys, ["train", "digits", f"--{field.name}.x.y", payload])
        for group in GROUPS:
            one_line(capsys, ["train", "digits", f"--{group}", payload])
            one_line(capsys, ["train", "digits", f"--{group}.class_path", CLASS])


@pytest.mark.parametrize("field", ["import", "--import", "imports", "model.import", "windows.--import"])
def test_no_recipe_says_what_to_import(home, field, capsys):
    """`--import` is for what is typed: in a file it is an unknown field like any other."""
    recipe = home[0] / "r.yaml"
    with trap.untouched(*home):
        for value in (trap.MODULE, [trap.MODULE]):
            recipe.write_text(inside(field, json.dumps(value))[1:-1] + "\n", encoding="utf-8")
            assert field in one_line(capsys, ["train", str(recipe)])


def test_no_value_opens_another_file(home, capsys):
    folder, _ = home
    other = folder / "other.yaml"
    other.write_text("{name: spikformer, steps: 2}", encoding="utf-8")
    with trap.untouched(*home):
        for group in GROUPS:
            (folder / "r.yaml").write_text(json.dumps({group: str(other)}), encoding="utf-8")
            assert f"{group} must be a group" in one_line(capsys, ["train", str(folder / "r.yaml")])
            one_line(capsys, ["train", "digits", f"--{group}", str(other)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a comparison with one real run."""
    out = tmp_path_factory.mktemp("runs")
    runs.train(apply_arm(load_recipe("digits", QUICK), parse_arm("a2sg")), out / "a2sg-s0", quiet=True)
    return out


WORDS = [f"--{name}={value}" for name, value in QUICK.items()]
READERS = {
    "evaluate": lambda run: ["evaluate", run],
    "inspect": lambda run: ["inspect", run],
    "analyze": lambda run: ["analyze", run, "--only", "theory", "--samples", "8", "--batch-size", "8"],
    "export": lambda run: ["export", run, "--nir"],
    "resume": lambda run: ["train", "--resume", run],
    "weights": lambda run: ["train", "digits", "--model.weights", run, *WORDS],
    "compare": lambda run: [
        *("compare", "digits", "--arms", "a2sg", "--seeds", "0", "--out", os.path.dirname(run)),
        *WORDS,
    ],
    "train": lambda run: ["train", os.path.join(run, "config.yaml")],
}
"""Every way in which a command reads a run folder."""


@pytest.fixture
def copied(home, trained):
    out = shutil.copytree(trained, home[0] / "runs")
    return out / "a2sg-s0"


@pytest.mark.parametrize("payload", [json.dumps(OBJECTS[3]), TAGS[0]])
@pytest.mark.parametrize("reader", READERS)
def test_no_config_of_a_run_folder_does(home, copied, reader, payload, monkeypatch, capsys):
    take_weights = runs.take_weights

    def take_and_stop(*arguments):  # data and options of that run do not matter to this one
        take_weights(*arguments)
        raise InputError("taken")

    monkeypatch.setattr(runs, "take_weights", take_and_stop)
    if reader in ("resume", "weights"):
        (copied / "summary.json").unlink()
    config = copied / "config.yaml"
    plain = yaml.safe_load(config.read_text(encoding="utf-8"))
    with trap.untouched(*home):
        for name, place in PLACES:
            if place not in (ITSELF[0], BELOW[1]) or not (place == BELOW[1] or name in ONE_OF_EACH):
                continue
            rest = {key: value for key, value in plain.items() if key != name.partition(".")[0]}
            config.write_text(
                yaml.safe_dump(rest) + inside(name, place % payload)[1:-1] + "\n", encoding="utf-8"
            )
            one_line(capsys, READERS[reader](str(copied)))


class Evil:
    def __reduce__(self):
        return os.system, (trap.COMMAND,)


def poison(path, how):
    """Put a pickle in the place of a checkpoint that runs a command, or imports, as soon as it is loaded."""
    path.with_stem("last-1").unlink(missing_ok=True)  # else the one before is taken
    if how == "torch":
        state = torch.load(path, weights_only=True)
        torch.save({**state, "state_dict": Evil()}, path)
    elif how == "beside":
        state = torch.load(path, weights_only=True)
        torch.save({**state, "callbacks": {"other": Evil()}, "hyper_parameters": Evil()}, path)
    else:
        path.write_bytes(f"c{trap.MODULE}\nTrap\n(tR.".encode())


@pytest.mark.parametrize("how", ["torch", "beside", "pickle"])
@pytest.mark.parametrize("reader", ["evaluate", "inspect", "analyze", "export", "resume", "weights"])
def test_no_checkpoint_is_unpickled(home, copied, reader, how, capsys):
    if reader in ("resume", "weights"):
        (copied / "summary.json").unlink()
    poison(copied / CHECKPOINT, how)
    with trap.untouched(*home):
        assert "is damaged" in one_line(capsys, READERS[reader](str(copied)))


@pytest.mark.parametrize("how", ["torch", "beside", "pickle"])
def test_no_kept_epoch_is_unpickled(home, copied, how, capsys):
    poison(copied / "checkpoints/epoch-1.ckpt", how)
    with trap.untouched(*home):
        assert cli.main(READERS["analyze"](str(copied))) == 0  # it is left out, and the page says so
    assert "is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["torch", "beside", "pickle"])
def test_lightning_unpickles_none_either(home, copied, how, monkeypatch):
    """Also one that changes between our look at it and Lightning's, where torch is told to unpickle."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (copied / "summary.json").unlink()
    poison(copied / CHECKPOINT, how)
    monkeypatch.setattr(folders, "newest_checkpoint", lambda folder, aside: folder / CHECKPOINT)
    with trap.untouched(*home), pytest.raises(InputError, match="is damaged"):
        runs.train(read_run_config(copied), copied, resume=True, quiet=True)


@pytest.mark.parametrize(
    "arm", [f"a2sg:{CLASS}=1", f"a2sg:bias={CLASS}", f"a2sg:bias={TAGS[0]}", CLASS, f"a2sg:search={CLASS}"]
)
def test_no_arm_does(home, arm, capsys):
    with trap.untouched(*home):
        one_line(capsys, ["compare", "digits", "--arms", arm])


@pytest.mark.parametrize("name", [name for name in list_data() if DATA.takes(name, "source")])
def test_no_source_of_data_does(home, name, capsys):
    with trap.untouched(*home):
        words = ["train", "digits", f"--data.name={name}", f"--data.options.source={json.dumps(OBJECTS[3])}"]
        assert "data.options.source must be text or null" in one_line(capsys, words)


def test_no_array_of_a_data_set_is_unpickled(home, capsys):
    folder = home[0] / "data"
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        np.save(folder / part / "label_0.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    options = ["--data.name=event_arrays", f"--data.options.source={folder}"]
    with trap.untouched(*home):
        assert "is not an .npy array" in one_line(capsys, ["train", "digits", *options])


def test_no_script_beside_data_is_run(home, monkeypatch):
    """As loading scripts of data sets once were, by the name of their folder."""
    monkeypatch.setenv("A2SG_CACHE", str(home[0] / "cache"))
    datasets = pytest.importorskip("datasets")
    folder = home[0] / "data"
    folder.mkdir()
    (folder / "data.py").write_text(f"import {trap.MODULE}\n", encoding="utf-8")
    image = Image.linear_gradient("L").resize((8, 8))
    for split in ("train", "test"):
        columns = {"image": [image] * 2, "label": [0, 1]}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(2)})
        datasets.Dataset.from_dict(columns, features).to_parquet(folder / f"{split}.parquet")
    with trap.untouched(*home):
        assert len(create_data("image_folder", source=str(folder)).train) == 2
    alone = home[0] / "alone"
    alone.mkdir()
    (alone / "alone.py").write_text(f"import {trap.MODULE}\n", encoding="utf-8")
    with trap.untouched(*home), pytest.raises(InputError, match="holds no images"):
        create_data("image_folder", source=str(alone))
