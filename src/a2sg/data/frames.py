"""Events to frames: T pictures of event counts, polarities as channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from a2sg.errors import InputError, require, require_choice, require_count

FIELDS = ("x", "y", "t", "p")
SLICINGS = ("time", "count")
CELLS = 2**27
"""Maximum number of counts of a recording: 64 frames of a megapixel, with both polarities."""
MOST = np.iinfo(np.uint16).max


def event_frames(
    events: np.ndarray,
    steps: int,
    sensor: tuple[int, int, int],
    size: tuple[int, int] | None = None,
    by: str = "time",
    duration: int | None = None,
) -> np.ndarray:
    """The events of one recording, counted in T frames.

    Args:
        events: structured array with fields x, y (pixels), t (whole numbers of any unit) and p (0 or 1),
            in any order.
        steps: T.
        sensor: (height, width, polarities) of the camera.
        size: (height, width) of the frames; None is the sensor's. Pixel v of V falls in bin ⌊v · bins / V⌋.
        by: `time` cuts the span from the first to the last event into T equal parts, `count` the
            events, in order of time, into T parts of equal number.
        duration: length of a frame in units of time, counted from the first event; events after T such frames
            are left out. None: frames as `by` says.

    Returns:
        `[T, polarities, height, width]`, uint16; counts are capped at 65,535.

    Raises:
        InputError: for missing fields, times that are not whole numbers, events outside the sensor, or an
            option out of range.
    """
    require_count("steps", steps)
    require_choice("slicing", by, SLICINGS)
    height, width, polarities = sensor
    rows, columns = sensor[:2] if size is None else size
    require_count("height of the frames", rows)
    require_count("width of the frames", columns)
    cells = steps * polarities * rows * columns
    require(cells <= CELLS, f"frames of {cells:,} counts are more than {CELLS:,}: use fewer steps or pixels")
    names = events.dtype.names or ()
    require(set(FIELDS) <= set(names), f"events need the fields x, y, t, p, not {', '.join(names) or 'none'}")
    require(events["t"].dtype.kind in "iu", f"event times must be whole numbers, not {events['t'].dtype}")
    x, y, t, p = (events[name].astype(np.int64) for name in FIELDS)
    for name, values, least_above in (("x", x, width), ("y", y, height), ("p", p, polarities)):
        if values.size and not (values.min() >= 0 and values.max() < least_above):
            raise InputError(
                f"events must have {name} from 0 to {least_above - 1} on a sensor of {height}x{width} "
                f"pixels, not {values.min()} to {values.max()}"
            )
    span = int(t.max()) - int(t.min()) + 1 if t.size else 1
    require(span * steps < 2**63, f"events must be of one recording, but span {span} units of time")
    if duration is None:
        step = _steps_of(t, steps, by)
    else:
        step = (t - (t.min() if t.size else 0)) // require_count("duration", duration)
        within = step < steps
        x, y, p, step = x[within], y[within], p[within], step[within]
    place = ((step * polarities + p) * rows + y * rows // height) * columns + x * columns // width
    counts = np.bincount(place, minlength=steps * polarities * rows * columns)
    return np.minimum(counts, MOST).astype(np.uint16).reshape(steps, polarities, rows, columns)


def _steps_of(t: np.ndarray, steps: int, by: str) -> np.ndarray:
    """The frame 0 .. T-1 of each event."""
    if t.size == 0:
        return t
    if by == "time":
        return (t - t.min()) * steps // (t.max() - t.min() + 1)
    step = np.empty_like(t)
    step[np.argsort(t, kind="stable")] = np.arange(t.size) * steps // t.size
    return step


def summed_steps(counts: np.ndarray, steps: int, axis: int = 0) -> np.ndarray:
    """Sum N fine bins of time into T frames; bin n falls in frame ⌊n · T / N⌋.

    Args:
        counts: any array.
        steps: T, at most N.
        axis: the one of time, of length N.

    Returns:
        The array with T in place of N.

    Raises:
        InputError: for more steps than bins.
    """
    bins: Any = counts.shape[axis]
    require(
        require_count("steps", steps) <= bins,
        f"these recordings have {bins} bins of time: steps must be at most {bins}, not {steps}",
    )
    # The first bin n with ⌊n · T / N⌋ = k is ⌈k · N / T⌉.
    starts = -(-np.arange(steps) * bins // steps)
    return np.add.reduceat(counts, starts, axis=axis)
