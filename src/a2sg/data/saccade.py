"""Events of a moving picture, from the pixel model of a dynamic vision sensor.

Every pixel remembers the brightness of its last event. It sends an ON event whenever the brightness has risen
by a threshold, and an OFF event whenever it has fallen by one (Lichtsteiner et al., A 128x128 120 dB 15 µs
latency asynchronous temporal contrast vision sensor, 2008). The model uses brightness itself, not its
logarithm, and has no noise. The picture moves along a triangle, as for N-MNIST (Orchard et al., Converting
static image datasets to spiking neuromorphic datasets using saccades, 2015).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

CORNERS = ((0.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (0.0, -1.0))
"""(x, y) of the path's corners: three straight movements, in units of its reach."""


def saccade_path(reach: float, moments: int) -> np.ndarray:
    """Offsets of the picture along the path, including the start.

    Args:
        reach: how far the path goes to each side, in pixels.
        moments: number of steps in each of the three movements.

    Returns:
        `[3 · moments + 1, 2]`, (x, y) in pixels.
    """
    corners = np.array(CORNERS) * reach
    share = np.arange(1, moments + 1)[:, None] / moments
    legs = [start + share * (end - start) for start, end in pairwise(corners)]
    return np.concatenate([corners[:1], *legs])


def saccade_frames(
    images: np.ndarray, steps: int, reach: float = 2.0, threshold: float = 0.2, moments: int = 32
) -> np.ndarray:
    """Event counts of pictures that move along the path.

    Args:
        images: `[N, H, W]`, brightness from 0 to 1, on a dark background. Leave a margin of `reach`.
        steps: T; the duration of the path is cut into T equal parts.
        reach: of the path, in pixels.
        threshold: change of brightness that triggers an event, above 0.
        moments: number of samples of each movement.

    Returns:
        `[N, T, 2, H, W]`, float32: counts of OFF (0) and ON (1) events.
    """
    path = saccade_path(reach, moments)
    images = images.astype(np.float64)
    frames = np.zeros((steps, 2, *images.shape), dtype=np.float32)
    remembered = shifted(images, *path[0])
    for moment, offset in enumerate(path[1:]):
        change = (shifted(images, *offset) - remembered) / threshold
        events = np.trunc(change + np.copysign(1e-9, change))  # a change of exactly one threshold counts
        frame = frames[moment * steps // (len(path) - 1)]
        frame[0] += np.maximum(-events, 0)
        frame[1] += np.maximum(events, 0)
        remembered += events * threshold
    return np.ascontiguousarray(np.moveaxis(frames, 2, 0))


def shifted(images: np.ndarray, x: float, y: float) -> np.ndarray:
    """Pictures moved right by `x` and down by `y` pixels: bilinear between pixels, dark where uncovered.

    Args:
        images: `[N, H, W]`.
        x: any number of pixels.
        y: any number of pixels.
    """
    for axis, offset in ((1, y), (2, x)):
        whole = int(np.floor(offset))
        part = offset - whole
        images = (1 - part) * _moved(images, whole, axis) + part * _moved(images, whole + 1, axis)
    return images


def _moved(images: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """Images moved by whole pixels, filled up with 0."""
    moved = np.zeros_like(images)
    length = images.shape[axis]
    kept = max(0, length - abs(pixels))
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis] = slice(max(0, -pixels), max(0, -pixels) + kept)
    target[axis] = slice(max(0, pixels), max(0, pixels) + kept)
    moved[tuple(target)] = images[tuple(source)]
    return moved
