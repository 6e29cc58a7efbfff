"""The buffers of a model, restored to their values before a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from a2sg.devices import answers_at_once
from a2sg.window.site import Site


class Buffers:
    """Remembers what forward passes change in a model, such as the running statistics of batch norm.

    Windows are not included: a search sets them, not a forward pass.

    Args:
        model: whose buffers to remember.
    """

    def __init__(self, model: nn.Module) -> None:
        # Where they are held, since moving a model replaces them.
        self._places = [
            (module._buffers, name)
            for module in model.modules()
            if not isinstance(module, Site)
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        # Other buffers, such as a mask of -infinity, are meant to be infinite.
        self._finite = [place for place in self._places if _is_finite(_held(*place))]
        self._before: list[Tensor] | None = None

    @torch.no_grad()
    def remember(self) -> None:
        """Store their values, unless that has been done since the last `forget`."""
        if self._before is None:
            self._before = [_joined(group) for group in self._groups()]

    @torch.no_grad()
    def restore(self, broken: Tensor) -> None:
        """Restore the stored values if `broken`, a 0-d tensor on any device; nothing waits for it."""
        before = self._before
        if before is None or (answers_at_once(broken.device) and not broken):
            return
        for group, was in zip(self._groups(), before, strict=True):
            flat = torch.where(broken.to(was.device), was, _joined(group))
            parts = flat.split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [part.view_as(x) for part, x in zip(parts, group, strict=True)])

    def forget(self) -> None:
        """Drop the stored values."""
        self._before = None

    def that_were_finite(self) -> list[Tensor]:
        """The present floating point buffers that were finite when this object was made."""
        return [_held(*place) for place in self._finite]

    def _groups(self) -> list[list[Tensor]]:
        """The buffers by dtype and device: a model may lie on several."""
        groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for place in self._places:
            held = _held(*place)
            groups.setdefault((held.dtype, held.device), []).append(held)
        return list(groups.values())


def _held(buffers: dict[str, Tensor | None], name: str) -> Tensor:
    found = buffers[name]
    assert found is not None
    return found


def _is_finite(buffer: Tensor) -> bool:
    return buffer.is_floating_point() and bool(buffer.isfinite().all())


def _joined(group: list[Tensor]) -> Tensor:
    return torch.cat([buffer.reshape(-1) for buffer in group])
