"""Every reader of data over changed files: it reads, or says in one line what is wrong, in bounded memory."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

import layouts
from a2sg.data import create_data
from a2sg.data.cache import cached
from a2sg.data.encoded import decoded, pixels
from a2sg.data.folders import read_archive
from a2sg.data.frame_cache import cached_frames
from a2sg.data.idx import FILES, read_idx_splits
from a2sg.data.images import FASHION
from a2sg.data.picture import decoded_image
from a2sg.data.scenes import SceneFiles
from mutations import changes, mutated, one_process, read_or_told
from places import EVENT_SAMPLES

KINDS = {
    "png": {},
    "jpeg": {},
    "gif": {"save_all": True, "append_images": [Image.new("P", (7, 5))]},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
    "webp": {},
    "ppm": {},
}


class Files:
    """A loader, and one of the files that it reads."""

    def __init__(self, path, read, wrap=lambda content: content, unwrap=lambda content: content):
        self.path = path
        self.content = unwrap(path.read_bytes())
        self.read = read
        self.wrap = wrap

    def __call__(self, changed):
        self.path.write_bytes(self.wrap(mutated(self.content, changed)))
        return read_or_told(self.read)


def idx(folder):
    layouts.write_idx(folder / "raw")
    path = folder / "raw" / FILES["train"][0]
    return path, lambda: read_idx_splits(folder / "raw", FASHION)


def packed_idx(folder):
    return Files(*idx(folder))


def unpacked_idx(folder):
    return Files(*idx(folder), wrap=gzip.compress, unwrap=gzip.decompress)


def labels_idx(folder):
    _, read = idx(folder)
    return Files(folder / "raw" / FILES["test"][1], read, wrap=gzip.compress, unwrap=gzip.decompress)


def tar(folder, mode):
    tree = layouts.write_tree(folder / "tree", size=6, classes=2, each=2)
    path = folder / f"images{mode.replace(':', '.')}.tar"
    with tarfile.open(path, mode) as archive:
        archive.add(tree, "tree")

    def read():
        splits = read_archive(path, ("test",))
        decoded(splits.train, 3, 4)

    return path, read


def plain_tar(folder):
    return Files(*tar(folder, "w"))


def packed_tar(folder):
    return Files(*tar(folder, "w:gz"))


def unpacked_tar(folder):
    return Files(*tar(folder, "w:gz"), wrap=gzip.compress, unwrap=gzip.decompress)


def zip_of_arrays(folder):
    layouts.write_arrays(folder / "arrays")
    path = layouts.zipped(folder / "arrays", folder / "arrays.zip")
    return Files(path, lambda: create_data("event_arrays", source=str(path), axes="ypt"))


def packed_zip_of_arrays(folder):
    layouts.write_arrays(folder / "arrays")
    path = folder / "arrays.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "arrays").rglob("*.npy")):
            archive.write(file, file.relative_to(folder / "arrays"))
    return Files(path, lambda: create_data("event_arrays", source=str(path), axes="ypt"))


def array(folder):
    layouts.write_arrays(folder)
    path = folder / "train" / "sample_0_label_0.npy"
    return Files(path, lambda: create_data("event_arrays", source=str(folder), axes="ypt"))


def recorded(**arrays):
    """A recording in a `.npz` file, as `event_folder` reads it."""

    def made(folder):
        for name in ("train", "test"):
            (folder / name / "wave").mkdir(parents=True)
            np.savez(folder / name / "wave" / "0.npz", **arrays)
        path = folder / "test" / "wave" / "0.npz"
        reader = create_data("event_folder", source=str(folder), sensor=4).reader
        return Files(path, lambda: reader(path))

    return made


def image(kind):
    def made(folder):
        path = folder / f"image.{kind}"
        layouts.pictures(5, 7, [0])[0].save(path, **KINDS[kind])

        def read():
            picture = decoded_image(path, str(path))
            pixels(picture, 1, 4)
            pixels(picture, 3, 4)

        return Files(path, read)

    return made


def scene(folder):
    paths = folder / "image.png", folder / "mask.png"
    for picture, path in zip(layouts.pictures(5, 7, range(12)), paths, strict=True):
        picture.save(path)
    return Files(paths[1], lambda: SceneFiles([paths], (4, 4), dict.fromkeys(range(12), 1))[0])


def classes_of_ade20k(folder):
    layouts.write_ade20k(folder / "ade")
    path = folder / "ade" / "objectInfo150.txt"
    rows = "".join(f"{number}\t0.1\t10\t10\tclass {number}\n" for number in range(1, 151))
    path.write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}", encoding="utf-8")
    return Files(path, lambda: create_data("ade20k", source=str(folder / "ade"), image_size=8))


def nmnist(folder):
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    layouts.write_nmnist(folder)
    path = folder / "NMNIST" / "Train" / "0" / "00001.bin"
    real = EVENT_SAMPLES / "tonic" / "sample_nmnist.bin"
    if real.is_file():
        path.write_bytes(real.read_bytes())
    return Files(path, lambda: create_data("nmnist", source=str(folder), steps=2))


def gesture(folder):
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    layouts.write_gesture(folder)
    path = folder / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent" / "0.npy"
    return Files(path, lambda: create_data("dvs_gesture", source=str(folder), steps=2, image_size=8))


def spoken(folder):
    pytest.importorskip("h5py", reason="needs a2sg[events]")
    pytest.importorskip("tonic", reason="needs a2sg[events]")
    layouts.write_spoken(folder, "shd", 2, times=[0.1, 0.2, 0.9], units=[3, 70, 699])
    path = folder / "SHD" / "shd_train.h5"
    return Files(path, lambda: create_data("shd", source=str(folder), steps=2))


def parquet(folder):
    datasets = pytest.importorskip("datasets", reason="needs a2sg[train]")
    content = io.BytesIO()
    layouts.pictures(4, 4, [0])[0].save(content, "PNG")
    row = {"image": {"bytes": content.getvalue(), "path": None}, "label": 0}
    rows = [row, {**row, "label": 1}]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(2)})
    for split in ("train", "test"):
        datasets.Dataset.from_list(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return Files(folder / "train.parquet", lambda: create_data("image_folder", source=str(folder)))


QUICK = {
    made.__name__: made
    for made in (
        *(packed_idx, unpacked_idx, labels_idx, plain_tar, packed_tar, unpacked_tar),
        *(zip_of_arrays, packed_zip_of_arrays, array, scene, classes_of_ade20k, nmnist, gesture, spoken),
    )
}
QUICK |= {kind: image(kind) for kind in KINDS}
QUICK |= {
    "npz of frames": recorded(frames=np.arange(4 * 2 * 9).reshape(4, 2, 3, 3)),
    "npz of events": recorded(**{name: np.arange(9) % (2 if name == "p" else 4) for name in "txyp"}),
}
SLOW = {"parquet": parquet}


def fuzzed(files, count):
    """Let a loader read so many changed files; how many it read."""
    outcomes = []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(changed=changes)
    def run(changed):
        outcomes.append(files(changed))

    with one_process():
        run()
    return outcomes


@pytest.mark.parametrize("target", QUICK)
def test_some_changed_files_are_read_or_told(target, tmp_path):
    outcomes = fuzzed(QUICK[target](tmp_path), 25)
    assert False in outcomes


@pytest.mark.parametrize(("target", "changed"), [("gif", [("drop", 11, 0)]), ("scene", [("flip", 22859, 7)])])
def test_a_change_that_once_came_through_is_read_or_told(target, changed, tmp_path):
    """With Pillow 10.0 the GIF had a mode that its pixels did not have; a chunk of the mask claims 2 GB."""
    QUICK[target](tmp_path)(changed)


@pytest.mark.slow
@pytest.mark.parametrize("target", [*QUICK, *SLOW])
def test_many_changed_files_are_read_or_told(target, tmp_path):
    made = {**QUICK, **SLOW}[target]
    outcomes = fuzzed(made(tmp_path), 1500 if target in QUICK else 200)
    assert False in outcomes
    print(f"{target}: {len(outcomes)} changed files, {sum(outcomes)} of them read, all others told")


def aedat4(folder):
    path = folder / "x.aedat4"
    layouts.aedat4_file(path, layouts.random_events(0, 40, 128, 1000))
    return path


@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_changed_recordings_in_aedat4_end_no_process(tmp_path, count):
    pytest.importorskip("aedat", reason="needs a2sg[events]")
    from a2sg.data.events import _read_cifar10_dvs, aedat4_reader
    from a2sg.data.frames import event_frames

    with aedat4_reader() as reader:
        read = Files(
            aedat4(tmp_path),
            lambda: event_frames(_read_cifar10_dvs(reader, tmp_path / "x.aedat4"), 2, (128, 128, 2)),
        )
        assert False in fuzzed(read, count)


@pytest.mark.parametrize("count", [25, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["arrays", "frames"])
def test_a_changed_cache_is_made_again_or_read(tmp_path, cache, kind, count):
    recording = tmp_path / "recording"
    recording.write_bytes(b"")

    def read():
        if kind == "arrays":
            return cached("some", 1, lambda: {"numbers": np.arange(20)})["numbers"]
        return cached_frames("some", [recording], 1, lambda file: np.arange(20))[0]

    assert np.array_equal(read(), np.arange(20))
    (path,) = cache.iterdir()
    files = Files(path, read)

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(changed=changes)
    def run(changed):
        assert files(changed)  # nothing is told: what is damaged is made again

    run()
