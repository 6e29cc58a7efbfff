"""Scenes: read, fitted, mapped to classes; and augmented with their masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from a2sg.data import create_data
from a2sg.data.digits import digit_splits
from a2sg.data.scene_augment import SceneAugment
from a2sg.data.scenes import SceneFiles, fit
from a2sg.data.sets import IGNORE
from a2sg.errors import InputError
from augmented import augmented
from layouts import pictures, write_ade20k, write_camvid
from places import DATA

PLAIN = {"flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def folder(name):
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"needs {path}")
    return path


def test_fitting_keeps_the_aspect_and_fills_up():
    picture = Image.fromarray(np.full((10, 20), 7, dtype=np.uint8))
    fitted = np.asarray(fit(picture, (20, 20), Image.Resampling.BILINEAR, fill=3))
    assert (fitted[:10] == 7).all()
    assert (fitted[10:] == 3).all()
    assert fit(picture, (5, 10), Image.Resampling.BILINEAR).size == (10, 5)
    narrow = np.asarray(fit(picture, (10, 2), Image.Resampling.NEAREST, fill=3))
    assert narrow.shape == (10, 2)
    assert (narrow[0] == 7).all()
    assert (narrow[1:] == 3).all()


def test_masks_are_fitted_by_the_nearest_pixel_and_mapped_to_classes():
    image, mask = pictures(4, 6, [3, 9])
    pixels, labels = SceneFiles([(image, mask)], (8, 14), {3: 1, 9: IGNORE})[0]
    assert pixels.shape == (3, 8, 14)
    assert pixels.dtype == torch.uint8
    expected = np.where(np.asarray(mask) == 3, 1, IGNORE).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(labels[:, :12], expected)
    assert (labels[:, 12:] == IGNORE).all()
    assert (pixels[:, :, 12:] == 0).all()


@pytest.mark.parametrize("count", [3, 255, 256, 300])
def test_every_value_gets_its_class(monkeypatch, count):
    monkeypatch.setattr("a2sg.data.scenes.AT_ONCE", 50)  # a few rows at a time
    values = np.random.default_rng(0).integers(0, count, (20, 30))
    classes = {value: (7 * value) % count - 1 for value in reversed(range(count))}
    image, mask = Image.new("RGB", (30, 20)), Image.fromarray(values.astype(np.uint16))
    _, labels = SceneFiles([(image, mask)], (20, 40), classes)[0]
    assert labels.dtype == torch.int64
    np.testing.assert_array_equal(labels[:, :30], (7 * values) % count - 1)
    assert (labels[:, 30:] == IGNORE).all()
    del classes[1], classes[2]
    with pytest.raises(InputError, match="the mask 0 has the value 1, which is not a class"):
        _ = SceneFiles([(image, mask)], (20, 40), classes)[0]


def test_a_scene_of_its_own_size_is_its_files_pixels():
    image, mask = pictures(4, 6, [0, 1])
    pixels, labels = SceneFiles([(image, mask)], (4, 6), {0: 0, 1: 1})[0]
    np.testing.assert_array_equal(pixels.permute(1, 2, 0), np.asarray(image))
    np.testing.assert_array_equal(labels, np.asarray(mask))


def test_an_image_of_sixteen_bits_is_scaled_and_its_mask_is_not():
    deep, mask = (Image.fromarray(np.full((4, 4), value, dtype=np.uint16)) for value in (32768, 300))
    pixels, labels = SceneFiles([(deep, mask)], (4, 4), {300: 5})[0]
    assert (pixels == 128).all()
    assert (labels == 5).all()


def test_camvid_is_read_from_its_folder(tmp_path):
    root = write_camvid(tmp_path)
    data = create_data("camvid", source=str(root), image_size=[9, 12])
    assert (data.task, data.steps, data.shape) == ("segmentation", None, (3, 9, 12))
    assert len(data.classes) == 11
    assert (len(data.train), len(data.test)) == (3, 3)
    images, masks = data.train.__getitems__([2, 0])
    assert images.dtype == torch.uint8
    assert masks.dtype == torch.int64
    for at, number in enumerate((2, 0)):
        image, mask = pictures(9, 12, list(range(12)), number)
        np.testing.assert_array_equal(images[at].permute(1, 2, 0), np.asarray(image))
        expected = np.asarray(mask).astype(int)
        np.testing.assert_array_equal(masks[at], np.where(expected == 11, IGNORE, expected))
        assert torch.equal(data.train[number][1], masks[at])


def test_what_is_wrong_with_camvid_is_told(tmp_path):
    with pytest.raises(InputError, match=r"needs data\.options\.source: SegNet's version"):
        create_data("camvid")
    with pytest.raises(InputError, match="there are no images"):
        create_data("camvid", source=str(tmp_path))
    root = write_camvid(tmp_path / "odd", values=(12,))
    with pytest.raises(InputError, match="has the value 12, which is not a class"):
        create_data("camvid", source=str(root), image_size=(9, 12))
    (root / "testannot" / "1.png").unlink()
    with pytest.raises(InputError, match="has no mask"):
        create_data("camvid", source=str(root))
    root = write_camvid(tmp_path / "broken")
    (root / "trainannot" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0\.png is damaged or missing"):
        create_data("camvid", source=str(root))
    root = write_camvid(tmp_path / "sizes")
    pictures(9, 11, [0])[1].save(root / "trainannot" / "0.png")
    with pytest.raises(InputError, match=r"has \(11, 9\) pixels, its image \(12, 9\)"):
        create_data("camvid", source=str(root))
    with pytest.raises(InputError, match="unknown test 'tst'"):
        create_data("camvid", source=str(root), test="tst")


def test_the_real_camvid_is_read():
    data = create_data("camvid", source=str(folder("CamVid")), image_size=(36, 48), test="val")
    images, masks = data.test.__getitems__(range(len(data.test)))
    assert images.shape == (51, 3, 36, 48)
    assert set(masks.unique().tolist()) == {IGNORE, *range(11)}
    road = masks == data.classes.index("road")
    sky = masks == data.classes.index("sky")
    assert road[:, 24:].sum() > 10 * road[:, :12].sum()
    assert sky[:, :12].sum() > 10 * sky[:, 24:].sum()


def test_ade20k_is_read_from_the_official_layout(tmp_path):
    root = write_ade20k(tmp_path)
    data = create_data("ade20k", source=str(root), image_size=8)
    assert (data.task, data.shape, len(data.classes)) == ("segmentation", (3, 8, 8), 150)
    assert data.classes[0] == "1"
    _, labels = data.train[1]
    mask = np.asarray(pictures(8, 6, [0, 1, 150], 1)[1]).astype(int)
    expected = np.full((8, 8), IGNORE)
    expected[:, :6] = np.where(mask == 0, IGNORE, mask - 1)
    np.testing.assert_array_equal(labels, expected)


def test_ade20k_takes_its_names_from_the_official_list(tmp_path):
    root = write_ade20k(tmp_path)
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{number}\t0.1\t1\t1\t0\tthing {number}" for number in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert create_data("ade20k", source=str(root)).classes[149] == "thing 150"
    (root / "objectInfo150.txt").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="must name 150 classes, not 149"):
        create_data("ade20k", source=str(root))


def test_real_ade20k_files_are_read(tmp_path):
    real = folder("ade20k-sample")
    for kind in ("images", "annotations"):
        (tmp_path / kind).mkdir()
        for split in ("training", "validation"):
            (tmp_path / kind / split).symlink_to(real / kind)
    data = create_data("ade20k", source=str(tmp_path), image_size=96)
    for index in range(3):
        image, labels = data.test[index]
        assert image.shape == (3, 96, 96)
        seen = labels[labels != IGNORE]
        assert len(seen) > 1000
        assert seen.min() >= 0
        assert seen.max() < 150


def hub_rows(columns=("image", "annotation")):
    datasets = pytest.importorskip("datasets", reason="needs a2sg[train]")
    rows = {
        column: [pictures(8, 6, [0, 1, 150], number)[at] for number in range(2)]
        for at, column in enumerate(columns)
    }
    return datasets.Dataset.from_dict(
        rows, features=datasets.Features({column: datasets.Image() for column in columns})
    )


def test_ade20k_is_read_from_a_hub(tmp_path, monkeypatch):
    splits = {"train": hub_rows(), "validation": hub_rows()}
    monkeypatch.setattr("a2sg.data.ade20k.open_hub", lambda name, instead: splits)
    found = create_data("ade20k", source="someone/scenes", image_size=8)
    same = create_data("ade20k", source=str(write_ade20k(tmp_path)), image_size=8)
    for index in range(2):
        assert torch.equal(found.test[index][1], same.test[index][1])
    assert found.train[0][0].shape == (3, 8, 8)
    splits["train"] = hub_rows(("image", "mask"))
    with pytest.raises(
        InputError, match="the columns image and annotation, not train, validation with image, mask"
    ):
        create_data("ade20k", source="someone/scenes")


def test_what_is_wrong_with_ade20k_is_told(tmp_path):
    with pytest.raises(InputError, match="ADEChallengeData2016"):
        create_data("ade20k")
    with pytest.raises(InputError, match="there are no images"):
        create_data("ade20k", source=str(tmp_path))


def test_scenes_of_digits_are_made_of_their_split():
    data = create_data("digits_scenes")
    assert (data.task, data.shape, data.classes[-1]) == ("segmentation", (1, 20, 20), "background")
    assert len(data.classes) == 11
    for scenes, digits in zip((data.train, data.test), digit_splits(), strict=True):
        known = {image.tobytes(): label for image, label in zip(digits.images, digits.labels, strict=True)}
        images, masks = scenes.__getitems__(range(40))
        low, high = scenes.images.min(), scenes.images.max()
        ink = ((images - low) / (high - low) * 16).round().double() / 16
        for scene, mask in zip(ink[:, 0].numpy(), masks.numpy(), strict=True):
            labels = [
                known[window.tobytes()]
                for row in range(13)
                for column in range(13)
                if (window := scene[row : row + 8, column : column + 8].copy()).tobytes() in known
            ]
            assert 2 <= len(labels) <= 4
            assert set(np.unique(mask)) == {*labels, 10}
            np.testing.assert_array_equal(mask != 10, scene >= 0.25)


def test_scenes_of_digits_are_the_same_every_time():
    torch.manual_seed(1)
    np.random.seed(1)
    first, second = create_data("digits_scenes"), create_data("digits_scenes")
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)
    assert not torch.equal(first.train.labels[:300], first.test.labels)


def batch(size=20, height=12, width=10, channels=3):
    images = torch.rand(size, channels, height, width)
    masks = torch.randint(0, 4, (size, height, width))
    masks[torch.rand(masks.shape) < 0.1] = IGNORE
    return images, masks


def test_no_augmentation_leaves_scenes_as_they_are():
    images, masks = batch()
    placed, labels = augmented(SceneAugment(1.0, 1.0, **PLAIN), images, masks)
    assert torch.equal(labels, masks)
    torch.testing.assert_close(placed, images)


def test_what_has_no_class_is_seen_and_coloured_like_the_rest_and_black_borders_stay_black():
    images, masks = torch.full((50, 3, 8, 8), 0.4), torch.zeros(50, 8, 8, dtype=torch.int64)
    masks[:, :, 2] = IGNORE  # an object without a class
    masks[:, 6:] = IGNORE  # the border of a scene that was fitted into its size
    images[:, :, 6:] = 0
    placed, labels = augmented(SceneAugment(1.0, 1.0, 0.0, 0.125, 0.5, 0.5), images, masks)
    assert torch.equal(labels, masks)
    assert not torch.allclose(placed[:, :, :5], images[:, :, :5])
    torch.testing.assert_close(placed[:, :, :5, 2], placed[:, :, :5, 3])
    assert not placed[:, :, 6:].any()


def test_a_sure_flip_mirrors_image_and_mask():
    images, masks = batch()
    placed, labels = augmented(SceneAugment(1.0, 1.0, **{**PLAIN, "flip": 1.0}), images, masks)
    assert torch.equal(labels, masks.flip(-1))
    torch.testing.assert_close(placed, images.flip(-1))


def test_a_scene_twice_as_large_is_a_window_of_the_enlarged_one():
    images, masks = batch(size=60, channels=1)
    masks = masks.clamp(min=0)
    _, labels = augmented(SceneAugment(2.0, 2.0, **PLAIN), images, masks)
    large = F.interpolate(masks[:, None].float(), scale_factor=2, mode="nearest")[:, 0].long()
    corners = set()
    for scene, found in zip(large, labels, strict=True):
        fits = [
            (row, column)
            for row in range(13)
            for column in range(11)
            if torch.equal(scene[row : row + 12, column : column + 10], found)
        ]
        assert fits
        corners.add(fits[0])
    assert len(corners) > 20


def test_a_scene_half_as_large_lies_somewhere_in_the_window():
    images, masks = torch.ones(60, 1, 12, 10), torch.ones(60, 12, 10, dtype=torch.int64)
    placed, labels = augmented(SceneAugment(0.5, 0.5, **PLAIN), images, masks)
    assert ((labels == 1) | (labels == IGNORE)).all()
    assert ((labels == 1).sum((1, 2)).float() - 30).abs().max() <= 11  # half a pixel at each border
    assert (placed[:, 0][labels == IGNORE] == 0).all()
    assert ((labels == 1).any(2).int().argmax(1)).unique().numel() > 3


def test_image_and_mask_stay_together():
    masks = torch.randint(0, 4, (30, 3, 3)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = masks[:, None] / 4 + 0.1
    placed, labels = augmented(SceneAugment(**{**PLAIN, "flip": 0.5}), images, masks)
    inside = labels != IGNORE
    told = ((placed[:, 0] - 0.1) * 4).round().long()
    # Only at the borders of areas is a bilinear pixel another one's than the nearest.
    assert (told == labels)[inside].float().mean() > 0.85
    assert torch.isin(labels, torch.tensor([IGNORE, 0, 1, 2, 3])).all()


def test_colours_change_within_their_limits_and_the_mask_does_not():
    images, masks = torch.full((400, 3, 4, 4), 0.5), torch.zeros(400, 4, 4, dtype=torch.int64)
    images[:, 0] = 0.6
    changed, labels = augmented(SceneAugment(1.0, 1.0, 0.0, 0.125, 0.5, 0.5), images, masks)
    assert torch.equal(labels, masks)
    assert changed.min() >= 0.5 * (0.5 - 0.125) - 0.1
    assert changed.max() <= 1.5 * (0.6 + 0.125) + 0.1
    untouched = (changed - images).abs().amax((1, 2, 3)) < 1e-6
    assert 0.05 < untouched.float().mean() < 0.25  # an eighth
    grey, _ = augmented(SceneAugment(1.0, 1.0, 0.0, 0.125, 0.5, 0.5), images[:, :1], masks)
    assert grey.shape == (400, 1, 4, 4)


def test_saturation_leaves_the_brightness():
    images, masks = torch.rand(50, 3, 4, 4) * 0.4 + 0.3, torch.zeros(50, 4, 4, dtype=torch.int64)
    changed, _ = augmented(SceneAugment(1.0, 1.0, **{**PLAIN, "saturation": 0.5}), images, masks)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((changed * luma).sum(1), (images * luma).sum(1))
    assert not torch.allclose(changed, images)


def test_augmentation_repeats_with_its_seed():
    scenes = batch()
    first, again = (augmented(SceneAugment(), *scenes, seed=3) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 0.0}, "smallest and largest must be above 0 and in order, not 0.0 and 2.0"),
        ({"smallest": 3.0}, "in order"),
        ({"flip": 2.0}, "flip must be between 0 and 1"),
        ({"contrast": -0.1}, "contrast must be between 0 and 1"),
    ],
)
def test_options_that_cannot_be_are_told(options, message):
    with pytest.raises(InputError, match=message):
        SceneAugment(**options)
