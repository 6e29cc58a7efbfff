"""Directions through the weights, in units of filters (the weights of one output: Li et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from a2sg.study.measure.objective import Objective


def has_filters(parameter: Tensor) -> bool:
    """Whether it is a weight; biases, batch norms and decays, with fewer than two dimensions, are not."""
    return parameter.dim() >= 2


def filter_norms(parameter: Tensor, groups: int = 0) -> Tensor:
    """The norm of each filter, in a shape that broadcasts against the parameter; 0 if there are none.

    Args:
        parameter: `[outputs, ...]`.
        groups: those of a transposed convolution, whose weights are `[inputs, outputs / groups, ...]`; 0 for
            all other parameters.
    """
    if not has_filters(parameter):
        return parameter.new_zeros(())
    if not groups:
        norms = parameter.detach().flatten(1).norm(dim=1)
        return norms.view(-1, *[1] * (parameter.dim() - 1))
    norms = parameter.detach().flatten(2).unflatten(0, (groups, -1)).norm(dim=(1, 3))
    of_inputs = norms.repeat_interleave(len(parameter) // groups, 0)
    return of_inputs.view(*of_inputs.shape, *[1] * (parameter.dim() - 2))


def normal(objective: Objective, generator: torch.Generator) -> list[Tensor]:
    """Gaussian numbers in the shapes of the parameters; only the seed and these shapes decide them."""
    return [torch.randn(one.shape, generator=generator).to(one) for one in objective.parameters]


def flat(parts: Sequence[Tensor]) -> Tensor:
    """Tensors, such as one per parameter, in a row `[P]`."""
    return torch.cat([part.flatten() for part in parts])


def split(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A row `[P]` as tensors of the shapes, types and devices of others."""
    parts = row.split([one.numel() for one in like])
    return [part.to(one).view_as(one) for part, one in zip(parts, like, strict=True)]


@contextmanager
def around(objective: Objective) -> Iterator[Callable[[Tensor], None]]:
    """A function that moves the parameters by `[P]` from their values, which are restored afterwards."""
    with objective.ready(parameters=True):
        centre = [parameter.detach().clone() for parameter in objective.parameters]

        @torch.no_grad()
        def move(by: Tensor) -> None:
            for parameter, start, part in zip(objective.parameters, centre, split(by, centre), strict=True):
                parameter.copy_(start + part)

        yield move
