"""The simulated saccade: the pixel model by hand and by a loop, and the digits it makes."""

import hashlib

import numpy as np
import pytest
import torch

from a2sg.data import create_data
from a2sg.data.digits import digit_splits
from a2sg.data.saccade import saccade_frames, saccade_path, shifted
from a2sg.errors import InputError

pytest.importorskip("sklearn.datasets", reason="needs a2sg[train]")


def test_shifts_by_whole_pixels_move_and_fill_with_dark():
    image = np.arange(12.0).reshape(1, 3, 4)
    np.testing.assert_array_equal(shifted(image, 0, 0), image)
    np.testing.assert_array_equal(shifted(image, 1, 0)[0], [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]])
    np.testing.assert_array_equal(shifted(image, -2, 1)[0], [[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]])
    assert not shifted(image, 9, -9).any()


def test_a_shift_between_pixels_is_bilinear():
    image = np.zeros((1, 3, 3))
    image[0, 1, 1] = 1
    expected = [[0, 0, 0], [0, 0.75 * 0.6, 0.25 * 0.6], [0, 0.75 * 0.4, 0.25 * 0.4]]
    np.testing.assert_allclose(shifted(image, 0.25, 0.4)[0], expected)


def test_the_path_is_a_triangle_of_three_straight_movements():
    path = saccade_path(2.0, 4)
    assert path.shape == (13, 2)
    np.testing.assert_array_equal(path[[0, 4, 8, 12]], [(0, -2), (-2, 2), (2, 2), (0, -2)])
    for leg in range(3):
        pieces = np.diff(path[4 * leg : 4 * leg + 5], axis=0)
        np.testing.assert_allclose(pieces, np.broadcast_to(pieces[0], pieces.shape))


def one_pixel_at_a_time(image, steps, reach, threshold, moments):
    """The pixel model with plain loops."""
    path = saccade_path(reach, moments)
    height, width = image.shape
    frames = np.zeros((steps, 2, height, width))
    for row in range(height):
        for column in range(width):
            seen = [shifted(image[None], *offset)[0, row, column] for offset in path]
            remembered = seen[0]
            for moment, brightness in enumerate(seen[1:]):
                frame = moment * steps // (3 * moments)
                while brightness - remembered >= threshold - 1e-6:
                    remembered += threshold
                    frames[frame, 1, row, column] += 1
                while remembered - brightness >= threshold - 1e-6:
                    remembered -= threshold
                    frames[frame, 0, row, column] += 1
    return frames


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_events_are_those_of_a_loop_over_pixels(steps):
    image = np.pad(digit_splits()[0].images[3], 2)
    found = saccade_frames(image[None], steps, 2.0, threshold=0.23, moments=7)
    np.testing.assert_array_equal(found[0], one_pixel_at_a_time(image, steps, 2.0, 0.23, 7))
    assert found.sum() > 50


def test_a_line_that_passes_darkens_behind_it_and_brightens_before_it():
    image = np.zeros((1, 9, 9))
    image[0, :, 4] = 1
    off, on = saccade_frames(image, 3, 2.0, threshold=0.5)[0, 1]  # from column 2 to column 6
    assert off[4].tolist() == [0, 0, 2, 2, 2, 2, 0, 0, 0]
    assert on[4].tolist() == [0, 0, 0, 2, 2, 2, 2, 0, 0]


@pytest.mark.parametrize("steps", [1, 4])
def test_digits_become_recordings(steps):
    data = create_data("digits_events", steps=steps)
    train, test = digit_splits()
    assert (data.steps, data.shape, data.task) == (steps, (2, 12, 12), "classification")
    assert data.classes == tuple("0123456789")
    for split, digits in ((data.train, train), (data.test, test)):
        recordings, labels = split.__getitems__(range(len(split)))
        assert recordings.shape == (len(digits.labels), steps, 2, 12, 12)
        assert recordings.dtype == torch.float32
        assert torch.equal(recordings, recordings.round())
        assert labels.tolist() == digits.labels.tolist()


def test_fewer_frames_hold_the_same_events():
    one, four = (create_data("digits_events", steps=steps).test.images for steps in (1, 4))
    assert torch.equal(four.sum(1, keepdim=True), one)


def test_the_recordings_are_the_ones_written_down():
    recordings = create_data("digits_events", steps=4).test.images
    found = hashlib.sha256(recordings.to(torch.uint8).numpy().tobytes()).hexdigest()
    assert found == "89681a0d2e3a51d380ab60a0f69249d2937880be5f8be75ba0412c796cf90c3f"


@pytest.mark.parametrize("steps", [0, 97, True])
def test_steps_that_cannot_be_are_told(steps):
    with pytest.raises(InputError, match="steps must be"):
        create_data("digits_events", steps=steps)
