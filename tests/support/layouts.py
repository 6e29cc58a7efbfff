"""Small data sets on disk, in the layouts and file formats that the real ones come in; random content."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from a2sg.data.idx import FILES

Event = tuple[int, ...]
"""x, y, t, p."""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pictures(
    height: int, width: int, values: Sequence[int], seed: int = 0
) -> tuple[Image.Image, Image.Image]:
    """An RGB image, and a mask of these values."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = random.choice(np.array(values, dtype=np.uint8), (height, width))
    return Image.fromarray(image), Image.fromarray(mask)


# Images.


def write_tree(
    root: Path,
    size: int,
    classes: int = 10,
    each: int = 3,
    splits: Sequence[str] = ("train", "test"),
    suffix: str = "png",
) -> Path:
    """Images in folders SPLIT/CLASS."""
    random = np.random.RandomState(0)
    for split in splits:
        for label in range(classes):
            folder = root / split / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = random.randint(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    return root


def write_idx(root: Path) -> Path:
    """The four IDX files of Fashion-MNIST, with 30 images each."""
    root.mkdir()
    for images, labels in FILES.values():
        for name, array in (
            (images, np.arange(30 * 28 * 28).reshape(30, 28, 28)),
            (labels, np.arange(30) % 10),
        ):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (root / name).write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return root


# Scenes.


def write_camvid(
    root: Path,
    splits: Sequence[str] = ("train", "test"),
    values: Iterable[int] = range(12),
    count: int = 3,
    size: tuple[int, int] = (9, 12),
) -> Path:
    for split in splits:
        for name in (split, f"{split}annot"):
            (root / name).mkdir(parents=True)
        for number in range(count):
            image, mask = pictures(*size, list(values), number)
            image.save(root / split / f"{number}.png")
            mask.save(root / f"{split}annot" / f"{number}.png")
    return root


def write_ade20k(root: Path, count: int = 2, size: tuple[int, int] = (8, 6)) -> Path:
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            image, mask = pictures(*size, [0, 1, 150], number)
            image.save(root / "images" / split / f"ADE_{number}.jpg")
            mask.save(root / "annotations" / split / f"ADE_{number}.png")
    return root


# Recordings.


def random_events(seed: int | list[int], count: int, size: int, time: int) -> list[Event]:
    """Events (x, y, t, p) in the order of time."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, size, count), random.integers(0, size, count)
    t, p = np.sort(random.integers(0, time, count)), random.integers(0, 2, count)
    return [tuple(int(value) for value in event) for event in zip(x, y, t, p, strict=True)]


def nmnist_file(path: Path, events: Iterable[Event]) -> None:
    """Write events (x, y, t, p) as N-MNIST stores them: 40 bits each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255] for x, y, t, p in events]
    path.write_bytes(np.array(rows, dtype=np.uint8).tobytes())


def write_nmnist(root: Path) -> dict[tuple[str, int, int], list[Event]]:
    """Two recordings per split and class; what they hold."""
    known = {}
    for seed, split in enumerate(("Train", "Test")):
        for digit in range(10):
            for number in (1, 2):
                events = random_events([seed, digit, number], 30, 34, 300_000)
                nmnist_file(root / "NMNIST" / split / str(digit) / f"{number:05}.bin", events)
                known[split, digit, number] = events
    return known


def write_gesture(root: Path) -> None:
    for seed, split in enumerate(("ibmGestureTrain", "ibmGestureTest")):
        for user in ("user01_fluorescent", "user02_led"):
            folder = root / "DVSGesture" / split / user
            folder.mkdir(parents=True)
            for label in (0, 3, 10):
                random = np.random.default_rng([seed, label, len(user)])
                columns = random.integers(0, (128, 128, 2, 500), (40, 4)).astype(np.float32)
                np.save(folder / f"{label}.npy", columns)


