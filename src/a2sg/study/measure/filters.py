"""Filters of a network, the weights of one output: the unit of directions (Li et al., 2018)."""

from __future__ import annotations

from torch import Tensor


def has_filters(parameter: Tensor) -> bool:
    """Whether it is a weight; biases, batch norms and decays, of one dimension or none, have no filters."""
    return parameter.dim() >= 2


def filter_norms(parameter: Tensor) -> Tensor:
    """The norm of each filter, in a shape that broadcasts against `[outputs, ...]`; 0 if there are none."""
    if not has_filters(parameter):
        return parameter.new_zeros(())
    norms = parameter.detach().flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (parameter.dim() - 1))
