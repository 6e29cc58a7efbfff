"""Folders of `.npz` recordings: SpikingJelly's caches of frames, and its events."""

import numpy as np
import pytest
import torch

from a2sg.data import create_data
from a2sg.data.frames import event_frames
from a2sg.errors import InputError

CLASSES = ("10", "2", "wave")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))


def frames_of(seed):
    return np.random.default_rng(seed).integers(0, 9, (8, 2, 3, 5)).astype(np.float32)


def events_of(seed):
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, 10_000, 60))
    return {
        "t": t,
        "x": draw.integers(0, 5, 60),
        "y": draw.integers(0, 3, 60),
        "p": draw.integers(0, 2, 60) == 1,
    }


def write(root, splits, make, save=np.savez, each=2):
    """Recordings in SPLIT/CLASS, and their seeds by split in the order that they are to be read in."""
    seeds = {}
    for split in splits:
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(each):
                seed = len(seeds.setdefault(split, [])) + 100 * splits.index(split)
                seeds[split].append(seed)
                made = make(seed)
                save(folder / f"user_{number}.npz", **(made if isinstance(made, dict) else {"frames": made}))
    return seeds


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cached_frames_are_summed_into_steps(tmp_path, save):
    seeds = write(tmp_path / "data", ("train", "test"), frames_of, save)
    data = create_data("event_folder", source=str(tmp_path / "data"), steps=4)
    assert (data.steps, data.shape, data.classes) == (4, (2, 3, 5), CLASSES)
    for split, dataset in (("train", data.train), ("test", data.test)):
        recordings, labels = dataset.batch(torch.arange(6))
        assert labels.tolist() == [0, 0, 1, 1, 2, 2]
        for found, seed in zip(recordings, seeds[split], strict=True):
            expected = frames_of(seed).reshape(4, 2, 2, 3, 5).sum(1)
            np.testing.assert_array_equal(found, expected)
    read = data.reader(tmp_path / "data" / "test" / "2" / "user_1.npz")
    np.testing.assert_array_equal(read, data.test[3][0])
    assert read.dtype == np.float32


def test_events_become_frames(tmp_path):
    seeds = write(tmp_path / "data", ("train", "test"), events_of)
    data = create_data("event_folder", source=str(tmp_path / "data"), steps=3, sensor=(3, 5), by="count")
    for at, seed in enumerate(seeds["test"]):
        events = events_of(seed)
        table = np.empty(60, dtype=[(name, np.int64) for name in "txyp"])
        for name in "txyp":
            table[name] = events[name]
        expected = event_frames(table, 3, (3, 5, 2), by="count")
        np.testing.assert_array_equal(data.test[at][0], expected)


def test_without_a_split_a_share_of_each_class_is_held_out(tmp_path):
    write(tmp_path / "data", ("",), frames_of, each=4)
    data = create_data("event_folder", source=str(tmp_path / "data"), steps=8, holdout=0.25)
    assert data.test.labels.tolist() == [0, 1, 2]
    assert data.train.labels.bincount().tolist() == [3, 3, 3]
    whole = torch.stack([torch.from_numpy(frames_of(seed)) for seed in range(12)])
    found = torch.cat([data.train.batch(torch.arange(9))[0], data.test.batch(torch.arange(3))[0]])
    assert torch.equal(found.flatten(1).sort(0)[0], whole.flatten(1).sort(0)[0])


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"frames": np.ones((4, 2, 3))}, {}, r"its frames have the shape \(4, 2, 3\)"),
        ({"frames": np.full((4, 2, 3, 3), 0.5)}, {}, "its frames must be counts of events"),
        ({"frames": np.full((4, 2, 3, 3), -1)}, {}, "its frames must be counts of events"),
        ({"frames": np.full((4, 2, 3, 3), np.nan)}, {}, "its frames must be counts of events"),
        ({"frames": np.ones((2, 2, 3, 3))}, {}, "have 2 bins of time: steps must be at most 2, not 4"),
        ({"images": np.ones(3)}, {}, "it holds images, and neither frames nor t, x, y and p"),
        ({"frames": np.array([object()])}, {}, "holds Python objects"),
        ({name: np.ones(3) for name in "txyp"}, {}, "t, x, y and p must be arrays of whole numbers"),
        ({name: np.ones(3 + (name == "t"), int) for name in "txyp"}, {}, "all of one length"),
        ({name: np.full(3, 9) for name in "txyp"}, {"sensor": 5}, "events must have x from 0 to 4"),
        ({"frames": np.ones((4, 2, 3, 3))}, {"by": "size"}, "unknown by 'size'"),
        ({"frames": np.ones((4, 2, 3, 3))}, {"holdout": 0.0}, "set data.options.holdout, such as 0.1"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, arrays, options, message):
    for number in range(4):
        (tmp_path / "data" / "a").mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "data" / "a" / f"{number}.npz", **arrays)
    with pytest.raises(InputError, match=message):
        create_data("event_folder", **{"source": str(tmp_path / "data"), "holdout": 0.5, **options})


def test_other_folders_are_told(tmp_path):
    with pytest.raises(InputError, match=r"needs data.options.source"):
        create_data("event_folder")
    with pytest.raises(InputError, match="there is no folder"):
        create_data("event_folder", source=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"has no \.npz files in folders by class"):
        create_data("event_folder", source=str(tmp_path))
    write(tmp_path / "data", ("train", "test"), frames_of)
    (tmp_path / "data" / "test" / "wave").rename(tmp_path / "data" / "test" / "clap")
    with pytest.raises(InputError, match=r"has a class 'clap' that .* does not have"):
        create_data("event_folder", source=str(tmp_path / "data"))
    (tmp_path / "data" / "test" / "clap").rename(tmp_path / "data" / "test" / "wave")
    (tmp_path / "data" / "train" / "2" / "user_0.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InputError, match=r"cannot read the recording .*user_0\.npz"):
        create_data("event_folder", source=str(tmp_path / "data"))
