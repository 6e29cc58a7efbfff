"""Augmentation: right pixels, right labels, and the same numbers from the same seed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from a2sg.data.augment import Augment, crop, draw_crop, draw_flip, flip
from a2sg.data.draws import Draws, generator
from a2sg.data.mix import (
    cutmix,
    cutout,
    draw_cutmix,
    draw_cutout,
    draw_erased,
    draw_mixup,
    draw_partner,
    erase,
    mixup,
    probabilities,
    rectangles,
)
from a2sg.data.nda import NDA, RecordingAugment
from a2sg.data.scene_augment import SceneAugment
from a2sg.data.standardize import Standardize, to_unit
from a2sg.errors import InputError
from a2sg.training.losses import create_loss
from a2sg.training.recipe import load_recipe
from augmented import applied, augmented, seeded
from labelled_images import GREY, smooth_pictures

sides = st.integers(3, 12)
seeds = st.integers(0, 2**31)
alphas = st.sampled_from([0.05, 0.5, 1.0, 8.0])


def numbered(batch, height, width, channels=3):
    """Images of one value each: the number of the image."""
    return torch.arange(batch).float()[:, None, None, None].expand(batch, channels, height, width).clone()


def random_crop(images, padding, seed=0):
    return crop(images, padding, applied(draw_crop(seeded(seed), len(images), padding)))


def random_flip(images, seed=0):
    return flip(images, applied(draw_flip(seeded(seed), len(images))))


def erased(images, probability, fill, seed=0):
    drawn = draw_erased(seeded(seed), len(images), tuple(images.shape[-2:]), probability)
    return erase(images, fill, applied(drawn))


def mixed(mix, images, labels, alpha, seed=0):
    """Images and labels mixed by `cutmix` or `mixup`."""
    random = seeded(seed)
    drawn = draw_partner(random, len(labels))
    if mix is cutmix:
        return cutmix(
            images, labels, applied(drawn, draw_cutmix(random, len(labels), images.shape[-2:], alpha))
        )
    return mixup(images, labels, applied(drawn, draw_mixup(random, len(labels), alpha)))


def test_pixels_are_standardised_as_written_out():
    images = torch.arange(0, 240, 10, dtype=torch.uint8).reshape(2, 3, 2, 2)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    result = Standardize(mean, std)(images)
    for image, expected in zip(result, images.double() / 255, strict=True):
        for channel in range(3):
            torch.testing.assert_close(
                image[channel].double(), (expected[channel] - mean[channel]) / std[channel], atol=1e-6, rtol=0
            )
    assert torch.equal(Standardize(mean, std)(to_unit(images)), result)
    assert torch.equal(Standardize(mean, std)(images[None].expand(4, -1, -1, -1, -1))[3], result)


def test_floats_without_a_mean_stay_the_very_same():
    images = torch.randn(2, 1, 3, 3)
    assert Standardize()(images) is images
    assert Standardize().state_dict() == {}


@given(batch=st.integers(1, 5), height=sides, width=sides, padding=st.integers(1, 6), seed=seeds)
def test_a_crop_is_a_part_of_the_padded_image(batch, height, width, padding, seed):
    images = torch.rand(batch, 2, height, width) + 1
    cropped = random_crop(images, padding, seed)
    assert cropped.shape == images.shape
    for image, part in zip(images, cropped, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
        places = [(y, x) for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
        assert any(np.array_equal(padded[:, y : y + height, x : x + width], part.numpy()) for y, x in places)


def test_crops_lie_everywhere_and_each_image_has_its_own():
    place = torch.arange(1.0, 10).reshape(1, 1, 3, 3).expand(2000, 1, 3, 3)
    middle, counts = random_crop(place, 1)[:, 0, 1, 1].unique(return_counts=True)
    assert middle.tolist() == list(range(1, 10))  # every shift of one pixel, so every pixel is the middle
    assert (counts / 2000 - 1 / 9).abs().max() < 4 * math.sqrt(1 / 9 * 8 / 9 / 2000)


@given(batch=st.integers(1, 6), width=sides, seed=seeds)
def test_a_flip_mirrors_or_leaves(batch, width, seed):
    images = torch.rand(batch, 3, 4, width)
    for image, flipped in zip(images, random_flip(images, seed), strict=True):
        assert torch.equal(flipped, image) or torch.equal(flipped, image.flip(-1))


def test_half_of_the_images_are_flipped():
    images = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    assert abs(random_flip(images)[:, 0, 0, 0].mean().item() - 0.5) < 4 * 0.5 / math.sqrt(4000)


@given(batch=st.integers(1, 8), height=sides, width=sides, alpha=alphas, seed=seeds)
def test_cutmix_labels_are_the_areas_exactly(batch, height, width, alpha, seed):
    images, labels = mixed(cutmix, numbered(batch, height, width), torch.eye(batch), alpha, seed)
    for image, label in zip(images, labels, strict=True):
        assert torch.equal(image[0], image[1])
        pixels = [(image[0] == number).sum().item() for number in range(batch)]
        assert sum(pixels) == height * width
        torch.testing.assert_close(label, torch.tensor(pixels) / (height * width), atol=1e-6, rtol=0)


@given(seed=seeds)
def test_cutmix_takes_a_rectangle_from_the_same_place_of_one_other_image(seed):
    images = torch.rand(4, 3, 6, 8)
    cut, labels = mixed(cutmix, images, torch.eye(4), 1.0, seed)
    for number, (image, label) in enumerate(zip(cut, labels, strict=True)):
        foreign = (image != images[number]).any(0)
        others = [other for other in range(4) if other != number and label[other] > 0]
        assert len(others) == (1 if foreign.any() else 0)
        for other in others:
            assert torch.equal(image[:, foreign], images[other][:, foreign])
        if foreign.any():
            rows, columns = foreign.any(1).nonzero()[:, 0], foreign.any(0).nonzero()[:, 0]
            assert foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_cutmix_areas_follow_beta():
    _, labels = mixed(cutmix, numbered(3000, 32, 32, 1), torch.eye(3000), 1.0)
    foreign = 1 - labels.diagonal()
    # A side of s, centred anywhere, keeps s - s²/4 of its length inside; α = 1 makes s² uniform.
    side = ((torch.arange(100_000).double() + 0.5) / 100_000).sqrt()
    assert foreign.mean().item() == pytest.approx((side - side**2 / 4).square().mean().item(), abs=0.03)


@given(batch=st.integers(1, 6), alpha=alphas, seed=seeds)
def test_mixup_labels_are_the_weights_of_the_images(batch, alpha, seed):
    images = torch.eye(batch)[:, :, None, None].expand(batch, batch, 2, 3)  # image n is 1 in channel n
    blended, labels = mixed(mixup, images, torch.eye(batch), alpha, seed)
    torch.testing.assert_close(blended[:, :, 0, 0], labels)
    torch.testing.assert_close(blended[:, :, 1, 2], labels)
    torch.testing.assert_close(labels.sum(1), torch.ones(batch))
    assert ((labels > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("mix", [cutmix, mixup])
def test_event_frames_are_mixed_alike_at_every_step(mix):
    frames = torch.rand(5, 3, 2, 6, 6)
    together, labels = mixed(mix, frames, torch.eye(3), 1.0)
    for step in range(5):
        alone, same = mixed(mix, frames[step], torch.eye(3), 1.0)
        assert torch.equal(together[step], alone)
        assert torch.equal(labels, same)


@given(height=sides, width=sides, seed=seeds)
def test_erasing_fills_one_rectangle_of_a_size_in_range(height, width, seed):
    images = torch.rand(6, 3, height, width) + 1
    for image, result in zip(images, erased(images, 1.0, torch.tensor(GREY), seed), strict=True):
        gone = (image != result).any(0)
        rows, columns = gone.any(1).nonzero()[:, 0], gone.any(0).nonzero()[:, 0]
        assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert torch.equal(result[:, gone], torch.tensor(GREY)[:, None].expand(3, int(gone.sum())))
        area = gone.sum().item()
        rounding = (height + width) / 2 + 0.25  # half a pixel on both sides
        assert area <= height * width / 3 + rounding


def test_the_share_of_erased_images_is_as_asked():
    images = torch.ones(4000, 1, 8, 8)
    changed = (erased(images, 0.25, torch.zeros(1)) != 1).flatten(1).any(1).float().mean().item()
    assert abs(changed - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_fills_one_square_of_every_image_with_its_centre_anywhere(side):
    images = torch.rand(2000, 3, 9, 7) + 1
    drawn = draw_cutout(seeded(), 2000, (9, 7), side)
    found = cutout(images, torch.tensor(GREY), applied(drawn))
    gone = (found != images).any(1)
    assert torch.equal(
        found[:, :, 0, 0][gone[:, 0, 0]], torch.tensor(GREY).expand(int(gone[:, 0, 0].sum()), 3)
    )
    whole = {}
    for image in gone[:200]:
        rows, columns = image.any(1).nonzero()[:, 0], image.any(0).nonzero()[:, 0]
        assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(rows) <= side
        assert len(columns) <= side
        whole[len(rows), len(columns)] = True
    assert (side, side) in whole
    # A centre lies at each pixel as often, so a pixel is gone as often as there are centres that reach it.
    rows, columns = (
        torch.tensor([sum(0 <= at - (centre - side // 2) < side for centre in range(n)) for at in range(n)])
        for n in (9, 7)
    )
    share = rows[:, None] * columns / 63
    assert (gone.float().mean(0) - share).abs().max() < 4 * 0.5 / math.sqrt(2000)


def test_rectangles_are_cut_off_at_the_borders():
    one = torch.tensor([1])
    inside = rectangles(-one, 2 * one, 3 * one, 5 * one, 3, 4)
    assert inside[0, 0].long().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]


EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "randaugment": 1,
    "erasing": 0.5,
    "cutout": 3,
    "cutmix": 0.5,
    "mixup": 0.2,
}


def test_the_same_seed_draws_the_same_and_none_is_drawn_when_all_is_off():
    images, labels = to_unit(smooth_pictures(batch=6)), torch.arange(6) % 3
    augment = Augment(3, GREY, **EVERYTHING)
    results = [augmented(augment, images, labels, seed=seed) for seed in (1, 1, 2)]
    (first, first_labels), (again, again_labels), (other, _) = results
    assert torch.equal(first, again)
    assert torch.equal(first_labels, again_labels)
    assert not torch.equal(first, other)
    assert first_labels.shape == (6, 3)
    torch.testing.assert_close(first_labels.sum(1), torch.ones(6))
    random = seeded()
    assert Augment(3, GREY).draw(random, 6, (16, 16), 0) == {}
    assert random.bit_generator.state == seeded().bit_generator.state
    same, same_labels = augmented(Augment(3, GREY), images, labels)
    assert same is images
    assert same_labels is labels


def test_training_draws_nothing_from_the_global_random_state():
    images, labels = to_unit(smooth_pictures(batch=6)), torch.arange(6) % 3
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    augmented(Augment(3, GREY, **EVERYTHING), images, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpys).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_same_changes():
    images, labels = to_unit(smooth_pictures(batch=32)), torch.arange(32) % 3
    augment = Augment(3, GREY, **EVERYTHING)
    results = [augmented(augment, images.to(device), labels.to(device)) for device in ("cpu", "cuda")]
    for here, there in zip(*results, strict=True):
        assert there.is_cuda
        # A level read by truncation may fall to its neighbour.
        torch.testing.assert_close(there.cpu(), here, atol=2 / 255, rtol=0)


def test_mixing_ends_with_its_epoch():
    images, labels = to_unit(smooth_pictures(batch=6)), torch.arange(6) % 3
    augment = Augment(3, GREY, cutmix=1.0, mix_until_epoch=2)
    found = [augmented(augment, images, labels, epoch=epoch) for epoch in range(4)]
    assert [labels.dim() for _, labels in found] == [2, 2, 1, 1]
    assert torch.equal(found[2][0], images)


def test_with_both_mixes_each_batch_gets_one():
    augment = Augment(4, GREY, cutmix=1.0, mixup=1.0)
    images, soft = augmented(
        augment, numbered(4, 8, 8).repeat(200, 1, 1, 1), torch.arange(4).repeat(200), batches=200
    )
    whole = (images == images.round()).reshape(200, -1).all(1)  # CutMix leaves pixels as they are
    assert abs(whole.float().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(200)
    # Either way an image is, on average, what its label says.
    values = (soft * torch.arange(4)).sum(1)
    torch.testing.assert_close(images.mean((1, 2, 3)), values, atol=1e-5, rtol=0)


def recordings(n):
    return torch.randint(0, 9, (3, n, 2, 12, 12)).float(), torch.arange(n) % 3


def pictures(n):
    return to_unit(smooth_pictures(batch=n)), torch.arange(n) % 3


def scenes(n):
    return to_unit(smooth_pictures(batch=n)), torch.randint(0, 4, (n, 16, 16))


CHUNKED = {
    "images": (pictures, Augment(3, GREY, **{**EVERYTHING, "randaugment": 2})),
    "recordings": (recordings, RecordingAugment(NDA(), Augment(3, (0.0, 0.0), erasing=0.5, cutmix=1.0))),
    "scenes": (scenes, SceneAugment()),
}


@pytest.mark.parametrize("kind", CHUNKED)
def test_batches_come_out_the_same_one_by_one_and_many_at_once(kind):
    make, augment = CHUNKED[kind]
    images, labels = make(60)
    together = augmented(augment, images, labels, batches=10)
    for size in (1, 3):
        for first in range(0, 10 - size, size):
            at = torch.arange(6 * first, 6 * (first + size))
            drawn = [
                augment.draw(generator(0, 0, first + n), 6, tuple(images.shape[-2:]), 0) for n in range(size)
            ]
            part = augment(images.index_select(-4, at), labels[at], Draws(drawn, images.device))
            assert torch.equal(part[0], together[0].index_select(-4, at))
            assert torch.equal(part[1], together[1][at])


@pytest.mark.parametrize("kind", CHUNKED)
def test_numbers_depend_on_seed_epoch_and_batch(kind):
    augment = CHUNKED[kind][1]

    def drawn(*place):
        numbers = augment.draw(generator(*place), 6, (16, 16), 0)
        return [tuple(values.tolist()) for values in numbers.values()]

    places = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]
    assert len({tuple(drawn(*place)) for place in places}) == len(places)
    assert drawn(1, 2, 3) == drawn(1, 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": -1}, "augment.crop_padding must be a whole number of at least 0, not -1"),
        ({"erasing": 1.5}, "augment.erasing must be between 0 and 1, not 1.5"),
        ({"cutout": -1}, r"augment\.cutout must be a whole number of at least 0, not -1"),
        ({"cutmix": -0.5}, r"augment\.cutmix must be at least 0, not -0\.5"),
        ({"mixup": float("nan")}, r"augment\.mixup must be at least 0, not nan"),
        ({"mix_until_epoch": -1}, r"augment\.mix_until_epoch"),
        ({"randaugment": -1}, r"augment\.randaugment"),
        ({"randaugment": 1, "magnitude": 11.0}, r"augment\.magnitude must be from 0 to 10, not 11"),
        ({"randaugment": 1, "magnitude_spread": -1.0}, r"augment\.magnitude_spread"),
        ({"randaugment": 1, "randaugment_share": 2.0}, r"augment\.randaugment_share"),
    ],
)
def test_values_out_of_range_are_told(options, message):
    with pytest.raises(InputError, match=message):
        Augment(3, GREY, **options)


def test_a_recipe_switches_it_on():
    config = load_recipe("digits", {f"augment.{name}": value for name, value in EVERYTHING.items()})
    assert config.augment.cutmix == 0.5
    assert load_recipe("digits").augment == type(config.augment)()


def test_a_metric_of_mixed_labels_takes_the_likeliest():
    labels, right = torch.tensor([2, 0]), create_loss("mean").right
    assert right(labels) is labels
    assert right(0.9 * probabilities(labels, 3) + 0.1 / 3).tolist() == [2, 0]
