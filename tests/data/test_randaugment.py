"""RandAugment's operations against Pillow's, which the paper's code used, and moves by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from a2sg.data.standardize import to_unit
from augmented import applied, seeded
from labelled_images import GREY, smooth_pictures

kornia = pytest.importorskip("kornia", reason="needs a2sg[train]")


def enhanced(enhancer):
    return lambda picture, strength: enhancer(picture).enhance(1 + 0.9 * strength)


def added(picture, strength):
    table = [min(255, level + round(110 * abs(strength))) if level < 128 else level for level in range(256)]
    return picture.point(table * len(picture.getbands()))


PILLOW = {
    "auto_contrast": lambda picture, strength: ImageOps.autocontrast(picture),
    "brightness": enhanced(ImageEnhance.Brightness),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "equalize": lambda picture, strength: ImageOps.equalize(picture),
    "invert": lambda picture, strength: ImageOps.invert(picture),
    "posterize": lambda picture, strength: ImageOps.posterize(picture, max(1, 4 - int(4 * abs(strength)))),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, 255 * (1 - abs(strength))),
    "solarize_add": added,
}
MOVES = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(PILLOW))
def test_operations_do_as_pillow_does(name, channels):
    from a2sg.data.randaugment import OPERATIONS

    images = smooth_pictures(channels=channels)
    strength = torch.tensor([0.9, -0.9, 0.3, -0.55])
    results = OPERATIONS[name](to_unit(images), strength, torch.tensor(GREY[:channels]))
    assert results.min() >= 0
    assert results.max() <= 1
    for image, amount, result in zip(images, strength.tolist(), results, strict=True):
        array = image.numpy()
        picture = Image.fromarray(array[0] if channels == 1 else array.transpose(1, 2, 0))
        expected = np.asarray(PILLOW[name](picture, amount), dtype=np.float64)
        expected = expected[None] if channels == 1 else expected.transpose(2, 0, 1)
        # Pillow rounds on the way: a level or two, also where that is multiplied.
        assert np.abs(result.numpy() * 255 - expected).max() <= 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(PILLOW.keys() | MOVES))
def test_an_image_alone_comes_out_as_among_others(name, channels):
    from a2sg.data.randaugment import OPERATIONS

    images, fill = to_unit(smooth_pictures(batch=12, channels=channels)), torch.full((channels,), 0.5)
    strength = torch.linspace(-1, 1, 12)
    together = OPERATIONS[name](images, strength, fill)
    for at in range(12):
        alone = OPERATIONS[name](images[at : at + 1], strength[at : at + 1], fill)
        assert torch.equal(alone[0], together[at])


def test_every_operation_is_tested():
    from a2sg.data.randaugment import OPERATIONS

    assert set(OPERATIONS) == PILLOW.keys() | MOVES


def sampled(image, matrix, shift, fill):
    """Each pixel from where it comes, bilinear, by plain loops; outside is `fill`."""
    height, width = image.shape
    result = np.empty((height, width))
    inverse = np.linalg.inv(matrix)
    padded = np.pad(image, 1, constant_values=fill)
    for y in range(height):
        for x in range(width):
            target = np.array([x - (width - 1) / 2, y - (height - 1) / 2])
            at_x, at_y = inverse @ (target - shift) + [(width - 1) / 2, (height - 1) / 2]
            left, top = math.floor(at_x), math.floor(at_y)
            value = 0.0
            for row, below in ((top, 1 - (at_y - top)), (top + 1, at_y - top)):
                for column, right in ((left, 1 - (at_x - left)), (left + 1, at_x - left)):
                    inside = 0 <= row < height and 0 <= column < width
                    value += below * right * (padded[row + 1, column + 1] if inside else fill)
            result[y, x] = value
    return result


def by_hand(name, strength, height, width):
    """The matrix about the centre, and the shift in pixels, of a move."""
    matrix, shift = np.eye(2), np.zeros(2)
    if name == "rotate":
        angle = math.radians(30 * strength)
        matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    elif name == "shear_x":
        matrix[0, 1] = 0.3 * strength
    elif name == "shear_y":
        matrix[1, 0] = 0.3 * strength
    elif name == "translate_x":
        shift[0] = 0.45 * width * strength
    else:
        shift[1] = 0.45 * height * strength
    return matrix, shift


@pytest.mark.parametrize("name", sorted(MOVES))
def test_moves_take_pixels_from_where_they_come(name):
    from a2sg.data.randaugment import OPERATIONS

    images = to_unit(smooth_pictures(batch=3))[:, :, :12, :].contiguous()
    strength = torch.tensor([0.9, -0.4, 1.0])
    results = OPERATIONS[name](images, strength, torch.tensor(GREY))
    for image, amount, result in zip(images, strength.tolist(), results, strict=True):
        matrix, shift = by_hand(name, amount, 12, 16)
        for channel in range(3):
            expected = sampled(image[channel].double().numpy(), matrix, shift, GREY[channel])
            np.testing.assert_allclose(result[channel].numpy(), expected, atol=1e-4)


def test_randaugment_draws_for_every_image_and_changes_the_share_asked_for():
    from a2sg.data.randaugment import OPERATIONS, RandAugment

    images = to_unit(smooth_pictures(batch=1)).expand(3000, -1, -1, -1)
    augment = RandAugment(1, 9.0, 0.0, 0.5)
    results = augment(images, torch.tensor(GREY), applied(augment.draw(seeded(), 3000)))
    changed = (results != images).flatten(1).any(1)
    assert abs(changed.float().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(3000)
    kinds = {image.numpy().tobytes() for image in results[changed]}
    signed = (
        len(OPERATIONS) - 6
    )  # auto_contrast, equalize, invert, posterize, solarize, solarize_add: one way
    assert len(kinds) == 6 + 2 * signed
    assert torch.equal(images[0], to_unit(smooth_pictures(batch=1))[0])  # the input is left alone


def test_randaugment_of_no_image_changes_none():
    from a2sg.data.randaugment import RandAugment

    images = to_unit(smooth_pictures(batch=5))
    augment = RandAugment(2, 9.0, 0.4, 0.0)
    assert torch.equal(augment(images, torch.tensor(GREY), applied(augment.draw(seeded(), 5))), images)


def test_strengths_spread_as_asked_within_their_range():
    from a2sg.data.randaugment import RandAugment

    strengths = RandAugment(1, 9.0, 0.4, 1.0).draw(seeded(), 20_000)["strength_0"]
    assert abs((strengths > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(20_000)
    assert np.abs(strengths).max() <= 1
    assert np.median(np.abs(strengths)) == pytest.approx(0.9, abs=0.002)
    # Of a normal distribution a 16th percentile lies a deviation below the mean.
    assert np.quantile(np.abs(strengths), 0.15866) == pytest.approx(0.9 - 0.04, abs=0.002)
