"""SHD and SSC in the layout of their files; the spikes are random."""

import numpy as np
import pytest
import torch

from a2sg.data import create_data
from a2sg.data.sets import ends_of
from a2sg.errors import InputError
from layouts import write_spoken

h5py = pytest.importorskip("h5py", reason="needs a2sg[events]")
pytest.importorskip("tonic", reason="needs a2sg[events]")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))


def by_hand(times, units, steps, rows):
    """Counts by step and row, spike by spike."""
    t = [int(np.float64(time) * 1e6) for time in times]
    found = np.zeros((steps, 1, 1, rows))
    for time, unit in zip(t, units, strict=True):
        step = (time - min(t)) * steps // (max(t) - min(t) + 1)
        found[step, 0, 0, int(unit) * rows // 700] += 1
    return found


@pytest.mark.parametrize(("name", "classes", "options"), [("shd", 20, {}), ("ssc", 35, {"test": "valid"})])
def test_spikes_are_counted_in_frames(tmp_path, name, classes, options):
    known = write_spoken(tmp_path, name, classes)
    data = create_data(name, source=str(tmp_path), steps=6, units=70, **options)
    assert (data.steps, data.shape, len(data.classes)) == (6, (1, 1, 70), classes)
    assert data.classes[1] == "word 1"
    for split, dataset in (("train", data.train), (options.get("test", "test"), data.test)):
        recordings, labels = dataset.batch(torch.arange(len(dataset)))
        assert labels.tolist() == [label for _, _, label in known[split]]
        for found, (times, units, _) in zip(recordings, known[split], strict=True):
            np.testing.assert_array_equal(found, by_hand(times, units, 6, 70))
    again = create_data(name, source=str(tmp_path), steps=6, units=70, **options)
    assert again.train.frames.filename == data.train.frames.filename


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": [900]}, "recording 0 of .* must have x from 0 to 699"),
        ({"times": [np.inf]}, "has times that cannot be seconds"),
        ({"times": [0.1, 0.2]}, "has 2 times, but 1 units"),
        ({"label": 99}, "must have labels from 0 to 19, not 1 to 99"),
    ],
)
def test_damaged_recordings_are_told(tmp_path, change, message):
    write_spoken(tmp_path, "shd", 20, times=[0.1], units=[3])
    with h5py.File(tmp_path / "SHD" / "shd_train.h5", "r+") as file:
        for name, value in change.items():
            if name == "label":
                file["labels"][0] = value
            else:
                file[f"spikes/{name}"][0] = np.array(value, file[f"spikes/{name}"][0].dtype)
    with pytest.raises(InputError, match=message):
        create_data("shd", source=str(tmp_path))


def test_other_files_and_options_are_told(tmp_path):
    write_spoken(tmp_path, "shd", 20)
    for options, message in (
        ({"units": 701}, "units must be at most 700"),
        ({"by": "size"}, "unknown by 'size'"),
        ({"source": str(tmp_path / "nowhere")}, "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            create_data("shd", **{"source": str(tmp_path), **options})
    with pytest.raises(InputError, match="unknown test 'train'"):
        create_data("ssc", source=str(tmp_path), test="train")
    (tmp_path / "SHD" / "shd_test.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"shd_test\.h5 cannot be read: its reader fails .OSError"):
        create_data("shd", source=str(tmp_path))


def test_frames_of_a_duration_give_recordings_lengths_of_their_own(tmp_path):
    """Frames of 100 ms, at most 8: by hand, spike by spike."""
    known = write_spoken(tmp_path, "shd", 20)
    data = create_data("shd", source=str(tmp_path), steps=8, units=70, frame_ms=100)
    assert (data.padded, data.steps) == (True, 8)
    recordings, _ = data.train.batch(torch.arange(len(data.train)))
    lengths = []
    for found, (times, units, _) in zip(recordings, known["train"], strict=True):
        t = [int(np.float64(time) * 1e6) for time in times]
        expected = np.zeros((8, 1, 1, 70))
        for time, unit in zip(t, units, strict=True):
            if (time - min(t)) // 100_000 < 8:
                expected[(time - min(t)) // 100_000, 0, 0, int(unit) // 10] += 1
        np.testing.assert_array_equal(found, expected)
        lengths.append(max(step for step in range(8) if expected[step].any()) + 1)
    assert ends_of(recordings.transpose(0, 1)).tolist() == lengths
    assert create_data("shd", source=str(tmp_path), steps=8, units=70).padded is False
    with pytest.raises(InputError, match="frame_ms is for frames of equal duration"):
        create_data("shd", source=str(tmp_path), by="count", frame_ms=100)
    with pytest.raises(InputError, match="frame_ms must be"):
        create_data("shd", source=str(tmp_path), frame_ms=0)


def test_an_empty_recording_has_one_frame():
    recordings = torch.zeros(4, 3, 1, 1, 2)
    recordings[1, 1] = recordings[3, 2, 0, 0, 1] = 1
    assert ends_of(recordings).tolist() == [1, 2, 4]