def aedat4_file(path: Path, events: Sequence[Event], size: int = 128) -> None:
    """Write events (x, y, t, p) as AEDAT 4 stores them, uncompressed and in one packet."""

    def attribute(key: str, kind: str, value: object) -> str:
        return f'<attr key="{key}" type="{kind}">{value}</attr>'

    output = attribute("compression", "string", "NONE") + attribute("typeIdentifier", "string", "EVTS")
    sizes = attribute("sizeX", "int", size) + attribute("sizeY", "int", size)
    text = (
        f'<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">{output}'
        f'<node name="info" path="/outInfo/0/info/">{sizes}</node></node></node></dv>'
    ).encode()
    # Two tables of FlatBuffers: where the root is, a name, where the fields are, the fields, their content.
    header = struct.pack("<I4s6x5H", 24, b"IOHE", 10, 20, 4, 12, 8)
    header += struct.pack("<iiIq", 10, 0, 12, -1) + struct.pack("<I", len(text)) + text + bytes(4)
    rows = b"".join(struct.pack("<qhh?3x", t, x, y, bool(p)) for x, y, t, p in events)
    packet = struct.pack("<I4s2x3H", 16, b"EVTS", 6, 8, 4)
    packet += struct.pack("<iI4xI", 6, 8, len(events)) + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"#!AER-DAT4.0\r\n"
        + struct.pack("<I", len(header))
        + header
        + struct.pack("<III", 0, len(packet) + 4, len(packet))
        + packet
    )


def write_cifar10_dvs(
    root: Path,
    numbers: Iterable[int],
    events: Callable[[int], list[Event]] = lambda number: random_events(number, 40, 128, 1000),
) -> None:
    """A recording of each class for each of these numbers."""
    for name in CIFAR10:
        (root / "CIFAR10DVS" / name).mkdir(parents=True)
        for number in numbers:
            path = root / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat4"
            aedat4_file(path, events(number))


def write_arrays(
    root: Path,
    shape: tuple[int, ...] = (3, 2, 10),
    labels: Sequence[int] = (0, 2, 1),
    splits: Sequence[str] = ("train", "test"),
) -> dict[tuple[str, int], np.ndarray]:
    """Recordings `[taxels, polarities, bins]`, and what was written."""
    arrays = {}
    for at, split in enumerate(splits):
        (root / split).mkdir(parents=True)
        for number, label in enumerate(labels):
            counts = np.random.default_rng([at, number]).integers(0, 3, shape).astype(np.float32)
            np.save(root / split / f"sample_{number}_label_{label}.npy", counts)
            arrays[split, number] = counts
    return arrays


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.npy")):
            archive.write(file, Path("Inner") / file.relative_to(folder))
    return path


def write_spoken(
    root: Path,
    name: str,
    classes: int,
    times: Sequence[float] | None = None,
    units: Sequence[int] | None = None,
) -> dict[str, list[tuple[np.ndarray, np.ndarray, int]]]:
    """The files of SHD or SSC; times, units and label of their recordings by split, random if not given."""
    import h5py

    known: dict[str, list[tuple[np.ndarray, np.ndarray, int]]] = {}
    folder = root / name.upper()
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test") if name == "shd" else ("train", "valid", "test")):
        random = np.random.default_rng(seed)
        known[split] = []
        for label in range(classes):
            count = int(random.integers(20, 60))
            at = np.sort(random.uniform(0, 1.2, count)) if times is None else np.array(times)
            where = random.integers(0, 700, count) if units is None else np.array(units)
            known[split].append((at.astype(np.float16), where.astype(np.uint16), label))
        with h5py.File(folder / f"{name}_{split}.h5", "w") as file:
            for part, (key, kind) in enumerate((("times", np.float16), ("units", np.uint16))):
                made = file.create_dataset(f"spikes/{key}", (classes,), dtype=h5py.vlen_dtype(kind))
                for number, recording in enumerate(known[split]):
                    made[number] = recording[part]
            file["labels"] = np.arange(classes, dtype=np.uint16)
            file["extra/keys"] = np.array([f"word {number}".encode() for number in range(classes)])
            file["extra/speaker"] = np.zeros(classes, dtype=np.uint16)
    return known
