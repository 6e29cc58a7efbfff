"""`a2sg.spike`: the spike function for your own loop over time."""

from __future__ import annotations

from torch import Tensor

from a2sg.adopt.site import SpikeSite
from a2sg.errors import require


def spike(distance: Tensor, site: SpikeSite) -> Tensor:
    """The spikes of one step in your own loop over time: 1 where `distance` is 0 or more.

        self.site = a2sg.SpikeSite(steps=4)  # in __init__
        ...
        for current in x:  # [T, B, ...]
            u = decay * u + current
            s = a2sg.spike(u - threshold, self.site)
            u = u - threshold * s

    The gradient with respect to `distance` is the surrogate, with the window of the step that the site is at.
    Each layer needs its own site, called once per step.

    Args:
        distance: membrane potential minus threshold, `[B, ...]`, floating point.
        site: the layer's windows.

    Returns:
        Spikes, 0 or 1, in the shape and dtype of `distance`.

    Raises:
        InputError: for anything but a floating point tensor and a site, or for one step too many.
    """
    require(
        isinstance(distance, Tensor) and distance.is_floating_point(),
        f"the distance to the threshold must be a floating point tensor, not {_kind(distance)}",
    )
    require(
        isinstance(site, SpikeSite),
        f"a spike needs its own site, such as a2sg.SpikeSite(steps=4), not {_kind(site)}",
    )
    spikes: Tensor = site(distance)
    return spikes


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
