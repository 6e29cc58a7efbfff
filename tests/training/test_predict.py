"""`a2sg predict`: what a run's network says of files is what it says of the same samples in its data set."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from a2sg import cli
from a2sg.data import create_data
from a2sg.data.digits import digit_splits
from a2sg.errors import InputError
from a2sg.training.predict import find_files, flat, predict
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from labelled_images import CLASSES, write_tree
from layouts import write_arrays

COUNT = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on the digits, and some of its test samples as images."""
    home = tmp_path_factory.mktemp("predict")
    train(load_recipe("digits", {"epochs": 2, "data.batch_size": 128}), home / "run", quiet=True)
    (home / "images").mkdir()
    for number, level in enumerate(levels()):
        Image.fromarray(255 - level).save(home / "images" / f"{number:02}.png")
    return home


def command(capsys, *words):
    status = cli.main(["predict", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def levels():
    """The first test digits, 0 (paper) to 255 (ink)."""
    return np.round(255 * digit_splits()[1].images[:COUNT]).astype(np.uint8)


@torch.no_grad()
def by_hand(run):
    task, pixels = load_run(run / "run"), digit_splits()[0].images
    inputs = (levels()[:, None] / 255 - pixels.mean()) / pixels.std()
    scores = task.loss.readout(task.eval().model(torch.from_numpy(inputs).float()))
    return scores.softmax(1)


def test_files_get_the_classes_of_the_samples(run, capsys):
    status, out, err = command(capsys, run / "run", run / "images", "--top", "3")
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [
        "file",
        "class",
        "probability",
        "class_2",
        "probability_2",
        "class_3",
        "probability_3",
    ]
    wanted, order = by_hand(run).topk(3)
    assert [row["file"] for row in rows] == [str(run / "images" / f"{at:02}.png") for at in range(COUNT)]
    for rank, end in enumerate(("", "_2", "_3")):
        assert [int(row[f"class{end}"]) for row in rows] == order[:, rank].tolist()
        found = torch.tensor([float(row[f"probability{end}"]) for row in rows])
        torch.testing.assert_close(found, wanted[:, rank], atol=1e-5, rtol=0)


def test_json_holds_the_same(run, capsys, tmp_path):
    files = [run / "images" / "03.png", run / "images" / "01.png"]
    _, table, _ = command(capsys, run / "run", *files)
    status, out, _ = command(capsys, run / "run", *files, "--json", "--out", tmp_path / "said.json")
    assert (status, out) == (0, f"written to {tmp_path / 'said.json'}: 2 files\n")
    said = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    assert [one["file"] for one in said] == [str(file) for file in files]
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [{key: str(value) for key, value in flat(one).items()} for one in said] == rows


def test_batches_do_not_matter(run):
    task = load_run(run / "run")
    files = find_files([run / "images"])
    whole = predict(task, files, top=10)
    task.config.data.batch_size = 3
    parts = predict(task, files, top=10)
    assert [one["classes"][0]["class"] for one in parts] == [one["classes"][0]["class"] for one in whole]
    assert all(len(one["classes"]) == 10 for one in whole)
    sums = [sum(found["probability"] for found in one["classes"]) for one in whole]
    assert sums == pytest.approx([1] * COUNT, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "nowhere.png"], "there is no file or folder nowhere.png"),
        (["RUN", "empty"], "empty has no files"),
        (["RUN", "text.png"], "image text.png is damaged or missing"),
        (["RUN", "IMAGES", "text.png", "--out", "said.csv"], "image text.png is damaged or missing"),
        (["RUN", "IMAGES", "--top", "0"], "--top must be a whole number of at least 1, not 0"),
        (["RUN", "IMAGES", "--out", "no/said.csv"], "--out must be in a folder that exists"),
        (["RUN", "IMAGES", "--out", "empty"], "--out must be a file"),
        (["IMAGES", "IMAGES"], "is not a run folder"),
        (["RUN"], "files"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(run, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = command(
        capsys, *({"RUN": run / "run", "IMAGES": run / "images"}.get(word, word) for word in words)
    )
    assert (status, out) == (2, "")
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_are_walked_and_hidden_files_left_out(tmp_path):
    for name in ("b/2", "b/1", ".hidden", ".git/x", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_files([tmp_path / "b/2", tmp_path]) == [
        tmp_path / name for name in ("b/2", "a", "b/1", "b/2")
    ]


def test_readers_make_the_samples_of_their_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))
    source = write_tree(tmp_path / "images")
    for size in (None, 5):
        data = create_data("image_folder", source=str(source), image_size=size)
        for label, name in enumerate(CLASSES):
            read = data.reader(source / "test" / name / "01.png")
            assert torch.equal(torch.from_numpy(read), data.test[2 * label + 1][0])
    write_arrays(tmp_path / "arrays")
    data = create_data("event_arrays", source=str(tmp_path / "arrays"), steps=5, axes="ypt")
    for at, file in enumerate(sorted((tmp_path / "arrays").rglob("test/*.npy"))):
        assert torch.equal(torch.from_numpy(data.reader(file)), data.test[at][0])


def test_a_data_set_that_reads_no_files_says_so(run):
    task = load_run(run / "run")
    task.data = create_data("digits_events", steps=4)
    with pytest.raises(InputError, match=r"cannot read files.*give its ImageData a reader"):
        predict(task, find_files([run / "images"]))
    task.data = create_data("digits_scenes")
    with pytest.raises(InputError, match="asks for the class of every pixel"):
        predict(task, find_files([run / "images"]))


def test_a_sample_of_another_size_is_told(run, tmp_path):
    task = load_run(run / "run")
    source = write_tree(tmp_path / "images")
    task.data = create_data("image_folder", source=str(source), image_size=5)
    object.__setattr__(task.data, "reader", create_data("image_folder", source=str(source)).reader)
    with pytest.raises(
        InputError, match=r"gives a sample of shape \(3, 4, 6\), but .* trained on \(3, 5, 5\)"
    ):
        predict(task, [source / "test" / "ant" / "00.png"])
