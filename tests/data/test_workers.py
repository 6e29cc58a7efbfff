"""Workers of loaders that are no forks (the default from Python 3.14 on) read what this process reads."""

import csv
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from a2sg.cli import main
from a2sg.data import create_data, list_data
from a2sg.data.frame_cache import FrameArrays
from a2sg.data.sets import Draw, DrawnImages
from layouts import (
    write_ade20k,
    write_arrays,
    write_camvid,
    write_cifar10_dvs,
    write_gesture,
    write_idx,
    write_nmnist,
    write_spoken,
    write_tree,
)


def write_frames(root):
    """Cached frames of two classes, a recording each."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            np.savez(
                folder / "one.npz", frames=np.arange(8 * 2 * 3 * 5, dtype=np.float32).reshape(8, 2, 3, 5)
            )


MADE = {
    "ade20k": (write_ade20k, {"image_size": 8}),
    "camvid": (write_camvid, {"image_size": [9, 12]}),
    "cifar10": (lambda root: write_tree(root, 32), {}),
    "cifar100": (lambda root: write_tree(root, 32, 100, 1), {}),
    "cifar10_dvs": (lambda root: write_cifar10_dvs(root, (0, 900)), {"image_size": 16}),
    "digits": None,
    "digits_events": None,
    "digits_scenes": None,
    "dvs_gesture": (write_gesture, {"image_size": 16}),
    "event_arrays": (write_arrays, {"axes": "ypt"}),
    "event_folder": (write_frames, {"steps": 4}),
    "fashion_mnist": (lambda root: write_idx(root / "idx"), {}),
    "image_folder": (lambda root: write_tree(root, 6), {}),
    "imagenet": (lambda root: write_tree(root, 20, splits=("train", "val")), {"image_size": 16}),
    "nmnist": (write_nmnist, {}),
    "shd": (lambda root: write_spoken(root, "shd", 20), {"steps": 4, "units": 70}),
    "ssc": (lambda root: write_spoken(root, "ssc", 35), {"steps": 4, "units": 70}),
    "tactile": (lambda root: write_arrays(root, (39, 2, 20)), {}),
    "tiny_imagenet": (lambda root: write_tree(root, 64, 200, 1, ("train", "val")), {}),
}


@pytest.fixture
def data(request, tmp_path, monkeypatch):
    """A data set by name, from small files in its layout."""
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))
    if MADE[request.param] is None:
        return create_data(request.param)
    write, options = MADE[request.param]
    root = tmp_path / "files"
    root.mkdir()
    write(root)
    return create_data(request.param, source=str(root), **options)


def test_every_data_set_is_looked_at():
    assert list(MADE) == list_data()


@pytest.mark.parametrize("data", MADE, indirect=True)
def test_what_a_worker_is_sent_reads_the_same(data):
    for dataset in (data.train, data.test):
        sent = pickle.loads(pickle.dumps(dataset))
        assert len(sent) == len(dataset)
        at = Draw(1, 2, 3) if isinstance(dataset, DrawnImages) else 1
        for here, there in zip(dataset[at], sent[at], strict=True):
            assert torch.equal(torch.as_tensor(here), torch.as_tensor(there))


def test_a_worker_is_not_sent_the_frames_of_a_file(tmp_path):
    np.save(tmp_path / "frames.npy", np.arange(500_000, dtype=np.uint16).reshape(5, -1))
    frames = FrameArrays(np.load(tmp_path / "frames.npy", mmap_mode="r"), range(5))
    sent = pickle.dumps(frames)
    assert len(sent) < 10_000
    assert torch.equal(pickle.loads(sent)[3][0], frames[3][0])


def losses(out, *words):
    """What `a2sg train` with these words writes, the clock apart."""
    assert (
        main(["train", "digits", "--epochs", "1", "--data.batch_size", "400", "--out", str(out), *words]) == 0
    )
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


def test_a_run_does_not_depend_on_how_workers_start(tmp_path):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        there = losses(tmp_path / "there", "--data.workers", "1")
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert there == losses(tmp_path / "here")
