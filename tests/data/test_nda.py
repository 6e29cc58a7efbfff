"""NDA: each operation against its obvious reference, and all frames of a sample alike."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from a2sg.data import nda
from a2sg.data.nda import CUTOUT, NDA, ROLL, ROTATE, SHEAR
from a2sg.errors import InputError
from augmented import applied, seeded

STILL = NDA(flip=0.0, roll=0, rotate=0.0, shear=0.0, cutout=0)


@pytest.fixture(autouse=True)
def same_frames():
    torch.manual_seed(0)


def frames(steps=2, batch=64, channels=2, height=9, width=9):
    return torch.randint(1, 50, (steps, batch, channels, height, width)).float()


class Chosen:
    """Random numbers of which some are given: which operation, and how far an angle is drawn."""

    def __init__(self, operation=None, share=None):
        self.drawn = seeded()
        self.operation = operation
        self.share = share

    def __getattr__(self, name):
        return getattr(self.drawn, name)

    def integers(self, low, *rest, **options):
        if self.operation is not None and low == len(nda.OPERATIONS) and not rest:
            return np.full(options["size"], self.operation)
        return self.drawn.integers(low, *rest, **options)

    def uniform(self, low, high, size):
        drawn = self.drawn.uniform(low, high, size)
        return drawn if self.share is None else np.full(size, low + (high - low) * self.share)


def done(augment, x, random=None):
    """The recordings, changed as `random` draws."""
    return augment(x, applied(augment.draw(random or seeded(), x.shape[1], tuple(x.shape[-2:]))))


def test_limits_of_nothing_leave_frames_as_they_are():
    x = frames(height=8, width=5)
    assert torch.equal(done(STILL, x), x)


def test_a_sure_flip_mirrors():
    x = frames(height=6, width=7)
    assert torch.equal(done(replace(STILL, flip=1.0), x), x.flip(-1))


def test_a_flip_of_a_half_mirrors_about_half():
    x = frames(batch=400)
    y = done(replace(STILL, flip=0.5), x)
    mirrored = sum(torch.equal(y[:, b], x[:, b].flip(-1)) for b in range(400))
    same = sum(torch.equal(y[:, b], x[:, b]) for b in range(400))
    assert mirrored + same == 400
    assert 150 < mirrored < 250


def test_rolls_are_torch_rolls_of_every_shift():
    x = frames(batch=600, height=7, width=9)
    y = done(replace(STILL, roll=2), x, Chosen(ROLL))
    found = set()
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    for b in range(600):
        fits = [s for s in shifts if torch.equal(torch.roll(x[:, b], s, dims=(-2, -1)), y[:, b])]
        assert len(fits) == 1
        found.update(fits)
    assert found == set(shifts)


def placed(x, inverse):
    """Every pixel of the result from where `inverse` says, by a plain loop; 0 from outside."""
    height, width = x.shape[-2:]
    result = torch.zeros_like(x)
    for row in range(height):
        for column in range(width):
            down, right = inverse(row - (height - 1) / 2, column - (width - 1) / 2)
            down, right = round(down + (height - 1) / 2), round(right + (width - 1) / 2)
            if 0 <= down < height and 0 <= right < width:
                result[..., row, column] = x[..., down, right]
    return result


@pytest.mark.parametrize("operation", [ROTATE, SHEAR])
def test_turns_and_shears_are_those_of_a_loop(operation):
    x = frames(batch=2, height=8, width=11)
    limit = 20.0
    y = done(replace(STILL, rotate=limit, shear=limit), x, Chosen(operation, 0.9))
    angle = math.radians(limit) * (2 * 0.9 - 1)
    if operation == ROTATE:
        expected = placed(
            x,
            lambda down, right: (
                math.sin(angle) * right + math.cos(angle) * down,
                math.cos(angle) * right - math.sin(angle) * down,
            ),
        )
    else:
        expected = placed(x, lambda down, right: (down, right + math.tan(angle) * down))
    assert torch.equal(y, expected)
    assert not torch.equal(y, x)


def test_a_cutout_is_one_square_and_nothing_else():
    x = frames(batch=200, height=12, width=10)
    y = done(replace(STILL, cutout=4), x, Chosen(CUTOUT))
    areas = set()
    for b in range(200):
        gone = (y[:, b] != x[:, b]).all(0).all(0)
        assert torch.equal(y[:, b], x[:, b] * ~gone)
        rows, columns = gone.any(1).nonzero().flatten(), gone.any(0).nonzero().flatten()
        assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        areas.add((len(rows), len(columns)))
    assert (4, 4) in areas
    assert max(a for a, _ in areas) == max(b for _, b in areas) == 4


def test_all_frames_and_channels_of_a_sample_are_moved_alike():
    places = torch.arange(1, 101).float().view(10, 10)
    y = done(NDA(), places.expand(5, 40, 2, 10, 10))
    assert torch.equal(y, y[:1, :, :1].expand_as(y))
    assert len({tuple(y[0, b, 0].flatten().tolist()) for b in range(40)}) > 30


def test_counts_stay_counts_and_none_are_added():
    x = frames(batch=100)
    y = done(NDA(), x)
    assert torch.isin(y, torch.cat([x.unique(), torch.zeros(1)])).all()


def test_each_operation_happens_to_a_quarter():
    x = frames(batch=2000, height=12, width=12)
    alone = {
        ROLL: replace(STILL, roll=5),
        ROTATE: replace(STILL, rotate=89.0),
        SHEAR: replace(STILL, shear=80.0),
        CUTOUT: replace(STILL, cutout=8),
    }
    for augment in alone.values():
        changed = (done(augment, x) != x).flatten(2).any(2).any(0).float().mean()
        assert 0.2 < changed < 0.3


def test_a_seed_repeats_it():
    x = frames()
    first = done(NDA(), x)
    assert torch.equal(done(NDA(), x), first)
    assert not torch.equal(done(NDA(), x, seeded(1)), first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_device_does_the_same():
    x = frames()
    drawn = NDA().draw(seeded(), x.shape[1], tuple(x.shape[-2:]))
    there = NDA()(x.cuda(), applied(drawn, device="cuda"))
    # A place halfway between two pixels may be rounded to the other one.
    assert (there.cpu() == NDA()(x, applied(drawn))).float().mean() > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "flip must be between 0 and 1"),
        ({"roll": -1}, "roll must be a whole number of at least 0"),
        ({"cutout": 1.5}, "cutout must be a whole number"),
        ({"rotate": 90}, "rotate must be at least 0 and below 90 degrees, not 90"),
        ({"shear": float("nan")}, "shear must be at least 0"),
    ],
)
def test_limits_that_cannot_be_are_told(options, message):
    with pytest.raises(InputError, match=message):
        NDA(**options)
