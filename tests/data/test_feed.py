"""Batches as networks take them: the same from a loader and from the device, few or many at once."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler, Subset

from a2sg.data import create_data
from a2sg.data.augment import Augment
from a2sg.data.draws import Changes
from a2sg.data.feed import Feed
from a2sg.data.frame_cache import FrameArrays
from a2sg.data.resident import SHARE, ResidentBatches, held
from a2sg.data.scenes import ArrayScenes
from a2sg.data.sets import ArrayImages, collate
from a2sg.data.standardize import Standardize
from a2sg.errors import InputError

CPU = torch.device("cpu")
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
random = np.random.default_rng(0)
SETS = {
    "pixels": ArrayImages(random.integers(0, 256, (23, 3, 8, 8), dtype=np.uint8), np.arange(23) % 5),
    "floats": ArrayImages(random.random((23, 3, 8, 8)), np.arange(23) % 5),
    "scenes": ArrayScenes(
        random.integers(0, 256, (23, 3, 8, 8), dtype=np.uint8),
        random.integers(-1, 4, (23, 8, 8), dtype=np.int16),
    ),
    "counts": FrameArrays(random.integers(0, 200, (23, 2, 3, 8, 8), dtype=np.uint16), range(23)),
    "large counts": FrameArrays(random.integers(0, 60_000, (23, 2, 3, 8, 8), dtype=np.uint16), range(23)),
}


def sampler(data, epoch=0, ranks=1, rank=0):
    found = DistributedSampler(data, num_replicas=ranks, rank=rank, seed=3)
    found.set_epoch(epoch)
    return found


def assert_same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for (images, labels), (expected, wanted) in zip(ours, theirs, strict=True):
        assert images.dtype == expected.dtype
        assert torch.equal(images, expected)
        assert labels.dtype == wanted.dtype
        assert torch.equal(labels, wanted)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("ranks", "rank"), [(1, 0), (3, 2)])
def test_a_resident_set_gives_the_batches_of_a_loader(name, ranks, rank):
    data = SETS[name]
    for epoch in (0, 4):
        order = sampler(data, epoch, ranks, rank)
        batches = ResidentBatches(data, order, 5, CPU)
        loader = DataLoader(data, 5, sampler=order, collate_fn=collate)
        assert len(batches) == len(loader)
        assert_same(batches, loader)


def test_a_resident_set_is_not_copied_on_its_own_device():
    data = SETS["pixels"]
    assert (
        ResidentBatches(data, SequentialSampler(data), 5, CPU).data.images.data_ptr()
        == data.images.data_ptr()
    )


def test_counts_are_kept_small_on_a_device():
    assert SETS["counts"].on(CPU).images.dtype == torch.uint8
    assert SETS["large counts"].on(CPU).images.dtype == torch.int32


def test_what_lies_on_the_device_by_itself(tmp_path, monkeypatch):
    data = SETS["pixels"]
    assert held(data, "auto", CPU) is data
    assert held(data, False, CPU) is None
    part = Subset(data, range(5))
    assert held(part, "auto", CPU) is None
    with pytest.raises(InputError, match=r"data\.resident is true, but Subset reads samples one by one"):
        held(part, True, CPU)
    np.save(tmp_path / "frames.npy", np.ones((4, 2, 1, 3, 3), dtype=np.uint16))
    mapped = FrameArrays(np.load(tmp_path / "frames.npy", mmap_mode="r"), range(4))
    assert held(mapped, "auto", CPU) is None  # it takes no memory yet
    assert held(mapped, True, CPU) is mapped
    for free, fits in ((data.nbytes / SHARE, True), (data.nbytes / SHARE - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert (held(data, "auto", torch.device("cuda")) is data) == fits
        assert held(data, True, torch.device("cuda")) is data


def feed(data, augment=None, **options):
    changes = None if augment is None else Changes(augment, seed=3, size=(8, 8))
    return Feed(device=CPU, standardize=Standardize(MEAN, STD), changes=changes, **options)


def test_pixels_come_scaled_and_standardised():
    data = SETS["pixels"]
    batches = ResidentBatches(data, SequentialSampler(data), 5, CPU)
    images = torch.cat([images for images, _ in feed(data, batches=batches)])
    for channel in range(3):
        expected = (data.images[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(images[:, channel].double(), expected, atol=1e-6, rtol=0)


def test_recordings_come_with_time_first():
    data = SETS["counts"]
    batches = ResidentBatches(data, SequentialSampler(data), 5, CPU)
    plain = Feed(batches=batches, device=CPU, standardize=Standardize(), recordings=True, ahead=3)
    for number, (frames, labels) in enumerate(plain):
        expected = torch.from_numpy(data.frames[5 * number : 5 * number + 5].astype(np.float32))
        assert torch.equal(frames, expected.transpose(0, 1))
        assert labels.tolist() == list(range(23))[5 * number : 5 * number + 5]


@pytest.mark.parametrize("ahead", [2, 4, 100])
def test_batches_do_not_depend_on_how_many_are_prepared_at_once(ahead):
    data = SETS["pixels"]
    augment = Augment(5, MEAN, crop_padding=2, flip=True, randaugment=1, erasing=0.5, cutmix=1.0, mixup=1.0)
    order = sampler(data, epoch=2)
    make = partial(feed, data, augment, batches=ResidentBatches(data, order, 5, CPU))
    one_by_one = list(make())
    assert_same(make(ahead=ahead), one_by_one)
    assert_same(make(ahead=ahead), one_by_one)  # again, as a run that was interrupted
    loader = DataLoader(data, 5, sampler=order, collate_fn=collate)
    assert_same(feed(data, augment, batches=loader), one_by_one)
    order.set_epoch(3)
    assert not torch.equal(next(iter(make()))[0], one_by_one[0][0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SETS)
def test_a_gpu_holds_the_same_samples(name):
    data, order = SETS[name], sampler(SETS[name], epoch=1)
    there = ResidentBatches(data, order, 5, torch.device("cuda"))
    found = [(images.cpu(), labels.cpu()) for images, labels in there]
    assert_same(found, ResidentBatches(data, order, 5, CPU))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_do_not_depend_on_how_many_are_prepared_at_once():
    data, device = SETS["pixels"], torch.device("cuda")
    changes = Changes(
        Augment(5, MEAN, crop_padding=2, flip=True, erasing=0.5, cutmix=1.0, mixup=1.0), 3, (8, 8)
    )
    batches = ResidentBatches(data, sampler(data), 5, device)
    standardize = Standardize(MEAN, STD).to(device)
    one, many = (
        Feed(
            batches=batches,
            device=device,
            standardize=standardize,
            changes=changes,
            ahead=ahead,
        )
        for ahead in (1, 3)
    )
    assert_same(many, one)


def test_a_feed_is_as_long_as_its_batches_and_knows_its_order():
    data = create_data("digits").test
    batches = ResidentBatches(data, sampler(data), 64, CPU)
    found = feed(data, batches=batches)
    assert len(found) == 10
    assert found.sampler is batches.sampler
