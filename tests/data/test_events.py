"""Public event data: found where tonic puts it, framed once, split as written down."""

import shutil

import numpy as np
import pytest
import torch

from a2sg.data import create_data
from a2sg.data.frame_cache import cached_frames
from a2sg.data.frames import event_frames
from a2sg.errors import InputError
from layouts import CIFAR10, nmnist_file, write_cifar10_dvs, write_gesture, write_nmnist
from places import EVENT_SAMPLES

tonic = pytest.importorskip("tonic", reason="needs a2sg[events]")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and no way out to the network."""
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))

    def unreachable(*arguments, **options):
        raise ConnectionError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    return tmp_path / "cache"


def sample(name):
    path = EVENT_SAMPLES / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def expected(events, steps, sensor, size, by="time"):
    structured = np.array(events, dtype=[(name, np.int64) for name in "xytp"])
    return torch.from_numpy(event_frames(structured, steps, sensor, size, by).astype(np.float32))


@pytest.mark.parametrize("by", ["time", "count"])
def test_n_mnist_is_read_and_framed(tmp_path, by):
    known = write_nmnist(tmp_path)
    data = create_data("nmnist", source=str(tmp_path), steps=3, image_size=17, by=by)
    assert (data.steps, data.shape, data.classes) == (3, (2, 17, 17), tuple("0123456789"))
    for split, dataset in (("Train", data.train), ("Test", data.test)):
        recordings, labels = dataset.__getitems__(range(20))
        assert labels.tolist() == [digit for digit in range(10) for _ in (1, 2)]
        assert recordings.dtype == torch.float32
        for at, label in enumerate(labels.tolist()):
            frames = expected(known[split, label, 1 + at % 2], 3, (34, 34, 2), (17, 17), by)
            assert torch.equal(recordings[at], frames)
            assert torch.equal(dataset[at][0], frames)


def test_a_real_recording_of_n_mnist_is_framed(tmp_path):
    for split in ("Train", "Test"):
        folder = tmp_path / "NMNIST" / split / "4"
        folder.mkdir(parents=True)
        shutil.copy(sample("tonic/sample_nmnist.bin"), folder / "00001.bin")
    recording, label = create_data("nmnist", source=str(tmp_path), steps=6).train[0]
    assert label == 4
    assert recording.sum() == 4325
    # The camera saw three movements in 300 ms: none of the six frames is empty, none has half of the events.
    assert (recording.sum((1, 2, 3)) > 100).all()
    assert recording.sum((1, 2, 3)).max() < 4325 / 2


def test_frames_come_from_the_cache_the_second_time(tmp_path, cache, monkeypatch):
    write_nmnist(tmp_path)
    first = create_data("nmnist", source=str(tmp_path), steps=2)
    files = sorted(cache.iterdir())
    assert len(files) == 2
    assert all(file.suffix == ".npy" for file in files)
    monkeypatch.setattr("a2sg.data.events.event_frames", lambda *_: pytest.fail("made again"))
    again = create_data("nmnist", source=str(tmp_path), steps=2)
    assert torch.equal(again.train[7][0], first.train[7][0])


def test_another_transform_or_a_changed_file_makes_new_frames(tmp_path, cache):
    known = write_nmnist(tmp_path)
    create_data("nmnist", source=str(tmp_path), steps=2)
    for options in ({"steps": 3}, {"image_size": 16}, {"by": "count"}):
        before = len(list(cache.iterdir()))
        create_data("nmnist", source=str(tmp_path), **{"steps": 2, **options})
        assert len(list(cache.iterdir())) == before + 2, options
    nmnist_file(tmp_path / "NMNIST" / "Train" / "3" / "00001.bin", known["Train", 3, 1][:5])
    assert create_data("nmnist", source=str(tmp_path), steps=2).train[6][0].sum() == 5


def test_a_damaged_cache_is_made_again(tmp_path, cache):
    write_nmnist(tmp_path)
    first = create_data("nmnist", source=str(tmp_path), steps=2).train[5][0]
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(create_data("nmnist", source=str(tmp_path), steps=2).train[5][0], first)


def test_a_damaged_recording_is_told_and_leaves_no_cache(tmp_path, cache):
    write_nmnist(tmp_path)
    nmnist_file(tmp_path / "NMNIST" / "Train" / "9" / "00002.bin", [(34, 0, 0, 0)])
    with pytest.raises(InputError, match=r"cannot read the recording .*00002\.bin: .* from 0 to 33"):
        create_data("nmnist", source=str(tmp_path))
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "file" / "cache"))
    write_nmnist(tmp_path)
    with pytest.raises(InputError, match="set A2SG_CACHE to a folder with free space"):
        create_data("nmnist", source=str(tmp_path))


def test_frames_of_unlike_shapes_are_told(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).write_text("", encoding="utf-8")
    files = [tmp_path / "1", tmp_path / "2"]
    with pytest.raises(InputError, match="2 gives frames"):
        cached_frames("unlike", files, None, lambda file: np.zeros(int(file.name)))


def test_dvs_gesture_is_read_and_framed(tmp_path):
    write_gesture(tmp_path)
    data = create_data("dvs_gesture", source=str(tmp_path), steps=4, image_size=(32, 16))
    assert (data.shape, len(data.classes), len(data.train), len(data.test)) == ((2, 32, 16), 11, 6, 6)
    assert data.train.labels.tolist() == [0, 10, 3, 0, 10, 3]
    columns = np.load(tmp_path / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent" / "10.npy")
    events = [(int(x), int(y), int(t), int(p)) for x, y, p, t in columns]
    assert torch.equal(data.train[1][0], expected(events, 4, (128, 128, 2), (32, 16)))


def test_cifar10_dvs_is_split_by_the_number_of_a_recording(tmp_path):
    pytest.importorskip("aedat", reason="needs a2sg[events]")
    assert tuple(tonic.datasets.CIFAR10DVS.classes) == CIFAR10
    # A recording tells its file's number: as many events, at the right border.
    write_cifar10_dvs(tmp_path, (0, 7, 89, 100, 899, 900, 999), lambda number: [(127, 0, 0, 1)] * number)
    data = create_data("cifar10_dvs", source=str(tmp_path), steps=2)
    assert (data.shape, len(data.classes)) == ((2, 48, 48), 10)
    train, test = (
        (split.frames.sum((1, 2, 3, 4)).reshape(10, -1), split.labels.reshape(10, -1))
        for split in (data.train, data.test)
    )
    for counts, labels in (train, test):
        assert labels.tolist() == [[label] * labels.shape[1] for label in range(10)]
        assert (counts == counts[:1]).all()
    assert sorted(train[0][0]) == [0, 7, 89, 100, 899]
    assert sorted(test[0][0]) == [900, 999]
    assert data.train.frames[..., 47].sum() == data.train.frames.sum()


def test_a_real_aedat4_file_is_read(tmp_path):
    pytest.importorskip("aedat", reason="needs a2sg[events]")
    write_cifar10_dvs(tmp_path, ())
    for number in (0, 900):
        path = tmp_path / "CIFAR10DVS" / "dog" / f"cifar10_dog_{number}.aedat4"
        shutil.copy(sample("tonic/sample.aedat4"), path)
    # The sample comes from a larger camera: what does not lie on CIFAR10-DVS's sensor is told.
    with pytest.raises(InputError, match=r"cifar10_dog_0\.aedat4: events must have x from 0 to 127"):
        create_data("cifar10_dvs", source=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "folder", "archives"),
    [
        ("nmnist", "NMNIST", ["train.zip"]),
        ("dvs_gesture", "DVSGesture", ["ibmGestureTrain.tar.gz"]),
        ("cifar10_dvs", "CIFAR10DVS", ["CIFAR10DVS.zip"]),
    ],
)
def test_without_network_it_is_told_which_file_to_put_where(tmp_path, name, folder, archives):
    with pytest.raises(InputError) as told:
        create_data(name, source=str(tmp_path))
    message = str(told.value)
    assert "no network here" in message
    assert f"into {tmp_path / folder}" in message
    assert all(f"{archive} (https://" in message for archive in archives)
    assert "\n" not in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_source_the_cache_is_looked_at(cache):
    write_nmnist(cache / "events")
    assert len(create_data("nmnist", steps=1).train) == 20


def test_an_archive_that_lies_there_is_unpacked(tmp_path, monkeypatch):
    write_nmnist(tmp_path / "made")
    for split in ("train", "test"):
        archive = shutil.make_archive(
            str(tmp_path / split), "zip", tmp_path / "made" / "NMNIST", split.capitalize()
        )
        (tmp_path / "NMNIST").mkdir(exist_ok=True)
        shutil.move(archive, tmp_path / "NMNIST" / f"{split}.zip")
    monkeypatch.setattr("tonic.download_utils.check_md5", lambda *_, **__: True)
    assert len(create_data("nmnist", source=str(tmp_path), steps=1).test) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"by": "duration"}, "unknown by 'duration'"),
        ({"image_size": (1, 2, 3)}, "image_size must be"),
        ({"source": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_options_that_cannot_be_are_told(tmp_path, options, message):
    write_nmnist(tmp_path)
    with pytest.raises(InputError, match=message):
        create_data("nmnist", **{"source": str(tmp_path), **options})


def test_missing_tonic_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tonic.datasets", None)
    with pytest.raises(InputError, match=r"pip install 'a2sg\[events\]'"):
        create_data("nmnist")
