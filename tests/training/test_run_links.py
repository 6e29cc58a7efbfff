"""Run folders of strangers, and after a crash: links are refused, torn tables cut, odd checkpoints told."""

import os

import pytest
import torch

from a2sg import cli
from a2sg.files import read_rows
from a2sg.training.run import CHECKPOINT

COMMANDS = {
    "train": ["train", "--resume"],
    "evaluate": ["evaluate"],
    "inspect": ["inspect"],
    "analyze": ["analyze"],
    "export": ["export", "--nir"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=list(COMMANDS))
@pytest.mark.parametrize(
    "name", ["windows.csv", "evaluation.json.part", "checkpoints/last.ckpt.part", "inspection"]
)
def test_a_run_folder_with_a_link_is_refused(run, words, name, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious", encoding="utf-8")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(elsewhere)
    assert cli.main([*words, str(run)]) == 2
    assert f"{name} is a link: replace it by a file or a folder, or delete it" in capsys.readouterr().err
    assert elsewhere.read_text(encoding="utf-8") == "precious"


def test_a_pipe_in_a_run_folder_is_refused(run, capsys):
    """Writing to it would wait for ever."""
    os.mkfifo(run / "evaluation.json.part")
    assert cli.main(["evaluate", str(run)]) == 2
    assert "evaluation.json.part is no file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.json.part"])
def test_a_folder_in_the_place_of_a_result_is_told(run, name, capsys):
    (run / name).mkdir()
    assert cli.main(["evaluate", str(run)]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("a2sg: error: cannot write ")


@pytest.mark.parametrize(("lines", "more"), [(0, 0), (0, 20), (1, 0), (2, 0), (2, 20)])
def test_a_table_torn_after_the_last_epoch_is_cut_and_the_run_ends(run, lines, more, caplog):
    """As after a crash in the last evaluation: training itself has nothing left to do."""
    (run / "summary.json").unlink()
    for picture in run.glob("*.png"):
        picture.unlink()
    whole = (run / "windows.csv").read_bytes().splitlines(keepends=True)
    os.truncate(run / "windows.csv", len(b"".join(whole[:lines])) + more)
    assert cli.main(["train", "--resume", str(run)]) == 0
    assert "windows.csv has lost" in caplog.text
    rows = read_rows(run / "windows.csv")
    assert all(row["window"] > 0 for row in rows)
    assert len(rows) == max(0, lines - 1)
    assert (run / "summary.json").is_file()
    assert (run / "accuracy.png").is_file()


OF_OPTIMIZER = {
    "a state of another shape": ("state", 0, "exp_avg", torch.zeros(3)),
    "an expanded state": ("state", 0, "exp_avg", torch.zeros(1, dtype=torch.float64).expand(3000, 3000)),
    "a setting that is text": ("param_groups", 0, "betas", "x"),
    "a setting of another length": ("param_groups", 0, "betas", (0.9,)),
    "a missing setting": ("param_groups", 0, "eps", None),
}


@pytest.mark.parametrize("change", OF_OPTIMIZER.values(), ids=list(OF_OPTIMIZER))
def test_an_optimizer_that_does_not_fit_is_told(run, change, capsys):
    state = torch.load(run / CHECKPOINT, weights_only=True)
    kind, at, name, value = change
    state["optimizer_states"][0][kind][at][name] = value
    for path in (run / CHECKPOINT).parent.iterdir():
        path.unlink()
    torch.save(state, run / CHECKPOINT)
    (run / "summary.json").unlink()
    config = run / "config.yaml"
    config.write_text(
        config.read_text(encoding="utf-8").replace("epochs: 1\n", "epochs: 2\n"), encoding="utf-8"
    )
    assert cli.main(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("a2sg: error: ")
    assert "last.ckpt" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_windows_that_are_not_positive_are_told(run, value, capsys):
    state = torch.load(run / CHECKPOINT, weights_only=True)
    (name,) = [name for name in state["state_dict"] if name.endswith("fc1.neuron.window")]
    state["state_dict"][name][0] = value
    for path in (run / CHECKPOINT).parent.iterdir():
        path.unlink()
    torch.save(state, run / CHECKPOINT)
    assert cli.main(["evaluate", str(run)]) == 2
    assert "a saved window is not a finite number above 0" in capsys.readouterr().err
