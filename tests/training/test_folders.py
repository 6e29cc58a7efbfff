"""Run folders: who may write into one, and what is left of a run that was killed or ran out of room."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from a2sg.errors import InputError
from a2sg.training.arms import parse_arm
from a2sg.training.checkpoints import CHECKPOINT
from a2sg.training.compare import compare
from a2sg.training.folders import CONFIG, LOCK, SUMMARY, blank, opened, read_summary, require_run
from a2sg.training.recipe import load_recipe
from a2sg.training.run import train
from saved import metrics, timeless

TINY = {
    "epochs": 3,
    "windows.every": 5,
    "data.batch_size": 256,
    "model.name": "mlp_small",
    "model.steps": 2,
    "model.options": {"hidden": [8]},
}


def tiny(**overrides):
    return load_recipe("digits", {**TINY, **overrides})


HOLD = """
import sys, time
from pathlib import Path
from a2sg.training.folders import opened, read_run_config
out = Path(sys.argv[1])
with opened(read_run_config(out), out, resume=True):
    print("mine", flush=True)
    time.sleep(100)
"""


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    train(tiny(epochs=1), tmp_path / "run", quiet=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        assert other.stdout.readline() == "mine\n"
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        with pytest.raises(InputError, match="is in use: another process trains there"):
            train(tiny(epochs=1), tmp_path / "run", resume=True, quiet=True)
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    finally:
        other.kill()  # as a lock must not outlive the process that was killed
        other.wait()
        other.stdout.close()
    train(tiny(epochs=1), tmp_path / "run", resume=True, quiet=True)


@pytest.mark.parametrize("left", [[LOCK], [LOCK, f"{CONFIG}.part"], []])
def test_a_folder_whose_run_was_killed_as_it_began_is_as_good_as_empty(tmp_path, left):
    out = tmp_path / "c" / "fixed-s0"
    out.mkdir(parents=True)
    for name in left:
        (out / name).write_text("half of", encoding="utf-8")
    assert blank(out)
    compare(tiny(epochs=1), [parse_arm("fixed")], [0], tmp_path / "c")
    assert read_summary(out) is not None
    assert not blank(out)


def test_overwrite_clears_one_too(tmp_path):
    (tmp_path / "c" / "fixed-s0").mkdir(parents=True)
    (tmp_path / "c" / "fixed-s0" / f"{CONFIG}.part").write_text("half of", encoding="utf-8")
    compare(tiny(epochs=1), [parse_arm("fixed")], [0], tmp_path / "c", overwrite=True)
    assert read_summary(tmp_path / "c" / "fixed-s0") is not None


def test_the_command_that_resumes_a_run_can_be_copied(tmp_path):
    out = tmp_path / "my runs" / "a"
    out.mkdir(parents=True)
    (out / CONFIG).touch()
    with pytest.raises(InputError) as told, opened(tiny(), out, resume=False):
        pass
    words = str(told.value).partition("continue with ")[2]
    assert shlex.split(words) == ["a2sg", "train", "--resume", str(out)]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}"])
def test_a_damaged_summary_is_written_again(tmp_path, content, caplog):
    out = tmp_path / "c" / "fixed-s0"
    compare(tiny(), [parse_arm("fixed")], [0], tmp_path / "c")
    whole = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    (out / SUMMARY).write_text(content, encoding="utf-8")
    compare(tiny(), [parse_arm("fixed")], [0], tmp_path / "c")
    assert "summary.json is damaged" in caplog.text
    assert timeless(json.loads((out / SUMMARY).read_text(encoding="utf-8"))) == timeless(whole)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path):
    whole = train(tiny(), tmp_path / "whole", quiet=True)
    train(tiny(), tmp_path / "run", quiet=True)
    (tmp_path / "run" / SUMMARY).unlink()
    path = tmp_path / "run" / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    again = train(tiny(), tmp_path / "run", resume=True, quiet=True)
    assert timeless(again) == timeless(whole)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    windows = [(tmp_path / name / "windows.csv").read_text(encoding="utf-8") for name in ("run", "whole")]
    assert windows[0] == windows[1]


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write to"):
        train(tiny(), tmp_path / "run", quiet=True)


def test_neither_is_a_temporary_folder_needed_nor_filled(tmp_path, monkeypatch):
    """On clusters it is often small, and another file system than that of the runs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "is-not-there"))
    train(tiny(epochs=2), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / CHECKPOINT).is_file()


def test_an_opened_folder_is_free_afterwards(tmp_path):
    with opened(tiny(), tmp_path / "run", resume=False) as checkpoint:
        assert checkpoint is None
    with opened(tiny(), tmp_path / "run", resume=True) as checkpoint:
        assert checkpoint is None
    with pytest.raises(InputError, match="is not empty"), opened(tiny(), tmp_path / "run", resume=False):
        pass


def test_what_is_no_run_folder_says_what_it_is(tmp_path):
    (tmp_path / "file").touch()
    for name in ("fixed-s0", "a2sg-s0"):
        (tmp_path / "comparison" / name).mkdir(parents=True)
        (tmp_path / "comparison" / name / CONFIG).touch()
    (tmp_path / "other").mkdir()
    for name, message in (
        ("nowhere", "it does not exist"),
        ("file", "it is a file"),
        ("comparison", rf"it holds runs, so name one of them, such as .*{re.escape(os.sep)}a2sg-s0"),
        ("other", rf"it has no {CONFIG} \(a2sg train writes one\)"),
    ):
        with pytest.raises(InputError, match=f"{name} is not a run folder: {message}"):
            require_run(tmp_path / name)
    require_run(tmp_path / "comparison" / "fixed-s0")


@pytest.mark.parametrize(
    ("there", "out", "message"),
    [
        ("mine.txt", ".", r"is not empty: choose another --out$"),
        ("mine.txt", "mine.txt", r"mine\.txt is a file, not a folder: choose another --out$"),
        (CONFIG, ".", r"is not empty: choose another --out, or continue with a2sg train --resume"),
    ],
)
def test_only_a_run_is_to_be_gone_on_with(tmp_path, there, out, message):
    (tmp_path / there).touch()
    with pytest.raises(InputError, match=message), opened(tiny(), tmp_path / out, resume=False):
        pytest.fail("it was opened")
