"""A trained network at other numbers of steps, from the command line."""

import json

import pytest
import torch

from a2sg.cli import main
from a2sg.errors import InputError
from a2sg.training.evaluate import evaluate
from a2sg.training.over_steps import evaluate_over_steps, read_steps
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train

CPU = torch.device("cpu")


def trained(folder, recipe, **overrides):
    options = {"epochs": 1, "data.batch_size": 128, "windows.every": 5, "model.options.width": 0.25}
    train(load_recipe(recipe, options | overrides), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "images", "digits")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "recordings", "digits-events")


def test_images_are_shown_for_each_number_of_steps(images, capsys):
    assert main(["evaluate", str(images), "--steps", "4,1,2", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "trained with this T" in said
    assert "evaluation-steps.json, steps.png" in said
    found = json.loads((images / "evaluation-steps.json").read_text(encoding="utf-8"))
    assert found["trained_steps"] == 4
    assert [row["steps"] for row in found["steps"]] == [1, 2, 4]
    assert (images / "steps.png").read_bytes()[:4] == b"\x89PNG"
    task = load_run(images)
    assert {"steps": 4, **evaluate(task, CPU)} == found["steps"][2]
    # At another T: the very network, on the image at each step.
    right = total = 0
    with torch.no_grad():
        for x, labels in task.eval().val_dataloader():
            scores = task.model(x.expand(2, *x.shape)).mean(0)
            right, total = right + (scores.argmax(1) == labels).sum().item(), total + len(labels)
    assert found["steps"][1]["accuracy"] == pytest.approx(right / total, rel=1e-6)
    energies = [row["energy_nj_per_sample"] for row in found["steps"]]
    assert energies == sorted(energies)
    assert energies[0] < energies[2]


def test_recordings_are_cut_into_as_many_frames(recordings):
    found = evaluate_over_steps(recordings, [6], CPU)
    assert [row["steps"] for row in found["steps"]] == [6]
    rates = found["steps"][0]["firing_rates"]
    assert {len(rate) for rate in rates.values()} == {6}


def test_recordings_that_cannot_be_cut_are_refused(recordings, monkeypatch):
    from a2sg.data.sets import DATA

    monkeypatch.setattr(type(DATA), "takes", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot be cut into 6.*--steps 4"):
        evaluate_over_steps(recordings, [6], CPU)
    assert len(evaluate_over_steps(recordings, [4], CPU)["steps"]) == 1


def test_numbers_of_steps_are_read_ascending():
    assert read_steps("8, 1,2,2") == [1, 2, 8]


@pytest.mark.parametrize("text", ["", "0", "1,", "1,x", "-1", "1.5", "100001", "9" * 30])
def test_what_is_no_number_of_steps_is_refused(text):
    with pytest.raises(InputError, match="--steps takes whole numbers"):
        read_steps(text)
