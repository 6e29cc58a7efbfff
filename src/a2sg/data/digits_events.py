"""scikit-learn's digits as an event camera would see them in a saccade."""

from __future__ import annotations

import numpy as np

from a2sg.data.digits import NAMES, Digits, digit_splits
from a2sg.data.saccade import saccade_frames
from a2sg.data.sets import ArrayImages, ImageData, register_data
from a2sg.errors import require, require_count

REACH = 2
"""Pixels that the saccade goes to each side, and the margin around a digit."""
MOMENTS = 32
"""Duration of each of its three movements."""


@register_data("digits_events")
def digits_events(steps: int = 4) -> ImageData:
    """The digits seen by a simulated event camera in a saccade of three movements, 12x12 pixels, ON and OFF.

    Args:
        steps: T, the frames of a recording.

    Raises:
        InputError: for an invalid number of steps.
    """
    require(
        require_count("steps", steps) <= 3 * MOMENTS,
        f"steps must be at most {3 * MOMENTS}, the moments that are simulated, not {steps}",
    )

    def seen(split: Digits) -> ArrayImages:
        margin = np.pad(split.images, ((0, 0), (REACH, REACH), (REACH, REACH)))
        return ArrayImages(saccade_frames(margin, steps, REACH, moments=MOMENTS), split.labels)

    train, test = (seen(split) for split in digit_splits())
    return ImageData(
        train=train,
        test=test,
        classes=NAMES,
        shape=(2, *train.images.shape[-2:]),
        description="handwritten digits as events of a simulated saccade; OFF and ON counts",
        steps=steps,
    )
