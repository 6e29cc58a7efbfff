"""Large images: views made when they are asked for, the same again from the same seed and epoch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from a2sg.data import create_data
from a2sg.data.encoded import UnreadableImage, middle
from a2sg.data.sets import Draw, DrawSampler, collate
from a2sg.data.views import ASPECTS, random_box
from a2sg.errors import InputError
from labelled_images import CLASSES, picture, real, write_tree


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    scale=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
)
def test_a_random_part_lies_inside_and_has_its_area_and_aspect(width, height, scale, seed):
    left, top, right, bottom = random_box((width, height), scale, np.random.default_rng(seed))
    assert 0 <= left < right <= width + 1e-9
    assert 0 <= top < bottom <= height + 1e-9
    across, down = right - left, bottom - top
    if (left, top, right, bottom) != middle((width, height)):
        assert scale - 1e-9 <= across * down / (width * height) <= 1 + 1e-9
        assert ASPECTS[0] - 1e-9 <= across / down <= ASPECTS[1] + 1e-9


def test_the_middle_by_hand():
    assert middle((10, 6)) == (2, 0, 8, 6)
    assert middle((6, 10), 0.5) == (1.5, 3.5, 4.5, 6.5)


@pytest.fixture
def views(tmp_path):
    tree = write_tree(tmp_path / "views", {"train": 4, "val": 2}, size=(40, 30))
    return create_data("imagenet", source=str(tree), image_size=16)


def test_evaluation_sees_the_middle(views):
    image, label = views.test[3]
    box = (20 - 13.125, 15 - 13.125, 20 + 13.125, 15 + 13.125)  # 224/256 of the 30 pixels
    wanted = picture(1, 1, size=(40, 30)).resize((16, 16), Image.Resampling.BILINEAR, box=box)
    assert label == 1
    assert torch.equal(image, torch.tensor(np.asarray(wanted).transpose(2, 0, 1)))
    assert views.classes == CLASSES
    assert (len(views.train), len(views.test)) == (12, 6)


def test_every_epoch_and_seed_draws_its_own_view_and_the_same_again(views):
    drawn = [views.train[Draw(5, epoch, seed)][0] for epoch, seed in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], views.train[5][0])
    assert views.train[Draw(5, 0, 0)][1] == views.train[5][1] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_views_do_not_depend_on_the_worker(views, workers):
    sampler = DrawSampler(views.train, num_replicas=1, rank=0, seed=3)
    sampler.set_epoch(2)
    loader = DataLoader(views.train, 5, sampler=sampler, num_workers=workers, collate_fn=collate)
    images = torch.cat([images for images, _ in loader])
    order = [draw.sample for draw in sampler]
    assert sorted(order) == list(range(12))
    wanted = [views.train[Draw(at, 2, 3)][0] for at in order]
    assert torch.equal(images, torch.stack(wanted))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_one_line_from_a_worker_too(tmp_path, workers):
    tree = write_tree(tmp_path / "tree", {"train": 2, "val": 2}, size=(40, 30))
    data = create_data("imagenet", source=str(tree), image_size=16)
    (tree / "val" / "bee" / "01.png").write_bytes(b"no image")
    with pytest.raises(UnreadableImage) as told:
        list(DataLoader(data.test, 2, num_workers=workers, collate_fn=collate))
    assert str(told.value).startswith("image ")
    assert "bee/01.png is damaged or missing (it is none of BMP, GIF, JPEG" in str(told.value)
    assert "\n" not in str(told.value)


def test_parts_of_imagenet(tmp_path):
    tree = write_tree(tmp_path / "tree", {"train": 8, "val": 4}, size=(40, 30))
    data = create_data("imagenet", source=str(tree), image_size=16, limit=6, crop_scale=1.0, holdout=0.5)
    assert (len(data.train), len(data.test)) == (3, 3)
    assert torch.equal(data.train[Draw(0, 1, 1)][0], data.train[0][0])
    for scale in (0, 1.5, "all"):
        with pytest.raises(InputError, match="crop_scale must be above 0 and at most 1"):
            create_data("imagenet", source=str(tree), crop_scale=scale)


def test_real_imagenet_files(tmp_path):
    sample = real("imagenet-sample")
    folders = sorted(folder for folder in sample.iterdir() if folder.is_dir())
    for split in ("train", "val"):
        (tmp_path / "tree" / split).mkdir(parents=True)
        for folder in folders:
            (tmp_path / "tree" / split / folder.name).symlink_to(folder)
    data = create_data("imagenet", source=str(tmp_path / "tree"), image_size=64)
    assert data.classes == tuple(folder.name for folder in folders)
    for at in range(len(folders)):
        for image, label in (data.test[at], data.train[Draw(at, 0, 0)]):
            assert image.shape == (3, 64, 64)
            assert image.dtype == torch.uint8
            assert label == at
