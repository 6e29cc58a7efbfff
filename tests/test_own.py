"""docs/own.md: the module and the recipe work as they stand there, in every command."""

import csv
import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from a2sg import cli
from a2sg.data.sets import DATA
from a2sg.imports import import_modules
from a2sg.models.setting import MODELS
from a2sg.training.losses import LOSSES
from a2sg.training.recipe import load_recipe
from interruption import interrupted
from places import ROOT
from saved import metrics

OWN = ("--import", "my_nets")


def block(kind, beginning):
    page = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
    found = re.findall(rf"^```{kind}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    (one,) = [text for text in found if text.startswith(beginning)]
    return one


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(block("python", "# my_nets.py"), encoding="utf-8")
    (tmp_path / "centres.yaml").write_text(block("yaml", "# centres.yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    forget()


def forget():
    sys.modules.pop("my_nets", None)
    for registry, name in ((MODELS, "two_layers"), (DATA, "centres"), (LOSSES, "absolute")):
        registry.pop(name, None)


def run(capsys, *words, status=0):
    assert cli.main(list(words)) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_it_works_in_every_command(home, capsys):
    run(capsys, "train", "centres.yaml", *OWN, "--out", "run", "--epochs", "10")
    summary = json.loads((home / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["r2"] > 0.5
    run(capsys, "evaluate", "run", *OWN)
    again = json.loads((home / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert again["r2"] == summary["r2"]

    at = np.linspace(-1, 1, 8)
    (home / "scans").mkdir()
    centres = []
    for number, image in enumerate(load_digits().images[1200:1240] / 16):
        Image.fromarray(np.round(255 * (1 - image)).astype(np.uint8)).save(
            home / "scans" / f"{number:02}.png"
        )
        centres.append((image * at).sum() / image.sum())
    rows = list(csv.DictReader(io.StringIO(run(capsys, "predict", "run", "scans", *OWN))))
    assert list(rows[0]) == ["file", "across", "down"]
    assert np.corrcoef([float(row["across"]) for row in rows], centres)[0, 1] > 0.7

    words = ("--arms", "fixed,a2sg", "--seeds", "0", "--epochs", "1", "--out", "arms")
    assert "R²" in run(capsys, "compare", "centres.yaml", *OWN, *words)
    run(capsys, "inspect", "run", *OWN)
    run(capsys, "inspect", "two_layers", *OWN, "--data", "centres", "--out", "look")
    run(capsys, "analyze", "run", *OWN, "--only", "energy,gain", "--samples", "8")
    run(capsys, "export", "run", *OWN, "--nir", "--reader", "sinabs")


def test_an_interrupted_run_is_resumed(home, capsys):
    import_modules(["my_nets"])
    interrupted(load_recipe("centres.yaml", {"epochs": 3}), home / "run", 2)
    forget()
    run(capsys, "train", "--resume", "run", *OWN)
    assert len(metrics(home / "run")) == 1 + 3


@pytest.mark.parametrize(
    "words",
    [
        ("train", "centres.yaml"),
        ("train", "--resume", "run"),
        ("compare", "centres.yaml"),
        ("evaluate", "run"),
        ("predict", "run", "centres.yaml"),
        ("inspect", "run"),
        ("analyze", "run"),
        ("export", "run", "--nir"),
    ],
    ids=lambda words: words[0] + words[1],
)
def test_without_the_module_its_option_is_named(home, capsys, words):
    run(capsys, "train", "centres.yaml", *OWN, "--out", "run", "--epochs", "1")
    if "--resume" in words:
        (home / "run" / "summary.json").unlink()
    forget()
    before = sorted(home.rglob("*"))
    err = run(capsys, *words, status=2)
    *before_it, last = err.splitlines()
    assert before_it == (["run 1 of 18: fixed, seed 0"] if words[0] == "compare" else [])
    assert last.startswith("a2sg: error: unknown ")
    assert last.endswith("; if it is your own, name its module with --import MODULE")
    assert sorted(home.rglob("*")) == before
    assert "my_nets" not in sys.modules
